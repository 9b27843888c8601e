"""Training linear networks to where they go: gradient descent on the sphere, scale carried aside.

On separable data the weights of a homogeneous network grow for ever and only their direction
converges. Here w has unit norm and log(rho) is carried separately, so that the network is
rho^L beta(w). With margins m_n = rho^L y_n <beta(w), x_n> and any loss that decreases in m,

    g = grad_w log( sum_n loss(m_n) ),   w' = w - eta_t g / ||g||,   log(rho) += log ||w'||,

then w' is normalised. This follows gradient flow at the real scale in another time: nothing
overflows at any depth, and it goes to losses far below 1e-300. eta_t = step_size / sqrt(1 + t / T).

A linear network needs no forward pass through its layers: predictions are <beta, x>, so a step for
S seeds is one matrix product of [S, D] with the images and one with its transpose, whatever the
depth. Tasks are binary and predictors go through the origin.
"""

import itertools
import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from freqbias import _checks
from freqbias._checked import checked
from freqbias.ops import square_offsets
from freqbias.theory.precision import full_precision
from freqbias.theory.predictor import locally_connected_predictor
from freqbias.typing import Array, ArrayLike, DType, Key, Keys, Params, Status


class LinearNet(NamedTuple):
    """A linear network of one output, seen through its effective predictor."""

    init: Callable[[Key], Params]  # weights of one network, of unit expected gain per layer
    predictor: Callable[[Params], Array]  # params -> beta [H, W, C]
    degree: int  # L: beta(c w) = c^L beta(w)


class DirectionState(NamedTuple):
    """An ensemble on the sphere."""

    params: Params  # leaves [S, ...]; each seed's weights have unit norm in all
    log_scale: Array  # [S], log of the norm of the real weights
    dual_weights: Array  # [S, N], running mean of the loss's weights on images, of any scale
    step: Array  # int32 []


class DirectionReading(NamedTuple):
    """What an ensemble computes."""

    beta: Array  # [S, H, W, C], at weights of unit norm; the network is exp(log_factor) times it
    log_factor: Array  # [S], L log(rho)
    margin: Array  # [S], min_n y_n <beta, x_n>: the margin at weights of unit norm
    log_loss: Array  # [S], log of the mean loss; cut off where log_factor passes 40
    status: Array  # int32 [S]: OK, NOT_CONVERGED if not all images are classified, DIVERGED


@checked
def dense_net(image_shape: Sequence[int], depth: int, *, width: int = 1) -> LinearNet:
    """A fully connected linear network.

    Width 1 starts balanced (all layers of one norm) and is then the end-to-end flow of a
    balanced network of *any* width: d beta/dt = -||beta||^{2-2/L} (g + (L-1) <g, b> b), with
    b = beta/||beta|| and g = grad_beta of the loss. It holds D + depth numbers instead of D^2.

    Args:
      image_shape: (H, W, C).
      depth: number of hidden layers.
      width: hidden units per layer.

    Returns:
      The network; params are a list of [in, out] matrices.

    Raises:
      TypeError: width is no int.
      ValueError: width is not positive, depth is negative or no int, or image_shape is not
        (H, W, C).

    Reference:
      Arora, Cohen & Hazan 2018 (arXiv 1802.06509), claim 2.
    """
    height, wide, channels = _image_shape(image_shape)
    _checks.positive_int("width", width)
    sizes = [height * wide * channels, *[width] * _depth(depth), 1]

    def init(key: Key) -> Params:
        layers = _draw(key, [((a, b), a) for a, b in itertools.pairwise(sizes)])
        if width == 1:
            size = jnp.linalg.norm(layers[0])
            layers = [layers[0]] + [jnp.full_like(layer, size) for layer in layers[1:]]
        return layers

    @full_precision
    def predictor(params: Params) -> Array:
        product = params[-1]
        for layer in reversed(params[:-1]):
            product = layer @ product
        return product.reshape(height, wide, channels)

    return LinearNet(init, predictor, depth + 1)


