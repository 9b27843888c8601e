import flax.linen as nn
import jax

import freqbias as fb

data = fb.data.load("digits").test  # yours: images [N, H, W, C] in [0, 1], labels int [N]
module = nn.Sequential([nn.Conv(8, (3, 3)), nn.relu, lambda x: x.mean((1, 2)), nn.Dense(10)])
variables = module.init(jax.random.key(0), data.images)  # yours are trained
network = fb.interop.from_linen(module, variables)
page = fb.analyze(*network, data.images, data.labels, key=jax.random.key(0))
page.save("report.html")
