"""Claim C11: who learns a class-dependent pattern planted in the spectrum of the images?

    python -m experiments.planted --preset=quick

The authors' public code adds a pattern of each class to a fifth of the Fourier coefficients of
every image. Convolutional and fully connected networks are trained on such images: how accurate are
they, and which frequencies do they use (accuracy on low- and high-passed images)? What is spent is
told in ``freqbias/study/design.py``.
"""

from freqbias.cli import sweep
from freqbias.study import designs

if __name__ == "__main__":
    sweep.main("planted", designs.planted)
