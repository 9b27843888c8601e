"""Judges the rows of a finished run again.

python -m experiments.claims --run=results/quick
"""

from freqbias.cli import claims

if __name__ == "__main__":
    claims.main()
