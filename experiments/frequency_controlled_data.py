"""Claim C4, with the frequencies of the data under control: is it the data or the architecture?

    python -m experiments.frequency_controlled_data --preset=quick

The same networks on a set, on that set low-passed, high-passed, with its frequencies permuted, with
a pattern planted in some frequencies of each class, with labels that depend on one band only (low,
then high), with borders that fade to grey, and with shuffled labels; and on 1/f noise.
`freqbias.data.catalog` has the names. Permuted frequencies are the exact control: the perturbations
of fully connected networks must move with the data, those of convolutional ones need not. Budgets
scale with the contrast of a set. What is spent and written is told in ``experiments/sweep.py``.

Two questions cannot be asked of photographs, for networks do not learn enough to answer them
(pilots on accuracy alone): linear ones stay below the floor on high-passed photographs, at cutoffs
of 0.04, 0.0625 and 0.125, and fully connected ones on labels of a teacher that sees 0.25 to 0.35
cycles/pixel, where photographs have little contrast; theirs sees 0.1 to 0.25.
"""

from experiments import sweep
from experiments.setting import Arm
from experiments.sweep import Design

ARMS = (Arm("conv", 1, "3"), Arm("conv", 1, "full"), Arm("fc"))
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
NOISE = "power_law_1_28x28x1_2"
INSTEAD = {"natural_patches+teacher_0.25_0.35": "natural_patches+teacher_0.1_0.25"}
RELU_ONLY = ("natural_patches+high_pass_0.125",)


def designs(preset: str) -> tuple[Design, ...]:
    """Each set of the preset as it is and under every transform that it can be learned under."""
    if preset == "smoke":
        (base,) = sweep.DATASETS_OF[preset]
        return (Design((base, f"{base}+{TRANSFORMS[0]}"), ARMS),)
    sets = [
        INSTEAD.get(name, name)
        for base in sweep.DATASETS_OF[preset]
        for name in (base, *(f"{base}+{transform}" for transform in TRANSFORMS))
    ]
    both = Design((*(name for name in sets if name not in RELU_ONLY), NOISE), ARMS)
    relu = Design(tuple(name for name in sets if name in RELU_ONLY), ARMS, regimes=("relu",))
    return (both, relu) if relu.datasets else (both,)


if __name__ == "__main__":
    sweep.main("frequency_controlled_data", designs)
