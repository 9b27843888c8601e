"""Maximum-margin predictors: min Norm(beta) subject to y_n <beta, x_n> >= 1, solved and certified.

The dual maximises sum_n a_n over a >= 0 with Norm*(sum_n a_n y_n x_n) <= 1: n variables, whatever
the image. Every norm of ``regularizers`` has a dual ball bounded by operator norms of linear
blocks M_b, so one interior-point method solves them all,

    min_a  -t sum a - sum log a - sum_b log det(I - M_b M_b^T),

and the barrier's gradient is the primal solution. With NumPy and SciPy only; the tests solve the
primal by Clarabel, as a second route.
"""

from typing import NamedTuple

import numpy as np
import scipy

from freqbias import _checks
from freqbias._checked import checked
from freqbias.theory.certificate import certificate
from freqbias.theory.regularizers import Regularizer, l2_regularizer
from freqbias.typing import ArrayLike, Status


class MaxMargin(NamedTuple):
    """A maximum-margin predictor, scaled to smallest margin 1, and its certificate."""

    weights: np.ndarray  # [H, W, C]; zeros if nothing that separates was found
    dual_weights: np.ndarray  # [N], a_n >= 0
    norm: float  # of weights; 1 / norm is the margin of the unit ball
    gap: float  # 1 - margin / upper bound, certified by duality
    status: Status  # OK, NOT_SEPARABLE or NOT_CONVERGED


@checked
def max_margin(
    images: ArrayLike,
    labels: ArrayLike,
    regularizer: Regularizer,
    *,
    tolerance: float = 1e-6,
    max_iterations: int = 300,
) -> MaxMargin:
    """Solves min Norm(beta) s.t. y_n <beta, x_n> >= 1 by a barrier method on the dual.

    Args:
      images: [N, H, W, C], any real values (centre them first if the model does).
      labels: int [N], 0 or 1; y_n = 2 labels - 1.
      regularizer: the norm.
      tolerance: certified relative gap at which to stop. Rounding allows about 1e-7.
      max_iterations: Newton steps in all.

    Returns:
      The predictor; ``status`` is NOT_SEPARABLE where no linear predictor through the origin
      separates the classes, NOT_CONVERGED if the gap is still above the tolerance, as it can be
      for R_K on hundreds of strongly correlated images. A norm with a single Euclidean block (l2,
      or a kernel of one tap) is solved by the method of ``support_vector_machine``, which is exact.

    Raises:
      TypeError, ValueError: images or labels are not as stated, or only one class is present.

    Example:
      >>> from freqbias.theory import fourier_regularizer
      >>> images = np.random.default_rng(0).normal(size=(6, 4, 4, 1))
      >>> solution = max_margin(images, np.arange(6) % 2, fourier_regularizer())
      >>> solution.status.name, solution.gap < 1e-6
      ('OK', True)
    """
    _checks.positive("tolerance", tolerance)
    _checks.positive_int("max_iterations", max_iterations)
    signed = _signed(images, labels)
    start = _support_vectors(signed.reshape(len(signed), -1))
    if start is None:
        return _not_separable(signed)
    blocks = np.asarray(regularizer.blocks(signed))  # [N, B, p, q]
    flat = blocks.reshape(len(signed), -1)
    shape = blocks.shape[1:]
    if shape[0] == shape[1] == 1:
        start = _support_vectors(flat)
        if start is None:
            return _not_separable(signed)
        primal = (start @ flat).reshape(shape)
        return _result(signed, regularizer, primal, start, tolerance)

    def operator(a: np.ndarray) -> np.ndarray:
        return (a @ flat).reshape(shape)

    a = start / start.sum() + 1 / len(start)
    a *= 0.5 / np.linalg.norm(operator(a), 2, axis=(-2, -1)).max()
    weight = 0.1 * len(a) / a.sum()
    best: MaxMargin | None = None
    steps = failures = 0
    while steps < max_iterations and failures < 3:
        for _ in range(30):
            steps += 1
            matrix = operator(a)
            gradient, hessian, _ = _derivatives(a, blocks, matrix, weight)
            scaled = hessian * np.multiply.outer(a, a)  # in units of a: well conditioned
            step = -a * _solve(scaled, a * gradient)
            decrement = float(-gradient @ step)
            size = _step_size((a, matrix), (step, operator(step)), weight, decrement)
            a = a + size * step
            if decrement < 1e-3 or size == 0 or steps >= max_iterations:
                break
        primal = _derivatives(a, blocks, operator(a), weight)[2] / weight
        found = _result(signed, regularizer, primal, a, tolerance)
        if best is None or found.gap < best.gap:
            best, failures = found, 0
        else:  # rounding has taken over
            failures += 1
        if best.gap < tolerance:
            break
        weight *= 3.0
    assert best is not None
    return best


