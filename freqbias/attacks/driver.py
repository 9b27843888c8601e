"""How every iterative attack runs: ask the network, update the state, until the program ends.

An attack is a set of pure functions of an explicit state, and none of them calls the network. The
state says where to ask next (``delta``) and about which classes (``goal``); an `Oracle` asks the
network there; an update makes the next state of the old one and the `Answer`. A `Program` says what
is asked, and how often: PGD asks for a gradient ``num_steps`` times and then once for logits, and
this ``num_restarts`` times over.

Two drivers run a program to the same result. "scan" is one compiled call. "host" calls compiled
steps from Python: each costs a dispatch, but since the network appears in the oracle alone, another
network compiles one oracle anew and no update. "auto" is "scan" (`choose_driver`), except for
networks of XLA's convolution on CPU, which is several times slower inside a loop. The models of
`freqbias.models` have none on CPU.
"""

from collections.abc import Callable
from functools import lru_cache, partial, reduce
from typing import Any, Literal, NamedTuple, Protocol, Self, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from freqbias import _checks
from freqbias._blocks import equal_blocks, equal_parts, puts_images_last
from freqbias._checked import checked
from freqbias._pytree import frozen, static
from freqbias.attacks.compiling import compiled
from freqbias.attacks.norms import Bounds, Norm, check_norm
from freqbias.attacks.protocol import (
    CheckedAttack,
    Perturbation,
    check_bounds,
    image_keys,
    on_device,
    pick_keys,
)
from freqbias.ensemble import map_seeds, within_threads
from freqbias.typing import ApplyFn, Array, Key, Keys, Params

Driver = Literal["auto", "scan", "host"]


class Answer(NamedTuple):
    """What a network says about N perturbed images."""

    logits: Any  # [N, K]; of `unasked` None
    gradients: Any = None  # [N, H, W, C]; of `jacobian` [N, k, H, W, C]; of `forward` None


class State(Protocol):
    """What the driver reads of an attack's state."""

    @property
    def delta(self) -> Array:
        """[N, H, W, C], where to ask next."""
        ...

    @property
    def goal(self) -> tuple[Array, ...]:
        """What to ask there, leaves [N, ...]; see the `Oracle`."""
        ...


Oracle: TypeAlias = Callable[[ApplyFn, Params, Array, tuple[Array, ...]], Answer]
"""(apply_fn, params, perturbed images, goal) -> `Answer`; static, so always the same object."""


class Phase(NamedTuple):
    """The same question ``times`` times in a row, or until it is ``done``; at least once."""

    oracle: Oracle
    update: Callable[..., Any]  # (attack, images, labels, state, answer) -> state
    times: int = 1
    done: Callable[[Any], Array] | None = None  # state -> bool []: further steps change nothing


class Loop(NamedTuple):
    """Phases and loops one after the other, ``times`` times over."""

    parts: "Program"
    times: int = 1


Program: TypeAlias = tuple[Phase | Loop, ...]
"""What is asked, in order."""


@checked
def forward(apply_fn: ApplyFn, params: Params, images: Array, goal: tuple[Array, ...]) -> Answer:
    """Oracle: logits only; the goal is not used."""
    del goal
    return Answer(apply_fn(params, images))


@checked
def unasked(apply_fn: ApplyFn, params: Params, images: Array, goal: tuple[Array, ...]) -> Answer:
    """Oracle: asks nothing, for an update that needs no answer, such as the draw of a start."""
    del apply_fn, params, images, goal
    return Answer(None)


@checked
@lru_cache
def gradient_of(loss_fn: Callable[..., Array]) -> Oracle:
    """Oracle: logits and the input gradient of a loss.

    Args:
      loss_fn: (logits [N, K], *goal) -> losses [N], e.g. `margin` with the goal ``(labels,)``.

    Returns:
      The oracle, always the same for one loss; gradients [N, H, W, C], in logit units per unit of
      intensity.
    """

    def gradient(
        apply_fn: ApplyFn, params: Params, images: Array, goal: tuple[Array, ...]
    ) -> Answer:
        def total_loss(images: Array) -> tuple[Array, Array]:
            logits = apply_fn(params, images)
            return jnp.sum(loss_fn(logits, *goal)), logits

        gradients, logits = jax.grad(total_loss, has_aux=True)(images)
        return Answer(logits, gradients)

    return gradient


