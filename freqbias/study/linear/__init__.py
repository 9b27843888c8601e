"""Linear networks from initialisation to past separation, against theory.

``plan`` checks a study of binary tasks and linear arms, ``run`` gives rows, verdicts, figures and
report; ``follow`` trains and measures one arm on one task.
"""

from freqbias.study.linear.courses import follow as follow
from freqbias.study.linear.design import PRESETS as PRESETS
from freqbias.study.linear.design import REGISTRY as REGISTRY
from freqbias.study.linear.design import Comparison as Comparison
from freqbias.study.linear.design import Descent as Descent
from freqbias.study.linear.limits import LimitPlan as LimitPlan
from freqbias.study.linear.limits import solve_limits as solve_limits
from freqbias.study.linear.study import Plan as Plan
from freqbias.study.linear.study import finish as finish
from freqbias.study.linear.study import join as join
from freqbias.study.linear.study import judged_rows as judged_rows
from freqbias.study.linear.study import plan as plan
from freqbias.study.linear.study import run as run
from freqbias.study.linear.study import verdicts as verdicts
from freqbias.study.linear.tasks import BinaryTask as BinaryTask
from freqbias.study.linear.tasks import TaskPlan as TaskPlan
from freqbias.study.linear.tasks import make_task as make_task

__all__ = [
    "PRESETS",
    "REGISTRY",
    "BinaryTask",
    "Comparison",
    "Descent",
    "LimitPlan",
    "Plan",
    "TaskPlan",
    "finish",
    "follow",
    "join",
    "judged_rows",
    "make_task",
    "plan",
    "run",
    "solve_limits",
    "verdicts",
]
