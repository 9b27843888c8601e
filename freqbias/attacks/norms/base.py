"""What a norm is: the geometry of an attack, for one perturbation.

Every method takes ONE perturbation delta [H, W, C] (any shape works); callers ``vmap`` over images.
A new geometry is one subclass of `Norm` with `value`, `project` and `steepest`; every gradient
attack then works in it. What other attacks ask of a norm are methods as well. Those that a norm
does not define raise an error that names the norm and the method.

Rounding: a projected point exceeds its ball by at most a few units in the last place (relative
1e-6 in float32); the L-inf ball and the box are kept exactly. The distance re-computed from
pixels, ``(image + delta) - image``, carries the rounding of the sum as well: up to 6e-8 per pixel
in float32, hence 6e-8 D in L1 and 6e-8 sqrt(D) in L2 of D entries.
"""

import abc
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple, NoReturn, Self, TypeAlias

import jax
import jax.numpy as jnp

from freqbias._checked import check_fields
from freqbias._pytree import frozen
from freqbias.attacks.levels import Scalar, largest
from freqbias.typing import Array, Key

Bounds: TypeAlias = tuple[float, float]
"""Lowest and highest pixel value."""


def reach(image: Array, bounds: Bounds) -> tuple[Array, Array]:
    """The least and the largest delta, per entry, for which image + delta lies within bounds.

    As it is rounded: ``image + (high - image)`` can round to beyond ``high``, by at most half a
    unit in the last place of the difference, so that its neighbour towards 0 does not.

    Args:
      image: [..., H, W, C] within bounds.
      bounds: (low, high) of a pixel.

    Returns:
      lower <= 0 and upper >= 0, of the image's shape.
    """
    low, high = bounds
    lower, upper = low - image, high - image
    return _shorter(lower, image + lower < low), _shorter(upper, image + upper > high)


def _shorter(values: Array, where: Array) -> Array:
    """Where asked, the neighbour towards zero of a value that is not zero: one less in its bits."""
    bits = jax.lax.bitcast_convert_type(values, f"int{jnp.finfo(values.dtype).bits}")
    return jax.lax.bitcast_convert_type(bits - where.astype(bits.dtype), values.dtype)


@jax.jit
def length(delta: Array) -> Array:
    """||delta||_2, scaled by its largest entry so that squares neither over- nor underflow."""
    delta = jnp.asarray(delta)
    scale = _scale(delta)
    squares = jnp.sum((delta.ravel() * (1 / scale)) ** 2)
    zero = squares == 0
    return jnp.where(zero, 0, scale * jnp.sqrt(jnp.where(zero, 1, squares)))


@jax.jit
def length_in_loop(delta: Array) -> Array:
    """The same in less time, and in more time to compile: scaled only where that is needed."""
    scale, squares = _squares(jnp.asarray(delta))
    return scale * jnp.sqrt(squares)


@jax.jit
def unit(gradient: Array) -> Array:
    """The vector gradient / ||gradient||_2, whatever the scale of the gradient; of zero, zero."""
    scale, squares = _squares(jnp.asarray(gradient))
    return gradient * (1 / scale) * (1 / jnp.sqrt(jnp.where(squares == 0, 1, squares)))


@jax.custom_jvp
def _squares(values: Array) -> tuple[Array, Array]:
    """A power of two s, and sum_i (values_i / s)^2.

    It is 1, unless squares over- or underflow: then it is near the largest entry, and divides
    without rounding. Entries below the smallest normal number count as zero, as they do to
    processors.
    """
    kind = jnp.finfo(values.dtype)
    lowest = min(2.0**40 * float(kind.tiny), float(kind.max))

    def goes_on(state: tuple[Array, Array]) -> Array:
        scale, squares = state
        return (scale == 1) & ~((squares >= lowest) & (squares <= kind.max))

    def rescale(state: tuple[Array, Array]) -> tuple[Array, Array]:
        scale = _scale(values * state[0])
        squares = jnp.sum((values.ravel() * (1 / scale)) ** 2)
        return jnp.where(scale == 1, 2, scale), squares

    # A loop of one round at most: of many vectors at once, none has it unless one needs it.
    first = jnp.ones((), values.dtype), jnp.sum(values.ravel() ** 2)
    return jax.lax.while_loop(goes_on, rescale, first)