@checked
def jacobian(apply_fn: ApplyFn, params: Params, images: Array, goal: tuple[Array, ...]) -> Answer:
    """Oracle: logits, and the input gradients of the logits of some classes.

    The goal is ``(classes,)``, int [N, k]; gradients [N, k, H, W, C]. Costs k backward passes.
    """
    if len(goal) != 1 or np.shape(goal[0])[:1] != np.shape(images)[:1]:
        raise ValueError(f"goal must be (classes,), one row for each of images; got {goal}.")
    (classes,) = goal
    logits, pullback = jax.vjp(partial(apply_fn, params), images)
    rows = jax.nn.one_hot(classes.T, logits.shape[-1], dtype=logits.dtype)  # [k, N, K]
    (gradients,) = jax.vmap(pullback)(rows)
    return Answer(logits, jnp.moveaxis(gradients, 0, 1))


@checked
@partial(compiled, static_argnums=(0, 1))
def query(  # noqa: PLR0917 (a network, its inputs, and where to look)
    oracle: Oracle,
    apply_fn: ApplyFn,
    params: Params,
    images: Array,
    delta: Array,
    goal: tuple[Array, ...],
) -> Answer:
    """Asks a network about images + delta: the one program that the host driver compiles for it.

    Args:
      oracle: what is asked; static.
      apply_fn: (params, images) -> logits [N, K]; static.
      params: of one network.
      images: [N, H, W, C].
      delta: [N, H, W, C].
      goal: of the oracle.

    Returns:
      The `Answer`.
    """
    if np.shape(images) != np.shape(delta):
        raise ValueError(
            f"delta must have the shape of images; got {np.shape(delta)} and {np.shape(images)}."
        )
    return oracle(apply_fn, params, images + delta, goal)


class IterativeAttack(CheckedAttack):
    """What all iterative attacks share; a subclass is `freqbias.frozen`.

    A subclass has the fields below and the methods `begin`, `program` and `finalize`, all pure, and
    extends `check`. Its numbers are traced leaves, its options static fields.

    Attributes:
      norm: the geometry.
      targeted: towards ``targets``, given at the call, instead of away from ``labels``.
      bounds: (low, high) of a pixel, or None for no box.
      driver: "auto", "scan" or "host"; see `choose_driver`.

    Example:
      A call runs the whole program. Step by step, PGD is

      >>> import jax
      >>> import jax.numpy as jnp
      >>> from freqbias import attacks
      >>> network, key = attacks.example(), jax.random.key(0)
      >>> attack = attacks.pgd(attacks.L2(), epsilon=0.2, num_steps=3)
      >>> (restart,) = attack.program(num_classes=4)
      >>> start, ascent, score = restart.parts
      >>> state = attack.init(*network, attacks.image_keys(key, 4))
      >>> state = attack.step(*network, state, start)
      >>> for _ in range(ascent.times):
      ...     state = attack.step(*network, state, ascent)
      >>> state = attack.step(*network, state, score)
      >>> bool(jnp.allclose(attack.finalize(state).delta, attack(*network, key).delta, atol=1e-6))
      True
    """

    norm: Norm
    targeted: bool
    bounds: Bounds | None
    driver: Driver

    def find(  # noqa: PLR0917 (the arguments of a call)
        self,
        apply_fn: ApplyFn,
        params: Params,
        images: Array,
        labels: Array,
        targets: Array | None,
        key: Key,
    ) -> Perturbation:
        """Runs the program by the driver."""
        keys = image_keys(key, images.shape[0])
        driver = choose_driver(self.driver, apply_fn, params, images, (self, labels, keys))
        run = _on_cores if driver == "scan" else _on_host
        # One dtype, whatever was passed: one compilation.
        attack = jax.tree.map(lambda leaf: on_device(leaf, images.dtype), self)
        return run(attack, apply_fn, params, images, labels, keys, targets)

    def check(self) -> None:
        """Raises ValueError or TypeError if a number or an option is wrong."""
        check_norm(self.norm)
        _checks.one_of("driver", self.driver, ("auto", "scan", "host"))
        check_bounds(self.bounds)

    def init(  # noqa: PLR0917 (the arguments of a call)
        self,
        apply_fn: ApplyFn,
        params: Params,
        images: Array,
        labels: Array,
        keys: Keys,
        targets: Array | None = None,
    ) -> Any:
        """The state before the first step, from the logits on the clean images; keys [N]."""
        return self.begin(images, labels, keys, targets, apply_fn(params, images))

    def step(  # noqa: PLR0917 (the arguments of a call)
        self,
        apply_fn: ApplyFn,
        params: Params,
        images: Array,
        labels: Array,
        state: Any,
        phase: Phase,
    ) -> Any:
        """One step of a phase of the program: asks once, updates once."""
        answer = phase.oracle(apply_fn, params, images + state.delta, state.goal)
        return phase.update(self, images, labels, state, answer)

    def begin(
        self, images: Array, labels: Array, keys: Keys, targets: Array | None, logits: Array
    ) -> Any:
        """The state (a `State`) before the first step."""
        raise NotImplementedError

    def program(self, num_classes: int) -> Program:
        """What is asked, in order; it depends only on static fields and the number of classes."""
        raise NotImplementedError

    def finalize(self, state: Any) -> Perturbation:
        """The result."""
        raise NotImplementedError

    def shared(self) -> Self:
        """This attack with the options that only `program` reads set to fixed values.

        The host driver compiles updates for it: attacks that differ in nothing else share them.
        """
        return self


