"""Control: do zeros around the image, or the wrap of it, make the effect?

    python -m experiments.padding --preset=quick

Convolutional networks with circular, zero ("SAME") and no ("VALID") padding; a circular one sees
the edge between opposite sides of an image, which has high frequencies along the axes. What is
spent is told in ``freqbias/study/design.py``.
"""

from freqbias.cli import sweep
from freqbias.study import designs

if __name__ == "__main__":
    sweep.main("padding", designs.padding)
