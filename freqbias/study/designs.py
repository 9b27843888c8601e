"""What each part of the study compares: from the name of a preset to `Design`s.

One factor varies at a time, from conv K = 3 with one hidden layer. `reproduce` composes the others;
`ALL` is their table. The binaries in ``experiments/`` say of each what it asks and why.
"""

from collections.abc import Mapping

from freqbias.data import embedded
from freqbias.study.design import DATASETS_OF, Design, Designs
from freqbias.study.setting import Arm, Asked

CONV, FULL, FC = Arm("conv", 1, "3"), Arm("conv", 1, "full"), Arm("fc")
LOCAL = Arm("locally_connected", 1, "3")
ENDS = (CONV, FULL, FC)
KERNELS = {
    "smoke": ("3", "full"),
    "quick": ("3", "7", "full"),
    "standard": ("3", "5", "7", "9", "11", "15", "full"),
    "paper": ("3", "7", "11", "15", "full"),
}
DEPTHS = {"smoke": (1, 2), "quick": (1, 2, 3), "standard": (1, 2, 3, 4), "paper": (1, 2, 3, 4)}
SHARING = (
    CONV,
    LOCAL,
    Arm("scattered", 1, "3"),
    Arm("scattered_unshared", 1, "3"),
    Arm("locally_connected_tied", 1, "3"),
)
PLAIN = (CONV, Arm("conv", 2, "3"), FULL, FC)
BLOCKS = (
    Arm("resnet", 2, "3", "SAME"),
    Arm("resnet", 2, "7", "SAME"),
    Arm("vgg", 2, "3", "SAME"),
    Arm("conv_mixer", 2, "3", "SAME"),
    Arm("conv_mixer", 2, "7", "SAME"),
    Arm("vit", 2),
    Arm("mlp_mixer", 2),
    Arm("global_filter", 2),
)
SCALES = (1.0, 0.5, 0.1)
PADDINGS = ("circular", "SAME", "VALID")
WEIGHT_DECAY = 5e-4
MANY_SETS = {
    "smoke": ("fashion_mnist_mini", "digits"),
    "quick": embedded.NAMES,
    "standard": (
        *embedded.NAMES,
        "fashion_mnist_mini+low_pass_0.125",
        "natural_patches+permuted_0",
        "fashion_mnist_mini+teacher_0.25_0.35",
    ),
    "paper": ("cifar10", "cifar100", "svhn_cropped", "mnist", "fashion_mnist", "kmnist"),
}
TRANSFORMS = (
    "low_pass_0.125",
    "high_pass_0.125",
    "permuted_0",
    "planted_0.1_0.5",
    "teacher_0.02_0.1",
    "teacher_0.25_0.35",
    "windowed_0.5",
    "shuffled_0",
)
PLANTED = "planted_0.2_0.25"  # of the authors' code: a fifth of the coefficients, amplitude 1/4
NOISE = "power_law_1_28x28x1_2"
INSTEAD = {"natural_patches+teacher_0.25_0.35": "natural_patches+teacher_0.1_0.25"}
RELU_ONLY = ("natural_patches+high_pass_0.125",)


def kernel_size(preset: str) -> tuple[Design, ...]:
    """C2: every kernel size of the preset, and FC."""
    arms = (*(Arm("conv", 1, kernel) for kernel in KERNELS[preset]), FC)
    return (Design(DATASETS_OF[preset], arms, asked=Asked(second_attack=True, other_box=True)),)


def depth(preset: str) -> tuple[Design, ...]:
    """C3: every depth of the preset, with 3 x 3 kernels and fully connected."""
    arms = [
        arm for layers in DEPTHS[preset] for arm in (Arm("conv", layers, "3"), Arm("fc", layers))
    ]
    return (Design(DATASETS_OF[preset], tuple(arms)),)


def symmetry(preset: str) -> tuple[Design, ...]:
    """C9: sharing x locality, and the tied start."""
    return (Design(DATASETS_OF[preset], SHARING, asked=Asked(second_attack=True)),)


def init_scale(preset: str) -> tuple[Design, ...]:
    """Control: three initial scales."""
    return (Design(DATASETS_OF[preset], (CONV, FULL, LOCAL, FC), init_scales=SCALES),)


def padding(preset: str) -> tuple[Design, ...]:
    """Control: every padding at K = 3 and 7, and FC."""
    kernels = ("3",) if preset == "smoke" else ("3", "7")
    arms = [Arm("conv", 1, kernel, name) for kernel in kernels for name in PADDINGS]
    return (Design(DATASETS_OF[preset], (*arms, FC), asked=Asked(second_attack=True)),)


