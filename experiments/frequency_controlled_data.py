"""Claim C4, with the frequencies of the data under control: is it the data or the architecture?

    python -m experiments.frequency_controlled_data --preset=quick

The same networks on a set, on that set low-passed, high-passed, with its frequencies permuted, with
a pattern planted in some frequencies of each class, with labels that depend on one band only (low,
then high), with borders that fade to grey, and with shuffled labels; and on 1/f noise.
`freqbias.data.catalog` has the names. Permuted frequencies are the exact control: the perturbations
of fully connected networks must move with the data, those of convolutional ones need not. Budgets
scale with the contrast of a set. What is spent and written is told in ``experiments/sweep.py``.
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


def designs(preset: str) -> tuple[Design, ...]:
    """Each set of the preset as it is and under every transform."""
    transforms = TRANSFORMS[:1] if preset == "smoke" else TRANSFORMS
    sets = [
        name
        for base in sweep.DATASETS_OF[preset]
        for name in (base, *(f"{base}+{transform}" for transform in transforms))
    ]
    return (Design((*sets, *((NOISE,) if preset != "smoke" else ())), ARMS),)


if __name__ == "__main__":
    sweep.main("frequency_controlled_data", designs)
