"""The course of a training: how many steps, what is kept on the way, and when a seed stops."""

import itertools
import sys
import time
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, Literal, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from freqbias import _checks
from freqbias._terminal import Terminal
from freqbias.typing import Array, Key, Keys, Params

Until: TypeAlias = Literal["fitted", "flat"] | float | Callable[[np.ndarray, np.ndarray], bool]
_FLAT_EPOCHS, _FLAT_GAIN = 3, 0.01


def log_spaced_steps(num_steps: int, num: int) -> tuple[int, ...]:
    """0, then about ``num`` distinct steps spaced evenly in log from 1 to ``num_steps``.

    Example:
      >>> from freqbias import training
      >>> training.log_spaced_steps(100, 3)
      (0, 1, 10, 100)
    """
    _checks.positive_int("num_steps", num_steps)
    _checks.positive_int("num", num)
    return (0, *np.unique(np.geomspace(1, num_steps, num).round().astype(int)).tolist())


def check_checkpoints(checkpoint_steps: Iterable[int], num_steps: int) -> tuple[int, ...]:
    """``checkpoint_steps`` as a tuple; raises unless they ascend within the steps there are."""
    steps = tuple(checkpoint_steps)
    ascending = all(a < b for a, b in itertools.pairwise(steps))
    if not ascending or any(not 0 <= step <= num_steps for step in steps):
        raise ValueError(
            f"checkpoint_steps must ascend within 0..{num_steps}, the number of steps; got {steps}."
        )
    return steps


class Plan(NamedTuple):
    """How many images a seed sees, and when."""

    total: int  # images in the training set
    num_images: int  # of which a seed's subsample
    batch_size: int
    epochs: int

    @property
    def steps_per_epoch(self) -> int:
        """Whole batches in the subsample."""
        return self.num_images // self.batch_size

    @property
    def num_steps(self) -> int:
        """Of the whole training."""
        return self.epochs * self.steps_per_epoch


class Course(NamedTuple):
    """How far the seeds go at a time, and when they stop."""

    plan: Plan
    checkpoints: tuple[int, ...]  # steps after which parameters are kept
    rule: Callable[[np.ndarray, np.ndarray], bool] | None
    max_seconds: float | None
    progress: bool | None

    def run(
        self, go: Callable[[Any, Any], Any], state: Any, *, num_seeds: int
    ) -> tuple[Any, list[Params]]:
        """The last state, and what was trained at each checkpoint."""
        end = time.monotonic() + (float("inf") if self.max_seconds is None else self.max_seconds)
        taken, running = np.zeros(num_seeds, np.int32), np.ones(num_seeds, bool)
        kept: list[Params] = []
        with Bar(self.progress, num_seeds * self.plan.num_steps * self.plan.batch_size) as bar:
            for stop in self._stops(each_epoch=bar.shown):
                upto = np.where(running, stop, taken).astype(np.int32)
                if (upto > taken).any():
                    state = jax.block_until_ready(go(state, _bounds(taken, upto)))
                    bar.add(int((upto - taken).sum()) * self.plan.batch_size)
                taken = upto
                if stop in self.checkpoints:
                    kept.append(_copied(state.trained))
                if stop and stop % self.plan.steps_per_epoch == 0:
                    running &= ~self._fulfilled(state, stop, running)
                if time.monotonic() > end:
                    running[:] = False
        return state, kept

    def _stops(self, *, each_epoch: bool) -> list[int]:
        each_epoch = each_epoch or self.rule is not None or self.max_seconds is not None
        length, last = self.plan.steps_per_epoch, self.plan.num_steps
        epochs = range(length, last, length) if each_epoch else ()
        return sorted({*self.checkpoints, *epochs, last})

    def _fulfilled(self, state: Any, stop: int, running: np.ndarray) -> np.ndarray:
        """Of which running seeds [S] the rule says to stop."""
        out = np.zeros(len(running), bool)
        if self.rule is not None:
            shape = (len(running), -1, self.plan.steps_per_epoch)
            losses, accuracies = (
                np.asarray(values)[:, :stop].reshape(shape).mean(axis=2)
                for values in (state.loss, state.accuracy)
            )
            for seed in np.flatnonzero(running):
                out[seed] = self.rule(losses[seed], accuracies[seed])
        return out


def _bounds(start: np.ndarray, stop: np.ndarray) -> tuple[Array, Array]:
    """Of all seeds at once where they are the same: then a vmapped loop masks nothing."""
    if len({*zip(start.tolist(), stop.tolist(), strict=True)}) == 1:
        start, stop = start[0], stop[0]
    return jnp.asarray(start, jnp.int32), jnp.asarray(stop, jnp.int32)


def rule_of(until: Until | None) -> Callable[[np.ndarray, np.ndarray], bool] | None:
    """``until`` as a function of the mean losses and the accuracies of the epochs so far."""
    if until is None or callable(until):
        return until
    if until == "flat":
        return _is_flat
    share = 1.0 if until == "fitted" else until
    if isinstance(share, bool) or not isinstance(share, int | float) or not 0 < share <= 1:
        raise ValueError(
            f"until must be 'fitted', 'flat', a share in (0, 1] or a function; got {until!r}."
        )
    return lambda losses, accuracies: bool(accuracies[-1] >= share)


def _is_flat(losses: np.ndarray, accuracies: np.ndarray) -> bool:
    del accuracies
    if len(losses) <= _FLAT_EPOCHS:
        return False
    before, after = losses[:-_FLAT_EPOCHS].min(), losses[-_FLAT_EPOCHS:].min()
    return bool(after > (1 - _FLAT_GAIN) * before)


class Bar:
    """Images done and images per second on stderr, if wanted."""

    def __init__(self, wanted: bool | None, num_images: int | None = None):
        self.shown = sys.stderr.isatty() if wanted is None else wanted
        self._num_images = num_images
        self._bar: Any = None

    def __enter__(self) -> "Bar":
        if self.shown:
            from tqdm import tqdm  # noqa: PLC0415  (seldom needed)

            self._bar = tqdm(
                total=self._num_images,
                desc="training",
                unit=" images",
                unit_scale=True,
                file=Terminal(sys.stderr),
                dynamic_ncols=True,
            )
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def add(self, num_images: int) -> None:
        """Counts images of all seeds."""
        if self._bar is not None:
            self._bar.update(num_images)


@jax.jit
def _copied(params: Params) -> Params:
    return jax.tree.map(jnp.copy, params)


def split_key(seed_key: Key) -> Key:
    """Keys of initialisation, subsample and data order."""
    return jax.random.split(seed_key, 3)


@partial(jax.jit, static_argnums=0)
def batches_of(plan: Plan, keys: Keys) -> Array:
    """Indices [S, T, B]: a subsample per seed, in a new order each epoch."""

    def one_seed(seed_key: Key) -> Array:
        _, key_subset, key_order = split_key(seed_key)
        subset = jax.random.permutation(key_subset, plan.total)[: plan.num_images]

        def one_epoch(epoch: Array) -> Array:
            order = jax.random.permutation(jax.random.fold_in(key_order, epoch), subset)
            used = plan.steps_per_epoch * plan.batch_size
            return order[:used].reshape(plan.steps_per_epoch, plan.batch_size)

        batches = jax.lax.map(one_epoch, jnp.arange(plan.epochs))
        return batches.reshape(plan.num_steps, plan.batch_size)

    return jax.lax.map(one_seed, keys)
