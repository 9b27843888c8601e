"""Claim C4, with the frequencies of the data under control: is it the data or the architecture?

    python -m experiments.frequency_controlled_data --preset=quick

The same networks on a set, on that set low-passed, high-passed, with its frequencies permuted, with
a pattern planted in some frequencies of each class, with labels that depend on one band only (low,
then high), with borders that fade to grey, and with shuffled labels; and on 1/f noise.
`freqbias.data.catalog` has the names. Permuted frequencies are the exact control: the perturbations
of fully connected networks must move with the data, those of convolutional ones need not. Budgets
scale with the contrast of a set. What is spent is told in ``freqbias/study/design.py``.

Two questions cannot be asked of photographs, for networks do not learn enough to answer them
(pilots on accuracy alone): linear ones stay below the floor on high-passed photographs, at cutoffs
of 0.04, 0.0625 and 0.125, and fully connected ones on labels of a teacher that sees 0.25 to 0.35
cycles/pixel, where photographs have little contrast; theirs sees 0.1 to 0.25.
"""

from freqbias.cli import sweep
from freqbias.study import designs

if __name__ == "__main__":
    sweep.main("frequency_controlled_data", designs.frequency_controlled_data)
