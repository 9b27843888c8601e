"""Claim C9: is it weight sharing (translational symmetry), or locality alone?

    python -m experiments.symmetry --preset=quick

Networks with one hidden layer of nine taps per output, crossed: shared or not, local or scattered
over the image; and locally connected ones that start from one kernel at every pixel. What is spent
is told in ``freqbias/study/design.py``.
"""

from freqbias.cli import sweep
from freqbias.study import designs

if __name__ == "__main__":
    sweep.main("symmetry", designs.symmetry)