@checked
def support_vector_machine(images: ArrayLike, labels: ArrayLike) -> MaxMargin:
    """Maximum l2 margin through the origin, to machine precision, by non-negative least squares.

    a = argmin_{a >= 0} ||sum_n a_n y_n x_n||^2 + (sum a - 1)^2, and beta is proportional to
    sum a_n y_n x_n.

    Args:
      images: [N, H, W, C].
      labels: int [N], 0 or 1.

    Returns:
      The predictor; ``status`` NOT_SEPARABLE as for ``max_margin``.

    Reference:
      Lawson & Hanson 1974, chapter 23 (least distance programming).
    """
    signed = _signed(images, labels)
    a = _support_vectors(signed.reshape(len(signed), -1))
    if a is None:
        return _not_separable(signed)
    regularizer = l2_regularizer()
    primal = np.asarray(regularizer.blocks(np.tensordot(a, signed, 1)))
    return _result(signed, regularizer, primal, a)


def _result(
    signed: np.ndarray,
    regularizer: Regularizer,
    primal: np.ndarray,
    dual_weights: np.ndarray,
    tolerance: float = 1e-6,
) -> MaxMargin:
    """Certifies and scales the predictor of primal blocks [B, p, q] and dual weights [N].

    The nuclear norms of the blocks bound the norm from above, so no inner solver is needed.
    """
    beta = np.asarray(regularizer.adjoint(primal, signed.shape[1:]))
    norm = np.linalg.svd(primal, compute_uv=False).sum()
    ones = np.ones(len(signed), np.int32)  # the signs are in the images already
    found = certificate(beta, signed, ones, regularizer, norm=norm, dual_weights=dual_weights)
    if not found.margin > 0:  # far from convergence: nothing to scale to margin 1
        zeros = np.zeros_like(beta)
        gap = float(found.gap)
        return MaxMargin(zeros, dual_weights, float("inf"), gap, Status.NOT_CONVERGED)
    status = Status.OK if found.gap < tolerance else Status.NOT_CONVERGED
    beta = beta / (found.margin * norm)
    return MaxMargin(beta, dual_weights, float(1 / found.margin), float(found.gap), status)


def _barrier(a: np.ndarray, matrix: np.ndarray, weight: float) -> float:
    """The barrier at a [N], with blocks ``matrix`` [B, p, q]; infinite outside the dual ball."""
    if np.any(a <= 0):
        return np.inf
    inner = np.eye(matrix.shape[1]) - matrix @ matrix.swapaxes(-1, -2)
    try:
        roots = np.linalg.cholesky(inner)
    except np.linalg.LinAlgError:
        return np.inf
    log_det = 2 * np.sum(np.log(np.diagonal(roots, axis1=-2, axis2=-1)))
    return float(-weight * a.sum() - np.log(a).sum() - log_det)


