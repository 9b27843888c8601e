"""The seed axis: S networks of one architecture as one pytree with leading axis S.

`map_seeds` is the one place that decides how S independent computations run:

==============  ================================================================================
``vmap``        one program for all seeds; the best on an accelerator; where its memory does not
                hold that, for as many at a time as it does
``sequential``  one compiled program for one seed, called seed after seed
``threads``     the same, several seeds at a time, one per CPU core; the best on CPU
``sharded``     seeds dealt over all devices, those of other processes too, vmapped on each
==============  ================================================================================

Where the seeds are no multiple of the devices, "sharded" computes the last one as often as is left
over, and drops the copies. Of several processes (`freqbias.distributed`) each makes the same calls
in the same order, and has the whole result.

Every strategy gives the same numbers (to 1e-5 in float32), and a seed's numbers do not depend on
which other seeds are there: its key is ``fold_in(key, seed)``.
"""

import dataclasses
import os
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache, partial
from typing import Any, Literal, Self, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from freqbias import _checks
from freqbias._checked import checked
from freqbias._pytree import frozen, static
from freqbias.typing import ApplyFn, Array, ArrayLike, Key, Keys, Params, Status

Strategy: TypeAlias = Literal["auto", "vmap", "sequential", "threads", "sharded"]
STRATEGIES = ("auto", "vmap", "sequential", "threads", "sharded")


@checked
def seed_keys(key: Key, seeds: Iterable[int]) -> Keys:
    """One key per seed: ``fold_in(key, seed)``, whatever the other seeds are.

    Args:
      key: one key, of the whole computation.
      seeds: S distinct ints in [0, 2**32).

    Returns:
      Keys [S].

    Raises:
      TypeError: a seed is no int.
      ValueError: there are several keys; seeds are none, repeated or out of range.

    Example:
      >>> import jax
      >>> from freqbias import ensemble
      >>> key = jax.random.key(0)
      >>> bool(ensemble.seed_keys(key, [3, 7])[1] == ensemble.seed_keys(key, [7])[0])
      True
    """
    return jax.vmap(partial(jax.random.fold_in, key))(np.asarray(_checks.seeds(seeds), np.uint32))


@checked
@jax.jit
def stack(trees: Sequence[Any]) -> Any:
    """Stacks S pytrees of one structure along a new leading axis."""
    if not trees:
        raise ValueError("trees must hold at least one; got none.")
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)


@checked
def select(tree: Any, index: int | slice | ArrayLike) -> Any:
    """Entry or entries ``index`` of the leading axis of every leaf."""
    if not isinstance(index, slice) and not jnp.issubdtype(jnp.result_type(index), jnp.integer):
        raise TypeError(f"index must be ints or a slice; got {index!r}.")
    leaves = jax.tree.leaves(tree)
    _check_arrays("tree", leaves)
    if not all(map(np.ndim, leaves)):
        raise ValueError("tree must have leaves with a leading axis; some are scalars.")
    if not isinstance(index, slice) and all(isinstance(leaf, jax.Array) for leaf in leaves):
        return _entry(tree, index)
    return jax.tree.map(lambda leaf: leaf[index], tree)


@jax.jit
def _entry(tree: Any, index: ArrayLike) -> Any:
    """Entry or entries ``index`` of every leaf, by one program for all leaves and indices."""
    return jax.tree.map(lambda leaf: leaf[index], tree)


@checked
def choose_strategy(strategy: Strategy = "auto") -> str:
    """Resolves "auto".

    "sharded" over several processes or accelerators, "vmap" on one accelerator, "threads" on CPU.
    """
    _checks.one_of("strategy", strategy, STRATEGIES)
    if strategy != "auto":
        return strategy
    if jax.process_count() > 1:
        return "sharded"
    if jax.default_backend() == "cpu":
        return "threads"
    return "sharded" if jax.device_count() > 1 else "vmap"


