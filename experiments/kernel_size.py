"""Claim C2: does frequency fall as kernels grow, up to the width of the image?

    python -m experiments.kernel_size --preset=quick --datasets=digits --kernel_sizes=3,5,full

Convolutional networks with one hidden layer, which differ in nothing but the kernel size, beside a
fully connected network; attacked in L2 with and without the box [0, 1], and in L-inf. What is spent
is told in ``freqbias/study/design.py``.
"""

from freqbias.cli import sweep
from freqbias.study import designs

if __name__ == "__main__":
    sweep.main("kernel_size", designs.kernel_size)
