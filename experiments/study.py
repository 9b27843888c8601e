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
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments import measures
from experiments.setting import BLOCKS, PRIMARY, Asked, Budget, Setting
from freqbias import attacks, ensemble, models, spectral, training
from freqbias.attacks import Perturbation
from freqbias.data import Dataset
from freqbias.ensemble import Ensemble
from freqbias.typing import Array, Key, Status


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
        strategy=measures.seed_strategy(setting),
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
            setting, dataset, budget, asked if step == steps else asked.in_training(),
            dataclasses.replace(nets, params=params), start=start, compact=compact, key=key_attack,
        )  # fmt: skip
        accuracy = _train_accuracy(nets.history.accuracy, step, budget)
        for columns, status in found:
            common = {**fixed, "step": step, "final": step == steps, **columns.pop("attack")}
            values = {"train_accuracy": accuracy, **columns}
            rows += _rows(common, values, budget.seeds, status)
    if asked.heat_map:
        arrays |= measures.heat_map_arrays(setting, dataset, budget, nets, key_attack)
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
    attacked = measures.as_attacked(setting, nets, dataset.image_shape)
    test = dataset.test[: budget.num_attacked]
    images, labels = jnp.asarray(test.images), jnp.asarray(test.labels)
    per_seed = {
        "test_accuracy": measures.accuracy_on(attacked, dataset.test, budget),
        **measures.kernel_columns(
            setting, budget, compact, (nets.params, start), dataset.image_shape
        ),
        **measures.predictor_columns(setting, nets, start, attacked, dataset.image_shape),
        **measures.filtered_columns(asked, attacked, dataset.test, budget),
        **measures.minimal_columns(asked, setting, attacked, images, key),
    }
    features = (
        measures.margin_gradients(attacked, images, labels) if setting.regime == "relu" else None
    )
    measured: list[tuple[dict[str, Any], list[str]]] = []
    arrays: dict[str, np.ndarray] = {}
    for geometry in _geometries(setting, asked):
        name, box, attack = _attack(geometry, setting, budget, dataset.contrast)
        strategy = measures.seed_strategy(setting)
        found = attacked.attack(attack, images, labels, key=key, strategy=strategy)
        where = {"attack": name, "box": box, "epsilon": float(attack.epsilon)}
        columns = {
            **per_seed,
            **measures.attack_columns(found),
            **measures.alignment_columns(found, features),
        }
        measured.append(({"attack": where, **columns}, _status(nets, found)))
        if geometry == "l2":
            arrays = measures.arrays_to_draw(setting, compact(nets.params), attacked, found.delta)
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
        return models.create(setting.architecture, padding=setting.padding, **settings)
    if setting.architecture in BLOCKS:
        if setting.architecture == "conv_mixer":
            settings["padding"] = setting.padding
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


def _optimizer(setting: Setting, budget: Budget) -> Any:
    adam = setting.optimizer == "adam"
    rate: Any = budget.adam_learning_rate if adam else budget.learning_rate
    if budget.decay_factor != 1:
        every = budget.decay_epochs * (budget.num_images // budget.batch_size)
        rate = training.staircase(rate, budget.decay_factor, every)
    if adam:
        return training.adam(rate, budget.clip)
    return training.sgd(rate, budget.momentum, budget.clip, setting.weight_decay)


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
    profile = measures.profile_of(spectral.mean_spectrum(images, axis=0))
    return {
        f"{dataset.name}.frequency": np.asarray(profile.frequency),
        f"{dataset.name}.data_profile": np.asarray(profile.mean),
        f"{dataset.name}.example_images": np.asarray(images[: measures.NUM_EXAMPLES]),
    }


def null_columns(dataset: Dataset, num_images: int, key: Key) -> dict[str, float]:
    """The white-noise value of each statistic of single images, and the data's mean frequency."""
    found = spectral.null(dataset.image_shape[:2], key=key, channels=dataset.image_shape[2])
    nulls = {
        f"null_{name}": float(value) for name, value in measures.statistics(found.mean).items()
    }
    data = spectral.mean_frequency(jnp.asarray(dataset.test.images[:num_images]))
    return {**nulls, "data_mean_frequency": float(data.mean())}


def _geometries(setting: Setting, asked: Asked) -> tuple[str, ...]:
    """The attacks of a setting, the primary one first.

    Affine networks are attacked without the box, by the closed form, the others within it;
    "l2-boxed" and "l2-free" are the other way round.
    """
    other = "l2-boxed" if setting.regime == "linear" else "l2-free"
    second = ("linf",) if asked.second_attack else ()
    return ("l2", *second, *((other,) if asked.other_box else ()))


def _attack(
    geometry: str, setting: Setting, budget: Budget, contrast: float
) -> tuple[str, bool, Any]:
    """Name, whether within the box, and the attack.

    The budget is as much smaller as a transformed data set has less contrast.
    """
    norm: attacks.L2 | attacks.Linf = attacks.Linf() if geometry == "linf" else attacks.L2()
    epsilon = (budget.epsilon_linf if geometry == "linf" else budget.epsilon_l2) * contrast
    if setting.regime == "linear" and geometry != "l2-boxed":
        return f"closed_form_{geometry}", False, attacks.affine_attack(norm, epsilon=epsilon)
    box = geometry != "l2-free"
    attack = attacks.pgd(
        norm,
        epsilon=epsilon,
        num_steps=budget.num_steps,
        loss="margin",
        bounds=(0.0, 1.0) if box else None,
    )
    return f"pgd_{geometry}", box, attack


def _status(nets: Ensemble, found: Perturbation) -> list[str]:
    """A seed is ok if its training was, and if some attacked image had an input gradient."""
    attacked = np.asarray(found.status)
    live = (attacked == Status.OK).any(axis=1)
    failed = np.where((attacked == Status.DIVERGED).any(axis=1), Status.DIVERGED, Status.DEAD)
    after = np.where(live, Status.OK, failed)
    status = np.where(np.asarray(nets.status) == Status.OK, after, np.asarray(nets.status))
    return [Status(int(value)).name.lower() for value in status]


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
