"""One setting of the study, from data to rows: train S seeds, attack them, measure the spectra.

A `Setting` says *what* is compared (an arm, on a data set, in a regime, at an initial scale);
`Asked` what is measured of it; a `Budget` how much of everything is spent, the same for all arms.
`run_setting` is the whole walk of the package, data -> models -> training -> attacks -> spectra ->
rows. What is measured stands in one table, `freqbias.study.measures.MEASUREMENTS`.
"""

import dataclasses
import zlib
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from freqbias import attacks, models, ops, training
from freqbias._checked import checked
from freqbias.attacks import Perturbation
from freqbias.data import Dataset
from freqbias.ensemble import Ensemble
from freqbias.study import arms, measures
from freqbias.study.measures import MEASUREMENTS, Measured, Measurement
from freqbias.study.setting import LONG, PRIMARY, Asked, Budget, Setting
from freqbias.typing import Array, Key, Status


@checked
def run_setting(
    setting: Setting,
    dataset: Dataset,
    budget: Budget,
    asked: Asked = PRIMARY,
    *,
    measurements: Sequence[Measurement] = MEASUREMENTS,
    on_trained: Callable[[Ensemble], None] | None = None,
) -> tuple[list[dict[str, Any]], dict[str, np.ndarray]]:
    """Trains, attacks and measures one setting.

    Args:
      setting: what is compared.
      dataset: the data set named by the setting.
      budget: what is spent.
      asked: what is measured.
      measurements: what is read off the networks and their perturbations.
      on_trained: is given the trained networks, with the parameters of the setting's own module.

    Returns:
      One row per recorded step, seed and attack, and the arrays for the figures, of the L2 attack
      of the trained networks.
    """
    key_train, key_attack = jax.random.split(setting_key(setting, budget))
    trained = _trained_form(setting, dataset, budget)
    steps = budget.epochs * (budget.num_images // budget.batch_size)
    # Up to half of the steps: whether a course is flat is read at twice the time.
    recorded = (
        training.log_spaced_steps(max(steps // 2, 1), asked.checkpoints)
        if asked.checkpoints
        else ()
    )
    nets, rate = train_stably(
        setting,
        budget,
        partial(
            training.train,
            trained,
            dataset.train,
            seeds=budget.seeds,
            key=key_train,
            epochs=budget.epochs,
            batch_size=budget.batch_size,
            num_images=budget.num_images,
            checkpoint_steps=[step for step in recorded if step < steps],
            strategy=measures.seed_strategy(setting, budget),
            progress=False,  # the study has a bar of its own
        ),
    )
    start = training.initial_params(trained, dataset.image_shape, seeds=budget.seeds, key=key_train)
    compact = _compact_fn(trained)
    if on_trained is not None:
        on_trained(dataclasses.replace(nets, params=compact(nets.params)))
    fixed = {
        **dataclasses.asdict(setting),
        "arm": setting.arm,
        "kernel_size": setting.kernel_size(dataset.image_shape),
        "channels": arms.family(setting.architecture).width(setting, budget),
        "num_parameters": models.num_parameters(compact(nets.params)) // len(budget.seeds),
        "num_train": budget.num_images,
        "learning_rate": rate,
    }
    test = dataset.test[: budget.num_attacked]
    rows: list[dict[str, Any]] = []
    arrays: dict[str, np.ndarray] = {}
    for step, params in _recorded(nets, steps):
        here = dataclasses.replace(nets, params=params)
        measured = Measured(
            setting=setting,
            dataset=dataset,
            budget=budget,
            asked=asked if step == steps else asked.in_training(),
            nets=here,
            attacked=measures.as_attacked(setting, here, dataset.image_shape),
            start=start,
            end=nets.params,
            compact=compact,
            images=jnp.asarray(test.images),
            labels=jnp.asarray(test.labels),
            key=key_attack,
        )
        if setting.regime == "relu":
            measured = dataclasses.replace(measured, features=measures.margin_gradients(measured))
        found, arrays = _measure(measured, measurements)
        in_training = {
            "train_accuracy": _last_epoch(nets.history.accuracy, step, budget),
            "train_loss": _last_epoch(nets.history.loss, step, budget),
            "fitted_at": np.full(len(budget.seeds), _fitted_at(setting, budget)),
        }
        for attack, columns, status in found:
            common = {**fixed, "step": step, "final": step == steps, **attack}
            rows += _rows(common, {**in_training, **columns}, budget.seeds, status)
    if asked.heat_map:
        arrays |= measures.heat_map_arrays(setting, dataset, budget, nets, key_attack)
    return rows, arrays


def _measure(
    of: Measured, measurements: Sequence[Measurement]
) -> tuple[list[tuple[dict[str, Any], dict[str, Any], list[str]]], dict[str, np.ndarray]]:
    """Of each attack what names it, its columns [S] and statuses; and the arrays to draw."""
    of_networks = measures.columns(measurements, of)
    found: list[tuple[dict[str, Any], dict[str, Any], list[str]]] = []
    arrays: dict[str, np.ndarray] = {}
    for geometry in _geometries(of.setting, of.asked):
        method, box, attack = _attack(geometry, of.setting, of.budget, of.dataset.contrast)
        here = _on_more_images(of) if geometry == LONG else of
        perturbed = here.attacked.attack(
            attack,
            here.images,
            here.labels,
            key=of.key,
            strategy=measures.seed_strategy(of.setting, of.budget),
        )
        here = dataclasses.replace(here, found=perturbed)
        where = {
            "attack": f"{method}_{geometry}",
            "geometry": geometry,
            "method": method,
            "box": box,
            "epsilon": float(attack.epsilon),
            "num_images": len(here.labels),
        }
        columns = {**of_networks, **measures.columns(measurements, here)}
        found.append((where, columns, _status(of.nets, perturbed)))
        if geometry == "l2":
            arrays = measures.arrays_to_draw(here)
    return found, arrays


def _on_more_images(of: Measured) -> Measured:
    """The same networks, and the images of the long attack."""
    test = of.dataset.test[: of.budget.long_attacked]
    here = dataclasses.replace(
        of, images=jnp.asarray(test.images), labels=jnp.asarray(test.labels), features=None
    )
    if of.features is None:
        return here
    return dataclasses.replace(here, features=measures.margin_gradients(here))


def train_stably(
    setting: Setting, budget: Budget, train: Callable[..., Ensemble]
) -> tuple[Ensemble, float]:
    """Trains by the one rule for rates: the largest at which every seed is stable, and fits.

    The rates tried are the budget's, halved up to ``rate_halvings`` times. Training is stable if
    every network is alive in the end and every epoch's mean loss is finite and at most the first
    epoch's. A rate is left at the first epoch where one seed's is not. Of stable ones the first is
    taken at which every seed has the train accuracy ``fitted`` in the last epoch; where halving no
    longer raises the lowest seed's accuracy, the one before is. If no rate is stable, the networks
    of the last one are kept as they are, with their statuses.

    Args:
      setting: its optimiser; linear networks need not fit.
      budget: its rates.
      train: ``training.train`` with all but the optimiser.

    Returns:
      The networks, and the initial learning rate.
    """
    adam = setting.optimizer == "adam"
    first = budget.adam_learning_rate if adam else budget.learning_rate
    needed = budget.fitted if setting.regime == "relu" else 0.0
    kept, most = None, -1.0
    for halved in range(budget.rate_halvings + 1):
        last, unstable = halved == budget.rate_halvings and kept is None, _Unstable()
        nets = train(
            optimizer=_optimizer(setting, budget, first),
            hyperparameters={"step_size": 0.5**halved},
            until=None if last else unstable,
        )
        stable = nets.alive.all() and not unstable.seen
        if not stable and not last:
            continue
        steps = budget.epochs * (budget.num_images // budget.batch_size)
        reached = float(_last_epoch(nets.history.accuracy, steps, budget).min())
        if kept is not None and reached <= most:
            break
        kept, most = (nets, first * 0.5**halved), reached
        if reached >= needed:
            break
    assert kept is not None  # the last is
    return kept


class _Unstable:
    """Stops all seeds after an epoch in which one's training was not stable."""

    def __init__(self) -> None:
        self.seen = False

    def __call__(self, losses: np.ndarray, accuracies: np.ndarray) -> bool:
        # A loss that is not finite is not at most the first.
        self.seen = self.seen or not losses[-1] <= losses[0] < np.inf
        return self.seen


def _recorded(nets: Ensemble, steps: int) -> list[tuple[int, Any]]:
    """(steps done, parameters [S, ...]) at each checkpoint and at the end."""
    kept = [
        (int(step), _checkpoint(nets.history.checkpoints, index))
        for index, step in enumerate(np.asarray(nets.history.checkpoint_steps)[0])
    ]
    return [*kept, (steps, nets.params)]


@jax.jit
def _checkpoint(checkpoints: Any, index: int) -> Any:
    return jax.tree.map(lambda leaf: leaf[:, index], checkpoints)


def _fitted_at(setting: Setting, budget: Budget) -> float:
    """The train accuracy that a network must reach; NaN of linear ones, which may never fit."""
    return budget.fitted if setting.regime == "relu" else float("nan")


def _last_epoch(metric: Array, step: int, budget: Budget) -> np.ndarray:
    """Mean [S] over the batches of the last epoch before a step, or over what there is of it."""
    first = max(step - budget.num_images // budget.batch_size, 0)
    return np.asarray(metric[:, first : max(step, 1)].mean(axis=1))


def setting_key(setting: Setting, budget: Budget) -> Key:
    """Root of a setting's draws: no two settings share any, so equal seeds of two do not pair."""
    return jax.random.fold_in(jax.random.key(budget.random_key), zlib.crc32(setting.id.encode()))


def program(setting: Setting, dataset: Dataset, budget: Budget) -> tuple[str | int, ...]:
    """What settings that share their compilations have in common."""
    of = arms.family(setting.architecture)
    shared = "circulant" if _is_shared(setting, dataset, budget) else of.program or of.name
    own = "" if shared == "circulant" else setting.kernel
    alike = (setting.depth, setting.padding, setting.protocol)
    return (setting.dataset, setting.regime, shared, own, *alike)


def make_model(setting: Setting, dataset: Dataset, budget: Budget) -> Any:
    """The Flax module of a setting."""
    return arms.family(setting.architecture).build(setting, dataset, budget)


def _optimizer(setting: Setting, budget: Budget, rate: Any) -> Any:
    """The setting's, of which the state has a factor of all steps, ``step_size``."""
    if budget.decay_factor != 1:
        every = budget.decay_epochs * (budget.num_images // budget.batch_size)
        rate = training.staircase(rate, budget.decay_factor, every)
    if setting.optimizer == "adam":
        return _scaled(training.adam(rate, budget.clip))
    return _scaled(training.sgd(rate, budget.momentum, budget.clip, setting.weight_decay))


@lru_cache
def _scaled(optimizer: optax.GradientTransformation) -> optax.GradientTransformation:
    return optax.chain(optimizer, optax.inject_hyperparams(optax.scale)(1.0))


def _is_shared(setting: Setting, dataset: Dataset, budget: Budget) -> bool:
    """Whether kernels of all sizes are trained in one form, of full width, in one compilation.

    On CPU, of circulant networks with one hidden layer: where a step costs little more so, since
    the layer goes by the transform whatever its size, or is affine and goes through beta.
    """
    circulant = arms.family(setting.architecture).circulant and setting.padding == "circular"
    if not circulant or setting.depth != 1 or jax.default_backend() != "cpu":
        return False
    *shape, inputs = dataset.image_shape
    outputs = arms.family(setting.architecture).width(setting, budget)
    taps = setting.kernel_size(dataset.image_shape) ** 2
    method = ops.choose_method(taps, inputs, outputs, shape, "cpu")
    return setting.regime == "linear" or method == "dft"


def _trained_form(setting: Setting, dataset: Dataset, budget: Budget) -> Any:
    """The network in the form in which it is trained."""
    model = make_model(setting, dataset, budget)
    return models.as_masked(model) if _is_shared(setting, dataset, budget) else model


def _compact_fn(trained: Any) -> Callable[[Any], Any]:
    """From parameters as trained to those of the model of `make_model`."""
    if isinstance(trained, models.MaskedConvNet):
        return partial(_tap_params, trained)
    return lambda params: params


_tap_params = jax.jit(models.tap_params, static_argnums=0)


def _geometries(setting: Setting, asked: Asked) -> tuple[str, ...]:
    """The attacks of a setting, the primary one first.

    Affine networks are attacked without the box, by the closed form, the others within it;
    "l2-boxed" and "l2-free" are the other way round. The long attack has the box in both.
    """
    other = "l2-boxed" if setting.regime == "linear" else "l2-free"
    others = {"linf": asked.second_attack, LONG: asked.long_attack, other: asked.other_box}
    return ("l2", *(geometry for geometry, wanted in others.items() if wanted))


def _attack(
    geometry: str, setting: Setting, budget: Budget, contrast: float
) -> tuple[str, bool, Any]:
    """Method, whether within the box, and the attack.

    The budget is as much smaller as a transformed data set has less contrast.
    """
    of_signs = geometry in ("linf", LONG)
    norm: attacks.L2 | attacks.Linf = attacks.Linf() if of_signs else attacks.L2()
    epsilon = (budget.epsilon_linf if of_signs else budget.epsilon_l2) * contrast
    if setting.regime == "linear" and geometry != "l2-boxed":
        box = geometry == LONG
        bounds = (0.0, 1.0) if box else None
        return "closed_form", box, attacks.affine_attack(norm, epsilon=epsilon, bounds=bounds)
    box = geometry != "l2-free"
    attack = attacks.pgd(
        norm,
        epsilon=epsilon,
        num_steps=budget.long_steps if geometry == LONG else budget.num_steps,
        loss="margin",
        bounds=(0.0, 1.0) if box else None,
    )
    return "pgd", box, attack


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
