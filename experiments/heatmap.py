"""Which plane waves break each architecture: the heat map of Yin et al. (2019).

    python -m experiments.heatmap --preset=quick

The error rate on test images to which one plane wave of a fixed L2 norm is added, for every
frequency: all frequencies are tried alike, where a perturbation chooses its own. What is spent
is told in ``freqbias/study/design.py``.
"""

from freqbias.cli import sweep
from freqbias.study import designs

if __name__ == "__main__":
    sweep.main("heatmap", designs.heatmap)