@checked
def conv_net(
    image_shape: Sequence[int],
    depth: int,
    *,
    kernel_size: int | Sequence[int],
    channels: int = 1,
) -> LinearNet:
    """A circular convolutional linear network with a full-width readout.

    Args:
      image_shape: (H, W, C).
      depth: number of hidden layers.
      kernel_size: K for K x K, or (Kh, Kw); the image's size for full width.
      channels: per hidden layer.

    Returns:
      The network; params hold ``kernels``, a list of [Kh, Kw, Cin, Cout], and ``readout``
      [H, W, Cout].

    Raises:
      TypeError: channels is no int.
      ValueError: a number is out of range, image_shape is not (H, W, C), or the kernel does not fit
        the image.
    """
    height, wide, inputs = _image_shape(image_shape)
    kernel = _kernel_size(kernel_size, height, wide)
    _checks.positive_int("channels", channels)
    widths = [inputs, *[channels] * _depth(depth)]
    taps = kernel[0] * kernel[1]
    # The DFT of few taps is a small matrix product, cheaper than an FFT of the padded kernel.
    y, x = (axis.ravel() for axis in np.mgrid[: kernel[0], : kernel[1]])
    fy, fx = np.fft.fftfreq(height)[:, None, None], np.fft.rfftfreq(wide)[None, :, None]
    offsets = y - (kernel[0] - 1) // 2, x - (kernel[1] - 1) // 2
    angle = -2 * np.pi * (fy * offsets[0] + fx * offsets[1])  # [H, W/2+1, KK]
    fourier = np.exp(1j * angle)

    def init(key: Key) -> Params:
        shapes = [((*kernel, a, b), taps * a) for a, b in itertools.pairwise(widths)]
        readout = (height, wide, widths[-1])
        *kernels, last = _draw(key, [*shapes, (readout, math.prod(readout))])
        return {"kernels": kernels, "readout": last}

    def response(weights: Array) -> Array:
        if taps <= 64:
            matrix = jnp.asarray(fourier, jnp.result_type(weights, jnp.complex64))
            rows = weights.reshape(taps, *weights.shape[2:])
            return jnp.einsum("hwk,kio->hwio", matrix, rows)
        padding = ((0, height - kernel[0]), (0, wide - kernel[1]), (0, 0), (0, 0))
        shift = (-((kernel[0] - 1) // 2), -((kernel[1] - 1) // 2))
        padded = jnp.roll(jnp.pad(weights, padding), shift, (0, 1))
        return jnp.fft.rfft2(padded, axes=(0, 1))

    @full_precision
    def predictor(params: Params) -> Array:
        spectrum = jnp.fft.rfft2(params["readout"], axes=(0, 1))
        for weights in reversed(params["kernels"]):
            spectrum = jnp.sum(response(weights) * spectrum[:, :, None, :], axis=-1)
        return jnp.fft.irfft2(spectrum, (height, wide), axes=(0, 1))

    return LinearNet(init, predictor, depth + 1)


@checked
def locally_connected_net(
    image_shape: Sequence[int], depth: int, *, kernel_size: int | Sequence[int], channels: int = 1
) -> LinearNet:
    """A locally connected linear network, circular at the borders: ``conv_net`` without sharing.

    Args:
      image_shape: (H, W, C).
      depth: number of hidden layers.
      kernel_size: K for K x K, or (Kh, Kw).
      channels: per hidden layer.

    Returns:
      The network; params hold ``kernels``, a list of [H, W, Kh Kw, Cin, Cout], and ``readout``
      [H, W, Cout].

    Raises:
      TypeError, ValueError: as in ``conv_net``.
    """
    height, wide, inputs = _image_shape(image_shape)
    kernel = _kernel_size(kernel_size, height, wide)
    _checks.positive_int("channels", channels)
    widths = [inputs, *[channels] * _depth(depth)]

    offsets = square_offsets(*kernel)

    def init(key: Key) -> Params:
        shapes = [
            ((height, wide, len(offsets), a, b), len(offsets) * a)
            for a, b in itertools.pairwise(widths)
        ]
        readout = (height, wide, widths[-1])
        *kernels, last = _draw(key, [*shapes, (readout, math.prod(readout))])
        return {"kernels": kernels, "readout": last}

    @full_precision
    def predictor(params: Params) -> Array:
        readout = params["readout"][..., None]
        return locally_connected_predictor(params["kernels"], readout, offsets)[..., 0]

    return LinearNet(init, predictor, depth + 1)


@checked
def init_direction(
    net: LinearNet,
    keys: Keys,
    num_images: int,
    *,
    init_scale: float = 1.0,
    dtype: DType = jnp.float32,
) -> DirectionState:
    """Draws an ensemble and puts it on the sphere.

    Args:
      net: the network.
      keys: typed keys [S], one per seed.
      num_images: N of the training set.
      init_scale: output scale alpha at initialisation, as in ``freqbias.models``: every layer's
        weights are alpha^{1/L} times those of unit gain. It changes ``log_scale`` alone. A large
        scale starts in the lazy regime (weights hardly move), a small one in that where features
        are learnt.
      dtype: float32 or float64.

    Returns:
      The state, at step 0.

    Raises:
      TypeError: num_images is no int.
      ValueError: init_scale or num_images is not positive.
    """
    _checks.positive("init_scale", init_scale)
    _checks.positive_int("num_images", num_images)
    _checks.rank("keys", keys, 1)
    return _init(net, num_images, jnp.dtype(dtype), keys, init_scale)


@checked
def train_direction(
    net: LinearNet,
    state: DirectionState,
    images: ArrayLike,
    labels: ArrayLike,
    *,
    num_steps: int,
    step_size: float | ArrayLike = 0.02,
    decay_steps: float | ArrayLike = 100.0,
    loss: Literal["exponential", "logistic"] = "exponential",
    members: ArrayLike | None = None,
) -> DirectionState:
    """Runs sphere-normalised full-batch gradient descent; call again to go on from a state.

    Args:
      net: the network, built once: it is a static argument.
      state: an ensemble of S seeds. Its ``dual_weights``, the loss's weights averaged over the
        last eighth or so of the steps, tend to the multipliers of the margin problem and are
        what ``certificate`` wants: a single iterate's weights jump from image to image.
      images: [N, H, W, C], shared by the seeds. Centre them first if the model does.
      labels: int [N], 0 or 1.
      num_steps: steps to take, traced: another number does not recompile.
      step_size: eta_0, relative to the norm of the weights; one number, or one per seed [S].
      decay_steps: T in eta_t = eta_0 / sqrt(1 + t / T), likewise.
      loss: exponential exp(-m) or logistic log(1 + exp(-m)).
      members: bool [S, N], the images that each seed trains on; all of them by default. Seeds with
        samples of their own, and of different sizes, so still share one matrix product per step;
        the multipliers of the other images are 0.

    Returns:
      The state ``num_steps`` later. A seed that is not finite stays so; see ``read_direction``.

    Raises:
      TypeError, ValueError: arguments are not as stated.

    Example:
      >>> images = jax.random.normal(jax.random.key(0), (4, 8, 8, 1))
      >>> labels = jnp.array([0, 1, 0, 1])
      >>> net = conv_net((8, 8, 1), 2, kernel_size=3)
      >>> state = init_direction(net, jax.random.split(jax.random.key(1), 5), len(images))
      >>> state = train_direction(net, state, images, labels, num_steps=100)
      >>> read_direction(net, state, images, labels).beta.shape  # five seeds
      (5, 8, 8, 1)
    """
    _checks.one_of("loss", loss, ("exponential", "logistic"))
    _checks.positive("step_size", step_size)
    _checks.positive("decay_steps", decay_steps)
    if _checks.is_concrete(num_steps) and num_steps < 0:
        raise ValueError(f"num_steps must be >= 0; got {num_steps}.")
    signed = _signed(images, labels, net, state)
    if state.dual_weights.shape[1] != len(signed):
        raise ValueError(
            f"images must be the {state.dual_weights.shape[1]} of init_direction; "
            f"got {len(signed)}."
        )
    data = signed, _members(members, state, signed)
    return _train(net, loss, state, data, (num_steps, step_size, decay_steps))


@checked
def read_direction(
    net: LinearNet,
    state: DirectionState,
    images: ArrayLike,
    labels: ArrayLike,
    *,
    loss: Literal["exponential", "logistic"] = "exponential",
    members: ArrayLike | None = None,
) -> DirectionReading:
    """Effective predictors, margins and losses of an ensemble, and a status per seed.

    Args:
      net: the network.
      state: an ensemble of S seeds.
      images: [N, H, W, C].
      labels: int [N], 0 or 1.
      loss: whose ``log_loss`` to give.
      members: bool [S, N], as for ``train_direction``: margin and loss are over these images.

    Returns:
      The reading.

    Raises:
      TypeError, ValueError: as in ``train_direction``.
    """
    _checks.one_of("loss", loss, ("exponential", "logistic"))
    signed = _signed(images, labels, net, state)
    return _read(net, loss, state, signed, _members(members, state, signed))


# Beyond this the softmax over images is a hard minimum in every precision.
_MAX_LOG_FACTOR = 40.0


def _log_losses(margins: Array, loss: str) -> Array:
    """Returns log loss(m), stable at both ends."""
    if loss == "exponential":
        return -margins
    # log(log(1 + e^-m)) = -m to within e^-m / 2 once m is large.
    safe = jnp.minimum(margins, 15.0)
    return jnp.where(margins > 15.0, -margins, jnp.log(jax.nn.softplus(-safe)))


def _image_weights(margins: Array, log_factor: Array, loss: str, members: Array | None) -> Array:
    """Returns -d log(sum loss) / d m_n, normalised to sum 1, [S, N]; 0 for non-members.

    ``margins`` are at unit weights. Their least is subtracted before the factor multiplies, or
    rounding of large margins would drown the differences.
    """
    factor = jnp.exp(jnp.minimum(log_factor, _MAX_LOG_FACTOR))[:, None]
    least = _least(margins, members)[:, None]
    tail = -factor * (margins - least)
    if loss == "logistic":
        near = factor * least < 15.0
        tail = jnp.where(near, -jax.nn.softplus(factor * margins), tail)
    return jax.nn.softmax(tail if members is None else jnp.where(members, tail, -jnp.inf), axis=1)


def _least(margins: Array, members: Array | None) -> Array:
    """Returns the least of the members' margins, [S]."""
    return (margins if members is None else jnp.where(members, margins, jnp.inf)).min(axis=1)


@partial(jax.jit, static_argnums=(0, 1, 2))
def _init(net: LinearNet, num_images: int, dtype: Any, keys: Keys, init_scale: Any) -> Any:
    """The draw of ``init_direction``."""
    params = jax.tree.map(lambda leaf: leaf.astype(dtype), jax.vmap(net.init)(keys))
    size = _norms(params)
    uniform = jnp.full((len(size), num_images), 1 / num_images, dtype)
    return DirectionState(
        _scale(params, 1 / size),
        jnp.log(size) + jnp.log(init_scale) / net.degree,
        uniform,
        jnp.zeros((), jnp.int32),
    )


@partial(jax.jit, static_argnums=(0, 1))
@full_precision
def _read(
    net: LinearNet, loss: str, state: DirectionState, signed: Array, members: Array | None
) -> DirectionReading:
    """The numbers of ``read_direction``; ``signed`` is y_n x_n [N, D]."""
    beta = jax.vmap(net.predictor)(state.params)
    margins = beta.reshape(len(beta), -1) @ signed.T
    log_factor = net.degree * state.log_scale
    factor = jnp.exp(jnp.minimum(log_factor, _MAX_LOG_FACTOR))
    terms = _log_losses(factor[:, None] * margins, loss)
    here = jnp.ones_like(terms) if members is None else members.astype(terms.dtype)
    log_loss = jax.nn.logsumexp(terms, axis=1, b=here) - jnp.log(here.sum(axis=1))
    margin = _least(margins, members)
    finite = jnp.isfinite(log_factor) & jnp.isfinite(margin)
    status = jnp.where(margin > 0, Status.OK, Status.NOT_CONVERGED)
    status = jnp.where(finite, status, Status.DIVERGED).astype(jnp.int32)
    return DirectionReading(beta, log_factor, margin, log_loss, status)


@partial(jax.jit, static_argnums=(0, 1))
@full_precision
def _train(
    net: LinearNet,
    loss: str,
    state: DirectionState,
    data: tuple[Array, Array | None],
    steps: tuple[Any, Any, Any],
) -> DirectionState:
    """The loop of ``train_direction``; data are (signed, members), steps (number, eta_0, T)."""
    num_steps, step_size, decay_steps = steps
    signed, members = data

    def body(_: Any, state: DirectionState) -> DirectionState:
        beta, pullback = jax.vjp(jax.vmap(net.predictor), state.params)
        margins = beta.reshape(len(beta), -1) @ signed.T
        weights = _image_weights(margins, net.degree * state.log_scale, loss, members)
        (ascent,) = pullback((weights @ signed).reshape(beta.shape))
        size = _norms(ascent)
        rate = step_size / jnp.sqrt(1 + state.step / decay_steps)
        inverse = 1 / jnp.where(size > 0, size, 1.0)
        factor = (rate * inverse).astype(size.dtype)
        params = jax.tree.map(jnp.add, state.params, _scale(ascent, factor))
        size = _norms(params)
        recent = (8 / (state.step + 8)).astype(size.dtype)
        return DirectionState(
            _scale(params, 1 / size),
            state.log_scale + jnp.log(size),
            state.dual_weights + recent * (weights * inverse[:, None] - state.dual_weights),
            state.step + 1,
        )

    return jax.lax.fori_loop(0, num_steps, body, state)


def _draw(key: Key, layers: Sequence[tuple[tuple[int, ...], int]]) -> list[Array]:
    """Draws Gaussian weights of variance 1 / fan-in; layers are (shape, fan-in)."""
    sizes = [math.prod(shape) for shape, _ in layers]
    flat = jax.random.normal(key, (sum(sizes),))  # one draw: each call compiles for long
    parts = jnp.split(flat, np.cumsum(sizes)[:-1].tolist())
    return [
        part.reshape(shape) / math.sqrt(fan_in)
        for part, (shape, fan_in) in zip(parts, layers, strict=True)
    ]


def _norms(params: Params) -> Array:
    """Returns the norm of all weights of each seed [S]."""
    squares = [
        jnp.sum(leaf.reshape(leaf.shape[0], -1) ** 2, axis=1) for leaf in jax.tree.leaves(params)
    ]
    return jnp.sqrt(sum(squares[1:], squares[0]))


def _scale(params: Params, factor: Array) -> Params:
    """Multiplies each seed's weights by its factor [S]."""
    return jax.tree.map(lambda leaf: leaf * factor.reshape(-1, *[1] * (leaf.ndim - 1)), params)


def _signed(images: ArrayLike, labels: ArrayLike, net: LinearNet, state: DirectionState) -> Array:
    """Returns y_n x_n [N, D], checked."""
    shape = jax.eval_shape(jax.vmap(net.predictor), state.params).shape[1:]
    if np.shape(images)[1:] != shape:
        raise ValueError(f"images must be [N, *{shape}], as net reads; got {np.shape(images)}.")
    dtype = state.log_scale.dtype
    _checks.images(images, unit_range=False)
    _checks.labels(labels, num_examples=np.shape(images)[0], num_classes=2)
    sign = 2 * jnp.asarray(labels).astype(dtype) - 1
    return jnp.asarray(images, dtype).reshape(len(sign), -1) * sign[:, None]


def _members(members: ArrayLike | None, state: DirectionState, signed: Array) -> Array | None:
    """Returns who trains on what, bool [S, N], checked; None for everyone on everything."""
    if members is None:
        return None
    expected = (len(state.log_scale), len(signed))
    members = jnp.asarray(members)
    if members.dtype != bool or members.shape != expected:
        raise ValueError(
            f"members must be bool {list(expected)}; got {members.dtype} {list(members.shape)}."
        )
    if _checks.is_concrete(members) and not np.asarray(members).any(axis=1).all():
        raise ValueError("members must give every seed an image; some row is all False.")
    return members


def _image_shape(image_shape: Sequence[int]) -> tuple[int, int, int]:
    """Returns (H, W, C), checked."""
    height, wide, channels = _checks.sizes("image_shape", image_shape, "HWC")
    return height, wide, channels


def _depth(depth: int) -> int:
    """Returns the number of hidden layers, checked."""
    if isinstance(depth, bool) or not isinstance(depth, int) or depth < 0:
        raise ValueError(f"depth must be a number of hidden layers >= 0; got {depth!r}.")
    return depth


def _kernel_size(kernel_size: int | Sequence[int], height: int, wide: int) -> tuple[int, int]:
    """Returns (Kh, Kw), checked."""
    kernel = (kernel_size, kernel_size) if isinstance(kernel_size, int) else tuple(kernel_size)
    if len(kernel) != 2 or not (1 <= kernel[0] <= height and 1 <= kernel[1] <= wide):
        raise ValueError(
            f"kernel_size must be an int or (Kh, Kw) within the image's {(height, wide)}; "
            f"got {kernel_size!r}."
        )
    return kernel[0], kernel[1]
