"""Adversarial attacks: frozen pytrees called as ``attack(apply_fn, params, images, labels, key)``.

What an attack measures by is a `Norm`: `L1`, `L2`, `Linf`, `Lp`; of the spectrum `FourierL1`,
`FourierLinf`, `WeightedFourierL2`; any of them `band_limited` to some frequencies.

* Gradient attacks of a fixed budget: `fgsm`, `bim`, `pgd`, `mi_fgsm`, `optimizer_pgd`, `apgd`,
  `frank_wolfe`; `square` needs no gradient, and `auto_attack` is the worst case of several.
* For the smallest perturbation: `ddn`, `fmn`, `deepfool`, `fab`, `carlini_wagner`,
  `brendel_bethge`, `smallest_budget`; `bisect` makes any attack of a fixed budget one of these.
* `affine_attack`: the exact answer for affine networks, by which all others are tested.
* `universal`: one perturbation for all images.

`evaluate` runs an attack over a data set and an ensemble, `robustness_curve` at many radii,
`evaluate_bands` in many bands of frequencies; `transfer` tries perturbations on other networks,
`diagnose` looks for signs that an attack failed, `heat_map` perturbs by single waves. An attack on
single images returns a `Perturbation`.

Example:
  >>> import jax
  >>> from freqbias import attacks
  >>> attack = attacks.pgd(attacks.L2(), epsilon=0.5, num_steps=5)
  >>> apply_fn, params, images, labels = attacks.example()
  >>> found = attack(apply_fn, params, images, labels, jax.random.key(0))
  >>> found.delta.shape, bool((found.distance <= 0.5 + 1e-6).all())
  ((4, 8, 8, 1), True)
"""

from freqbias.attacks.affine import AffineAttack as AffineAttack
from freqbias.attacks.affine import affine_attack as affine_attack
from freqbias.attacks.apgd import AutoPGD as AutoPGD
from freqbias.attacks.apgd import AutoState as AutoState
from freqbias.attacks.apgd import SparseAutoPGD as SparseAutoPGD
from freqbias.attacks.apgd import apgd as apgd
from freqbias.attacks.auto import AutoAttack as AutoAttack
from freqbias.attacks.auto import auto_attack as auto_attack
from freqbias.attacks.auto import worst_case as worst_case
from freqbias.attacks.bisection import Bisection as Bisection
from freqbias.attacks.bisection import bisect as bisect
from freqbias.attacks.diagnose import Diagnosis as Diagnosis
from freqbias.attacks.diagnose import diagnose as diagnose
from freqbias.attacks.driver import Answer as Answer
from freqbias.attacks.driver import IterativeAttack as IterativeAttack
from freqbias.attacks.driver import Loop as Loop
from freqbias.attacks.driver import Phase as Phase
from freqbias.attacks.driver import Program as Program
from freqbias.attacks.driver import forward as forward
from freqbias.attacks.driver import gradient_of as gradient_of
from freqbias.attacks.driver import jacobian as jacobian
from freqbias.attacks.driver import query as query
from freqbias.attacks.driver import unasked as unasked
from freqbias.attacks.evaluate import Evaluation as Evaluation
from freqbias.attacks.evaluate import RobustnessCurve as RobustnessCurve
from freqbias.attacks.evaluate import Transfer as Transfer
from freqbias.attacks.evaluate import at_epsilon as at_epsilon
from freqbias.attacks.evaluate import evaluate as evaluate
from freqbias.attacks.evaluate import robustness_curve as robustness_curve
from freqbias.attacks.evaluate import summarize as summarize
from freqbias.attacks.evaluate import transfer as transfer
from freqbias.attacks.example import Example as Example
from freqbias.attacks.example import example as example
from freqbias.attacks.frank_wolfe import FrankWolfe as FrankWolfe
from freqbias.attacks.frank_wolfe import frank_wolfe as frank_wolfe
from freqbias.attacks.frequency import band_masks as band_masks
from freqbias.attacks.frequency import evaluate_bands as evaluate_bands
from freqbias.attacks.frequency import heat_map as heat_map
from freqbias.attacks.gradient import GradientAttack as GradientAttack
from freqbias.attacks.gradient import GradientState as GradientState
from freqbias.attacks.gradient import OptimizerAttack as OptimizerAttack
from freqbias.attacks.gradient import bim as bim
from freqbias.attacks.gradient import fgsm as fgsm
from freqbias.attacks.gradient import mi_fgsm as mi_fgsm
from freqbias.attacks.gradient import momentum as momentum
from freqbias.attacks.gradient import optimizer_pgd as optimizer_pgd
from freqbias.attacks.gradient import pgd as pgd
from freqbias.attacks.losses import dlr as dlr
from freqbias.attacks.losses import log_odds as log_odds
from freqbias.attacks.losses import margin as margin
from freqbias.attacks.losses import named_loss as named_loss
from freqbias.attacks.losses import targeted_dlr as targeted_dlr
from freqbias.attacks.minimal.boundary import MinimalState as MinimalState
from freqbias.attacks.minimal.brendel_bethge import BrendelBethge as BrendelBethge
from freqbias.attacks.minimal.brendel_bethge import brendel_bethge as brendel_bethge
from freqbias.attacks.minimal.carlini_wagner import CarliniWagner as CarliniWagner
from freqbias.attacks.minimal.carlini_wagner import carlini_wagner as carlini_wagner
from freqbias.attacks.minimal.ddn import DDN as DDN
from freqbias.attacks.minimal.ddn import ddn as ddn
from freqbias.attacks.minimal.deepfool import DeepFool as DeepFool
from freqbias.attacks.minimal.deepfool import deepfool as deepfool
from freqbias.attacks.minimal.fab import FAB as FAB
from freqbias.attacks.minimal.fab import fab as fab
from freqbias.attacks.minimal.fmn import FMN as FMN
from freqbias.attacks.minimal.fmn import fmn as fmn
from freqbias.attacks.minimal.smallest_budget import SmallestBudget as SmallestBudget
from freqbias.attacks.minimal.smallest_budget import smallest_budget as smallest_budget
from freqbias.attacks.norms import L0 as L0
from freqbias.attacks.norms import L1 as L1
from freqbias.attacks.norms import L2 as L2
from freqbias.attacks.norms import BandLimited as BandLimited
from freqbias.attacks.norms import Bounds as Bounds
from freqbias.attacks.norms import FourierL1 as FourierL1
from freqbias.attacks.norms import FourierLinf as FourierLinf
from freqbias.attacks.norms import Linf as Linf
from freqbias.attacks.norms import Lp as Lp
from freqbias.attacks.norms import Norm as Norm
from freqbias.attacks.norms import WeightedFourierL2 as WeightedFourierL2
from freqbias.attacks.norms import band_limited as band_limited
from freqbias.attacks.norms import weighted_fourier_l2 as weighted_fourier_l2
from freqbias.attacks.protocol import Attack as Attack
from freqbias.attacks.protocol import CheckedAttack as CheckedAttack
from freqbias.attacks.protocol import Perturbation as Perturbation
from freqbias.attacks.protocol import image_keys as image_keys
from freqbias.attacks.square import SquareAttack as SquareAttack
from freqbias.attacks.square import SquareState as SquareState
from freqbias.attacks.square import square as square
from freqbias.attacks.universal import UniversalAttack as UniversalAttack
from freqbias.attacks.universal import UniversalPerturbation as UniversalPerturbation
from freqbias.attacks.universal import universal as universal

