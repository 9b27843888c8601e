"""What closed forms of a step within the box are made of: pixels that move as far as there is room.

Pixel i of the best step for a linear loss of gradient w moves against w_i, by at most its room c_i
to the bound on that side. In L1 and L0 pixels are filled up one after the other (`fill`). In L2 and
L-inf all move at once, delta_i = -sign(w_i) min(s u_i, c_i), with u the shape of the step and s the
level it rises to.
"""

import jax
import jax.numpy as jnp

from freqbias.attacks.levels import Scalar, as_integers, last_where, water_level
from freqbias.attacks.norms.base import Bounds, Norm, reach
from freqbias.typing import Array


def room_of(normal: Array, image: Array, bounds: Bounds | None) -> Array:
    """How far each pixel may move against the normal; infinity without bounds."""
    if bounds is None:
        return jnp.full_like(image, jnp.inf)
    lower, upper = reach(image, bounds)
    return jnp.where(normal > 0, -lower, upper)


def into_box(delta: Array, image: Array, bounds: Bounds | None) -> Array:
    """What is filled up to the room can be beyond it by a rounding error."""
    return delta if bounds is None else jnp.clip(delta, *reach(image, bounds))


def fill(priority: Array, caps: Array, target: Scalar) -> Array:
    """Amounts with sum target (or all caps), in order of priority, of equals the first first.

    Nothing is sorted: two searches find the one amount that is neither 0 nor its cap.

    Args:
      priority: not negative, any shape.
      caps: not negative, infinity for no cap, the shape of ``priority``.
      target: scalar, at least 0.

    Returns:
      Amounts, the shape of ``priority``.
    """
    ordered, places = as_integers(priority), jnp.arange(priority.size).reshape(priority.shape)
    fixed_caps, fixed_target = jax.lax.stop_gradient((caps, jnp.asarray(target, caps.dtype)))

    def total(chosen: Array, caps: Array) -> Array:
        return jnp.sum(jnp.where(chosen, caps, 0))

    last = last_where(lambda n: total(ordered >= n, fixed_caps) >= fixed_target, ordered.dtype)
    above, tied = ordered > last, ordered == last
    place = last_where(
        lambda n: total(above | tied & (places < n), fixed_caps) < fixed_target,
        places.dtype,
        num_bits=priority.size.bit_length(),
    )
    full = above | tied & (places < place)
    rest = jnp.clip(target - total(full, caps), 0, caps)
    return jnp.where(full, caps, jnp.where(tied & (places == place), rest, 0))


def rise(shape: Array, room: Array, level: Array) -> Array:
    """How far each pixel moves at a level, which may be infinite."""
    return jnp.minimum(jnp.where(shape > 0, level * shape, 0), room)


def smallest_of_shape(
    norm: Norm, shape: Array, normal: Array, image: Array, margin: Array, *, bounds: Bounds
) -> tuple[Array, Array]:
    """`Norm.smallest_step` where all pixels move at once.

    Args:
      norm: whose value is returned.
      shape: u [H, W, C], not negative: how fast each pixel moves.
      normal: w [H, W, C].
      image: [H, W, C].
      margin: [], at least 0.
      bounds: (low, high) of a pixel.
    """
    size, room = jnp.abs(normal), room_of(normal, image, bounds)
    gain = jnp.where(size > 0, size * room, 0)
    level = water_level(size * shape, gain, margin)
    delta = into_box(-jnp.sign(normal) * rise(shape, room, level), image, bounds)
    return delta, jnp.where(jnp.isfinite(level), norm.value(delta), jnp.inf)
