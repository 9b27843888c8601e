"""Adversarial attacks: frozen pytrees called as ``attack(apply_fn, params, images, labels, key)``.

A `Norm` (`L1`, `L2`, `Linf`; of the spectrum `FourierL1`, `FourierLinf`, `WeightedFourierL2`) is
the geometry; `pgd`, `fgsm`, `mi_fgsm` and `apgd` are gradient attacks of a fixed budget in any
norm, `square` needs no gradient, `auto_attack` is the worst case of several, `bisect` makes them
minimal; `affine_attack` is the closed form for affine models, the yardstick of all others; `ddn`,
`fmn`, `deepfool`, `fab`, `carlini_wagner` and `brendel_bethge` look for the smallest perturbation,
`smallest_budget` in any norm; `universal` looks for one for all images. By frequency: a norm
`band_limited` to some waves, `evaluate_bands`, and `heat_map`. `evaluate` runs an attack over a
data set and an ensemble, `robustness_curve` at many radii, and `diagnose` looks for signs that it
failed. Every attack on single images returns a `Perturbation`.
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
from freqbias.attacks.evaluate import Evaluation as Evaluation
from freqbias.attacks.evaluate import RobustnessCurve as RobustnessCurve
from freqbias.attacks.evaluate import Transfer as Transfer
from freqbias.attacks.evaluate import at_epsilon as at_epsilon
from freqbias.attacks.evaluate import evaluate as evaluate
from freqbias.attacks.evaluate import robustness_curve as robustness_curve
from freqbias.attacks.evaluate import summarize as summarize
from freqbias.attacks.evaluate import transfer as transfer
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
from freqbias.attacks.losses import cross_entropy as cross_entropy
from freqbias.attacks.losses import dlr as dlr
from freqbias.attacks.losses import log_odds as log_odds
from freqbias.attacks.losses import margin as margin
from freqbias.attacks.losses import named_loss as named_loss
from freqbias.attacks.losses import targeted_dlr as targeted_dlr
from freqbias.attacks.losses import targeted_fn as targeted_fn
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
from freqbias.attacks.norms import Norm as Norm
from freqbias.attacks.norms import WeightedFourierL2 as WeightedFourierL2
from freqbias.attacks.norms import band_limited as band_limited
from freqbias.attacks.norms import weighted_fourier_l2 as weighted_fourier_l2
from freqbias.attacks.protocol import Attack as Attack
from freqbias.attacks.protocol import Perturbation as Perturbation
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
    "DeepFool",
    "Diagnosis",
    "Evaluation",
    "FourierL1",
    "FourierLinf",
    "GradientAttack",
    "GradientState",
    "IterativeAttack",
    "Linf",
    "Loop",
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
    "cross_entropy",
    "ddn",
    "deepfool",
    "diagnose",
    "dlr",
    "evaluate",
    "evaluate_bands",
    "fab",
    "fgsm",
    "fmn",
    "forward",
    "gradient_of",
    "heat_map",
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
    "targeted_fn",
    "transfer",
    "universal",
    "weighted_fourier_l2",
    "worst_case",
]