@checked
def map_seeds(
    fn: Callable[..., Any],
    per_seed: tuple[Any, ...],
    shared: tuple[Any, ...] = (),
    *,
    strategy: Strategy = "auto",
    jit: bool = True,
    donate: bool = False,
) -> Any:
    """``stack([fn(*per_seed[s], *shared) for s in range(S)])``.

    Args:
      fn: a pure function of pytrees of arrays; hashable, and the same object (or an equal one) on
        every call, since compilations are cached by it.
      per_seed: pytrees whose leaves have leading axis S.
      shared: pytrees that every seed sees whole.
      strategy: see the module's docstring.
      jit: whether "sequential" and "threads" compile ``fn``; False if it compiles its own parts,
        which its ``prepare``, if it has one, does before several threads call it.
      donate: whether the result may overwrite the first of ``per_seed``, which the caller then no
        longer has.

    Returns:
      What ``fn`` returns, each leaf with leading axis S.

    Raises:
      ValueError: unknown strategy.

    Example:
      >>> import jax.numpy as jnp
      >>> from freqbias import ensemble
      >>> weights, images = jnp.ones((8, 3, 5)), jnp.ones((2, 3))  # 8 seeds; what all see
      >>> ensemble.map_seeds(lambda w, x: x @ w, (weights,), (images,)).shape
      (8, 2, 5)
    """
    leaves = jax.tree.leaves(per_seed)
    _check_arrays("per_seed", leaves)
    _check_arrays("shared", jax.tree.leaves(shared))
    sizes = {np.shape(leaf)[:1] for leaf in leaves}
    if len(sizes) != 1 or sizes <= {(), (0,)}:
        raise ValueError(
            f"per_seed must have leaves with one leading axis S >= 1; got {sorted(sizes)}."
        )
    num_seeds = len(leaves[0])
    strategy = choose_strategy(strategy)  # type: ignore[assignment]
    if strategy == "vmap":
        whole = _compiled(_vmapped, donate)
        size = _seeds_at_once(whole, fn, per_seed, shared)
        if size == num_seeds:
            return whole(fn, *per_seed, shared)
        return _in_parts(partial(whole, fn), per_seed, shared, size)
    if strategy == "sharded":
        found = _compiled(_sharded, donate)(fn, *per_seed, shared)
        return found if jax.process_count() == 1 else jax.tree.map(_own, found)
    call = partial(_compiled(_applied, donate), fn) if jit else fn

    def one(index: int) -> Any:
        return jax.block_until_ready(call(*_select(per_seed, index), *shared))

    if strategy == "sequential" or num_seeds == 1 or within_threads():
        return stack([one(index) for index in range(num_seeds)])
    with ThreadPoolExecutor(os.cpu_count(), initializer=_enter) as pool:
        alike = _alike(fn, jit, donate, *_signature(per_seed, 1), *_signature(shared, 0))
        if alike.is_set():
            return stack(list(pool.map(one, range(num_seeds))))
        # A first call compiles: once, before all share it.
        prepare = getattr(fn, "prepare", None)
        if jit:
            _compiled(_applied, donate).lower(fn, *_select(per_seed, 0), *shared).compile()
        elif prepare is not None:
            prepare(*_select(per_seed, 0), *shared)
        first = [] if jit or prepare is not None else [pool.submit(one, 0).result()]
        found = [*first, *pool.map(one, range(len(first), num_seeds))]
        alike.set()
        return stack(found)


_thread = threading.local()


def _enter() -> None:
    _thread.is_worker = True


def within_threads() -> bool:
    """Whether this is a thread of `map_seeds`: the cores are taken, and none is started within."""
    return getattr(_thread, "is_worker", False)


