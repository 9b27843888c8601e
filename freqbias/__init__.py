"""freqbias: which frequencies do networks learn, and which do their perturbations live in?

Over many seeds at once:

>>> import jax
>>> import freqbias as fb
>>> key = jax.random.key(0)
>>> data = fb.data.load("digits")
>>> model = fb.models.ConvNet(num_classes=10, depth=1, kernel_size=3)
>>> nets = fb.train(model, data.train, seeds=range(3), epochs=1, num_images=256, key=key)
>>> attack = fb.attacks.pgd(fb.attacks.L2(), epsilon=0.5, num_steps=5)
>>> found = nets.attack(attack, data.test.images[:8], data.test.labels[:8], key=key)
>>> frequency = fb.spectral.mean_frequency(found.delta)  # [3, 8], cycles per pixel
>>> per_network = fb.inference.image_means(frequency)  # over the images that have a frequency
>>> per_network.num_images  # a minimal attack leaves misclassified images as they are: no frequency
array([8, 8, 8])
>>> fb.inference.mean_interval(per_network.mean).population  # print it for numbers
'seeds'
"""

from freqbias import analysis as analysis
from freqbias import attacks as attacks
from freqbias import data as data
from freqbias import distributed as distributed
from freqbias import ensemble as ensemble
from freqbias import inference as inference
from freqbias import interop as interop
from freqbias import models as models
from freqbias import ops as ops
from freqbias import runs as runs
from freqbias import spectral as spectral
from freqbias import theory as theory
from freqbias import training as training
from freqbias import typing as typing
from freqbias._pytree import frozen as frozen
from freqbias._pytree import static as static
from freqbias.analysis import analyze as analyze
from freqbias.ensemble import Ensemble as Ensemble
from freqbias.training import sgd as sgd
from freqbias.training import train as train
from freqbias.training import train_on_batches as train_on_batches
from freqbias.typing import Status as Status

__all__ = [
    "Ensemble",
    "Status",
    "analysis",
    "analyze",
    "attacks",
    "data",
    "distributed",
    "ensemble",
    "frozen",
    "inference",
    "interop",
    "models",
    "ops",
    "runs",
    "sgd",
    "spectral",
    "static",
    "theory",
    "train",
    "train_on_batches",
    "training",
    "typing",
]