@_squares.defjvp
def _squares_jvp(primals: tuple[Array], tangents: tuple[Array]) -> Any:
    (values,), (change,) = primals, tangents
    scale, squares = _squares(values)
    slope = 2 * jnp.sum((values * (1 / scale)) * (change * (1 / scale)))
    return (scale, squares), (jnp.zeros_like(scale), slope)


def _scale(values: Array) -> Array:
    """A power of two near the largest entry: to divide by it does not round.

    Entries below the smallest normal number count as zero, as they do to processors.
    """
    kind = jnp.finfo(values.dtype)
    top = jnp.clip(jax.lax.stop_gradient(largest(values)), 4 * kind.tiny, kind.max / 8)
    return jax.lax.reduce_precision(top, exponent_bits=kind.nexp, mantissa_bits=0)


def along(gradient: Array, steepest: Array) -> Array:
    """The direction of the gradient, of twice the L2 norm of a steepest direction.

    With a step of this length, entries (or frequencies) whose gradient is small reach their size at
    the best point of the ball within a few steps too.
    """
    return 2 * length(steepest) * unit(gradient)


class Plane(NamedTuple):
    """A plane {z: <normal, z - delta> = gap} near a point of the box; arrays are flat, [D]."""

    delta: Array  # [D], within [lower, upper]
    normal: Array  # [D], of L2 norm 1
    gap: Array  # []
    lower: Array  # [D], at most 0; -inf for none
    upper: Array  # [D], at least 0; inf for none
    num_channels: int  # consecutive entries of one pixel


class Shortest(NamedTuple):
    """The nearest point of a `Plane` and the box in L2, from which other norms go on."""

    tau: Array  # [], it is clip(delta + tau normal)
    scale: Array  # [], its largest entry


class Line(NamedTuple):
    """A path to a `Plane`: see `Norm.line_to_plane`."""

    at: Callable[[Array], Array]  # tau [] -> z [D], not yet clipped to the box
    straight: bool  # whether z is linear in tau


class Windows(NamedTuple):
    """The moves of random search by square windows, of one perturbation: see `Norm.windows`."""

    start: Callable[..., Array]  # (key, shape, dtype) -> [H, W, C], for a ball of radius 1
    move: Callable[..., Array]  # (key, delta [H, W, C], side [], epsilon []) -> [H, W, C]
    in_ball: bool  # whether a moved delta is in the ball, and needs no projection onto it


