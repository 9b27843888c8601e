"""Linear networks from their first step to deep in the separable regime: training and rows.

One ensemble holds, for one architecture on one binary task, every seed at every sample size,
initial scale and step size: they share each matrix product with the pool of images, and a seed's
sample is a mask on it. Everything a row says is computed from the effective predictor beta, its
start beta_0, and the multipliers that training leaves.
"""

import itertools
import zlib
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from freqbias import _checks, attacks, ensemble, ops, spectral, theory
from freqbias._checked import checked
from freqbias._pytree import frozen, static
from freqbias.ensemble import Strategy
from freqbias.study.linear.design import Descent
from freqbias.study.linear.limits import own_norm, regularizer_of, rounded, two_layer_cost
from freqbias.study.linear.tasks import SHAPE, BinaryTask, TaskPlan, members_of
from freqbias.study.setting import Setting
from freqbias.theory import DirectionState, LinearNet, Regularizer
from freqbias.typing import Array, Status


class Group(NamedTuple):
    """What the seeds of one part of an ensemble share."""

    num_train: int
    init_scale: float
    step_size: float
    decay_steps: float


NETS: Mapping[str, Callable[[int, int], LinearNet]] = {
    "fc": lambda depth, _: theory.dense_net(SHAPE, depth),
    "conv": lambda depth, kernel_size: theory.conv_net(SHAPE, depth, kernel_size=kernel_size),
    "locally_connected": lambda depth, kernel_size: theory.locally_connected_net(
        SHAPE, depth, kernel_size=kernel_size
    ),
}
"""From depth and kernel size to the linear network of an architecture, one channel wide."""


def make_net(setting: Setting) -> LinearNet:
    """The linear network of an arm; fully connected nets are of width one, balanced.

    Raises:
      ValueError: an architecture that has no linear network here.
    """
    _checks.one_of("architecture", setting.architecture, NETS)
    return NETS[setting.architecture](setting.depth, setting.kernel_size(SHAPE))


def task_name(dataset: str, arm: str) -> str:
    """The name of what is trained at once: of its rows' file, and of its random draws."""
    return f"{dataset}.{arm}"


def record_steps(num_steps: int) -> list[int]:
    """0, 1, 2, 5, 10, ... up to ``num_steps``, which is in."""
    steps = {0, num_steps}
    for power in range(8):
        steps |= {m * 10**power for m in (1, 2, 5) if m * 10**power < num_steps}
    return sorted(steps)


def make_groups(plan: TaskPlan, descent: Descent) -> list[Group]:
    """Every sample size at every initial scale, and with large steps at scale 1."""
    small = (descent.step_size, descent.decay_steps)
    large = (descent.large_step_size, 1e9)  # constant
    pairs = itertools.product(plan.num_train, descent.init_scales)
    groups = [Group(num, scale, *small) for num, scale in pairs]
    return groups + [Group(num, 1.0, *large) for num in plan.num_train]


@checked
def follow(
    setting: Setting, task: BinaryTask, plan: TaskPlan, descent: Descent
) -> list[dict[str, Any]]:
    """Trains one arm on one task, everywhere at once, and measures it at each recorded step.

    Returns:
      One row per group, seed and recorded step.
    """
    net, groups, seeds = make_net(setting), make_groups(plan, descent), descent.seeds
    samples = members_of(task, plan.num_train, seeds, descent.random_key)
    order = [plan.num_train.index(group.num_train) for group in groups]
    members = jnp.asarray(samples[order].reshape(-1, len(task.labels)))
    root = jax.random.fold_in(
        jax.random.key(descent.random_key), zlib.crc32(task_name(task.name, setting.arm).encode())
    )
    keys = jax.vmap(partial(jax.random.fold_in, root))(jnp.asarray(seeds, jnp.uint32))

    def spread(values: Sequence[float]) -> Array:
        return jnp.repeat(jnp.asarray(values, jnp.float32), len(seeds))

    state = theory.init_direction(net, jnp.tile(keys, len(groups)), len(task.labels))
    scale = jnp.log(spread([group.init_scale for group in groups])) / net.degree
    state = state._replace(log_scale=state.log_scale + scale)
    images, labels = jnp.asarray(task.images), jnp.asarray(task.labels)
    meter = _Meter(setting, net, task, descent=descent, groups=groups, start=state, members=members)
    table, done = [], 0
    for step in record_steps(descent.num_steps):
        state = _descend(
            net,
            state,
            (images, labels, members),
            num_steps=step - done,
            step_size=spread([group.step_size for group in groups]),
            decay_steps=spread([group.decay_steps for group in groups]),
            strategy=descent.strategy,
        )
        done = step
        table.append({"step": step, **meter(state, last=step == descent.num_steps)})
    return _rows(setting, task, descent, groups, table)


