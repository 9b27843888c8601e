"""Training S networks at once: what is descended, for how long, and the loop that does it."""

from freqbias.training.course import Until as Until
from freqbias.training.course import log_spaced_steps as log_spaced_steps
from freqbias.training.loop import History as History
from freqbias.training.loop import initial_params as initial_params
from freqbias.training.loop import shared_apply_fn as shared_apply_fn
from freqbias.training.loop import train as train
from freqbias.training.loop import train_on_batches as train_on_batches
from freqbias.training.objectives import LOSSES as LOSSES
from freqbias.training.objectives import adam as adam
from freqbias.training.objectives import cross_entropy as cross_entropy
from freqbias.training.objectives import exponential as exponential
from freqbias.training.objectives import logistic as logistic
from freqbias.training.objectives import sgd as sgd
from freqbias.training.objectives import staircase as staircase
