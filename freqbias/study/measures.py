"""What is measured of S trained networks: one number per network and column, and arrays to draw.

To add a measurement: a function from `Measured` to float columns [S], and one entry of
`MEASUREMENTS`; its rows, its figure and its line in the report follow.
"""

import dataclasses
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from freqbias import attacks, ensemble, inference, ops, schema, spectral, theory
from freqbias._checked import check_fields
from freqbias.attacks import Perturbation
from freqbias.data import Dataset, Split
from freqbias.ensemble import Ensemble
from freqbias.study import arms, bands, limits, log_amplitude
from freqbias.study.setting import Asked, Budget, Setting
from freqbias.typing import Array, ArrayLike, Key

MINIMAL_STEPS = 40  # of DDN
CUTOFFS = (1 / 16, 1 / 8, 1 / 4)  # cycles/pixel, of the images that are filtered
NUM_EXAMPLES = 3  # perturbations of the first seed kept for the figures


@dataclasses.dataclass(frozen=True)
class Measured:
    """S networks of one setting at one step, and what may be read off them.

    Attributes:
      setting: what is compared.
      dataset: the data set named by the setting.
      budget: what is spent.
      asked: what is asked at this step.
      nets: the networks as they were trained.
      attacked: the same functions in the form that is attacked, see `as_attacked`.
      start: their initial parameters, leaves [S, ...].
      end: their parameters at the end of training.
      compact: from parameters as trained to those of the setting's own module.
      images: the attacked images [N, H, W, C].
      labels: int [N].
      key: of the attacks.
      features: input gradient of each network's margin at each image, [S, N, H, W, C]; None of
        linear networks, where it is beta for every image.
      found: perturbations [S, N, H, W, C]; None before any attack.
    """

    setting: Setting
    dataset: Dataset
    budget: Budget
    asked: Asked
    nets: Ensemble
    attacked: Ensemble
    start: Any
    end: Any
    compact: Callable[[Any], Any]
    images: Array
    labels: Array
    key: Key
    features: Array | None = None
    found: Perturbation | None = None

    @property
    def num_seeds(self) -> int:
        """S."""
        return len(self.nets.seeds)

    @property
    def perturbed(self) -> Perturbation:
        """What the attack found."""
        if self.found is None:
            raise ValueError("found must be given to measurements of perturbations; got None.")
        return self.found


@dataclasses.dataclass(frozen=True)
class Measurement:
    """A function from `Measured` to columns of float arrays [S].

    Attributes:
      columns: Measured -> {column: [S]}; NaN where nothing can be measured.
      of: "networks": once per recorded step; "perturbations": once per attack.
      figure: (column, title, unit) if it is to have a figure of its own, a dot plot by arm.
    """

    columns: Callable[[Measured], dict[str, Any]]
    of: str = "networks"
    figure: tuple[str, str, str] | None = None

    def __post_init__(self) -> None:
        check_fields(self)


def columns(measurements: Sequence[Measurement], of: Measured) -> dict[str, Any]:
    """The columns [S] of all measurements of networks, or of perturbations if some were found."""
    kind = "networks" if of.found is None else "perturbations"
    out: dict[str, Any] = {}
    for measurement in measurements:
        if measurement.of == kind:
            out |= measurement.columns(of)
    return out


def heat_map_arrays(
    setting: Setting, dataset: Dataset, budget: Budget, nets: Ensemble, key: Key
) -> dict[str, np.ndarray]:
    """Error rates [S, H, W] under plane waves of one L2 norm, with random signs, in the box."""
    attacked = as_attacked(setting, nets, dataset.image_shape)
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
    return {setting.array("heat_map"): errors.astype(np.float32)}


def seed_strategy(setting: Setting, budget: Budget) -> ensemble.Strategy:
    """Settings already run side by side on CPU; affine nets are small enough to batch there."""
    if budget.strategy != "auto" or jax.process_count() > 1:  # several processes: sharded
        return budget.strategy
    if jax.default_backend() == "cpu":
        return "vmap" if setting.regime == "linear" else "sequential"
    return "auto"


@partial(jax.jit, static_argnums=(0, 2))
def _predictors(apply_fn: Any, params: Any, image_shape: tuple[int, ...]) -> ops.AffinePredictor:
    return jax.vmap(lambda one: ops.affine_predictor(apply_fn, one, image_shape))(params)  # type: ignore[arg-type]