def _seeds_at_once(
    call: Any, fn: Callable[..., Any], per_seed: tuple[Any, ...], shared: tuple[Any, ...]
) -> int:
    """All seeds, or as many, in parts of one size, as the device has memory for.

    Read off what the compiled program says that it needs, so that nothing runs out.
    """
    leaves, structure = jax.tree.flatten((per_seed, shared))
    num_seeds = size = len(jax.tree.leaves(per_seed)[0])
    free = _free_bytes() if all(map(_checks.is_concrete, leaves)) else None
    while free is not None and size > 1:
        some = jax.tree.map(lambda leaf: _abstract(leaf, size), per_seed)  # noqa: B023 (used at once)
        shapes = jax.tree.leaves((some, jax.tree.map(_abstract, shared)))
        needed = _needed_bytes(call, fn, structure, tuple(shapes))
        if needed <= free:
            break
        size = max(1, min(size - 1, int(size * free / needed)))
    return -(-num_seeds // -(-num_seeds // size))


def _abstract(leaf: Any, size: int | None = None) -> jax.ShapeDtypeStruct:
    """Shape and dtype of an array, of so many entries of its first axis."""
    of = jax.typeof(leaf)
    shape = of.shape if size is None else (size, *of.shape[1:])
    return jax.ShapeDtypeStruct(shape, of.dtype, weak_type=of.weak_type)


@lru_cache
def _needed_bytes(
    call: Any, fn: Callable[..., Any], structure: Any, shapes: tuple[jax.ShapeDtypeStruct, ...]
) -> int:
    """What a compiled program needs beside its arguments."""
    per_seed, shared = jax.tree.unflatten(structure, shapes)
    memory = call.lower(fn, *per_seed, shared).compile().memory_analysis()
    return memory.temp_size_in_bytes + memory.output_size_in_bytes


def _free_bytes() -> float | None:
    """Nine tenths of the memory that is free on the first device; None where that is not known."""
    of_device = jax.local_devices()[0].memory_stats() or {}
    if "bytes_limit" not in of_device:
        return None
    return 0.9 * (of_device["bytes_limit"] - of_device.get("bytes_in_use", 0))


def _in_parts(
    call: Callable[..., Any], per_seed: tuple[Any, ...], shared: tuple[Any, ...], size: int
) -> Any:
    """The seeds some at a time; the last part repeats one, so that all are of one program."""
    num_seeds = len(jax.tree.leaves(per_seed)[0])
    parts = [
        call(*select(per_seed, np.minimum(np.arange(first, first + size), num_seeds - 1)), shared)
        for first in range(0, num_seeds, size)
    ]
    return jax.tree.map(lambda *leaves: jnp.concatenate(leaves)[:num_seeds], *parts)


def _signature(tree: Any, batch_axes: int) -> tuple[Any, tuple[Any, ...]]:
    """What a compilation depends on: structure, shapes without the first axes, and dtypes."""
    leaves, structure = jax.tree.flatten(tree)
    return structure, tuple((np.shape(x)[batch_axes:], jnp.result_type(x)) for x in leaves)


@lru_cache
def _alike(*signature: Any) -> threading.Event:
    """Of calls of one signature, the event that one has been."""
    del signature
    return threading.Event()


def _check_arrays(name: str, leaves: Sequence[Any]) -> None:
    for leaf in leaves:
        if not isinstance(leaf, jax.Array | np.ndarray | np.generic | int | float | complex):
            raise TypeError(f"{name} must have leaves that are arrays; got {type(leaf).__name__}.")


_select = jax.jit(select)  # one compilation for a whole tree


@lru_cache
def _compiled(call: Callable[..., Any], donate: bool) -> Any:
    return jax.jit(call, static_argnums=0, donate_argnums=1 if donate else ())


def _applied(fn: Callable[..., Any], *arguments: Any) -> Any:
    return fn(*arguments)


def _vmapped(fn: Callable[..., Any], *arguments: Any) -> Any:
    *per_seed, shared = arguments
    return jax.vmap(lambda *own: fn(*own, *shared))(*per_seed)


def _sharded(fn: Callable[..., Any], *arguments: Any) -> Any:
    *per_seed, shared = arguments
    num_seeds = len(jax.tree.leaves(per_seed)[0])
    mesh = _seed_mesh()
    if left_over := -num_seeds % mesh.size:
        repeated = np.minimum(np.arange(num_seeds + left_over), num_seeds - 1)
        per_seed = select(per_seed, repeated)
    mapped = jax.shard_map(
        partial(_vmapped, fn),
        mesh=mesh,
        in_specs=(*(PartitionSpec("seeds") for _ in per_seed), PartitionSpec()),
        out_specs=PartitionSpec("seeds"),
        check_vma=False,
    )
    found = mapped(*per_seed, shared)
    if jax.process_count() > 1:  # each has the whole result
        found = jax.lax.with_sharding_constraint(found, NamedSharding(mesh, PartitionSpec()))
    return select(found, slice(num_seeds)) if left_over else found


def _own(leaf: Array) -> Array:
    """An array that every process has whole, as one of this process alone, tied to no device."""
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        data = _own(jax.random.key_data(leaf))
        return jax.random.wrap_key_data(data, impl=jax.random.key_impl(leaf))
    return jnp.asarray(np.asarray(leaf))


@lru_cache
def _seed_mesh() -> jax.sharding.Mesh:
    return jax.make_mesh((jax.device_count(),), ("seeds",), axis_types=(AxisType.Auto,))


@frozen
class AttackNetwork:
    """An attack on one network as a function of arrays, hashable by its fields."""

    apply_fn: ApplyFn = static()
    checked: bool = static(default=False)  # whether arguments are known to be right

    def __call__(self, params, key, own_labels, attack, images, labels, targets):  # noqa: PLR0917
        """Attacks one network; arguments in the order of `map_seeds`, each seed's own first.

        Args:
          params: of one network.
          key: one key, or one per image [N].
          own_labels: int [N], or None.
          attack: from `freqbias.attacks`.
          images: [N, H, W, C].
          labels: int [N]; not used if there are own ones.
          targets: int [N], or None.

        Returns:
          A `freqbias.attacks.Perturbation`.
        """
        labels = labels if own_labels is None else own_labels
        if self.checked:
            return attack.find(self.apply_fn, params, images, labels, targets, key)
        more = {} if targets is None else {"targets": targets}
        return perturb_fn(attack)(self.apply_fn, params, images, labels, key, **more)


@checked
def perturb_fn(attack: Callable[..., Any]) -> Callable[..., Any]:
    """The attack as a function for one network of many: a broken one has a status, raises nothing.

    That is its ``perturb`` (see `freqbias.attacks.protocol.CheckedAttack`); of an attack that has
    none, the attack itself.
    """
    return getattr(attack, "perturb", attack)


@checked
def attack_each(  # noqa: PLR0917 (an attack and its arguments)
    attack: Callable[..., Any],
    apply_fn: ApplyFn,
    params: Params,
    images: ArrayLike,
    labels: ArrayLike,
    keys: Keys,
    *,
    targets: ArrayLike | None = None,
    strategy: Strategy = "auto",
) -> Any:
    """Attacks each of S networks on the same images; what is wrong with these is told first.

    Args:
      attack: from `freqbias.attacks`.
      apply_fn: (params of one network, images) -> logits [N, K].
      params: leaves [S, ...].
      images: [N, H, W, C].
      labels: int [N], or [S, N].
      keys: [S], or one per image [S, N].
      targets: int [N], for a targeted attack.
      strategy: of the seed axis.

    Returns:
      `freqbias.attacks.Perturbation` with leading axes [S, N].

    Raises:
      TypeError: a dtype is wrong.
      ValueError: a shape, range or option is wrong.
    """
    own = np.ndim(labels) == 2
    if own and np.shape(labels)[0] != keys.shape[0]:
        raise ValueError(
            f"labels must be [N], or [S, N] with S = {keys.shape[0]}; got {np.shape(labels)}."
        )
    _checks.images(images, unit_range=False)
    check_call = getattr(attack, "check_call", None)
    if check_call:  # once; and values can be read here, and not within vmap
        each, first = labels if own else (labels,), _select(params, 0)
        found = [check_call(apply_fn, first, images, some, targets) for some in each]
        images, of_first, targets = found[0]
        labels = jnp.stack([some for _, some, _ in found]) if own else of_first
    return map_seeds(
        AttackNetwork(apply_fn, check_call is not None),
        (params, keys, labels if own else None),
        (attack, images, None if own else labels, targets),
        strategy=strategy,
        jit=False,
    )


@frozen
class Ensemble:
    """S networks of one architecture.

    ``nets[2:4]`` is the ensemble of the networks at these positions, with their seeds; so are
    ``nets[[0, 3]]``, ``nets[nets.alive]`` and ``nets[2]``, an ensemble of one. Nothing that is
    computed of a network depends on which others are there.

    Attributes:
      params: every leaf [S, ...].
      status: int32 [S], a `Status` per seed.
      history: metrics of the training, leaves [S, ...]; see `freqbias.training.History`.
      seeds: the S seeds.
      apply_fn: (params of one network, images) -> logits.

    Example:
      >>> from freqbias import attacks
      >>> network = attacks.example()
      >>> nets = network.nets
      >>> nets[1:].seeds, nets.accuracy(network.images, network.labels).shape
      ((1,), (2,))
    """

    params: Params
    status: Array
    history: Any
    seeds: tuple[int, ...] = static()
    apply_fn: ApplyFn = static()

    def __len__(self) -> int:
        """S."""
        return len(self.seeds)

    def __getitem__(self, index: Any) -> Self:
        """The ensemble of some of the networks.

        Args:
          index: a slice, an int, ints, or bools [S]: positions, not seeds.

        Returns:
          Of params, status and history the entries of these positions, and their seeds.

        Raises:
          TypeError: the index is of another type.
          IndexError: a position that does not exist, or not as many bools as networks.
          ValueError: no network, or one twice.
        """
        positions = np.arange(len(self))
        if not isinstance(index, slice):
            index = np.atleast_1d(index)
            if index.size and index.dtype != bool and not np.issubdtype(index.dtype, np.integer):
                raise TypeError(f"index must be a slice, ints or bools; got {index.dtype}.")
        index = positions[index if isinstance(index, slice) or index.size else slice(0)]
        seeds = _checks.seeds(self.seeds[position] for position in index)
        params, status, history = select((self.params, self.status, self.history), index)
        return dataclasses.replace(self, params=params, status=status, history=history, seeds=seeds)

    @property
    def alive(self) -> np.ndarray:
        """Seeds, bool [S], that neither diverged nor died."""
        return np.asarray(self.status) == Status.OK

    @checked
    def logits(self, images: ArrayLike, *, strategy: Strategy = "auto") -> Array:
        """Logits [S, N, K] of images [N, H, W, C]."""
        _checks.images(images)
        return map_seeds(self.apply_fn, (self.params,), (jnp.asarray(images),), strategy=strategy)

    @checked
    def accuracy(
        self, images: ArrayLike, labels: ArrayLike, *, strategy: Strategy = "auto"
    ) -> np.ndarray:
        """Fraction [S] of images [N, H, W, C] whose largest logit is that of their label [N].

        A logit that is not finite is no prediction.
        """
        _checks.images(images)
        _checks.labels(labels, num_examples=len(images))
        logits = np.asarray(self.logits(images, strategy=strategy))
        predicted = np.where(np.isfinite(logits).all(-1), np.argmax(logits, axis=-1), -1)
        return np.mean(predicted == np.asarray(labels)[None], axis=-1)

    @checked
    def attack(
        self,
        attack: Callable[..., Any],
        images: ArrayLike,
        labels: ArrayLike,
        *,
        key: Key,
        targets: ArrayLike | None = None,
        strategy: Strategy = "auto",
    ) -> Any:
        """Attacks every network on the same images.

        Args:
          attack: from `freqbias.attacks`.
          images: [N, H, W, C] in [0, 1].
          labels: int [N], or [S, N]: of each network its own, e.g. what it predicts.
          key: seed s attacks with ``fold_in(key, s)``.
          targets: int [N], for a targeted attack.
          strategy: of the seed axis.

        Returns:
          `freqbias.attacks.Perturbation` with leading axes [S, N]. A network that is broken (logits
          that are not finite) has the status DIVERGED, and raises nothing.

        Raises:
          TypeError: a dtype is wrong.
          ValueError: a shape, range or option is wrong.
        """
        keys = seed_keys(key, self.seeds)
        return attack_each(
            attack,
            self.apply_fn,
            self.params,
            images,
            labels,
            keys,
            targets=targets,
            strategy=strategy,
        )