def choose_driver(
    driver: Driver, apply_fn: ApplyFn, params: Params, images: Array, inputs: object = ()
) -> Driver:
    """The driver; "auto" is "host" for networks of XLA's convolution on CPU, else "scan".

    Args:
      driver: what was asked for.
      apply_fn: (params, images) -> logits [N, K].
      params: of one network.
      images: [N, H, W, C].
      inputs: all else that the attack is given; if anything is traced, "auto" is "scan".

    Returns:
      "scan" or "host".
    """
    if driver != "auto":
        return driver
    if jax.default_backend() != "cpu":
        return "scan"
    leaves, structure = jax.tree.flatten((params, images))
    if not all(map(_checks.is_concrete, (*leaves, *jax.tree.leaves(inputs)))):
        return "scan"
    shapes = tuple(jax.ShapeDtypeStruct(np.shape(leaf), jnp.result_type(leaf)) for leaf in leaves)
    convolves = _convolves(apply_fn, structure, shapes)  # type: ignore[arg-type]  # it is hashable
    return "host" if convolves else "scan"


@lru_cache
def _convolves(apply_fn: ApplyFn, structure: Any, shapes: tuple[jax.ShapeDtypeStruct, ...]) -> bool:
    """Whether XLA's convolution is in a network, or in a function that it calls."""
    program = jax.make_jaxpr(apply_fn)(*jax.tree.unflatten(structure, shapes))
    return "conv_general_dilated" in str(program)  # it prints what is nested, too


_compiled = lru_cache(compiled)
_NEAR = 2**22  # bytes of a network's largest array of values that a core is to have at once


def _on_host(  # noqa: PLR0917 (the arguments of a call)
    attack: IterativeAttack,
    apply_fn: ApplyFn,
    params: Params,
    images: Array,
    labels: Array,
    keys: Keys,
    targets: Array | None,
) -> Perturbation:
    """Compiled steps, driven from Python."""
    kind, shared = type(attack), attack.shared()
    logits = query(forward, apply_fn, params, images, jnp.zeros_like(images), ()).logits
    state = _compiled(kind.begin)(shared, images, labels, keys, targets, logits)

    def step(state: Any, phase: Phase) -> Any:
        answer = Answer(None)
        if phase.oracle is not unasked:
            answer = query(phase.oracle, apply_fn, params, images, state.delta, state.goal)
        state = _compiled(phase.update)(shared, images, labels, state, answer)
        return jax.block_until_ready(state)  # two threads that fill XLA's queue on CPU can lock it

    def ends(phase: Phase, state: Any) -> bool:
        done = False if phase.done is None else _compiled(phase.done)(state)
        return _checks.is_concrete(done) and bool(done)

    def run(state: Any, part: Phase | Loop) -> Any:
        for _ in range(part.times):
            if isinstance(part, Loop):
                state = reduce(run, part.parts, state)
            else:
                state = step(state, part)
                if ends(part, state):
                    break
        return state

    # A network without one finite logit has no gradient to go by: it is not asked again.
    broken = _checks.is_concrete(logits) and not np.isfinite(logits).any()
    program = () if broken else attack.program(logits.shape[-1])
    return _compiled(kind.finalize)(shared, reduce(run, program, state))


