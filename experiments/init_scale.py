"""Control: how much of an effect is the noise of the initial weights?

    python -m experiments.init_scale --preset=quick --init_scales=1,0.5,0.1

Where the data have no variance, fully connected and unshared weights keep their white start; so
each arm is run at three output scales of the initial weights. What is spent is told in
``freqbias/study/design.py``.
"""

from freqbias.cli import sweep
from freqbias.study import designs

if __name__ == "__main__":
    sweep.main("init_scale", designs.init_scale)
