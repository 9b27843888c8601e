"""Claims C1 and C5: which architectures have high-frequency perturbations, at equal accuracy?

    python -m experiments.architectures --preset=quick

Fully connected and convolutional networks, and small forms of ResNet, VGG, ConvMixer, ViT and
MLP-Mixer (the depth counts blocks), all at several steps of training, so that frequency can be read
at common accuracies and at equal steps. The networks built of blocks train with Adam; FC and conv
with both optimisers. What is spent and written is told in ``experiments/sweep.py``.
"""

from experiments import sweep
from experiments.setting import Arm, Asked
from experiments.sweep import Design

PLAIN = (Arm("conv", 1, "3"), Arm("conv", 2, "3"), Arm("conv", 1, "full"), Arm("fc"))
BLOCKS = (
    Arm("resnet", 2, "3", "SAME"),
    Arm("resnet", 2, "7", "SAME"),
    Arm("vgg", 2, "3", "SAME"),
    Arm("conv_mixer", 2, "3", "SAME"),
    Arm("conv_mixer", 2, "7", "SAME"),
    Arm("vit", 2),
    Arm("mlp_mixer", 2),
)


def designs(preset: str) -> tuple[Design, ...]:
    """All families, with Adam; FC and conv with SGD too."""
    asked = Asked(second_attack=True, checkpoints=3 if preset == "smoke" else 6)
    blocks = (BLOCKS[0], BLOCKS[5]) if preset == "smoke" else BLOCKS
    with_adam = tuple(arm._replace(optimizer="adam") for arm in (*PLAIN, *blocks))
    data = sweep.DATASETS_OF[preset]
    return (
        Design(data, with_adam, regimes=("relu",), init_scales=(1.0,), asked=asked),
        Design(data, PLAIN, regimes=("relu",), init_scales=(1.0,), asked=asked),
    )


if __name__ == "__main__":
    sweep.main("architectures", designs)
