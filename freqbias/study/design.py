"""What a study compares, and the budgets of the presets.

===========  =======================================================================================
preset       what is spent on each setting
===========  =======================================================================================
``smoke``    3 seeds, 640 images x 3 epochs, 32 attacked x 5 steps: shows that everything runs
``quick``    8 seeds, 1,024 images x 32 epochs, 64 attacked x 20 steps, 4 channels: trained networks
``standard`` 8 seeds, 1,536 images x 32 epochs, 128 attacked x 20 steps, 8 channels, fitted to 0.99
``paper``    8 seeds, 50,000 images x 40 epochs, 2,000 attacked x 100 steps, 32 channels: a GPU, TPU
``authors``  that of ``quick``, under `freqbias.study.protocols`: 8 seeds, 15,600 steps
===========  =======================================================================================
"""

import dataclasses
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple, TypeAlias

from freqbias._checked import check_fields
from freqbias.data import Dataset
from freqbias.study import arms, protocols
from freqbias.study.setting import PRIMARY, REGIMES, Arm, Asked, Budget, Regime, Setting

BUDGETS: Mapping[str, Budget] = {
    "smoke": Budget(  # a few steps at one rate, clipped: networks that have learnt little
        seeds=(0, 1, 2),
        num_images=640,
        epochs=3,
        learning_rate=0.02,
        clip=1.0,
        rate_halvings=0,
        fitted=0.0,
        num_attacked=32,
        num_steps=5,
    ),
    "quick": Budget(),
    "standard": Budget(num_images=1536, channels=8, block_width=64, num_attacked=128, fitted=0.99),
    "paper": Budget(
        num_images=50_000,
        epochs=40,
        batch_size=128,
        fitted=0.99,
        channels=32,
        width=3072,
        block_width=128,
        num_tested=10_000,
        num_attacked=2_000,
        num_steps=100,
    ),
    "authors": Budget(),  # and the protocols of its arms
}
PRESETS = tuple(BUDGETS)
DATASETS_OF: Mapping[str, tuple[str, ...]] = {
    "smoke": ("fashion_mnist_mini",),
    "quick": ("fashion_mnist_mini", "natural_patches"),
    "standard": ("fashion_mnist_mini", "natural_patches"),
    "paper": ("cifar10",),
    "authors": ("fashion_mnist_mini", "natural_patches"),
}
"""The data sets of a preset, where a study has no others."""


class Design(NamedTuple):
    """What is compared: every arm on every data set, in every regime, at every initial scale.

    The scale is that of a network's output at initialisation, relative to the usual.
    """

    datasets: tuple[str, ...]
    arms: tuple[Arm, ...]
    regimes: tuple[Regime, ...] = REGIMES
    init_scales: tuple[float, ...] = (1.0,)
    asked: Asked = PRIMARY


Designs: TypeAlias = Callable[[str], tuple[Design, ...]]
"""From the name of a preset to what is compared."""


def cells(designs: Iterable[Design]) -> dict[Setting, Asked]:
    """All settings of some designs, with all that any of them asks.

    A family is run in the regimes it has; one of blocks, which has its own initial scale, at 1.

    Raises:
      ValueError: an arm of a family that is not in the table of arms.
    """
    out: dict[Setting, Asked] = {}
    for design in designs:
        check_fields(design)
        for name in ("datasets", "arms", "regimes", "init_scales"):
            if not getattr(design, name):
                raise ValueError(f"{name} of a design must not be empty.")
        for dataset in design.datasets:
            for regime in design.regimes:
                for arm in design.arms:
                    of = arms.family(arm.architecture)
                    for scale in design.init_scales:
                        if regime not in of.regimes or (of.blocks and scale != 1.0):
                            continue
                        setting = Setting(dataset, regime, *arm, init_scale=scale)
                        out[setting] = _both(out.get(setting, PRIMARY), design.asked)
    return out


def _both(one: Asked, other: Asked) -> Asked:
    return Asked(
        **{
            name: max(value, getattr(other, name))  # of two flags, either
            for name, value in one._asdict().items()
        }
    )


def fits(setting: Setting, side: int) -> bool:
    """Whether the kernel of a setting is no larger than images of that side."""
    return setting.kernel in ("", "full") or int(setting.kernel) <= side


def fitting(
    settings: Mapping[Setting, Asked], datasets: Mapping[str, Dataset]
) -> dict[Setting, Asked]:
    """The settings whose kernels are no larger than the images of their data set."""
    return {
        setting: asked
        for setting, asked in settings.items()
        if fits(setting, min(datasets[setting.dataset].image_shape[:2]))
    }


def fitted(budget: Budget, dataset: Dataset) -> Budget:
    """The budget on a data set that may be smaller than the preset's numbers of images.

    Seeds then train on halves of the training set, so that their subsamples differ. A number of
    steps becomes one of epochs, and the rate decays at the same share of them.
    """
    train, test = len(dataset.train.labels), len(dataset.test.labels)
    num_images = (budget.num_images or train) if budget.num_images <= train else train // 2
    here = dataclasses.replace(
        budget, num_images=num_images, num_attacked=min(budget.num_attacked, test)
    )
    if not budget.steps:
        return here
    epochs = max(1, round(budget.steps / (num_images // budget.batch_size)))
    decay_epochs = max(1, round(budget.decay_epochs * epochs / budget.epochs))
    return dataclasses.replace(here, steps=0, epochs=epochs, decay_epochs=decay_epochs)


def spent(setting: Setting, budget: Budget, dataset: Dataset) -> Budget:
    """What is spent on a setting: the budget under its protocol, on its data set."""
    return fitted(protocols.applied(budget, setting.protocol), dataset)


def asked_of_arms(settings: Mapping[Setting, Asked]) -> dict[str, set[str]]:
    """Arm -> names of what is asked of it."""
    names: dict[str, set[str]] = {}
    for setting, asked in settings.items():
        here = {name for name, value in asked._asdict().items() if value}
        names[setting.arm] = names.get(setting.arm, set()) | here
    return names


def cost(setting: Setting, asked: Asked, image_shape: Sequence[int]) -> float:
    """Relative time of a setting, for the order and the progress bar only.

    One is a ReLU network of one convolution, trained and attacked on images of 28 x 28; fitted to
    the times that the settings of `standard` took on two cores (colour images of 32 x 32: twice).
    """
    layers = 1 + 1.4 * (setting.depth - 1)
    image = math.sqrt(math.prod(image_shape) / 28**2)
    if setting.regime == "linear":
        return 0.4 * image * (layers + 3 * asked.heat_map)
    attacks = 0.8 * asked.second_attack + 0.3 * asked.other_box + asked.minimal
    attacks += 8 * asked.heat_map + asked.checkpoints * (0.25 + 1.2 * asked.minimal_in_training)
    of = arms.family(setting.architecture)
    return image * of.cost * (1 if of.blocks else layers) * (1 + attacks)
