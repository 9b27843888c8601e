import jax
from flax import nnx

import freqbias as fb

data = fb.data.load("digits").test
flat = lambda x: x.reshape(len(x), -1)
model = nnx.Sequential(flat, nnx.Linear(64, 10, rngs=nnx.Rngs(0)))  # yours is trained
model.eval()
network = fb.interop.from_nnx(model)
page = fb.analyze(*network, data.images, data.labels, key=jax.random.key(0))
page.save("report.html")
