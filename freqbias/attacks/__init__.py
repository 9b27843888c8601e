"""Adversarial attacks: frozen pytrees called as ``attack(apply_fn, params, images, labels, key)``.

A `Norm` (`L1`, `L2`, `Linf`) is the geometry; `pgd` and `fgsm` are gradient attacks of a fixed budget in
any norm; `affine_attack` is the closed form for affine models, the yardstick of all others;
`evaluate` runs an attack over a data set and an ensemble. Every attack returns a `Perturbation`.
"""

from freqbias.attacks.affine import AffineAttack as AffineAttack
from freqbias.attacks.affine import AffineMap as AffineMap
from freqbias.attacks.affine import affine_attack as affine_attack
from freqbias.attacks.affine import affine_map as affine_map
from freqbias.attacks.driver import Answer as Answer
from freqbias.attacks.driver import IterativeAttack as IterativeAttack
from freqbias.attacks.driver import Loop as Loop
from freqbias.attacks.driver import Phase as Phase
from freqbias.attacks.driver import forward as forward
from freqbias.attacks.driver import gradient_of as gradient_of
from freqbias.attacks.driver import jacobian as jacobian
from freqbias.attacks.driver import query as query
from freqbias.attacks.evaluate import Evaluation as Evaluation
from freqbias.attacks.evaluate import evaluate as evaluate
from freqbias.attacks.evaluate import summarize as summarize
from freqbias.attacks.gradient import GradientAttack as GradientAttack
from freqbias.attacks.gradient import GradientState as GradientState
from freqbias.attacks.gradient import fgsm as fgsm
from freqbias.attacks.gradient import pgd as pgd
from freqbias.attacks.losses import cross_entropy as cross_entropy
from freqbias.attacks.losses import log_odds as log_odds
from freqbias.attacks.losses import margin as margin
from freqbias.attacks.losses import targeted_fn as targeted_fn
from freqbias.attacks.norms import L1 as L1
from freqbias.attacks.norms import L2 as L2
from freqbias.attacks.norms import Bounds as Bounds
from freqbias.attacks.norms import Linf as Linf
from freqbias.attacks.norms import Norm as Norm
from freqbias.attacks.protocol import Attack as Attack
from freqbias.attacks.protocol import Perturbation as Perturbation

__all__ = [
    "L1",
    "L2",
    "AffineAttack",
    "AffineMap",
    "Answer",
    "Attack",
    "Bounds",
    "Evaluation",
    "GradientAttack",
    "GradientState",
    "IterativeAttack",
    "Linf",
    "Loop",
    "Norm",
    "Perturbation",
    "Phase",
    "affine_attack",
    "affine_map",
    "cross_entropy",
    "evaluate",
    "fgsm",
    "forward",
    "gradient_of",
    "jacobian",
    "log_odds",
    "margin",
    "pgd",
    "query",
    "summarize",
    "targeted_fn",
]
