"""What closed forms of a step within the box are made of: pixels that move as far as there is room.

Pixel i of the best step for a linear loss of gradient w moves against w_i, by at most its room c_i
to the bound on that side. In L1 and L0 pixels are filled up one after the other (`fill`). In L2 and
L-inf all move at once, delta_i = -sign(w_i) min(s u_i, c_i), with u the shape of the step and s the
level it rises to.
"""

import jax.numpy as jnp

from freqbias.attacks.levels import Scalar, water_level
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
    """Amounts with sum target (or all caps), in order of priority, of equals the first first."""
    order = jnp.argsort(-priority.ravel(), stable=True)
    sorted_caps = caps.ravel()[order]
    before = jnp.concatenate([jnp.zeros(1, caps.dtype), jnp.cumsum(sorted_caps)[:-1]])
    amounts = jnp.clip(target - before, 0, sorted_caps)
    return jnp.zeros_like(amounts).at[order].set(amounts).reshape(caps.shape)


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