@frozen
class Norm(abc.ABC):
    """A norm ||.|| on perturbations: what attacks need to know of its geometry.

    A subclass defines `value`, `project` and `steepest`. The other methods have a default, or raise
    a ValueError: a subclass that defines them works in the attacks that ask for them.

    | method or attribute | default | asked for by |
    |---|---|---|
    | `sample` | raises | random starts |
    | `smallest_step` | without the box | minimal attacks, `affine_attack` |
    | `largest_step` | without the box | `affine_attack` with a budget, `frank_wolfe` |
    | `line_to_plane` | raises | `brendel_bethge` |
    | `windows` | raises | `square` |
    | `sparse` | False | `apgd`, `auto_attack`, `deepfool`: how they step |
    | `shrinks` | False | line searches of minimal attacks |
    | `counts` | False | minimal attacks: steps of whole entries |

    Example:
      >>> import jax.numpy as jnp
      >>> from freqbias import attacks
      >>> class Half(attacks.L2):  # twice as far is as near
      ...     def value(self, delta):
      ...         return super().value(delta) / 2
      ...     def project(self, delta, epsilon):
      ...         return super().project(delta, 2 * epsilon)
      ...     def project_box(self, delta, image, epsilon, bounds):
      ...         return super().project_box(delta, image, 2 * epsilon, bounds)
      ...     def steepest(self, gradient):
      ...         return 2 * super().steepest(gradient)
      >>> network, key = attacks.example(), jax.random.key(0)
      >>> attack = attacks.pgd(Half(), epsilon=0.1, random_start=False)
      >>> found = attack(*network, key)
      >>> bool(jnp.allclose(attacks.L2().value(found.delta[0]), 0.2))
      True
    """

    sparse: ClassVar[bool] = False
    """Whether the steepest step moves few of many entries, so that attacks share steps out."""
    shrinks: ClassVar[bool] = False
    """Whether `project` only ever takes entries nearer to 0, so that it never leaves a box."""
    counts: ClassVar[bool] = False
    """Whether ||.|| counts changes: a whole number, whatever their size. Its ball has no end."""

    @abc.abstractmethod
    def value(self, delta: Array) -> Array:
        """||delta||, a scalar, whose gradient is finite at zero too."""

    @abc.abstractmethod
    def project(self, delta: Array, epsilon: Scalar) -> Array:
        """Nearest point (Euclidean) of the ball ||.|| <= epsilon."""

    @abc.abstractmethod
    def steepest(self, gradient: Array) -> Array:
        """Argmax of <gradient, v> over ||v|| <= 1; zero for a zero gradient."""

    @property
    def exact(self) -> bool:
        """Whether `steepest` attains the maximum, and `dual` is it."""
        return True

    def exactly(self) -> Self:
        """This norm, with an exact `steepest` where it has a choice."""
        return self

    def dual(self, gradient: Array) -> Array:
        """Dual norm: max of <gradient, v> over ||v|| <= 1, a scalar."""
        return jnp.sum(gradient * self.steepest(gradient))

    def ascent(self, gradient: Array, *, boxed: bool = False) -> Array:
        """Direction of a step from a point of the ball; ``project`` then brings it back there.

        If the gradient is the same everywhere, the best point of the ball is ``steepest``. Steps
        stay there if their direction is normal to the ball at this point. In most norms
        ``steepest`` itself is.

        With ``boxed``, ``project_box`` brings the step back, and the direction must be normal to
        the intersection of ball and box at its best point. There ``steepest`` is so only if the
        faces of the ball are parallel to those of the box; the gradient always is: `along`.
        """
        direction = self.steepest(gradient)
        return along(gradient, direction) if boxed else direction

    def project_box(self, delta: Array, image: Array, epsilon: Scalar, bounds: Bounds) -> Array:
        """Nearest point (Euclidean) of the ball for which image + delta lies within bounds.

        By default by `project_ball_and_box`, of at most 100 iterations.
        """
        return project_ball_and_box(
            self, delta, image, epsilon, bounds, max_iterations=_MAX_ITERATIONS
        )

    def sample(self, key: Key, shape: tuple[int, ...], dtype: jnp.dtype) -> Array:
        """A random point, uniform in the unit ball."""
        del key, shape, dtype
        self._lacks("sample", "a random start")

    def smallest_step(
        self, normal: Array, image: Array, margin: Array, bounds: Bounds | None
    ) -> tuple[Array, Array]:
        """The smallest delta with <normal, delta> = -margin, within bounds, and its norm.

        A margin of gradient ``normal`` is 0 there. Infinite norm if the room does not suffice, or
        the normal is zero. By default, without bounds only, -margin steepest / dual.

        Args:
          normal: [H, W, C].
          image: [H, W, C].
          margin: [], at least 0.
          bounds: (low, high) of a pixel, or None.
        """
        if bounds is not None:
            self._lacks("smallest_step", "a closed form with bounds")
        dual = self.dual(normal)
        distance = jnp.where(dual > 0, margin / jnp.where(dual > 0, dual, 1), jnp.inf)
        return -jnp.where(dual > 0, distance, 0) * self.steepest(normal), distance

    def largest_step(
        self, normal: Array, image: Array, epsilon: Scalar, bounds: Bounds | None
    ) -> Array:
        """The delta [H, W, C] of the ball, within bounds, at which <normal, delta> is least.

        By default, without bounds only, -epsilon steepest. Arguments as of `smallest_step`.
        """
        if bounds is not None:
            self._lacks("largest_step", "a closed form with bounds")
        return into_ball(self, -epsilon * self.steepest(normal), epsilon)

    def line_to_plane(self, plane: Plane, theta: Array, shortest: Shortest, limit: Array) -> Line:
        """Points along which a plane is sought, for one multiplier theta of a trust region.

        See `freqbias.attacks.minimal.trust_region`: with tau such that the clipped z lies on the
        plane, ||z|| falls and ||z - delta||_2 grows with theta.

        Args:
          plane: what is sought.
          theta: [], from 0, the shortest way to the plane, to 1, the smallest norm.
          shortest: the nearest point of the plane in L2.
          limit: [], no |tau| is larger.
        """
        del plane, theta, shortest, limit
        self._lacks("line_to_plane", "the Brendel-Bethge attack")

    def windows(self, num_channels: int) -> Windows:
        """How random search moves a perturbation, window by window."""
        del num_channels
        self._lacks("windows", "the Square attack")

    def _lacks(self, method: str, use: str) -> NoReturn:
        raise ValueError(_lack(self, method, use))