def _descend(
    net: LinearNet,
    state: DirectionState,
    pool: tuple[Array, Array, Array],
    *,
    num_steps: int,
    step_size: Array,
    decay_steps: Array,
    strategy: Strategy,
) -> DirectionState:
    """Steps of all networks of an ensemble, by a strategy of its axis; pool as in `_Meter`."""
    if strategy == "auto":
        strategy = "sharded" if ensemble.choose_strategy() == "sharded" else "vmap"
    images, labels, members = pool
    if strategy == "vmap":
        return theory.train_direction(
            net,
            state,
            images,
            labels,
            num_steps=num_steps,
            step_size=step_size,
            decay_steps=decay_steps,
            members=members,
        )
    own = (_at(state, None), step_size, decay_steps, members)
    shared = (images, labels, state.step, num_steps)
    found = ensemble.map_seeds(_DescendOne(net), own, shared, strategy=strategy)
    return _at(found, state.step + num_steps)


def _at(state: DirectionState, step: Any) -> DirectionState:
    """The state with another step, or without one: it is no seed's own."""
    return state._replace(step=step)


@frozen
class _DescendOne:
    """Steps of one network, hashable by it; arguments in the order of `map_seeds`."""

    net: LinearNet = static()

    def __call__(self, *arguments: Any) -> DirectionState:
        *own, images, labels, step, num_steps = arguments
        state, step_size, decay_steps, members = jax.tree.map(lambda leaf: leaf[None], own)
        found = theory.train_direction(
            self.net,
            _at(state, step),
            images,
            labels,
            num_steps=num_steps,
            step_size=step_size,
            decay_steps=decay_steps,
            members=members,
        )
        return jax.tree.map(lambda leaf: leaf[0], _at(found, None))


class _Meter:
    """Measures an ensemble against its start."""

    def __init__(
        self,
        setting: Setting,
        net: LinearNet,
        task: BinaryTask,
        *,
        descent: Descent,
        groups: Sequence[Group],
        start: DirectionState,
        members: Array,
    ):
        self.setting, self.net, self.task, self.descent = setting, net, task, descent
        self.groups, self.members = groups, members
        self.images, self.labels = jnp.asarray(task.images), jnp.asarray(task.labels)
        self.test = jnp.asarray(task.test_images), jnp.asarray(task.test_labels)
        self.basis = jnp.asarray(_principal_subspace(task))
        self.slack = self._slacks(start)
        read = theory.read_direction(net, start, self.images, self.labels, members=members)
        self.start = read.beta, read.log_factor

    def __call__(self, state: DirectionState, *, last: bool) -> dict[str, Any]:
        read = theory.read_direction(
            self.net, state, self.images, self.labels, members=self.members
        )
        columns = _beta_columns(
            (read.beta, read.log_factor),
            self.start,
            (self.images, self.labels, self.members),
            self.test,
            self.basis,
            num_groups=len(self.groups),
        )
        separated = np.asarray(read.margin) > 0
        out: dict[str, Any] = {
            "diverged": np.asarray(read.status) == Status.DIVERGED,
            "separated": separated,
            "log_loss": read.log_loss,
            **columns,
            **self._gaps(state, read.beta),
            "parameter_residual": _parameter_residuals(
                self.net, state.params, state.dual_weights, self.images, self.labels
            ),
            "stationarity_residual": self._stationarity(np.asarray(read.beta), separated),
        }
        for layer in range(2):
            here = self._slacks(state)
            known = layer < len(here)
            empty = np.full(len(separated), np.nan)
            name = f"kernel_slack{'_2' if layer else ''}"
            out[name] = here[layer] if known else empty
            out[f"{name}_change"] = here[layer] - self.slack[layer] if known else empty
        return out | self._attacks(read.beta, last)

    def _gaps(self, state: DirectionState, beta: Array) -> dict[str, Array]:
        """1 - margin / bound of the certificate, in l2, in l1 of the DFT and in the arm's own norm.

        Where a two-layer net's norm has no closed form its own weight cost, which bounds the norm
        from above, stands for it.
        """

        def gap(regularizer: Regularizer, cost: Array | None = None) -> Array:
            data = (self.images, self.labels, self.members)
            return _certified_gaps(regularizer, beta, cost, state.dual_weights, data)

        l2, fourier = gap(regularizer_of("l2")), gap(regularizer_of("fourier"))
        name = own_norm(self.setting)
        if name in ("l2", "fourier"):
            own = l2 if name == "l2" else fourier
        elif name:
            own = gap(regularizer_of(name), two_layer_cost(name, state.params))
        else:
            own = jnp.full_like(l2, jnp.nan)
        return {"gap_l2": l2, "gap_fourier": fourier, "gap_own": own}

    def _stationarity(self, betas: np.ndarray, separated: np.ndarray) -> np.ndarray:
        """KKT residuals of fully connected and full-width nets, at initial scale 1, small steps."""
        out = np.full(len(betas), np.nan)
        fc, full = self.setting.architecture == "fc", self.setting.kernel == "full"
        if not (fc or full):
            return out
        for index, group in enumerate(
            np.repeat(np.arange(len(self.groups)), len(self.descent.seeds)).tolist()
        ):
            num, scale, step_size, _ = self.groups[group]
            small = step_size == self.descent.step_size and scale == 1.0
            if separated[index] and small and num <= self.descent.stationarity_images:
                here = np.asarray(self.members[index])
                out[index] = theory.fourier_stationarity(
                    betas[index],
                    self.task.images[here],
                    self.task.labels[here],
                    depth=0 if fc else self.setting.depth,
                ).residual
        return out

    def _slacks(self, state: DirectionState) -> list[np.ndarray]:
        """Of each layer's kernels above the lowest mean frequency of their size, [S]."""
        if self.setting.architecture != "conv" or self.setting.kernel == "full":
            return []
        layers = state.params["kernels"]
        return [np.asarray(theory.kernel_slack(kernel, SHAPE[:2])) for kernel in layers]

    def _attacks(self, beta: Array, last: bool) -> dict[str, Any]:
        """The linear half of C6: is the closed-form L2 perturbation beta? At the last step only."""
        names = ("delta_cosine", "boxed_delta_cosine", "boxed_mean_frequency")
        empty = np.full(len(beta), np.nan)
        out: dict[str, Any] = dict.fromkeys(names, empty)
        if not last:
            return out
        pixels = self.test[0][:32] * self.task.std + self.task.mean
        labels = self.test[1][:32]
        out["delta_cosine"] = _delta_columns(None, beta, self.task.std, pixels, labels)[0]
        if self.task.boxed:
            pixels = jnp.clip(pixels, 0, 1)  # rounding
            found = _delta_columns((0.0, 1.0), beta, self.task.std, pixels, labels)
            out["boxed_delta_cosine"], out["boxed_mean_frequency"] = found[1:]
        return out


