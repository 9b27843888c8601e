"""The study as a library: arms, designs, claims, and what runs and judges them.

A study of your own is a few lines: a family (``register``), a ``Design``, a ``Budget``, claims in a
TOML file (``load_registry``); ``plan`` checks it, ``run`` gives rows, verdicts, figures and report.
"""

from freqbias.study.arms import Family as Family
from freqbias.study.arms import families as families
from freqbias.study.arms import register as register
from freqbias.study.claims import load_registry as load_registry
from freqbias.study.design import BUDGETS as BUDGETS
from freqbias.study.design import Design as Design
from freqbias.study.engine import configure as configure
from freqbias.study.finished import finish as finish
from freqbias.study.measures import MEASUREMENTS as MEASUREMENTS
from freqbias.study.measures import Measured as Measured
from freqbias.study.measures import Measurement as Measurement
from freqbias.study.networks import run_setting as run_setting
from freqbias.study.setting import Arm as Arm
from freqbias.study.setting import Asked as Asked
from freqbias.study.setting import Budget as Budget
from freqbias.study.setting import Setting as Setting
from freqbias.study.sweep import Plan as Plan
from freqbias.study.sweep import load_networks as load_networks
from freqbias.study.sweep import plan as plan
from freqbias.study.sweep import run as run

__all__ = [
    "BUDGETS",
    "MEASUREMENTS",
    "Arm",
    "Asked",
    "Budget",
    "Design",
    "Family",
    "Measured",
    "Measurement",
    "Plan",
    "Setting",
    "configure",
    "families",
    "finish",
    "load_networks",
    "load_registry",
    "plan",
    "register",
    "run",
    "run_setting",
]
