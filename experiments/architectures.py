"""Claims C1 and C5: which architectures have high-frequency perturbations, at equal accuracy?

    python -m experiments.architectures --preset=quick

Fully connected and convolutional networks, and small forms of ResNet, VGG, ConvMixer, ViT and
MLP-Mixer (the depth counts blocks), all at several steps of training, so that frequency can be read
at common accuracies and at equal steps. The networks built of blocks train with Adam; FC and conv
with both optimisers. What is spent is told in ``freqbias/study/design.py``.
"""

from freqbias.cli import sweep
from freqbias.study import designs

if __name__ == "__main__":
    sweep.main("architectures", designs.architectures)