def as_attacked(setting: Setting, nets: Ensemble, image_shape: Sequence[int]) -> Ensemble:
    """The same functions; linear networks each as its affine predictor."""
    if setting.regime != "linear":
        return nets
    predictors = _predictors(nets.apply_fn, nets.params, tuple(image_shape))
    return dataclasses.replace(nets, params=predictors, apply_fn=ops.AffinePredictor.__call__)


def statistics(summary: spectral.SpectralSummary) -> dict[str, Any]:
    """The statistics of a summary, by name."""
    return {name: value for name, value in summary._asdict().items() if name != "valid"}


def accuracy_on(
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


def test_accuracy_columns(of: Measured) -> dict[str, np.ndarray]:
    """Accuracy on test images as they are."""
    return {"test_accuracy": accuracy_on(of.attacked, of.dataset.test, of.budget)}


def filtered_columns(of: Measured) -> dict[str, np.ndarray]:
    """Which frequencies a network uses: accuracy on low- and on high-passed images.

    Both keep the mean of the image; neither is clipped to [0, 1].
    """
    names = [f"accuracy_{kind}_{cutoff:g}" for cutoff in CUTOFFS for kind in ("low", "high")]
    if not of.asked.filtered:
        return dict.fromkeys(names, np.full(of.num_seeds, np.nan))
    filters = [
        partial(filter_fn, cutoff=cutoff)
        for cutoff in CUTOFFS
        for filter_fn in (spectral.low_pass, _high_pass_about_mean)
    ]
    return {
        name: accuracy_on(of.attacked, of.dataset.test, of.budget, change)
        for name, change in zip(names, filters, strict=True)
    }


def _high_pass_about_mean(images: Array, cutoff: float) -> Array:
    return spectral.high_pass(images, cutoff) + images.mean(axis=(1, 2), keepdims=True)


def minimal_columns(of: Measured) -> dict[str, np.ndarray]:
    """Smallest L2 perturbations that change the prediction, right or wrong: medians over images.

    So there is a number at initialisation too, where hardly an image is right.
    """
    names = ("minimal_distance", "minimal_relative_distance", "minimal_mean_frequency")
    if not of.asked.minimal:
        return dict.fromkeys(names, np.full(of.num_seeds, np.nan))
    nets, images = of.attacked, of.images
    attack: Any = attacks.ddn(num_steps=MINIMAL_STEPS)
    if of.setting.regime == "linear":
        attack = attacks.affine_attack(attacks.L2())
    strategy = seed_strategy(of.setting, of.budget)
    predicted = np.argmax(nets.logits(images, strategy=strategy), axis=-1)
    found = nets.attack(attack, images, predicted, key=of.key, strategy=strategy)
    flipped = np.asarray(found.flipped)
    distance = np.where(flipped, found.distance, np.inf)
    size = np.linalg.norm(np.asarray(images).reshape(len(images), -1), axis=1)
    medians = [np.median(values, axis=1) for values in (distance, distance / size)]
    finite = [np.where(np.isfinite(values), values, np.nan) for values in medians]
    frequency = inference.image_means(spectral.mean_frequency(found.delta), where=flipped).mean
    return dict(zip(names, (*finite, frequency), strict=True))


def attack_columns(of: Measured) -> dict[str, np.ndarray]:
    """Spectral statistics [S] over all attacked images that have a spectrum, and successes."""
    found = of.perturbed
    summary = spectral.summarize(found.delta)
    flipped = np.asarray(found.flipped)
    evaluation = attacks.summarize(found)
    columns = {
        name: inference.image_means(value).mean for name, value in statistics(summary).items()
    }
    return {
        "robust_accuracy": evaluation.robust_accuracy,
        "num_flipped": flipped.sum(axis=1),
        "mean_frequency_flipped": inference.image_means(summary.mean_frequency, where=flipped).mean,
        **columns,
    }


def log_amplitude_columns(of: Measured) -> dict[str, np.ndarray]:
    """The statistic of the authors' code as one number: see `log_amplitude`."""
    found = of.perturbed
    tilt = log_amplitude.log_tilt(found.delta)
    return {schema.LOG_TILT: inference.image_means(tilt, where=np.asarray(found.flipped)).mean}


def margin_gradients(of: Measured) -> Array:
    """Input gradient of each network's margin at each clean image, [S, N, H, W, C].

    By the program that PGD on the margin compiled; `theory.margin_gradient` gives the same.
    """
    found = ensemble.map_seeds(
        partial(attacks.query, attacks.gradient_of(attacks.margin), of.attacked.apply_fn),
        (of.attacked.params,),
        (of.images, jnp.zeros_like(of.images), (of.labels,)),
        strategy="sequential",
        jit=False,
    )
    return -found.gradients


def own_minus_others(a: Array, b: Array) -> tuple[np.ndarray, np.ndarray]:
    """Cosine of a[s] with b[s], and what that is above its cosines with b[t], t != s; each [S].

    The second are jackknife values, whose mean is that of own minus others and whose spread is
    that of the mean, although seeds share the others (`inference.own_minus_others`). A cosine is
    the mean over the images on which both have a direction, i.e. are finite and not zero. Seeds
    without one are left out; of fewer than three, no spread is known and all values are NaN.
    """
    cosines = np.asarray(_cosines(a, b), np.float64)
    own = np.diagonal(cosines)
    known = np.flatnonzero(np.isfinite(own))
    among = cosines[np.ix_(known, known)]
    values = np.full(len(own), np.nan)
    if len(known) >= 3 and np.isfinite(among).all():
        values[known] = inference.own_minus_others(among)
    return own, values


@jax.jit
def _cosines(a: Array, b: Array) -> Array:
    """Mean cosine over images of a[s] with b[t], [S, S]; NaN where no image has both."""
    num_seeds, num_images = a.shape[:2]
    flat = [x.reshape(num_seeds, num_images, -1) for x in (a, b)]
    norms = [jnp.linalg.norm(x, axis=-1, keepdims=True) for x in flat]
    there = [jnp.isfinite(n) & (n > 0) for n in norms]
    a, b = (
        jnp.where(t, x, 0) / jnp.where(t, n, 1) for x, n, t in zip(flat, norms, there, strict=True)
    )
    both = jnp.einsum("sn,tn->st", *(t[..., 0].astype(a.dtype) for t in there))
    return jnp.einsum("snp,tnp->st", a, b) / both


def alignment_columns(of: Measured) -> dict[str, Any]:
    """Does delta follow the own network's feature rather than any network's? ReLU nets only."""
    if of.features is None:
        empty = np.full(of.num_seeds, np.nan)
        return dict.fromkeys(("cosine_own", "alignment", "spectrum_alignment"), empty)
    delta = of.perturbed.delta
    own, alignment = own_minus_others(-delta, of.features)
    powers = [spectral.normalized_power(x) for x in (delta, _finite(of.features))]
    return {
        "cosine_own": own,
        "alignment": alignment,
        "spectrum_alignment": own_minus_others(*powers)[1],
    }


@jax.jit
def _finite(images: Array) -> Array:
    """The same, with zero, which has no spectrum, for all that a diverged network gives."""
    good = jnp.all(jnp.isfinite(images), axis=(-3, -2, -1), keepdims=True)
    return jnp.where(good, images, 0)


def kernel_columns(of: Measured) -> dict[str, Any]:
    """Slack of the first layer's kernel above the lowest mean frequency of its size."""
    first_kernel = arms.family(of.setting.architecture).first_kernel
    if first_kernel is None:
        empty = np.full(of.num_seeds, np.nan)
        return {"kernel_slack": empty, "kernel_slack_init": empty, "kernel_slack_change": empty}
    trained, initial = (
        np.asarray(
            theory.kernel_slack(first_kernel(of.compact(params)), of.dataset.image_shape[:2])
        )
        for params in (of.nets.params, of.start)
    )
    return {
        "kernel_slack": trained,
        "kernel_slack_init": initial,
        "kernel_slack_change": trained - initial,
    }


@jax.jit
def _contrasts(predictor: ops.AffinePredictor) -> Array:
    """Class weights less their mean over classes, classes as a leading axis: [S, K, H, W, C]."""
    weights = jnp.moveaxis(predictor.weights, -1, 1)
    return weights - weights.mean(axis=1, keepdims=True)


def predictor_columns(of: Measured) -> dict[str, Any]:
    """Mean frequency of beta and of its learned part beta - beta_0; linear nets only."""
    if of.setting.regime != "linear":
        empty = np.full(of.num_seeds, np.nan)
        return {"beta_mean_frequency": empty, "learned_mean_frequency": empty}
    trained = _contrasts(of.attacked.params)
    initial = _contrasts(_predictors(of.nets.apply_fn, of.start, of.dataset.image_shape))
    return {
        "beta_mean_frequency": spectral.mean_frequency(_finite(trained)).mean(axis=1),
        "learned_mean_frequency": spectral.mean_frequency(_finite(trained - initial)).mean(axis=1),
    }


def limit_columns(of: Measured) -> dict[str, np.ndarray]:
    """The end of cross-entropy, and how far the networks are from it: see `study.limits`."""
    spent = of.budget.num_images == len(of.dataset.train.labels)
    if of.setting.regime != "linear" or not (of.asked.limit and spent):
        return limits.columns(None, of.dataset, np.full(of.num_seeds, np.nan))
    predictor = of.attacked.params
    return limits.columns(limits.limit_of(of.dataset), of.dataset, predictor.weights)


@jax.jit
def white_share(deltas: Array, basis: np.ndarray) -> Array:
    r"""Share of energy outside the directions in which the data vary, [...].

    .. math:: 1 - \|B^T \delta\|_2^2 / \|\delta\|_2^2

    Args:
      deltas: [..., H, W, C].
      basis: orthonormal columns [H W C, r], e.g. of `variance_basis`.

    Returns:
      In [0, 1]; NaN where there is no energy.
    """
    flat = deltas.reshape(*deltas.shape[:-3], -1)
    energy = jnp.sum(flat**2, axis=-1)
    inside = jnp.sum((flat @ basis) ** 2, axis=-1)
    known = energy > 0
    share = 1 - inside / jnp.where(known, energy, 1)
    return jnp.where(known, jnp.clip(share, 0, 1), jnp.nan)


@jax.jit
def part_inside(deltas: Array, basis: np.ndarray) -> Array:
    """The part of delta within the directions of a basis, B B^T delta, [..., H, W, C]."""
    flat = deltas.reshape(*deltas.shape[:-3], -1)
    return (flat @ basis @ basis.T).reshape(deltas.shape)


def variance_basis(dataset: Dataset, share: float = 0.99) -> np.ndarray:
    """Orthonormal basis [H W C, r] of the fewest directions with a share of the training variance.

    Principal components of the centred training images; the rest of the directions together hold
    less than ``1 - share`` of the variance. Kept per data set, by its checksum.
    """
    name = (dataset.checksum, share)
    if name not in _BASES:
        images = np.asarray(dataset.train.images, np.float32)
        flat = images.reshape(len(images), -1)
        flat = flat - flat.mean(axis=0)
        _BASES[name] = _leading(flat, share * float(np.sum(flat**2, dtype=np.float64)))
    return _BASES[name]


_BASES: dict[tuple[str, float], np.ndarray] = {}
_DENSE = 1024  # unknowns up to which all components are computed


def _leading(flat: np.ndarray, energy: float) -> np.ndarray:
    """The first principal directions [D, r] of rows [N, D] that hold this sum of squares."""
    size = min(flat.shape)
    num = size if size <= _DENSE else 256
    while True:
        if num == size:
            _, values, directions = np.linalg.svd(flat, full_matrices=False)
        else:  # a block of directions, iterated: the spectrum of images falls fast
            block = np.random.default_rng(0).normal(size=(flat.shape[1], num + 16))
            block = block.astype(np.float32)
            for _ in range(4):
                block = np.linalg.qr(flat.T @ (flat @ block))[0]
            _, values, rotation = np.linalg.svd(flat @ block, full_matrices=False)
            directions = rotation @ block.T
        held = np.cumsum(values.astype(np.float64) ** 2)
        if held[-1] >= energy or num == size:
            return directions[: 1 + int(np.searchsorted(held[:-1], energy))].T
        num = min(2 * num, size)


def white_share_columns(of: Measured) -> dict[str, np.ndarray]:
    """Share of delta's energy where the training data do not vary, and what frequency the rest has.

    Means over images. What lies where the data do not vary is not learnt but left over.
    """
    delta, basis = of.perturbed.delta, variance_basis(of.dataset)
    share = white_share(delta, basis)
    frequency = spectral.mean_frequency(_finite(part_inside(delta, basis)))
    return {
        "white_share": inference.image_means(share).mean,
        schema.IN_DATA: inference.image_means(frequency).mean,
    }


def predictor_white_share_columns(of: Measured) -> dict[str, np.ndarray]:
    """Of beta's energy, and of that of its learned part beta - beta_0; linear nets only."""
    names = ("beta_white_share", "learned_white_share")
    if of.setting.regime != "linear":
        return dict.fromkeys(names, np.full(of.num_seeds, np.nan))
    trained = _contrasts(of.attacked.params)
    initial = _contrasts(_predictors(of.nets.apply_fn, of.start, of.dataset.image_shape))
    basis = variance_basis(of.dataset)
    shares = [white_share(weights, basis) for weights in (trained, trained - initial)]
    return {
        name: inference.image_means(share).mean for name, share in zip(names, shares, strict=True)
    }


def band_columns(of: Measured) -> dict[str, np.ndarray]:
    """What the gradient of the margin reads of each band; of beta, how far it has to go."""
    if of.features is not None:
        known = _finite(of.features)
        return {
            **bands.columns(schema.GRADIENT, known, of.num_seeds),
            **bands.columns(schema.DISTANCE, None, of.num_seeds),
        }
    here, end = (
        _finite(_contrasts(_predictors(of.nets.apply_fn, params, of.dataset.image_shape)))
        for params in (of.nets.params, of.end)
    )
    return {
        **bands.columns(schema.GRADIENT, here, of.num_seeds),
        **bands.columns(schema.DISTANCE, here - end, of.num_seeds),
    }


def profile_of(power: ArrayLike) -> spectral.RadialProfile:
    """Radial profile of normalised power [..., H, W], in units of its white-noise value."""
    height, width = np.shape(power)[-2:]
    return spectral.radial_profile(np.asarray(power) * (height * width - 1))


def arrays_to_draw(of: Measured) -> dict[str, np.ndarray]:
    """What the figures show of a setting's trained networks, by the names of ``spectra.npz``."""
    setting, delta = of.setting, of.perturbed.delta
    first_kernel = arms.family(setting.architecture).first_kernel
    power = np.asarray(spectral.mean_spectrum(delta, axis=1))
    some = ~np.isnan(power[:, 0, 0])
    arrays = {
        "profile": profile_of(power).mean,
        "spectrum": (power[some] if some.any() else power).mean(axis=0),
        "examples": np.asarray(delta)[0, :NUM_EXAMPLES],
    }
    if first_kernel is not None:
        arrays["kernels"] = np.asarray(first_kernel(of.compact(of.nets.params)))[0]
    if setting.regime == "linear":
        arrays["beta"] = np.asarray(of.attacked.params.weights)[0]
    return {setting.array(name): np.asarray(value) for name, value in arrays.items()}


def dataset_arrays(dataset: Dataset, num_images: int) -> dict[str, np.ndarray]:
    """The arrays of a data set that figures show beside those of the attacks."""
    images = np.asarray(dataset.test.images[:num_images])
    profile = profile_of(spectral.mean_spectrum(images, axis=0))
    return {
        f"{dataset.name}.frequency": np.asarray(profile.frequency),
        f"{dataset.name}.data_profile": np.asarray(profile.mean),
        f"{dataset.name}.example_images": images[:NUM_EXAMPLES],
    }


def null_columns(dataset: Dataset, num_images: int, key: Key) -> dict[str, float]:
    """The white-noise value of each statistic of single images, and the data's mean frequency."""
    found = spectral.null(dataset.image_shape[:2], key=key, channels=dataset.image_shape[2])
    nulls = {f"null_{name}": float(value) for name, value in statistics(found.mean).items()}
    data = np.asarray(spectral.mean_frequency(dataset.test.images[:num_images]))
    return {**nulls, "data_mean_frequency": float(np.nanmean(data))}


MEASUREMENTS: tuple[Measurement, ...] = (
    Measurement(test_accuracy_columns),
    Measurement(kernel_columns),
    Measurement(predictor_columns),
    Measurement(predictor_white_share_columns),
    Measurement(band_columns),
    Measurement(limit_columns),
    Measurement(filtered_columns),
    Measurement(minimal_columns),
    Measurement(attack_columns, of="perturbations"),
    Measurement(log_amplitude_columns, of="perturbations"),
    Measurement(alignment_columns, of="perturbations"),
    Measurement(
        white_share_columns,
        of="perturbations",
        figure=("white_share", "Energy where the training images do not vary", "share"),
    ),
)
"""What is measured, in the order of the columns."""
