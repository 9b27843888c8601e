"""The command ``freqbias`` and what every binary of ``experiments/`` is made of."""
