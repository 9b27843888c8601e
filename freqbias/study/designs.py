"""What each part of the study compares: from the name of a preset to `Design`s.

One factor varies at a time, from conv K = 3 with one hidden layer. `reproduce` composes the others;
`ALL` is their table. The binaries in ``experiments/`` say of each what it asks and why.
"""

from collections.abc import Mapping
from typing import Any

from freqbias.data import embedded
from freqbias.study import protocols
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
    "authors": ("3", "11", "full"),
}
DEPTHS = {
    **{"smoke": (1, 2), "quick": (1, 2, 3), "standard": (1, 2, 3, 4), "paper": (1, 2, 3, 4)},
    "authors": (1, 3),
}
SHARING = (
    CONV,
    LOCAL,
    Arm("scattered", 1, "3"),
    Arm("scattered_unshared", 1, "3"),
    Arm("locally_connected_tied", 1, "3"),
)
PLAIN = (CONV, Arm("conv", 2, "3"), FULL, FC)
FURTHER = {"smoke": 3, "quick": 5}  # recorded steps of every course, beside both ends
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
CLAIMED_BLOCKS = BLOCKS[5:]  # ViT, MLP-Mixer and GFNet; ResNets do not fit in `standard`'s steps
SCALES = (1.0, 1 / 3, 0.1)  # of the initial output; PyTorch's usual is 1/3 for linear nets
PADDINGS = ("circular", "SAME", "VALID")
WEIGHT_DECAY = 5e-4
NOISE = "power_law_1_28x28x1_2"
MANY_SETS = {
    "smoke": ("fashion_mnist_mini", "digits"),
    "quick": embedded.NAMES,
    "standard": (
        *embedded.NAMES,
        "fashion_mnist_mini+permuted_0",
        "fashion_mnist_mini+turned_0",
        "fashion_mnist_mini+teacher_0.25_0.35",
        NOISE,
    ),
    "paper": ("cifar10", "cifar100", "svhn_cropped", "mnist", "fashion_mnist", "kmnist"),
    "authors": embedded.NAMES,
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
INSTEAD = {"natural_patches+teacher_0.25_0.35": "natural_patches+teacher_0.1_0.25"}
RELU_ONLY = ("natural_patches+high_pass_0.125",)


def course(preset: str, **more: Any) -> Asked:
    """The course of training, which every verdict on trained networks wants, and more."""
    return Asked(checkpoints=FURTHER.get(preset, 6), **more)


def kernel_size(preset: str) -> tuple[Design, ...]:
    """C1, C2: every kernel size of the preset, and FC; the arms of C1 and C2 at smaller scales."""
    arms = (*(Arm("conv", 1, kernel) for kernel in KERNELS[preset]), FC)
    decided = tuple(arm for arm in arms if arm.kernel in ("", "3", "7", "full"))
    asked = course(preset, second_attack=True, other_box=True)
    data = DATASETS_OF[preset]
    return (
        Design(data, arms, asked=asked),
        Design(data, decided, init_scales=SCALES[1:], asked=course(preset)),
    )


def depth(preset: str) -> tuple[Design, ...]:
    """C3: every depth of the preset, with 3 x 3 kernels and fully connected."""
    arms = [
        arm for layers in DEPTHS[preset] for arm in (Arm("conv", layers, "3"), Arm("fc", layers))
    ]
    return (Design(DATASETS_OF[preset], tuple(arms), asked=course(preset)),)


def symmetry(preset: str) -> tuple[Design, ...]:
    """C9: sharing x locality, and the tied start."""
    return (Design(DATASETS_OF[preset], SHARING, asked=course(preset)),)


def init_scale(preset: str) -> tuple[Design, ...]:
    """Control: three initial scales."""
    arms = (CONV, FULL, LOCAL, FC)
    return (Design(DATASETS_OF[preset], arms, init_scales=SCALES, asked=course(preset)),)


def padding(preset: str) -> tuple[Design, ...]:
    """Control: every padding at K = 3 and 7, and FC."""
    kernels = ("3",) if preset == "smoke" else ("3", "7")
    arms = [Arm("conv", 1, kernel, name) for kernel in kernels for name in PADDINGS]
    return (Design(DATASETS_OF[preset], (*arms, FC), asked=course(preset)),)


def datasets(preset: str) -> tuple[Design, ...]:
    """C4: three arms on many data sets."""
    return (Design(MANY_SETS[preset], ENDS, asked=course(preset)),)


def frequency_controlled_data(preset: str) -> tuple[Design, ...]:
    """C4: each set of the preset, and it under every transform under which it can be learned."""
    if preset == "smoke":
        (base,) = DATASETS_OF[preset]
        return (Design((base, f"{base}+{TRANSFORMS[0]}"), ENDS, asked=course(preset)),)
    sets = [
        INSTEAD.get(name, name)
        for base in DATASETS_OF[preset]
        for name in (base, *(f"{base}+{transform}" for transform in TRANSFORMS))
    ]
    both = Design((*(name for name in sets if name not in RELU_ONLY), NOISE), ENDS)
    relu = Design(tuple(name for name in sets if name in RELU_ONLY), ENDS, regimes=("relu",))
    designs = (both, relu) if relu.datasets else (both,)
    return tuple(design._replace(asked=course(preset)) for design in designs)


def architectures(preset: str) -> tuple[Design, ...]:
    """C1, C5: all families, with Adam; FC and conv with SGD too."""
    asked = course(preset)
    blocks = {"smoke": (BLOCKS[0], BLOCKS[5]), "standard": CLAIMED_BLOCKS}.get(preset, BLOCKS)
    with_adam = tuple(arm._replace(optimizer="adam") for arm in (*PLAIN, *blocks))
    data = DATASETS_OF[preset]
    return (
        Design(data, with_adam, regimes=("relu",), asked=asked),
        Design(data, PLAIN, regimes=("relu",), asked=asked),
    )


def optimizer(preset: str) -> tuple[Design, ...]:
    """Control: three arms by SGD, by SGD with weight decay, and by Adam."""
    decayed = tuple(arm._replace(weight_decay=WEIGHT_DECAY) for arm in ENDS)
    by_adam = tuple(arm._replace(optimizer="adam") for arm in ENDS)
    arms = (*ENDS, *decayed, *by_adam)
    return (Design(DATASETS_OF[preset], arms, asked=course(preset)),)


def emergence(preset: str) -> tuple[Design, ...]:
    """C10: three arms at log-spaced steps."""
    asked = course(preset, minimal=True, minimal_in_training=True)
    return (Design(DATASETS_OF[preset], ENDS, asked=asked),)


def robustness(preset: str) -> tuple[Design, ...]:
    """Plain families, with all that is measured of robustness."""
    arms = (CONV, Arm("conv", 1, "7"), FULL, Arm("conv", 2, "3"), LOCAL, FC)
    asked = course(preset, second_attack=True, minimal=True, filtered=True)
    return (Design(DATASETS_OF[preset], (CONV, FC) if preset == "smoke" else arms, asked=asked),)


def heatmap(preset: str) -> tuple[Design, ...]:
    """Four arms under every plane wave, at initial scale 1."""
    arms = (CONV, FC) if preset == "smoke" else (CONV, FULL, LOCAL, FC)
    return (Design(DATASETS_OF[preset], arms, asked=course(preset, heat_map=True)),)


def planted(preset: str) -> tuple[Design, ...]:
    """C11: who learns a pattern planted in the spectrum, and by which frequencies."""
    sets = tuple(f"{base}+{PLANTED}" for base in DATASETS_OF[preset])
    return (Design(sets, ENDS, asked=course(preset, filtered=True)),)


def clipping(preset: str) -> tuple[Design, ...]:
    """Control: three arms with clipped gradients at one rate, and as they are."""
    clipped = tuple(arm._replace(protocol="clipped") for arm in ENDS)
    return (Design(DATASETS_OF[preset], (*ENDS, *clipped), asked=course(preset)),)


def authors() -> dict[str, tuple[Design, ...]]:
    """The authors' protocol, its other channels and depth, and the way from there to ours."""
    data = DATASETS_OF["authors"]
    measured = course("authors", second_attack=True, limit=True)
    long = measured._replace(long_attack=True)
    conv, fc = (protocols.arm_at("authors", arm) for arm in (CONV, FC))
    wide = [protocols.arm_at("authors", Arm("conv", 1, k)) for k in KERNELS["authors"][1:]]
    further = tuple(conv._replace(channels=channels) for channels in (8, 32))
    deep = tuple(arm._replace(depth=DEPTHS["authors"][-1]) for arm in (conv, fc))
    stages = {
        stage: Design(data, tuple(protocols.arm_at(stage, arm) for arm in ENDS), asked=measured)
        for stage in protocols.STAGES
        if stage != "authors"
    }
    return {
        "authors": (Design(data, (conv, *wide, fc), asked=long),),
        "width": (stages.pop("width"),),  # at full length, too
        "bridge": tuple(stages.values()),
        "channels": (Design(data, further, asked=long),),
        "depth": (Design(data, deep, asked=long),),
    }


PARTS: Mapping[str, Designs] = {
    part.__name__: part
    for part in (
        kernel_size, depth, symmetry, init_scale, padding, datasets, frequency_controlled_data,
        planted, architectures, optimizer, clipping, emergence, robustness, heatmap,
    )
}  # fmt: skip
"""The parts of the study by name."""


def parts(preset: str) -> Mapping[str, tuple[Design, ...]]:
    """What `reproduce` is made of: of ``quick`` and ``smoke`` what fits their time.

    Of ``standard`` most: every question, the costly ones on fewer arms or sets than their binaries.
    """
    data = DATASETS_OF[preset]
    if preset == "authors":
        return authors()
    if preset == "smoke":
        return {"kernel_size": (Design(data, ENDS, asked=Asked(second_attack=True)),)}
    if preset == "quick":  # trained networks of few arms, along their course
        wide = tuple(Arm("conv", 1, kernel) for kernel in KERNELS[preset])
        return {"kernel_size": (Design(data, (*wide, FC), asked=course(preset)),)}
    if preset != "standard":
        return {name: part(preset) for name, part in PARTS.items()}
    minimal = course(preset, minimal=True, minimal_in_training=True)
    waves = Asked(filtered=True, heat_map=True)
    pair, (deep,), (changed,), (taught,) = (
        (CONV, FC), depth(preset), optimizer(preset), planted(preset),
    )  # fmt: skip
    return {
        "kernel_size": (
            *kernel_size(preset),
            Design(data, ENDS, asked=minimal),
            Design(data, pair, regimes=("relu",), asked=waves),
        ),
        "depth": (deep._replace(arms=tuple(arm for arm in deep.arms if arm.depth <= 3)),),
        "symmetry": symmetry(preset),
        "datasets": datasets(preset),
        "planted": (taught._replace(arms=pair),),
        "architectures": tuple(of._replace(datasets=data[:1]) for of in architectures(preset)),
        "optimizer": (changed._replace(arms=tuple(a for a in changed.arms if a.kernel != "full")),),
        "clipping": tuple(of._replace(arms=of.arms[len(ENDS) :]) for of in clipping(preset)),
    }


def reproduce(preset: str) -> tuple[Design, ...]:
    """The study at once: all its `parts`."""
    return tuple(design for part in parts(preset).values() for design in part)


ALL: Mapping[str, Designs] = {**PARTS, "reproduce": reproduce}
"""Every study of attacks on trained networks by name."""
