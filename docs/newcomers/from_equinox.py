import equinox as eqx
import jax

import freqbias as fb

data, key = fb.data.load("digits").test, jax.random.key(0)
layers = [eqx.nn.Conv2d(1, 8, 3, key=key), eqx.nn.Lambda(lambda x: x.mean((1, 2)))]
model = eqx.nn.Sequential([*layers, eqx.nn.Linear(8, 10, key=key)])  # yours is trained
network = fb.interop.from_equinox(eqx.nn.inference_mode(model))
page = fb.analyze(*network, data.images, data.labels, key=key)
page.save("report.html")
