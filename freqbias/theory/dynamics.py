"""How fast each frequency of a linear network is learnt: closed trajectories for squared loss.

Setting: loss E(<beta, x> - <beta*, x>)^2 / 2; inputs whose covariance is circulant, i.e. whose
distribution is invariant to shifts, with power lambda_f = E|x_hat_f|^2; full-width circular
convolutions of L = depth + 1 layers, each hidden one divided by sqrt(HW); layers balanced and in
phase with the target at the start. Frequencies then decouple, and gradient flow is

    d|b|/dt = L |b|^{2 - 2/L} (s - lambda |b|),    b = beta_hat,  s = lambda |beta*_hat|.

At depth 0 the rate is lambda: the power of the data, whatever the architecture. From depth 1 on
frequencies wait, then jump, the loudest in s first: time ~ 1/s. NumPy on the host, elementwise.
"""

from typing import NamedTuple

import numpy as np
import scipy

from freqbias import _checks
from freqbias._checked import checked
from freqbias.typing import ArrayLike, Numbers


class FourierProblem(NamedTuple):
    """A regression problem as its frequencies see it."""

    power: np.ndarray  # [H, W], lambda_f = E|x_hat_f|^2
    correlation: np.ndarray  # [H, W], s_f = lambda_f |beta*_hat_f|


@checked
def fourier_problem(images: ArrayLike, teacher: ArrayLike) -> FourierProblem:
    """Power and correlation of a data set, all its shifts included, labelled by a linear teacher.

    The covariance averaged over all circular shifts is circulant, with eigenvalues E|x_hat_f|^2.
    Labels must come from a teacher: labels that ignore a shift leave nothing but f = 0 to learn.

    Args:
      images: [N, H, W, 1], any real values.
      teacher: beta* [H, W, 1].

    Returns:
      The problem, in ``fftfreq`` order.

    Raises:
      TypeError: images are not floats.
      ValueError: a shape is wrong, or a value is not finite.
    """
    _checks.images(images, unit_range=False)
    images, teacher = np.asarray(images, np.float64), np.asarray(teacher, np.float64)
    if images.shape[-1] != 1 or teacher.shape != images.shape[1:]:
        raise ValueError(
            f"images must be [N, H, W, 1] and teacher [H, W, 1]; got {images.shape} and "
            f"{teacher.shape}."
        )
    power = np.mean(np.abs(np.fft.fft2(images[..., 0], norm="ortho")) ** 2, axis=0)
    return FourierProblem(power, power * np.abs(np.fft.fft2(teacher[..., 0], norm="ortho")))


@checked
def learning_time(
    initial: Numbers, final: Numbers, correlation: Numbers, power: Numbers, *, depth: int
) -> np.ndarray:
    """Time of gradient flow from amplitude ``initial`` to ``final``, below the target.

    t = (s/lambda)^{2/L - 1} (I(x_1) - I(x_0)) / (L s),  x = lambda |b| / s the fraction learnt,

        I(x) = int x^{2/L - 2} / (1 - x) dx = x^{c - 1} / (c - 1) 2F1(1, c - 1; c; x),  c = 2/L,

    which is -log(1 - x) at depth 0 and log(x / (1 - x)) at depth 1: half of the target is reached
    at log(s / (lambda b_0) - 1) / (2 s).

    Args:
      initial: |b| at time 0, > 0 (>= 0 at depth 0).
      final: |b| to reach, between ``initial`` and s / lambda, exclusive.
      correlation: s > 0.
      power: lambda > 0.
      depth: number of hidden layers.

    Returns:
      Times, broadcast over the arguments.

    Raises:
      ValueError: an amplitude is out of range.

    Reference:
      Saxe, McClelland & Ganguli 2014 (arXiv 1312.6120), for L = 2, per singular mode.
    """
    num_layers = _num_layers(depth)
    initial, final = np.asarray(initial, np.float64), np.asarray(final, np.float64)
    correlation, power = np.asarray(correlation, np.float64), np.asarray(power, np.float64)
    _checks.positive("correlation", correlation)
    _checks.positive("power", power)
    _checks.broadcast(initial=initial, final=final, correlation=correlation, power=power)
    target = correlation / power
    start = (initial >= 0) if depth == 0 else (initial > 0)
    if not (np.all(start) and np.all(initial <= final) and np.all(final < target)):
        raise ValueError(
            "initial and final must satisfy 0 < initial <= final < correlation / power "
            f"(0 <= initial at depth 0); got {initial}, {final} and target {target}."
        )
    rate = num_layers * correlation * target ** (1 - 2 / num_layers)
    return (_progress(final / target, num_layers) - _progress(initial / target, num_layers)) / rate


