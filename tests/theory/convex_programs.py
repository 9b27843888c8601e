"""Second routes to the margins and norms of `freqbias.theory`: convex programs, by Clarabel."""

import cvxpy as cp
import numpy as np


def max_margin(images, labels, regularizer):
    """The primal, min sum_b ||G_b||_nuclear s.t. the margins, beta = adjoint(G): norm and beta."""
    signed = np.asarray(images, np.float64) * (2 * labels - 1.0)[:, None, None, None]
    blocks = np.asarray(regularizer.blocks(signed))
    num, count, rows, columns = blocks.shape
    if rows == 1:
        flat = cp.Variable((count, columns))
        cost = cp.sum(cp.norm(flat, 2, axis=1))
        margins = blocks.reshape(num, -1) @ cp.vec(flat, order="C")
    else:
        parts = [cp.Variable((rows, columns)) for _ in range(count)]
        cost = cp.sum(cp.hstack([cp.normNuc(part) for part in parts]))
        each = [
            blocks[:, b].reshape(num, -1) @ cp.vec(part, order="C") for b, part in enumerate(parts)
        ]
        margins = cp.sum(cp.vstack(each), axis=0)
    problem = cp.Problem(cp.Minimize(cost), [margins >= 1])
    problem.solve(solver="CLARABEL")
    primal = flat.value[:, None, :] if rows == 1 else np.stack([part.value for part in parts])
    return problem.value, np.asarray(regularizer.adjoint(primal, images.shape[1:]))


def kernel_norm(beta, kernel_shape):
    """R_K of beta [H, W, 1]: min_{Z >= 0} tr Z + sum_f |beta_hat[f]|^2 / S_f(Z).

    S_f = sum_{k,k'} Z[k,k'] exp(-2 pi i f.(k - k')) / D.
    """
    height, width = beta.shape[:2]
    scale = np.abs(beta).max()
    power = np.abs(np.fft.rfft2(beta[..., 0] / scale, norm="ortho")) ** 2
    weight = np.full(power.shape, 2.0)
    weight[:, 0] = 1
    if width % 2 == 0:
        weight[:, -1] = 1
    taps = np.argwhere(np.ones(kernel_shape))
    y, x = np.mgrid[:height, : width // 2 + 1]
    angle = 2 * np.pi * (np.multiply.outer(y, taps[:, 0]) / height)
    angle = angle + 2 * np.pi * np.multiply.outer(x, taps[:, 1]) / width
    keep = power > 1e-14 * power.max()
    response = np.exp(-1j * angle[keep]) / np.sqrt(height * width)
    rows = np.einsum("fk,fl->fkl", response, response.conj()).real.reshape(len(response), -1)
    form = cp.Variable((len(taps), len(taps)), PSD=True)
    total = rows @ cp.vec(form, order="C")
    cost = cp.trace(form) + cp.sum(cp.multiply(weight[keep] * power[keep], cp.inv_pos(total)))
    problem = cp.Problem(cp.Minimize(cost))
    problem.solve(solver="CLARABEL")
    return scale * problem.value