__all__ = [
    "DDN",
    "FAB",
    "FMN",
    "L0",
    "L1",
    "L2",
    "AffineAttack",
    "Answer",
    "Attack",
    "AutoAttack",
    "AutoPGD",
    "AutoState",
    "BandLimited",
    "Bisection",
    "Bounds",
    "BrendelBethge",
    "CarliniWagner",
    "CheckedAttack",
    "DeepFool",
    "Diagnosis",
    "Evaluation",
    "Example",
    "FourierL1",
    "FourierLinf",
    "FrankWolfe",
    "GradientAttack",
    "GradientState",
    "IterativeAttack",
    "Linf",
    "Loop",
    "Lp",
    "MinimalState",
    "Norm",
    "OptimizerAttack",
    "Perturbation",
    "Phase",
    "RobustnessCurve",
    "SmallestBudget",
    "SparseAutoPGD",
    "SquareAttack",
    "SquareState",
    "Transfer",
    "UniversalAttack",
    "UniversalPerturbation",
    "WeightedFourierL2",
    "affine_attack",
    "apgd",
    "at_epsilon",
    "auto_attack",
    "band_limited",
    "band_masks",
    "bim",
    "bisect",
    "brendel_bethge",
    "carlini_wagner",
    "ddn",
    "deepfool",
    "diagnose",
    "dlr",
    "evaluate",
    "evaluate_bands",
    "example",
    "fab",
    "fgsm",
    "fmn",
    "forward",
    "frank_wolfe",
    "gradient_of",
    "heat_map",
    "image_keys",
    "jacobian",
    "log_odds",
    "margin",
    "mi_fgsm",
    "momentum",
    "named_loss",
    "optimizer_pgd",
    "pgd",
    "query",
    "robustness_curve",
    "smallest_budget",
    "square",
    "summarize",
    "targeted_dlr",
    "transfer",
    "unasked",
    "universal",
    "weighted_fourier_l2",
    "worst_case",
]
