"""One network or many, yours or ours, to perturbations, spectra, intervals, figures and a page.

`analyze` is the one call. ``networks`` says what may be analysed, ``budget`` what is spent,
``measure`` goes from networks to numbers per image, one ``batch`` after the other, ``tables`` from
these to intervals, ``words``, ``figures`` and ``page`` to what people read.
"""

from freqbias.analysis.analyze import analyze as analyze
from freqbias.analysis.batch import Found as Found
from freqbias.analysis.budget import BUDGETS as BUDGETS
from freqbias.analysis.budget import Budget as Budget
from freqbias.analysis.budget import BudgetName as BudgetName
from freqbias.analysis.budget import default_attacks as default_attacks
from freqbias.analysis.jacobian import JacobianPower as JacobianPower
from freqbias.analysis.jacobian import jacobian_power as jacobian_power
from freqbias.analysis.measure import Measured as Measured
from freqbias.analysis.networks import Subject as Subject
from freqbias.analysis.result import Analysis as Analysis

__all__ = [
    "BUDGETS",
    "Analysis",
    "Budget",
    "BudgetName",
    "Found",
    "JacobianPower",
    "Measured",
    "Subject",
    "analyze",
    "default_attacks",
    "jacobian_power",
]
