"""Minimal attacks: the smallest adversarial perturbation of each image."""

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
