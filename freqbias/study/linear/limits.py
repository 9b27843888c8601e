"""The norm whose margin each linear architecture maximises in the limit; maximum margins."""

import itertools
from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from freqbias import _checks, spectral, theory
from freqbias._checked import checked
from freqbias.study.linear.tasks import SIDE, BinaryTask, members_of
from freqbias.study.setting import Setting
from freqbias.theory import Regularizer
from freqbias.typing import Array, Status


@cache
def regularizer_of(name: str) -> Regularizer:
    """The norm of that name; always the same object, so that programs are compiled once.

    Args:
      name: ``l2``; ``fourier``, the l1 norm of the DFT; ``kernel_3``, what a convolution of 3 x 3
        taps makes cheap; or ``locally_connected_3``, the same of windows that share no weights.

    Raises:
      ValueError: no such norm.
    """
    kind, _, taps = name.rpartition("_")
    if kind in ("kernel", "locally_connected") and taps.isdigit():
        made = {
            "kernel": theory.kernel_regularizer,
            "locally_connected": theory.locally_connected_regularizer,
        }
        return made[kind](int(taps))
    if name not in ("l2", "fourier"):
        raise ValueError(
            f"norm must be l2, fourier, kernel_K or locally_connected_K; got {name!r}."
        )
    return theory.l2_regularizer() if name == "l2" else theory.fourier_regularizer()


def own_norm(setting: Setting) -> str:
    """The norm whose margin an arm maximises in the limit; empty where no norm is known."""
    if setting.architecture == "fc":
        return "l2"
    if setting.depth > 1:
        return ""
    if setting.kernel == "full":
        return "fourier"
    return (
        f"{'kernel' if setting.architecture == 'conv' else setting.architecture}_{setting.kernel}"
    )


def two_layer_cost(name: str, params: Any) -> Array:
    """2 ||U|| ||V||, times sqrt(D) for convolutions: the least weight cost by scaling layers."""
    first, second = params["kernels"][0], params["readout"]
    norms = [jnp.linalg.norm(x.reshape(len(x), -1), axis=1) for x in (first, second)]
    scale = SIDE if name.startswith("kernel") else 1  # sqrt(D)
    return 2 * scale * norms[0] * norms[1]


class LimitPlan(NamedTuple):
    """A maximum margin to solve for."""

    norm: str
    num_train: int
    max_iterations: int


@checked
def solve_limits(
    task: BinaryTask, plans: Sequence[LimitPlan], seeds: Sequence[int], random_key: int
) -> list[dict[str, Any]]:
    """Maximum-margin predictors on the samples of a few seeds, certified to 1e-3 or marked.

    Args:
      task: the images and labels.
      plans: the norms and sample sizes.
      seeds: whose samples are solved for.
      random_key: the root of the samples, as that of the networks.

    Returns:
      JSON-ready mappings: norm, num_train, seed, status, gap, iterations, mean_frequency,
      participation_ratio, hoyer.
    """
    _checks.seeds([random_key], "random_key")
    out = []
    for plan, seed in itertools.product(plans, seeds):
        here = members_of(task, [plan.num_train], [seed], random_key)[0, 0]
        found = theory.max_margin(
            task.images[here],
            task.labels[here],
            regularizer_of(plan.norm),
            tolerance=1e-3,
            max_iterations=plan.max_iterations,
        )
        summary = spectral.summarize(jnp.asarray(found.weights, jnp.float32))
        known = found.status == Status.OK
        names = ("mean_frequency", "participation_ratio", "hoyer")
        out.append(
            {
                "norm": plan.norm,
                "num_train": plan.num_train,
                "seed": seed,
                "status": found.status.name.lower(),
                "gap": rounded(found.gap),
                "max_iterations": plan.max_iterations,
                **{name: rounded(getattr(summary, name)) if known else None for name in names},
            }
        )
    return out


def rounded(value: Any) -> float | None:
    """Six digits, as many as float32 has; None for NaN."""
    value = float(value)
    return float(f"{value:.6g}") if np.isfinite(value) else None
