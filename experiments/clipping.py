"""Control: does clipping the gradient change what an architecture learns?

    python -m experiments.clipping --preset=quick

Conv K = 3, full width and FC, each at the largest rate at which it is stable, and with clipped
gradients (norm 1) at the first rate that the rule would try. Clipping changes the path of training,
most of all of the arms that are least stable; so it is a control, and no arm's setting. What is
spent is told in ``freqbias/study/design.py`` and ``protocols.py``.
"""

from freqbias.cli import sweep
from freqbias.study import designs

if __name__ == "__main__":
    sweep.main("clipping", designs.clipping)
