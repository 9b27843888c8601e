"""freqbias beside its peers, on the same weights, images and steps: ``python -m benchmarks``."""
