# %% [markdown]
# # Theory, checked
#
# What `freqbias.theory` says in closed form, beside what is measured: of kernels before training,
# of the smallest perturbation of a linear network, of where training ends, and of when each
# frequency is learnt.

# %%
# Where freqbias is: this checkout, a folder that you uploaded, or git+https://... of your copy.
SOURCE = ".."
# %pip install -q {SOURCE}

# %%
SMALL = False  # True: seconds on a CPU, as the tests run it
NUM_KERNELS = 200 if SMALL else 20000
NUM_STEPS = 2000 if SMALL else 20000  # towards the maximum margin

# %%
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

import freqbias as fb
from freqbias import theory

jax.config.update("jax_default_matmul_precision", "highest")
key = jax.random.key(0)
side = 8
checked = {}  # what: largest relative deviation

# %% [markdown]
# ## A kernel before training
#
# The mean frequency of a kernel of independent Gaussian taps has a known mean and standard
# deviation. The mean is that of white noise, whatever K: locality alone raises nothing. What K
# changes is the range that a kernel can reach.

# %%
rows = []
for size in (3, 5, side):
    kernels = jax.random.normal(jax.random.fold_in(key, size), (NUM_KERNELS, size, size, 1, 1))
    values = theory.kernel_mean_frequency(kernels, (side, side))
    told = theory.random_kernel_mean_frequency(size, (side, side))
    reach = theory.mean_frequency_range(size, (side, side))
    measured = float(values.mean()), float(values.std(ddof=1))
    rows.append((size, reach.minimum, reach.maximum, *told, *measured))
kernels = pd.DataFrame(
    rows, columns=["K", "least", "most", "mean", "sd", "measured mean", "measured sd"]
)
deviations = kernels["measured mean"] / kernels["mean"] - 1
checked["mean frequency of random kernels"] = float(deviations.abs().max())
kernels.round(4)

# %% [markdown]
# ## The smallest perturbation of a linear network
#
# With two classes it is the difference of their weights, at the distance margin / norm. An attack
# that knows nothing of this must find it.

# %%
weights = jax.random.normal(key, (side * side, 2)) / side
images = jax.random.uniform(jax.random.fold_in(key, 1), (16, side, side, 1))
linear = lambda params, x: x.reshape(len(x), -1) @ params  # noqa: E731
logits = linear(weights, images)
labels = logits.argmax(-1)
across = weights[:, 0] - weights[:, 1]
exact = jnp.abs(logits[:, 0] - logits[:, 1]) / jnp.linalg.norm(across)
attack = fb.attacks.ddn(num_steps=50, bounds=None)
found = attack(linear, weights, images, labels, key)
checked["smallest perturbations"] = float(jnp.abs(found.distance / exact - 1).max())
distances = pd.DataFrame({"exact": exact, "DDN": found.distance})
distances.agg(["mean", "min", "max"]).round(4)

# %% [markdown]
# ## Where training ends
#
# Past separation a linear network turns to a predictor of greatest margin, in the norm that its
# architecture minimises: l2 for one layer. The margin problem is solved exactly; the network is
# trained.

# %%
problem = jax.random.normal(jax.random.fold_in(key, 2), (12, side, side, 1))
classes = jnp.arange(12) % 2
solution = theory.max_margin(problem, classes, theory.l2_regularizer())
net = theory.dense_net((side, side, 1), 0)
state = theory.init_direction(net, jax.random.split(key, 4), len(problem))
state = theory.train_direction(net, state, problem, classes, num_steps=NUM_STEPS)
reading = theory.read_direction(net, state, problem, classes)
share = np.asarray(reading.margin) * solution.norm  # of the greatest margin at unit norm
checked["margin after training"] = float(np.abs(share - 1).max())
print(f"Share of the greatest margin, four seeds: {np.round(share, 4).tolist()}")

# %% [markdown]
# ## When each frequency is learnt
#
# Full-width linear convolution, squared loss, one hidden layer: every frequency is a sigmoid of its
# own, and discrete gradient descent is known step by step. Measured: automatic differentiation
# through both layers.

# %%
power = 1 / (1 + 20 * fb.spectral.radius_grid((side, side))) ** 2  # of the images
teacher = np.ones((side, side))
start, step_size, steps = 0.01, 0.2, 60
told = theory.gradient_descent_amplitude(
    steps, np.full_like(power, start), power * teacher, power, step_size=step_size, depth=1
)


@jax.jit
def descend(layers):
    """One step on both layers, in space; the loss is that over all shifts of the images."""

    def loss(layers):
        one, two = (jnp.fft.fft2(layer, norm="ortho") for layer in layers)
        return jnp.sum(power * jnp.abs(one * two - teacher) ** 2) / 2

    return jax.tree.map(lambda w, g: w - step_size * g, layers, jax.grad(loss)(layers))


peak = jnp.zeros((side, side)).at[0, 0].set(side)  # flat in frequency
layers = [np.sqrt(start) * peak] * 2
measured = [told[0]]
for _ in range(steps):
    layers = descend(layers)
    one, two = (jnp.fft.fft2(layer, norm="ortho") for layer in layers)
    measured.append(np.abs(one * two))
measured = np.array(measured)
checked["course of every frequency"] = float(np.abs(measured / told - 1).max())

figure, axis = plt.subplots(figsize=(6, 4))
for index in range(0, side // 2 + 1):
    label = f"{index / side:.3f} cycles per pixel"
    axis.plot(told[:, 0, index], color=f"C{index}", label=label)
    axis.plot(range(0, steps + 1, 5), measured[::5, 0, index], "o", color=f"C{index}")
axis.set(xlabel="step", ylabel="amplitude", title="Lines: formula. Dots: measured.")
axis.legend()
plt.show()

# %%
worst = max(checked, key=checked.get)
print(pd.DataFrame({"largest deviation": checked}).map("{:.2g}".format), "\n")
print(
    f"{len(checked)} formulas were measured; the largest deviation, {100 * checked[worst]:.2g} %, "
    f"is that of the {worst}."
)