@partial(jax.jit, static_argnames="num_groups")
def _beta_columns(
    now: tuple[Array, Array],
    start: tuple[Array, Array],
    pool: tuple[Array, Array, Array],
    test: tuple[Array, Array],
    basis: Array,
    *,
    num_groups: int,
) -> dict[str, Array]:
    """What is read off beta [S, H, W, C] alone; ``now`` and ``start`` are (beta, log_factor)."""
    (beta, factor), (beta_0, factor_0) = now, start
    images, labels, members = pool
    before = beta_0 * jnp.exp(factor_0 - factor)[:, None, None, None]
    learned = beta - before
    flat = beta.reshape(len(beta), -1)

    def right(images: Array, labels: Array) -> Array:
        sign = 2.0 * labels - 1
        return flat @ (images.reshape(len(labels), -1) * sign[:, None]).T > 0

    summary = spectral.summarize(beta)
    energy = [jnp.sum(x.reshape(len(x), -1) ** 2, axis=1) for x in (beta, learned, before)]
    unit = flat / jnp.sqrt(energy[0])[:, None]
    unit = unit.reshape(num_groups, -1, unit.shape[-1])
    cosines = jnp.einsum("gsd,gtd->gst", unit, unit)
    others = (cosines.sum(-1) - 1) / max(unit.shape[1] - 1, 1)
    return {
        "train_accuracy": jnp.sum(right(images, labels) & members, 1) / jnp.sum(members, 1),
        "test_accuracy": right(*test).mean(axis=1),
        **{name: value for name, value in summary._asdict().items() if name != "valid"},
        "learned_mean_frequency": spectral.mean_frequency(learned),
        "learned_share": energy[1] / (energy[1] + energy[2]),
        "outside_share": 1 - jnp.sum((flat @ basis) ** 2, axis=1) / energy[0],
        "seed_cosine": others.ravel(),
    }


@partial(jax.jit, static_argnums=0)
def _certified_gaps(
    regularizer: Regularizer,
    beta: Array,
    cost: Array | None,
    dual_weights: Array,
    pool: tuple[Array, Array, Array],
) -> Array:
    """Gap of each seed's certificate on its own images, [S]."""
    images, labels, members = pool

    def gap(beta: Array, cost: Array | None, dual_weights: Array, members: Array) -> Array:
        return theory.certificate(
            beta,
            images,
            labels,
            regularizer,
            norm=cost,
            dual_weights=dual_weights,
            members=members,
        ).gap

    axes = (0, None if cost is None else 0, 0, 0)
    return jax.vmap(gap, axes)(beta, cost, dual_weights, members)