def _on_cores(  # noqa: PLR0917 (the arguments of a call)
    attack: IterativeAttack,
    apply_fn: ApplyFn,
    params: Params,
    images: Array,
    labels: Array,
    keys: Keys,
    targets: Array | None,
) -> Perturbation:
    """`_scan`, on CPU of a part of the images on each core.

    XLA would share out every operation among the cores, each of which would then read what another
    has written: half of the speed, and a sixth where they have no cache in common.
    """
    inputs, num_images = (images, labels, targets), images.shape[0]
    number, size = equal_parts(num_images)
    leaves = jax.tree.leaves((attack, params, *inputs, keys))
    if number == 1 or within_threads() or not all(map(_checks.is_concrete, leaves)):
        return _scan(attack, apply_fn, params, images, labels, keys, targets)
    places = np.minimum(np.arange(number * size), num_images - 1).reshape(number, size)
    parts = jax.tree.map(lambda leaf: on_device(np.asarray(leaf)[places]), inputs)
    each = (*parts, pick_keys(keys, places))
    found = map_seeds(_Part(apply_fn), each, (attack, params), strategy="threads", jit=False)

    def joined(leaf: Array) -> Array:
        return on_device(np.asarray(leaf).reshape(-1, *leaf.shape[2:])[:num_images])

    return jax.tree.map(joined, found)


@frozen
class _Part:
    """`_scan` on one network, as a function of arrays that is hashable by its field."""

    apply_fn: ApplyFn = static()

    def __call__(self, images, labels, targets, keys, attack, params):  # noqa: PLR0917
        return _scan(attack, self.apply_fn, params, images, labels, keys, targets)

    def prepare(self, images, labels, targets, keys, attack, params):  # noqa: PLR0917
        """Compiles it."""
        inputs = attack, self.apply_fn, params, images, labels, keys, targets
        _scan.prepare(*inputs)  # type: ignore[attr-defined]


@partial(compiled, static_argnames="apply_fn")
def _scan(  # noqa: PLR0917 (the arguments of a call)
    attack: IterativeAttack,
    apply_fn: ApplyFn,
    params: Params,
    images: Array,
    labels: Array,
    keys: Keys,
    targets: Array | None,
) -> Perturbation:
    """The whole attack in one compiled call; on CPU of some images at a time, near in memory."""
    network = partial(apply_fn, params)
    moves = puts_images_last(network, images)

    def some(images: Array, labels: Array, keys: Keys, targets: Array | None) -> Perturbation:
        # The point asked about is made at the end of a step. In front of a network that flattens
        # it, XLA on CPU would make it in the flattened shape, which takes several times as long.
        def at(state: Any) -> tuple[Any, Array]:
            return state, images + state.delta

        def once(part: Phase | Loop, carry: tuple[Any, Array]) -> tuple[Any, Array]:
            if isinstance(part, Loop):
                return reduce(run, part.parts, carry)
            state, point = carry
            answer = part.oracle(apply_fn, params, point, state.goal)
            if moves:
                answer = _in_memory(answer, some_labels=labels)
            return at(part.update(attack, images, labels, state, answer))

        def run(carry: tuple[Any, Array], part: Phase | Loop) -> tuple[Any, Array]:
            done = part.done if isinstance(part, Phase) else None
            if part.times == 1:
                return once(part, carry)
            if done is None:
                return jax.lax.scan(lambda c, _: (once(part, c), None), carry, length=part.times)[0]

            def goes_on(counted: tuple[Array, tuple[Any, Array]]) -> Array:
                count, (state, _) = counted
                return (count == 0) | (count < part.times) & ~done(state)

            first = jnp.zeros((), jnp.int32), carry
            return jax.lax.while_loop(goes_on, lambda c: (c[0] + 1, once(part, c[1])), first)[1]

        logits = apply_fn(params, images)
        state = attack.begin(images, labels, keys, targets, logits)
        return attack.finalize(reduce(run, attack.program(logits.shape[-1]), at(state))[0])

    inputs, num_images = (images, labels, keys, targets), images.shape[0]
    number, size = equal_blocks(network, images, _NEAR)
    if number == 1:
        return some(*inputs)
    places = jnp.minimum(jnp.arange(number * size), num_images - 1)  # left over: the last image
    blocks = jax.tree.map(lambda leaf: leaf[places.reshape(number, size)], inputs)
    found = jax.lax.map(lambda block: some(*block), blocks)
    return jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:])[:num_images], found)


def _in_memory(answer: Answer, some_labels: Array) -> Answer:
    """The same, each array made once: XLA fuses nothing across a branch.

    On CPU it would fuse the move of the axes that ends a backward pass into each of the gradient's
    readers, and so make it as often.
    """
    always = some_labels[0] > jnp.iinfo(jnp.int32).min  # which XLA does not know
    return jax.lax.cond(always, lambda a: a, lambda a: jax.tree.map(jnp.zeros_like, a), answer)
