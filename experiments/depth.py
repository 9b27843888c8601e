"""Claim C3: does frequency rise with depth, and does it in fully connected networks too?

    python -m experiments.depth --preset=quick --depths=1-3

Convolutional networks with 3 x 3 kernels and fully connected ones, which differ in nothing but the
number of hidden layers; what is spent is told in ``freqbias/study/design.py``.
"""

from freqbias.cli import sweep
from freqbias.study import designs

if __name__ == "__main__":
    sweep.main("depth", designs.depth)