@partial(jax.jit, static_argnums=0)
def _parameter_residuals(
    net: LinearNet, params: Any, dual_weights: Array, images: Array, labels: Array
) -> Array:
    """1 - cos(w, -gradient) with the mean multipliers of recent steps, [S]."""
    signed = images * (2.0 * labels - 1)[:, None, None, None]

    def residual(params: Any, weights: Array) -> Array:
        direction = jnp.einsum("n,nhwc->hwc", weights, signed)
        return theory.parameter_stationarity(
            lambda p: -jnp.sum(net.predictor(p) * direction), params
        )

    return jax.vmap(residual)(params, dual_weights)


@partial(jax.jit, static_argnums=0)
def _delta_columns(
    bounds: tuple[float, float] | None, beta: Array, std: Any, pixels: Array, labels: Array
) -> tuple[Array, Array, Array]:
    """Least and mean cosine over images of beta and the L2 perturbation, and its frequency, [S]."""
    attack = attacks.affine_attack(attacks.L2(), epsilon=1.0, bounds=bounds)

    def one(beta: Array) -> tuple[Array, Array, Array]:
        beta = beta / jnp.linalg.norm(beta)
        logits = jnp.stack([jnp.zeros_like(beta), beta / std], axis=-1)
        predictor = ops.AffinePredictor(logits, jnp.zeros(2))
        found = attack(ops.AffinePredictor.__call__, predictor, pixels, labels)  # type: ignore[arg-type]
        flat = found.delta.reshape(len(labels), -1)
        size = jnp.linalg.norm(flat, axis=1)
        cosine = jnp.abs(flat @ beta.ravel()) / jnp.where(size > 0, size, 1.0)
        frequency = jnp.nanmean(spectral.mean_frequency(found.delta))
        return cosine.min(), cosine.mean(), frequency

    return jax.vmap(one)(beta)


def _principal_subspace(task: BinaryTask, share: float = 0.99) -> np.ndarray:
    """Orthonormal basis [D, r] of the directions that hold ``share`` of the pool's variance."""
    flat = task.images.reshape(len(task.images), -1).astype(np.float64)
    values, vectors = np.linalg.eigh(flat.T @ flat)
    values, vectors = values[::-1], vectors[:, ::-1]
    rank = 1 + int(np.searchsorted(np.cumsum(values) / values.sum(), share))
    return vectors[:, :rank].astype(np.float32)


@cache
def nulls() -> dict[str, float]:
    """What white noise gives for the statistics of one predictor."""
    found = spectral.null(SHAPE[:2], key=jax.random.key(0)).mean
    names = ("mean_frequency", "participation_ratio", "hoyer")
    return {f"null_{name}": float(getattr(found, name)) for name in names}


def _rows(
    setting: Setting,
    task: BinaryTask,
    descent: Descent,
    groups: Sequence[Group],
    table: Sequence[dict[str, Any]],
) -> list[dict[str, Any]]:
    """Rows of one setting from its columns [S] at each recorded step."""
    separated = np.stack([columns["separated"] for columns in table])
    first = np.where(separated.any(0), separated.argmax(0), -1)
    rows = []
    for index, (group, seed) in enumerate(itertools.product(groups, descent.seeds)):
        at = table[first[index]]["step"] if first[index] >= 0 else None
        common = {
            "dataset": task.name,
            "regime": "linear",
            "arm": setting.arm,
            "architecture": setting.architecture,
            "depth": setting.depth,
            "kernel": setting.kernel,
            "kernel_size": setting.kernel_size(SHAPE),
            "num_train": group.num_train,
            "init_scale": group.init_scale,
            "step_size": group.step_size,
            "seed": seed,
            "attack": "closed_form_l2",  # beta is its perturbation, up to scale and sign
            "geometry": "l2",
            "method": "closed_form",
            "box": False,
            "separation_step": at,
            **nulls(),
        }
        for columns in table:
            diverged = bool(columns["diverged"][index])
            step = columns["step"]
            row = {**common, "step": step, "final": step == descent.num_steps}
            row["status"] = "diverged" if diverged else "ok"
            row["separated"] = bool(columns["separated"][index]) and not diverged
            for name, values in columns.items():
                if name not in ("step", "diverged", "separated"):
                    row[name] = None if diverged else rounded(values[index])
            rows.append(row)
    return rows
