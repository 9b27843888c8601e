"""Claim C4: does the effect depend on the data set?

    python -m experiments.datasets --preset=quick --datasets=digits,fashion_mnist_mini

Convolutional networks with 3 x 3 and full-width kernels beside a fully connected one, on every
data set; the effects C1 and C2 on each, and how much they differ. What is spent is told
in ``freqbias/study/design.py``.
"""

from freqbias.cli import sweep
from freqbias.study import designs

if __name__ == "__main__":
    sweep.main("datasets", designs.datasets)
