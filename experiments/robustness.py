"""How robust each architecture is, and which frequencies it uses, beside where it is attacked.

    python -m experiments.robustness --preset=quick

Smallest L2 perturbations, accuracy under both attacks, and accuracy on low- and on high-passed
images (which frequencies a network needs) beside the spectra of its perturbations. What is spent
is told in ``freqbias/study/design.py``.
"""

from freqbias.cli import sweep
from freqbias.study import designs

if __name__ == "__main__":
    sweep.main("robustness", designs.robustness)
