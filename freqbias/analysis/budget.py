"""What an analysis spends, and the attacks it takes if none are given."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np

from freqbias import _checks, attacks
from freqbias._checked import checked

BudgetName: TypeAlias = Literal["quick", "thorough"]


class Budget(NamedTuple):
    """Numbers that trade time for certainty."""

    num_images: int | None  # images used, the first ones; None: all
    num_steps: int  # of PGD
    minimal_steps: int  # of DDN, from each of two starts
    num_probes: int  # backward passes for the Jacobian
    num_queries: int  # of the black box in the diagnosis
    num_diagnosed: int  # images that are diagnosed, at most a batch
    num_waved: int  # images under each plane wave; 0: no heat map


BUDGETS: Mapping[str, Budget] = {
    "quick": Budget(128, 20, 20, 4, 100, 32, 0),
    "thorough": Budget(None, 100, 100, 16, 1000, 128, 16),
}


def named_attacks(
    given: Any, image_shape: Sequence[int], budget: Budget
) -> dict[str, attacks.Attack]:
    """The attacks of an analysis, by name.

    Args:
      given: a mapping of names to attacks; None for `default_attacks`.
      image_shape: (H, W, C).
      budget: of the default ones.

    Raises:
      TypeError: no mapping of texts to attacks.
      ValueError: an attack that needs targets, or none at all.
    """
    if given is None:
        return default_attacks(image_shape, budget)
    if not isinstance(given, Mapping):
        raise TypeError(
            "attacks must be a mapping of names to attacks, e.g. {'L2 PGD': fb.attacks.pgd("
            f"fb.attacks.L2(), epsilon=1.0)}}; got {type(given).__name__}."
        )
    if not given:
        raise ValueError("attacks must name at least one attack; got an empty mapping.")
    for name, attack in given.items():
        if not isinstance(name, str) or not callable(attack):
            raise TypeError(f"attacks must map texts to attacks; got {name!r}: {attack!r}.")
        if getattr(attack, "targeted", False):
            raise ValueError(f"attacks must be untargeted; {name!r} needs targets.")
        if isinstance(attack, attacks.UniversalAttack):
            raise ValueError(f"attacks must perturb each image by itself; {name!r} does not.")
    return dict(given)


@checked
def default_attacks(
    image_shape: Sequence[int], budget: Budget | BudgetName = "quick"
) -> dict[str, attacks.Attack]:
    """Three attacks: PGD in L2 and in L-inf, and DDN for the smallest perturbation in L2.

    The radius in L2 is that which is customary for 32 x 32 colour images, 0.5, at the same change
    per pixel: 0.5 sqrt(H W C / 3072). In L-inf it is 8/255.

    Args:
      image_shape: (H, W, C).
      budget: "quick", "thorough", or a `Budget`: their numbers of steps.

    Returns:
      name -> attack.

    Raises:
      ValueError: an unknown budget.

    Example:
      >>> for name, attack in default_attacks((28, 28, 1)).items():
      ...     print(name, describe(attack))
      L2 PGD epsilon 0.2526, 20 steps
      L-inf PGD epsilon 0.03137, 20 steps
      DDN (smallest L2) smallest perturbation, 20 steps from each of 2 starts
    """
    if isinstance(budget, str):
        _checks.one_of("budget", budget, BUDGETS)
        budget = BUDGETS[budget]
    radius = 0.5 * math.sqrt(math.prod(image_shape) / 3072)
    return {
        "L2 PGD": attacks.pgd(attacks.L2(), epsilon=radius, num_steps=budget.num_steps),
        "L-inf PGD": attacks.pgd(attacks.Linf(), epsilon=8 / 255, num_steps=budget.num_steps),
        "DDN (smallest L2)": attacks.ddn(num_steps=budget.minimal_steps),
    }


def describe(attack: Any) -> str:
    """An attack's radius and number of steps in words, as far as it has them."""
    parts = []
    epsilon = getattr(attack, "epsilon", None)
    if epsilon is not None and np.ndim(epsilon) == 0:
        parts.append(f"epsilon {float(epsilon):.4g}")
    else:
        parts.append("smallest perturbation" if epsilon is None else f"epsilons {epsilon}")
    steps, starts = getattr(attack, "num_steps", None), getattr(attack, "num_restarts", 1)
    if steps is not None:
        parts.append(f"{steps} steps" + (f" from each of {starts} starts" if starts > 1 else ""))
    return ", ".join(parts)


def has_radius(attack: Any) -> bool:
    """Whether `freqbias.attacks.diagnose` can look at an attack: a norm, a radius and a box."""
    parts = (getattr(attack, name, None) for name in ("norm", "epsilon", "bounds"))
    return all(part is not None for part in parts) and np.ndim(attack.epsilon) == 0
