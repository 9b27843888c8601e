"""What is compared, what is measured of it, and what is spent: the words of the study."""

import dataclasses
from collections.abc import Sequence
from typing import Literal, NamedTuple, TypeAlias

from freqbias import _checks, schema
from freqbias._checked import check_fields, checked
from freqbias.ensemble import Strategy

Regime: TypeAlias = Literal["linear", "relu"]
REGIMES: tuple[Regime, ...] = ("linear", "relu")


class Arm(NamedTuple):
    """An architecture with what is varied of it."""

    architecture: str  # the name of a `study.Family`
    depth: int = 1  # hidden layers; blocks, where layers come in blocks
    kernel: str = ""  # taps along each axis: "3", "7", ..., "full"; "" where there is no kernel
    padding: str = "circular"  # of convolutions
    channels: int = 0  # of convolutions; 0: the budget's
    optimizer: str = "sgd"  # or "adam"
    weight_decay: float = 0.0  # of SGD
    protocol: str = ""  # what is spent on it, a key of `protocols.PROTOCOLS`; "": the budget


@dataclasses.dataclass(frozen=True)
class Setting:
    """What is compared: one arm on one data set. The fields of `Arm`, and these."""

    dataset: str
    regime: Regime  # "relu": any network that is not linear
    architecture: str
    depth: int
    kernel: str = ""
    padding: str = "circular"
    channels: int = 0
    optimizer: str = "sgd"
    weight_decay: float = 0.0
    protocol: str = ""
    init_scale: float = 1.0

    def __post_init__(self) -> None:
        check_fields(self)
        if self.kernel not in ("", "full") and not self.kernel.isdigit():
            raise ValueError(f"kernel must be taps as text, full or empty; got {self.kernel!r}.")

    @property
    def arm(self) -> str:
        """The compared thing without data set, regime and scale, e.g. ``conv_k3_d1``."""
        kernel = {"": "", "full": "_full"}.get(self.kernel, f"_k{self.kernel}")
        padding = "" if self.padding == "circular" else f"_{self.padding.lower()}"
        channels = f"_c{self.channels}" if self.channels else ""
        optimizer = "" if self.optimizer == "sgd" else f"_{self.optimizer}"
        decay = f"_wd{self.weight_decay:g}" if self.weight_decay else ""
        protocol = f"_{self.protocol}" if self.protocol else ""
        name = f"{self.architecture}{kernel}_d{self.depth}{padding}{channels}"
        return f"{name}{optimizer}{decay}{protocol}"

    @property
    def id(self) -> str:
        """A name for files and keys."""
        return f"{self.dataset}.{self.regime}.{self.arm}.scale{self.init_scale:g}"

    @checked
    def array(self, field: str) -> str:
        """The name of an array of this setting in ``spectra.npz``."""
        key = schema.ArrayKey(self.dataset, self.regime, self.arm, self.init_scale, field)
        return str(key)

    @checked
    def kernel_size(self, image_shape: Sequence[int]) -> int:
        """Taps along each axis; 0 for a network without a kernel."""
        _checks.sizes("image_shape", image_shape[:2], "HW")
        return {"": 0, "full": min(image_shape[:2])}.get(self.kernel) or int(self.kernel or 0)


class Asked(NamedTuple):
    """What is measured of a setting, beside the L2 attack of the trained networks."""

    second_attack: bool = False  # L-inf
    long_attack: bool = False  # L-inf in the box, with more steps and images
    other_box: bool = False  # L2 with the box [0, 1] where the primary has none, and conversely
    checkpoints: int = 0  # log-spaced steps that are measured too (see below); step 0 is free
    minimal: bool = False  # smallest L2 perturbations that change the prediction
    minimal_in_training: bool = False  # the same at checkpoints
    filtered: bool = False  # accuracy on low- and high-passed images
    heat_map: bool = False  # error rate under every plane wave
    limit: bool = False  # of linear networks trained on all images: the end of cross-entropy

    def in_training(self) -> "Asked":
        """What is measured at a checkpoint, beside the primary attack."""
        return Asked(minimal=self.minimal_in_training, limit=self.limit)


PRIMARY = Asked()
LONG = "linf-long"
"""The geometry of the long attack."""


@dataclasses.dataclass(frozen=True)
class Budget:
    """What is spent on every arm alike."""

    seeds: tuple[int, ...] = tuple(range(8))
    num_images: int = 1024  # training images of each seed, its own subsample; 0: all of them
    epochs: int = 32
    steps: int = 0  # of training, if so many are asked for whatever the number of images
    batch_size: int = 32
    learning_rate: float = 0.01  # of SGD
    decay_factor: float = 1.0  # of all learning rates, every `decay_epochs`
    decay_epochs: int = 1
    momentum: float = 0.9
    adam_learning_rate: float = 0.002
    clip: float | None = None  # largest global gradient norm of a step; None: not clipped
    rate_halvings: int = 8  # how often the learning rate may be halved until training is stable
    fitted: float = 0.95  # train accuracy from which on a ReLU arm counts as trained
    channels: int = 4  # of every convolution and unshared layer
    width: int = 256  # of every fully connected layer
    standardized: bool = True  # whether networks subtract the mean and divide by the deviation
    initial: Literal["unit", "torch"] = "unit"  # output at scale 1; "torch": as small as PyTorch's
    block_width: int = 32  # channels of ViT, ConvMixer and MLP-Mixer
    num_tested: int = 256  # test images that give the test accuracy
    num_attacked: int = 64  # of them attacked
    num_steps: int = 20  # of PGD
    long_attacked: int = 2_000  # test images of the long attack
    long_steps: int = 1_000
    epsilon_l2: float = 1.0  # in units of intensity in [0, 1]
    epsilon_linf: float = 8 / 255
    epsilon_heat_map: float = 4.0  # L2 norm of a plane wave
    given: tuple[str, ...] = ()  # fields that no protocol changes: those given by hand
    random_key: int = 0
    strategy: Strategy = "auto"  # of the seed axis; numbers agree to rounding

    def __post_init__(self) -> None:
        check_fields(self)
