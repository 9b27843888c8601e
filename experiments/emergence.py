"""Claim C10: are perturbations absent at initialisation, and when do they emerge?

    python -m experiments.emergence --preset=quick

The smallest L2 perturbation relative to the image, and the frequency of perturbations of a fixed
size, at initialisation and at log-spaced steps of training. What is spent is told in
``freqbias/study/design.py``.
"""

from freqbias.cli import sweep
from freqbias.study import designs

if __name__ == "__main__":
    sweep.main("emergence", designs.emergence)