def _step_size(
    point: tuple[np.ndarray, np.ndarray],
    change: tuple[np.ndarray, np.ndarray],
    weight: float,
    decrement: float,
) -> float:
    """How far to go along a Newton step; point and change hold a and its blocks."""

    def value(size: float) -> float:
        return _barrier(point[0] + size * change[0], point[1] + size * change[1], weight)

    if decrement < 0.1 and value(1.0) < np.inf:
        return 1.0  # safe by self-concordance, where rounding spoils a comparison of values
    sizes = np.append(0.0, 0.5 ** np.arange(30))
    return float(sizes[np.argmin([value(size) for size in sizes])])


def _derivatives(
    a: np.ndarray, blocks: np.ndarray, matrix: np.ndarray, weight: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Gradient [N] and Hessian [N, N] of the barrier, and the primal blocks [B, p, q] times t."""
    num, _, rows, _ = blocks.shape
    if rows == 1:  # log(1 - |m|^2) in closed form
        inverse = 1 / (1 - np.sum(matrix**2, -1))[..., None]  # [B, 1, 1]
        primal = 2 * inverse * matrix
        along = np.einsum("nbpq,bpq->nb", blocks, primal)  # gradient of each term
        half = (blocks * np.sqrt(2 * inverse)).reshape(num, -1)
        curvature = half @ half.T + along @ along.T
    else:
        inner = np.eye(rows) - matrix @ matrix.swapaxes(-1, -2)
        root = np.linalg.inv(np.linalg.cholesky(inner))  # root^T root is the inverse
        primal = 2 * root.swapaxes(-1, -2) @ (root @ matrix)
        half = root @ blocks
        cross = half @ (root @ matrix).swapaxes(-1, -2)
        cross = (cross + cross.swapaxes(-1, -2)).reshape(num, -1)
        half = half.reshape(num, -1)
        curvature = 2 * half @ half.T + cross @ cross.T
    gradient = blocks.reshape(num, -1) @ primal.ravel() - weight - 1 / a
    return gradient, curvature + np.diag(1 / a**2), primal


def _solve(matrix: np.ndarray, vector: np.ndarray) -> np.ndarray:
    """Solves a positive definite system which may be so only up to rounding."""
    try:
        return scipy.linalg.cho_solve(scipy.linalg.cho_factor(matrix), vector)
    except np.linalg.LinAlgError:
        return np.linalg.lstsq(matrix, vector)[0]


def _signed(images: ArrayLike, labels: ArrayLike) -> np.ndarray:
    """Returns y_n x_n [N, H, W, C] in float64, checked."""
    _checks.images(images, unit_range=False)
    _checks.labels(labels, num_examples=np.shape(images)[0], num_classes=2)
    labels = np.asarray(labels)
    if labels.min() == labels.max():
        raise ValueError(f"labels must contain both classes; got only {labels[0]}.")
    return np.asarray(images, np.float64) * (2 * labels - 1.0)[:, None, None, None]


def _support_vectors(rows: np.ndarray) -> np.ndarray | None:
    """Returns the dual weights [N] of the l2 problem of y_n x_n [N, D]; None if not separable."""
    # In units where the closest point of the hull is of order one the system is well scaled.
    scale = np.linalg.norm(rows, axis=1).max()
    if scale == 0:
        return None
    for _ in range(3):
        system = np.vstack([rows.T / scale, np.ones(len(rows))])
        target = np.append(np.zeros(rows.shape[1]), 1.0)
        a, _ = scipy.optimize.nnls(system, target, maxiter=50 * len(rows))
        beta = a @ rows
        distance = np.linalg.norm(beta) / a.sum()
        margins = rows @ beta
        if not (distance > 1e-10 * scale and margins.min() > 0):
            return None
        if distance > 1e-2 * scale:
            break
        scale = distance
    return a


def _not_separable(signed: np.ndarray) -> MaxMargin:
    """Returns the result that says so."""
    zeros = np.zeros(signed.shape[1:])
    return MaxMargin(zeros, np.zeros(len(signed)), float("inf"), float("nan"), Status.NOT_SEPARABLE)
