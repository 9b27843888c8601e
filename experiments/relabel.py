"""How often do the rules see a difference where there is none, and find one that is planted?

    python -m experiments.kernel_size --kernel_sizes=3 --seeds=0-15 --out=results/seeds
    python -m experiments.relabel --run=results/seeds

The seeds of one arm are dealt into two halves, a thousand times. Between halves there is nothing to
find, so that a verdict (supported or opposite, by the interval and the smallest margin of the run's
contrasts in mean frequency) is false: at most 5 % may be, and without a margin about 5 % are. Then
a shift of twice the margin, one margin beyond it, is planted in one half; the share of deals in
which it is found stands beside what the same rule finds among normal values of the spread of these
seeds (`inference.predicted_shift_power`).

Prints a table, one line per arm, and writes it to relabelled.csv in the folder of the run.
"""

from freqbias.cli import relabel

if __name__ == "__main__":
    relabel.main()
