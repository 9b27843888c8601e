import jax
import torch

import freqbias as fb

data = fb.data.load("digits").test
module = torch.nn.Sequential(
    torch.nn.Conv2d(1, 8, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(288, 10)
)  # yours is trained
network = fb.interop.from_torch(module.eval(), mean=[0.3], std=[0.4])
page = fb.analyze(*network, data.images, data.labels, key=jax.random.key(0))
page.save("report.html")