def datasets(preset: str) -> tuple[Design, ...]:
    """C4: three arms on many data sets."""
    return (Design(MANY_SETS[preset], ENDS, asked=Asked(second_attack=True)),)


def frequency_controlled_data(preset: str) -> tuple[Design, ...]:
    """C4: each set of the preset, and it under every transform under which it can be learned."""
    if preset == "smoke":
        (base,) = DATASETS_OF[preset]
        return (Design((base, f"{base}+{TRANSFORMS[0]}"), ENDS),)
    sets = [
        INSTEAD.get(name, name)
        for base in DATASETS_OF[preset]
        for name in (base, *(f"{base}+{transform}" for transform in TRANSFORMS))
    ]
    both = Design((*(name for name in sets if name not in RELU_ONLY), NOISE), ENDS)
    relu = Design(tuple(name for name in sets if name in RELU_ONLY), ENDS, regimes=("relu",))
    return (both, relu) if relu.datasets else (both,)


def architectures(preset: str) -> tuple[Design, ...]:
    """C1, C5: all families, with Adam; FC and conv with SGD too."""
    asked = Asked(second_attack=True, checkpoints=3 if preset == "smoke" else 6)
    blocks = (BLOCKS[0], BLOCKS[5]) if preset == "smoke" else BLOCKS
    with_adam = tuple(arm._replace(optimizer="adam") for arm in (*PLAIN, *blocks))
    data = DATASETS_OF[preset]
    return (
        Design(data, with_adam, regimes=("relu",), init_scales=(1.0,), asked=asked),
        Design(data, PLAIN, regimes=("relu",), init_scales=(1.0,), asked=asked),
    )


def optimizer(preset: str) -> tuple[Design, ...]:
    """Control: three arms by SGD, by SGD with weight decay, and by Adam."""
    decayed = tuple(arm._replace(weight_decay=WEIGHT_DECAY) for arm in ENDS)
    by_adam = tuple(arm._replace(optimizer="adam") for arm in ENDS)
    return (Design(DATASETS_OF[preset], (*ENDS, *decayed, *by_adam)),)


def emergence(preset: str) -> tuple[Design, ...]:
    """C10: three arms at log-spaced steps."""
    checkpoints = 3 if preset == "smoke" else 6
    asked = Asked(checkpoints=checkpoints, minimal=True, minimal_in_training=True)
    return (Design(DATASETS_OF[preset], ENDS, asked=asked),)


def robustness(preset: str) -> tuple[Design, ...]:
    """Plain families, with all that is measured of robustness."""
    arms = (CONV, Arm("conv", 1, "7"), FULL, Arm("conv", 2, "3"), LOCAL, FC)
    asked = Asked(second_attack=True, minimal=True, filtered=True)
    return (Design(DATASETS_OF[preset], (CONV, FC) if preset == "smoke" else arms, asked=asked),)


def heatmap(preset: str) -> tuple[Design, ...]:
    """Four arms under every plane wave, at initial scale 1."""
    arms = (CONV, FC) if preset == "smoke" else (CONV, FULL, LOCAL, FC)
    return (Design(DATASETS_OF[preset], arms, init_scales=(1.0,), asked=Asked(heat_map=True)),)


def planted(preset: str) -> tuple[Design, ...]:
    """C11: who learns a pattern planted in the spectrum, and by which frequencies."""
    sets = tuple(f"{base}+{PLANTED}" for base in DATASETS_OF[preset])
    return (Design(sets, ENDS, asked=Asked(filtered=True)),)


PARTS: Mapping[str, Designs] = {
    part.__name__: part
    for part in (
        kernel_size, depth, symmetry, init_scale, padding, datasets, frequency_controlled_data,
        planted, architectures, optimizer, emergence, robustness, heatmap,
    )
}  # fmt: skip
"""The parts of the study by name."""


def reproduce(preset: str) -> tuple[Design, ...]:
    """All of the study at once; ``quick`` and ``smoke`` what fits their time."""
    data = DATASETS_OF[preset]
    if preset == "smoke":
        return (Design(data, ENDS, init_scales=(1.0,), asked=Asked(second_attack=True)),)
    if preset == "quick":  # trained networks of few arms, along their course
        wide = tuple(Arm("conv", 1, kernel) for kernel in KERNELS[preset])
        return (Design(data, (*wide, FC), init_scales=(1.0,), asked=Asked(checkpoints=5)),)
    return tuple(design for part in PARTS.values() for design in part(preset))


ALL: Mapping[str, Designs] = {**PARTS, "reproduce": reproduce}
"""Every study of attacks on trained networks by name."""
