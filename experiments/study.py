"""One setting of the study, from data to rows: train S seeds, attack them, measure the spectra.

A `Setting` says *what* is compared (an arm, on a data set, in a regime, at an initial scale);
`Asked` what is measured of it; a `Budget` how much of everything is spent, the same for all arms.
`run_setting` is the whole walk of the package, data -> models -> training -> attacks -> spectra ->
rows.
"""

import dataclasses
import zlib
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from freqbias import attacks, ensemble, models, ops, spectral, theory, training
from freqbias.attacks import Perturbation
from freqbias.data import Dataset, Split
from freqbias.ensemble import Ensemble
from freqbias.typing import Array, Key, Status

REGIMES = ("linear", "relu")
BLOCKS = ("resnet", "vgg", "conv_mixer", "vit", "mlp_mixer")  # never linear
MINIMAL_STEPS = 40  # of DDN
CUTOFFS = (1 / 16, 1 / 8, 1 / 4)  # cycles/pixel, of the images that are filtered
NUM_EXAMPLES = 3  # perturbations of the first seed kept for the figures


class Arm(NamedTuple):
    """An architecture with what is varied of it."""

    architecture: str  # a name of freqbias.models.ARCHITECTURES
    depth: int = 1  # hidden layers; blocks, where layers come in blocks
    kernel: str = ""  # taps along each axis: "3", "7", ..., "full"; "" where there is no kernel
    padding: str = "circular"  # of convolutions
    channels: int = 0  # of convolutions; 0: the budget's
    optimizer: str = "sgd"  # or "adam"


@dataclasses.dataclass(frozen=True)
class Setting:
    """What is compared: one arm on one data set. The fields of `Arm`, and these."""

    dataset: str
    regime: str  # "linear" or "relu" (any network that is not linear)
    architecture: str
    depth: int
    kernel: str = ""
    padding: str = "circular"
    channels: int = 0
    optimizer: str = "sgd"
    init_scale: float = 1.0

    @property
    def arm(self) -> str:
        """The compared thing without data set, regime and scale, e.g. ``conv_k3_d1``."""
        kernel = {"": "", "full": "_full"}.get(self.kernel, f"_k{self.kernel}")
        padding = "" if self.padding == "circular" else f"_{self.padding.lower()}"
        channels = f"_c{self.channels}" if self.channels else ""
        optimizer = "" if self.optimizer == "sgd" else f"_{self.optimizer}"
        return f"{self.architecture}{kernel}_d{self.depth}{padding}{channels}{optimizer}"

    @property
    def id(self) -> str:
        """A name for files and keys."""
        return f"{self.dataset}.{self.regime}.{self.arm}.scale{self.init_scale:g}"

    @property
    def path(self) -> str:
        """The prefix of this setting's arrays in ``spectra.npz``."""
        return f"{self.dataset}/{self.regime}/{self.arm}/{self.init_scale:g}"

    def kernel_size(self, image_shape: Sequence[int]) -> int:
        """Taps along each axis; 0 for a network without a kernel."""
        return {"": 0, "full": min(image_shape[:2])}.get(self.kernel) or int(self.kernel or 0)


class Asked(NamedTuple):
    """What is measured of a setting, beside the L2 attack of the trained networks."""

    second_attack: bool = False  # L-inf
    checkpoints: int = 0  # log-spaced steps at which all is measured too; 0: none; step 0 is free
    minimal: bool = False  # smallest L2 perturbations that change the prediction
    filtered: bool = False  # accuracy on low- and high-passed images
    heat_map: bool = False  # error rate under every plane wave


PRIMARY = Asked()


