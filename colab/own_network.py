# %% [markdown]
# # Your own network
#
# Any network, of Flax (Linen or NNX), Equinox, torch or plain JAX: an adapter of `freqbias.interop`
# makes it a function `apply_fn(params, images)`, and `fb.analyze` goes from there to perturbations,
# spectra with intervals, signs that an attack failed, and one page. Here four small ones learn
# digits first; of yours only the adapter's line is needed.

# %%
# Where freqbias is: this checkout, a folder that you uploaded, or git+https://... of your copy.
SOURCE = ".."
# %pip install -q {SOURCE}

# %%
SMALL = False  # True: seconds on a CPU, as the tests run it
NUM_STEPS = 20 if SMALL else 400
NUM_IMAGES = 8 if SMALL else 128

# %%
import importlib.util

import flax.linen as nn
import jax
import optax
from flax import nnx

import freqbias as fb

key = jax.random.key(0)
data = fb.data.load("digits")  # [N, 8, 8, 1] in [0, 1]
images, labels = data.test.images[:NUM_IMAGES], data.test.labels[:NUM_IMAGES]
networks = {}


def missing(package):
    """Whether a package is not here; says the line that installs it."""
    if importlib.util.find_spec(package) is None:
        print(f"%pip install {package}    # to run this cell")
        return True
    return False


# %% [markdown]
# ## Flax Linen

# %%
module = nn.Sequential([
    nn.Conv(16, (3, 3)), nn.relu, lambda x: x.reshape(len(x), -1), nn.Dense(10),
])  # fmt: skip
networks["Linen, conv"] = fb.interop.from_linen(module, module.init(key, images))

# %% [markdown]
# ## Flax NNX


# %%
class Dense(nnx.Module):
    """One hidden layer."""

    def __init__(self, rngs):
        self.hidden = nnx.Linear(64, 64, rngs=rngs)
        self.out = nnx.Linear(64, 10, rngs=rngs)

    def __call__(self, x):
        return self.out(nnx.relu(self.hidden(x.reshape(len(x), -1))))


model = Dense(nnx.Rngs(0))
model.eval()  # dropout and batch statistics off, if it has any
networks["NNX, dense"] = fb.interop.from_nnx(model)

# %% [markdown]
# ## Equinox

# %%
if not missing("equinox"):
    import equinox as eqx

    model = eqx.nn.Sequential([
        eqx.nn.Conv2d(1, 16, 3, padding=1, key=key), eqx.nn.Lambda(jax.nn.relu),
        eqx.nn.Lambda(lambda x: x.mean((1, 2))), eqx.nn.Linear(16, 10, key=key),
    ])  # fmt: skip
    networks["Equinox, pooled"] = fb.interop.from_equinox(eqx.nn.inference_mode(model))


# %% [markdown]
# ## They learn
#
# What an adapter returns is differentiable in its parameters, so one loop serves all three.


# %%
def learned(network):
    """The network after some steps of Adam, on all training images at once."""
    optimizer = optax.adam(3e-3)

    def loss(params):
        logits = network.apply_fn(params, data.train.images)
        return optax.softmax_cross_entropy_with_integer_labels(logits, data.train.labels).mean()

    @jax.jit
    def step(params, state):
        updates, state = optimizer.update(jax.grad(loss)(params), state)
        return optax.apply_updates(params, updates), state

    params, state = network.params, optimizer.init(network.params)
    for _ in range(NUM_STEPS):
        params, state = step(params, state)
    return network._replace(params=params)


networks = {name: learned(network) for name, network in networks.items()}

# %% [markdown]
# ## torch
#
# Forward and gradient by torch, a batch at a time, where its module is; every attack works on it.

# %%
if not missing("torch"):
    import torch

    torch.manual_seed(0)
    module = torch.nn.Sequential(
        torch.nn.Conv2d(1, 16, 3, padding="same"), torch.nn.ReLU(), torch.nn.Flatten(),
        torch.nn.Linear(1024, 10),
    )  # fmt: skip
    optimizer = torch.optim.Adam(module.parameters(), lr=3e-3)
    x = torch.tensor(data.train.images).permute(0, 3, 1, 2)
    y = torch.tensor(data.train.labels, dtype=torch.long)
    for _ in range(NUM_STEPS):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(module(x), y).backward()
        optimizer.step()
    networks["torch, conv"] = fb.interop.from_torch(module.eval())

# %% [markdown]
# ## One call
#
# All see the same images under the same attacks. Of a single network, intervals are over images:
# another training of it may differ.

# %%
quick = {"L2 FGSM": fb.attacks.fgsm(fb.attacks.L2(), epsilon=0.5, bounds=None)} if SMALL else None
page = fb.analyze(networks, images=images, labels=labels, key=key, attacks=quick)
page.show()

# %%
page.save("report.html")
differences = page.differences().query("statistic == 'mean_frequency' and perturbations == 'all'")
differences = differences.query("attack != 'input Jacobian'").dropna()
differences[["first", "second", "attack", "estimate", "low", "high", "num_images"]].round(3)

# %%
first = differences.loc[differences["estimate"].abs().idxmax()]  # the largest
print(
    f"Under {first.attack}, perturbations of {first['first']} lie {abs(first.estimate):.3f} cycles "
    f"per pixel {'above' if first.estimate > 0 else 'below'} those of {first.second} (95 % "
    f"interval of the difference over {first.num_images} images: {first.low:+.3f} to "
    f"{first.high:+.3f})."
)