@checked
def amplitude_trajectory(
    times: Numbers, initial: Numbers, correlation: Numbers, power: Numbers, *, depth: int
) -> np.ndarray:
    """Amplitudes |beta_hat_f| along gradient flow.

    depth 0:  s/lambda + (b_0 - s/lambda) exp(-lambda t)
    depth 1:  (s/lambda) / (1 + (s/(lambda b_0) - 1) exp(-2 s t)),  a sigmoid
    deeper:   the inverse of ``learning_time``

    Args:
      times: [T], >= 0.
      initial: |b| at time 0, [...]; > 0 for depth >= 1, and below s / lambda for depth >= 2.
      correlation: s, [...], >= 0 (> 0 for depth >= 1).
      power: lambda > 0, [...].
      depth: number of hidden layers.

    Returns:
      [T, ...].

    Raises:
      ValueError: an argument is out of range.
    """
    num_layers = _num_layers(depth)
    times = np.asarray(times, np.float64)
    _checks.rank("times", times, 1)
    if not np.all(times >= 0):
        raise ValueError(f"times must be >= 0; got {times}.")
    _checks.broadcast(initial=initial, correlation=correlation, power=power)
    initial, correlation, power = np.broadcast_arrays(
        *(np.asarray(value, np.float64) for value in (initial, correlation, power))
    )
    _checks.positive("power", power)
    time = times.reshape(-1, *[1] * initial.ndim)
    target = correlation / power
    if depth == 0:
        return target + (initial - target) * np.exp(-power * time)
    _checks.positive("initial", initial)
    _checks.positive("correlation", correlation)
    if depth == 1:
        return target / (1 + (target / initial - 1) * np.exp(-2 * correlation * time))
    if not np.all(initial < target):
        raise ValueError("initial must be below correlation / power at depth >= 2.")
    goal = _progress(initial / target, num_layers) + time * (
        num_layers * correlation * target ** (1 - 2 / num_layers)
    )
    # x = 1 / (1 + e^-u): bisect on u, in which the progress is smooth and monotone.
    low = np.broadcast_to(np.log(initial / (target - initial)), goal.shape)
    high = np.full_like(goal, 36.0)
    for _ in range(80):
        middle = (low + high) / 2
        below = _progress(scipy.special.expit(middle), num_layers) < goal
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    return target * scipy.special.expit((low + high) / 2)


@checked
def gradient_descent_amplitude(
    num_steps: int,
    initial: Numbers,
    correlation: Numbers,
    power: Numbers,
    *,
    step_size: float,
    depth: int,
) -> np.ndarray:
    """Amplitudes along *discrete* gradient descent on the layers; exact, not only for small steps.

    Every layer has amplitude a = |b|^{1/L}, and  a <- a - eta a^{L-1} (lambda a^L - s).
    At depth 0 this is s/lambda + (b_0 - s/lambda) (1 - eta lambda)^t.

    Args:
      num_steps: steps to take.
      initial: |b| at step 0, [...].
      correlation: s, [...].
      power: lambda, [...].
      step_size: eta.
      depth: number of hidden layers.

    Returns:
      [num_steps + 1, ...]; the sign is that of the target's direction.

    Raises:
      TypeError: num_steps is no int.
      ValueError: num_steps is not positive, depth is negative, or an initial amplitude is.
    """
    num_layers = _num_layers(depth)
    _checks.positive_int("num_steps", num_steps)
    _checks.positive("step_size", step_size)
    _checks.broadcast(initial=initial, correlation=correlation, power=power)
    initial, correlation, power = np.broadcast_arrays(
        *(np.asarray(value, np.float64) for value in (initial, correlation, power))
    )
    if not np.all(initial >= 0):
        raise ValueError("initial must be >= 0.")
    layer = initial ** (1 / num_layers)
    path = [initial]
    for _ in range(num_steps):
        layer = layer - step_size * layer ** (num_layers - 1) * (
            power * layer**num_layers - correlation
        )
        path.append(layer**num_layers)
    return np.stack(path)


def _progress(fraction: np.ndarray, num_layers: int) -> np.ndarray:
    """The integral I(x) of ``learning_time``, without its constant."""
    if num_layers == 1:
        return -np.log1p(-fraction)
    if num_layers == 2:
        return np.log(fraction) - np.log1p(-fraction)
    c = 2 / num_layers
    return fraction ** (c - 1) / (c - 1) * scipy.special.hyp2f1(1, c - 1, c, fraction)


def _num_layers(depth: int) -> int:
    """Returns L = depth + 1, checked."""
    if isinstance(depth, bool) or not isinstance(depth, int | np.integer) or depth < 0:
        raise ValueError(f"depth must be a number of hidden layers >= 0; got {depth!r}.")
    return int(depth) + 1