@dataclasses.dataclass(frozen=True)
class Budget:
    """What is spent on every arm alike."""

    seeds: tuple[int, ...] = tuple(range(8))
    num_images: int = 1024  # training images of each seed, its own subsample
    epochs: int = 3
    batch_size: int = 32
    learning_rate: float = 0.02  # of SGD
    momentum: float = 0.9
    adam_learning_rate: float = 0.002
    clip: float = 1.0  # largest global gradient norm of a step
    channels: int = 4  # of every convolution and unshared layer
    width: int = 256  # of every fully connected layer
    block_width: int = 32  # channels of ViT, ConvMixer and MLP-Mixer
    num_tested: int = 256  # test images that give the test accuracy
    num_attacked: int = 64  # of them attacked
    num_steps: int = 20  # of PGD
    epsilon_l2: float = 1.0  # in units of intensity in [0, 1]
    epsilon_linf: float = 8 / 255
    epsilon_heat_map: float = 4.0  # L2 norm of a plane wave
    random_key: int = 0


def run_setting(
    setting: Setting, dataset: Dataset, budget: Budget, asked: Asked = PRIMARY
) -> tuple[list[dict[str, Any]], dict[str, np.ndarray]]:
    """Trains, attacks and measures one setting.

    Args:
      setting: what is compared.
      dataset: the data set named by the setting.
      budget: what is spent.
      asked: what is measured.

    Returns:
      One row per recorded step, seed and attack, and the arrays for the figures, of the L2 attack
      of the trained networks.
    """
    key_train, key_attack = jax.random.split(setting_key(setting, budget))
    trained = _shared_form(setting, make_model(setting, dataset, budget))
    steps = budget.epochs * (budget.num_images // budget.batch_size)
    recorded = training.log_spaced_steps(steps, asked.checkpoints) if asked.checkpoints else ()
    nets = training.train(
        trained,
        dataset.train,
        seeds=budget.seeds,
        key=key_train,
        epochs=budget.epochs,
        batch_size=budget.batch_size,
        num_images=budget.num_images,
        optimizer=_optimizer(setting, budget),
        checkpoint_steps=[step for step in recorded if step < steps],
        strategy=_strategy(setting),
    )
    start = training.initial_params(trained, dataset.image_shape, seeds=budget.seeds, key=key_train)
    compact = _compact_fn(trained)
    fixed = {
        **dataclasses.asdict(setting),
        "arm": setting.arm,
        "kernel_size": setting.kernel_size(dataset.image_shape),
        "channels": budget.width if setting.architecture == "fc" else _channels(setting, budget),
        "num_parameters": models.num_parameters(ensemble.select(compact(nets.params), 0)),
        "num_train": budget.num_images,
        "num_images": budget.num_attacked,
    }
    rows: list[dict[str, Any]] = []
    arrays: dict[str, np.ndarray] = {}
    for step, params in _recorded(nets, steps):
        found, arrays = _measure(
            setting, dataset, budget, asked, dataclasses.replace(nets, params=params),
            start=start, compact=compact, key=key_attack,
        )  # fmt: skip
        accuracy = _train_accuracy(nets.history.accuracy, step, budget)
        for columns, status in found:
            common = {**fixed, "step": step, "final": step == steps, **columns.pop("attack")}
            values = {"train_accuracy": accuracy, **columns}
            rows += _rows(common, values, budget.seeds, status)
    if asked.heat_map:
        arrays |= _heat_map_arrays(setting, dataset, budget, nets, key_attack)
    return rows, arrays


def _measure(
    setting: Setting,
    dataset: Dataset,
    budget: Budget,
    asked: Asked,
    nets: Ensemble,
    *,
    start: Any,
    compact: Callable[[Any], Any],
    key: Key,
) -> tuple[list[tuple[dict[str, Any], list[str]]], dict[str, np.ndarray]]:
    """The columns [S] and the statuses of each attack on networks as they are, and the arrays.

    Among the columns, ``attack`` is what is common to all seeds.
    """
    attacked = nets if setting.regime == "relu" else _as_predictors(nets, dataset.image_shape)
    test = dataset.test[: budget.num_attacked]
    images, labels = jnp.asarray(test.images), jnp.asarray(test.labels)
    per_seed = {
        "test_accuracy": _test_accuracy(attacked, dataset.test, budget),
        **_kernel_columns(setting, budget, compact, (nets.params, start), dataset.image_shape),
        **_predictor_columns(setting, nets, start, attacked, dataset.image_shape),
        **_filtered_columns(asked, attacked, dataset.test, budget),
        **_minimal_columns(asked, setting, attacked, images, key),
    }
    features = _margin_gradients(attacked, images, labels) if setting.regime == "relu" else None
    measured: list[tuple[dict[str, Any], list[str]]] = []
    arrays: dict[str, np.ndarray] = {}
    for geometry in ("l2", "linf") if asked.second_attack else ("l2",):
        name, attack = _attack(geometry, setting, budget, dataset.contrast)
        strategy = _attack_strategy(setting)
        found = attacked.attack(attack, images, labels, key=key, strategy=strategy)
        where = {"attack": name, "box": setting.regime == "relu", "epsilon": float(attack.epsilon)}
        columns = {**per_seed, **_attack_columns(found), **_alignment_columns(found, features)}
        measured.append(({"attack": where, **columns}, _status(nets, found)))
        if geometry == "l2":
            arrays = _arrays(setting, compact(nets.params), attacked, found.delta)
    return measured, arrays


def _recorded(nets: Ensemble, steps: int) -> list[tuple[int, Any]]:
    """(steps done, parameters [S, ...]) at each checkpoint and at the end."""
    kept = [
        (int(step), jax.tree.map(lambda leaf, at=index: leaf[:, at], nets.history.checkpoints))
        for index, step in enumerate(np.asarray(nets.history.checkpoint_steps)[0])
    ]
    return [*kept, (steps, nets.params)]


def _train_accuracy(accuracy: Array, step: int, budget: Budget) -> np.ndarray:
    """Accuracy [S] on the batches of the last epoch before a step, or of what there is of it."""
    first = max(step - budget.num_images // budget.batch_size, 0)
    return np.asarray(accuracy[:, first : max(step, 1)].mean(axis=1))


def setting_key(setting: Setting, budget: Budget) -> Key:
    """Root of a setting's draws: no two settings share any, so equal seeds of two do not pair."""
    return jax.random.fold_in(jax.random.key(budget.random_key), zlib.crc32(setting.id.encode()))


def program(setting: Setting) -> tuple[str | int, ...]:
    """What settings that share their compilations have in common."""
    family = setting.architecture.removesuffix("_tied")
    if _is_shared(setting):
        family = "circulant"
    return (setting.dataset, setting.regime, family, setting.depth, setting.padding)


def make_model(setting: Setting, dataset: Dataset, budget: Budget) -> Any:
    """The Flax module of a setting; the families that are built of blocks in a small form."""
    settings: dict[str, Any] = {
        "num_classes": dataset.num_classes,
        "mean": tuple(np.ravel(dataset.mean).tolist()),
        "std": tuple(np.ravel(dataset.std).tolist()),
    }
    if setting.kernel:
        settings["kernel_size"] = setting.kernel_size(dataset.image_shape)
    if setting.architecture in ("resnet", "vgg"):
        blocks = "blocks" if setting.architecture == "resnet" else "convolutions"
        width = _channels(setting, budget)
        settings |= {blocks: (1,) * setting.depth, "width": width, "groups": min(width, 4)}
        return models.create(setting.architecture, padding=_block_padding(setting), **settings)
    if setting.architecture in BLOCKS:
        if setting.architecture == "conv_mixer":
            settings["padding"] = _block_padding(setting)
        side = min(dataset.image_shape[:2])
        patch = next(size for size in (4, 2, 1) if side % size == 0)
        settings |= {"depth": setting.depth, "patch_size": patch, "width": budget.block_width}
        return models.create(setting.architecture, **settings)
    settings |= {
        "depth": setting.depth,
        "activation": "none" if setting.regime == "linear" else "relu",
        "init_scale": setting.init_scale,
    }
    if setting.architecture == "fc":
        settings["width"] = budget.width
    else:
        settings["channels"] = _channels(setting, budget)
    if setting.architecture == "conv":
        settings["padding"] = setting.padding
    return models.create(setting.architecture, **settings)


def _channels(setting: Setting, budget: Budget) -> int:
    return setting.channels or budget.channels


def _block_padding(setting: Setting) -> str:
    """Of families built of blocks, to Flax, which writes CIRCULAR."""
    return setting.padding.upper()


def _optimizer(setting: Setting, budget: Budget) -> Any:
    if setting.optimizer == "adam":
        return training.adam(budget.adam_learning_rate, budget.clip)
    return training.sgd(budget.learning_rate, budget.momentum, budget.clip)


def _is_shared(setting: Setting) -> bool:
    """Where the kernel varies on CPU, all circulant networks share one compilation."""
    circulant = setting.architecture in ("conv", "scattered") and setting.padding == "circular"
    return circulant and setting.depth == 1 and jax.default_backend() == "cpu"


def _shared_form(setting: Setting, model: Any) -> Any:
    """The same network in the form in which it is trained."""
    return models.as_masked(model) if _is_shared(setting) else model


def _compact_fn(trained: Any) -> Callable[[Any], Any]:
    """From parameters as trained to those of the model of `make_model`."""
    if isinstance(trained, models.MaskedConvNet):
        return partial(models.tap_params, trained)
    return lambda params: params


def dataset_arrays(dataset: Dataset, num_images: int) -> dict[str, np.ndarray]:
    """The arrays of a data set that figures show beside those of the attacks."""
    images = jnp.asarray(dataset.test.images[:num_images])
    profile = _profile(spectral.mean_spectrum(images, axis=0))
    return {
        f"{dataset.name}.frequency": np.asarray(profile.frequency),
        f"{dataset.name}.data_profile": np.asarray(profile.mean),
        f"{dataset.name}.example_images": np.asarray(images[:NUM_EXAMPLES]),
    }


def null_columns(dataset: Dataset, num_images: int, key: Key) -> dict[str, float]:
    """The white-noise value of each statistic of single images, and the data's mean frequency."""
    found = spectral.null(dataset.image_shape[:2], key=key, channels=dataset.image_shape[2])
    nulls = {f"null_{name}": float(value) for name, value in _statistics(found.mean).items()}
    data = spectral.mean_frequency(jnp.asarray(dataset.test.images[:num_images]))
    return {**nulls, "data_mean_frequency": float(data.mean())}


def _strategy(setting: Setting) -> ensemble.Strategy:
    """Settings already run side by side on CPU; affine nets are small enough to batch there."""
    if jax.default_backend() == "cpu":
        return "vmap" if setting.regime == "linear" else "sequential"
    return "auto"


def _heat_map_arrays(
    setting: Setting, dataset: Dataset, budget: Budget, nets: Ensemble, key: Key
) -> dict[str, np.ndarray]:
    """Error rates [S, H, W] under plane waves of one L2 norm, with random signs, in the box."""
    attacked = nets if setting.regime == "relu" else _as_predictors(nets, dataset.image_shape)
    test = dataset.test[: budget.num_attacked]
    errors = attacks.heat_map(
        attacked.apply_fn,
        attacked.params,
        test.images,
        test.labels,
        key,
        epsilon=budget.epsilon_heat_map * dataset.contrast,
        ensemble=True,
    )
    return {f"{setting.path}.heat_map": errors.astype(np.float32)}


def _attack_strategy(setting: Setting) -> ensemble.Strategy:
    return "vmap" if setting.regime == "linear" else "sequential"


def _attack(geometry: str, setting: Setting, budget: Budget, contrast: float) -> tuple[str, Any]:
    """The attack, its budget as much smaller as a transformed data set has less contrast."""
    norms: dict[str, attacks.L2 | attacks.Linf] = {"l2": attacks.L2(), "linf": attacks.Linf()}
    norm = norms[geometry]
    epsilon = {"l2": budget.epsilon_l2, "linf": budget.epsilon_linf}[geometry] * contrast
    if setting.regime == "linear":
        return f"closed_form_{geometry}", attacks.affine_attack(norm, epsilon=epsilon)
    attack = attacks.pgd(norm, epsilon=epsilon, num_steps=budget.num_steps, loss="margin")
    return f"pgd_{geometry}", attack


@partial(jax.jit, static_argnums=(0, 2))
def _predictors(apply_fn: Any, params: Any, image_shape: tuple[int, ...]) -> ops.AffinePredictor:
    return jax.vmap(lambda one: ops.affine_predictor(apply_fn, one, image_shape))(params)  # type: ignore[arg-type]


def _as_predictors(nets: Ensemble, image_shape: Sequence[int]) -> Ensemble:
    """The same functions, each as its affine predictor."""
    predictors = _predictors(nets.apply_fn, nets.params, tuple(image_shape))
    return dataclasses.replace(nets, params=predictors, apply_fn=ops.AffinePredictor.__call__)


def _status(nets: Ensemble, found: Perturbation) -> list[str]:
    """A seed is ok if its training was, and if some attacked image had an input gradient."""
    attacked = np.asarray(found.status)
    live = (attacked == Status.OK).any(axis=1)
    failed = np.where((attacked == Status.DIVERGED).any(axis=1), Status.DIVERGED, Status.DEAD)
    after = np.where(live, Status.OK, failed)
    status = np.where(np.asarray(nets.status) == Status.OK, after, np.asarray(nets.status))
    return [Status(int(value)).name.lower() for value in status]


def _statistics(summary: spectral.SpectralSummary) -> dict[str, Any]:
    return {name: value for name, value in summary._asdict().items() if name != "valid"}


def _test_accuracy(
    nets: Ensemble,
    test: Split,
    budget: Budget,
    change: Callable[[Array], Array] = lambda images: images,
) -> np.ndarray:
    """Accuracy [S] on ``num_tested`` images, by the program that the attack compiles anyway."""
    correct = []
    size = budget.num_attacked
    for first in range(0, min(max(budget.num_tested, size), len(test.labels)) - size + 1, size):
        batch = test[first : first + size]
        images = change(jnp.asarray(batch.images))
        answer = ensemble.map_seeds(
            partial(attacks.query, attacks.forward, nets.apply_fn),
            (nets.params,),
            (images, jnp.zeros_like(images), ()),
            strategy="sequential",
            jit=False,
        )
        correct.append(np.argmax(answer.logits, axis=-1) == batch.labels[None])
    return np.concatenate(correct, axis=1).mean(axis=1)


def _filtered_columns(
    asked: Asked, nets: Ensemble, test: Split, budget: Budget
) -> dict[str, np.ndarray]:
    """Which frequencies a network uses: accuracy on low- and on high-passed images.

    Both keep the mean of the image; neither is clipped to [0, 1].
    """
    names = [f"accuracy_{kind}_{cutoff:g}" for cutoff in CUTOFFS for kind in ("low", "high")]
    if not asked.filtered:
        return dict.fromkeys(names, np.full(len(nets.seeds), np.nan))
    filters = [
        partial(filter_fn, cutoff=cutoff)
        for cutoff in CUTOFFS
        for filter_fn in (spectral.low_pass, _high_pass_about_mean)
    ]
    return {
        name: _test_accuracy(nets, test, budget, change)
        for name, change in zip(names, filters, strict=True)
    }


def _high_pass_about_mean(images: Array, cutoff: float) -> Array:
    return spectral.high_pass(images, cutoff) + images.mean(axis=(1, 2), keepdims=True)


def _minimal_columns(
    asked: Asked,
    setting: Setting,
    nets: Ensemble,
    images: Array,
    key: Key,
) -> dict[str, np.ndarray]:
    """Smallest L2 perturbations that change the prediction, right or wrong: medians over images.

    So there is a number at initialisation too, where hardly an image is right.
    """
    names = ("minimal_distance", "minimal_relative_distance", "minimal_mean_frequency")
    if not asked.minimal:
        return dict.fromkeys(names, np.full(len(nets.seeds), np.nan))
    attack: Any = attacks.ddn(num_steps=MINIMAL_STEPS)
    if setting.regime == "linear":
        attack = attacks.affine_attack(attacks.L2())
    strategy = _attack_strategy(setting)
    predicted = np.argmax(nets.logits(images, strategy=strategy), axis=-1)
    found = nets.attack(attack, images, predicted, key=key, strategy=strategy)
    summary = spectral.summarize(found.delta)
    flipped = np.asarray(found.flipped)
    distance = np.where(flipped, found.distance, np.inf)
    size = np.linalg.norm(np.asarray(images).reshape(len(images), -1), axis=1)
    medians = [np.median(values, axis=1) for values in (distance, distance / size)]
    finite = [np.where(np.isfinite(values), values, np.nan) for values in medians]
    frequency = _masked_mean(summary.mean_frequency, np.asarray(summary.valid) & flipped)
    return dict(zip(names, (*finite, frequency), strict=True))


def _masked_mean(values: Any, where: Any) -> np.ndarray:
    """Mean over images of [S, N]; NaN for a seed without any."""
    values, where = np.asarray(values, np.float64), np.asarray(where)
    count = where.sum(axis=1)
    total = np.where(where, values, 0).sum(axis=1)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _attack_columns(found: Perturbation) -> dict[str, np.ndarray]:
    """Spectral statistics [S] over all attacked images that have a spectrum, and successes."""
    summary = spectral.summarize(found.delta)
    flipped = np.asarray(found.flipped)
    evaluation = attacks.summarize(found)
    columns = {
        name: _masked_mean(value, summary.valid) for name, value in _statistics(summary).items()
    }
    return {
        "robust_accuracy": evaluation.robust_accuracy,
        "num_flipped": flipped.sum(axis=1),
        "mean_frequency_flipped": _masked_mean(
            summary.mean_frequency, np.asarray(summary.valid) & flipped
        ),
        **columns,
    }


def _margin_gradients(nets: Ensemble, images: Array, labels: Array) -> Array:
    """Input gradient of each network's margin at each clean image, [S, N, H, W, C].

    By the program that PGD on the margin compiled; `theory.margin_gradient` gives the same.
    """
    found = ensemble.map_seeds(
        partial(attacks.query, attacks.gradient_of(attacks.margin), nets.apply_fn),
        (nets.params,),
        (images, jnp.zeros_like(images), (labels,)),
        strategy="sequential",
        jit=False,
    )
    return -found.gradients


@jax.jit
def _own_minus_others(a: Array, b: Array) -> tuple[Array, Array]:
    """Cosine of a[s] with b[s], and that minus its mean cosine with b[t], t != s; each [S]."""
    flat = [x.reshape(*x.shape[:2], -1) for x in (a, b)]
    norms = [jnp.linalg.norm(x, axis=-1, keepdims=True) for x in flat]
    a, b = (x / jnp.where(n > 0, n, 1) for x, n in zip(flat, norms, strict=True))
    cosines = jnp.einsum("snp,tnp->st", a, b) / a.shape[1]
    own = jnp.diagonal(cosines)
    others = (cosines.sum(axis=1) - own) / max(a.shape[0] - 1, 1)
    return own, own - others


def _alignment_columns(found: Perturbation, features: Array | None) -> dict[str, Any]:
    """Does delta follow the own network's feature rather than any network's? ReLU nets only."""
    if features is None or features.shape[0] < 2:
        empty = np.full(found.delta.shape[0], np.nan)
        return dict.fromkeys(("cosine_own", "alignment", "spectrum_alignment"), empty)
    own, alignment = _own_minus_others(-found.delta, features)
    powers = [spectral.normalized_power(x) for x in (found.delta, features)]
    return {
        "cosine_own": own,
        "alignment": alignment,
        "spectrum_alignment": _own_minus_others(*powers)[1],
    }


def _kernel_columns(
    setting: Setting,
    budget: Budget,
    compact: Callable[[Any], Any],
    trained_and_start: tuple[Any, Any],
    image_shape: Sequence[int],
) -> dict[str, Any]:
    """Slack of the first layer's kernel above the lowest mean frequency of its size."""
    if setting.architecture != "conv":
        empty = np.full(len(budget.seeds), np.nan)
        return {"kernel_slack": empty, "kernel_slack_init": empty, "kernel_slack_change": empty}
    trained, initial = (
        np.asarray(theory.kernel_slack(compact(params)["params"]["kernel_0"], image_shape[:2]))
        for params in trained_and_start
    )
    return {
        "kernel_slack": trained,
        "kernel_slack_init": initial,
        "kernel_slack_change": trained - initial,
    }


def _contrasts(predictor: ops.AffinePredictor) -> Array:
    """Class weights less their mean over classes, classes as a leading axis: [S, K, H, W, C]."""
    weights = jnp.moveaxis(predictor.weights, -1, 1)
    return weights - weights.mean(axis=1, keepdims=True)


def _predictor_columns(
    setting: Setting, nets: Ensemble, start: Any, attacked: Ensemble, image_shape: Sequence[int]
) -> dict[str, Any]:
    """Mean frequency of beta and of its learned part beta - beta_0; linear nets only."""
    if setting.regime != "linear":
        empty = np.full(len(nets.seeds), np.nan)
        return {"beta_mean_frequency": empty, "learned_mean_frequency": empty}
    trained = _contrasts(attacked.params)
    initial = _contrasts(_predictors(nets.apply_fn, start, tuple(image_shape)))
    return {
        "beta_mean_frequency": spectral.mean_frequency(trained).mean(axis=1),
        "learned_mean_frequency": spectral.mean_frequency(trained - initial).mean(axis=1),
    }


def _rows(
    common: Mapping[str, Any],
    columns: Mapping[str, Any],
    seeds: Sequence[int],
    status: Sequence[str],
) -> list[dict[str, Any]]:
    """One row per seed; a seed that is not ok keeps its row, with empty statistics."""
    rows = []
    for index, seed in enumerate(seeds):
        ok = status[index] == "ok"
        values = {
            name: np.asarray(column)[index].item() if ok or name == "num_flipped" else None
            for name, column in columns.items()
        }
        rows.append({**common, "seed": seed, "status": status[index], **values})
    return rows


def _profile(power: Array) -> spectral.RadialProfile:
    """Radial profile of normalised power [..., H, W], in units of its white-noise value."""
    height, width = power.shape[-2:]
    return spectral.radial_profile(power * (height * width - 1))


def _arrays(
    setting: Setting, params: Any, attacked: Ensemble, delta: Array
) -> dict[str, np.ndarray]:
    power = spectral.mean_spectrum(delta, axis=1)
    arrays = {
        "profile": _profile(power).mean,
        "spectrum": power.mean(axis=0),
        "examples": delta[0, :NUM_EXAMPLES],
    }
    if setting.architecture == "conv":
        arrays["kernels"] = params["params"]["kernel_0"][0]
    if setting.regime == "linear":
        arrays["beta"] = attacked.params.weights[0]
    return {f"{setting.path}.{name}": np.asarray(value) for name, value in arrays.items()}