def check_norm(norm: Any, *methods: str, use: str = "") -> None:
    """Checks that a norm is one and defines what an attack asks for.

    Args:
      norm: the norm.
      *methods: of `Norm`, which it has to define.
      use: what for, in the words of the message.

    Raises:
      TypeError: it is no norm.
      ValueError: a method is not defined.
    """
    if not isinstance(norm, Norm):
        raise TypeError(f"norm must be a freqbias.attacks.Norm, such as L2(); got {norm!r}.")
    check_fields(norm)
    for method in methods:
        if not defines(norm, method):
            raise ValueError(_lack(norm, method, use))


def defines(norm: Norm, method: str) -> bool:
    """Whether a norm defines a method itself: then it holds with and without bounds."""
    return getattr(type(norm), method) is not getattr(Norm, method)


def _lack(norm: Norm, method: str, use: str) -> str:
    return (
        f"norm must define `{method}` for {use}; {type(norm).__name__} does not. "
        "(freqbias.attacks.Norm says what each method is for.)"
    )


_MAX_ITERATIONS = 100  # in one step of an attack; the next steps approach the nearest point further


def project_ball_and_box(
    norm: Norm,
    delta: Array,
    image: Array,
    epsilon: Scalar,
    bounds: Bounds,
    *,
    max_iterations: int = 1000,
) -> Array:
    """Nearest point of ball and box, from the projections onto each.

    Dykstra's algorithm, which is proximal gradient ascent on the dual,

        z = P_box(delta - y),   y <- (z + y) - P_ball(z + y),

    with Nesterov's momentum, which starts anew where it points back. It ends when z, a point of the
    box, and the point of the ball agree to rounding: after about 20 iterations for a gradient step
    out of the ball, after hundreds for a point at a hundred times the radius. Then z is scaled into
    the ball. As the box holds 0, the result keeps both constraints, converged or not.

    Args:
      norm: whose ``project`` is used.
      delta: [H, W, C].
      image: [H, W, C] within bounds.
      epsilon: radius of the ball.
      bounds: (low, high) of a pixel.
      max_iterations: at which to stop at the latest.

    Returns:
      The point [H, W, C].

    Reference:
      Boyle and Dykstra, 1986; Beck and Teboulle, 2009; O'Donoghue and Candes, 1204.3982, section 3.
    """
    lower, upper = reach(image, bounds)
    tolerance = 4 * jnp.finfo(delta.dtype).eps * largest(delta)
    State = tuple[Array, Array, Array, Array, Array]

    def continues(state: State) -> Array:
        iteration, *_, gap = state
        return (iteration < max_iterations) & (gap > tolerance)

    def iterate(state: State) -> State:
        iteration, dual, ahead, momentum, _ = state
        in_box = jnp.clip(delta - ahead, lower, upper)
        in_ball = norm.project(in_box + ahead, epsilon)
        new = in_box + ahead - in_ball
        back = jnp.sum((ahead - new) * (new - dual)) > 0
        momentum = jnp.where(back, 1, momentum)
        next_momentum = (1 + jnp.sqrt(1 + 4 * momentum**2)) / 2
        ahead = new + (momentum - 1) / next_momentum * (new - dual)
        return iteration + 1, new, ahead, next_momentum, largest(in_box - in_ball)

    one, zeros = jnp.ones((), delta.dtype), jnp.zeros_like(delta)
    start = jnp.zeros((), jnp.int32), zeros, zeros, one, one * jnp.inf
    _, dual, *_ = jax.lax.while_loop(continues, iterate, start)
    return into_ball(norm, jnp.clip(delta - dual, lower, upper), epsilon)


def into_ball(norm: Norm, delta: Array, epsilon: Scalar) -> Array:
    """A point near the ball, scaled into it: what rounding added goes."""
    return delta * (epsilon / jnp.maximum(norm.value(delta), epsilon))
