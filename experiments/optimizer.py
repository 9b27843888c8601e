"""Control: is the effect one of the optimiser, or of weight decay?

    python -m experiments.optimizer --preset=quick

Convolutional and fully connected networks by SGD with momentum, by the same with weight decay, and
by Adam, which singles out the axes of parameter space. What is spent is told in
``freqbias/study/design.py``.
"""

from freqbias.cli import sweep
from freqbias.study import designs

if __name__ == "__main__":
    sweep.main("optimizer", designs.optimizer)
