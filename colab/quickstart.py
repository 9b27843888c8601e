# %% [markdown]
# # Frequency bias in five minutes
#
# Train ensembles of convolutional and fully connected networks, attack every network, and compare
# the frequencies of the perturbations, over seeds, with intervals. On a TPU or GPU the seeds are
# one program (one device) or dealt over all devices; on a CPU each seed runs the same compiled
# program.

# %%
# Where freqbias is: this checkout, a folder that you uploaded, or git+https://... of your copy.
SOURCE = ".."
# %pip install -q {SOURCE}

# %%
SMALL = False  # True: seconds on a CPU, as the tests run it
DATASET = "digits" if SMALL else "fashion_mnist_mini"
SEEDS = range(2 if SMALL else 8)
NUM_IMAGES = 128 if SMALL else 4000  # training images of each seed, its own subsample
EPOCHS = 1 if SMALL else 5
NUM_ATTACKED = 8 if SMALL else 256
CHANNELS = 2 if SMALL else 16

# %%
import jax
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

import freqbias as fb

print(f"{jax.device_count()} x {jax.devices()[0].device_kind}")
# Accelerators would round the factors of every matrix product.
jax.config.update("jax_default_matmul_precision", "highest")
key = jax.random.key(0)
data = fb.data.load(DATASET)
images, labels = data.test.images[:NUM_ATTACKED], data.test.labels[:NUM_ATTACKED]
height, width, channels = data.image_shape

# %% [markdown]
# ## Train and attack
#
# One hidden layer each. Full width means a kernel as large as the image: weights are shared, but
# nothing is local.

# %%
common = {
    "num_classes": data.num_classes,
    "mean": tuple(np.ravel(data.mean).tolist()),
    "std": tuple(np.ravel(data.std).tolist()),
}
architectures = {
    "conv, K = 3": fb.models.ConvNet(kernel_size=3, channels=CHANNELS, **common),
    "conv, full width": fb.models.ConvNet(kernel_size=height, channels=CHANNELS, **common),
    "fully connected": fb.models.FullyConnected(width=256, **common),
}
attack = fb.attacks.pgd(fb.attacks.L2(), epsilon=0.5, num_steps=20, loss="margin")
budget = {"epochs": EPOCHS, "num_images": NUM_IMAGES, "optimizer": fb.sgd(0.02, 0.9, clip=1.0)}
found, accuracies = {}, {}
for name, model in architectures.items():
    nets = fb.train(model, data.train, seeds=SEEDS, key=key, **budget)
    found[name] = nets.attack(attack, images, labels, key=key)
    evaluation = fb.attacks.summarize(found[name])
    accuracies[name] = {
        "live seeds": int(nets.alive.sum()),
        "accuracy": float(evaluation.clean_accuracy.mean()),
        "robust accuracy": float(evaluation.robust_accuracy.mean()),
    }
pd.DataFrame(accuracies).T.round(3)

# %% [markdown]
# ## Mean frequency of the perturbations
#
# Power per image without DC, summed over channels, normalised; mean radius in cycles per pixel;
# mean over images. One number per seed, and a 95 % t interval over seeds.

# %%
null = fb.spectral.null((height, width), key=key, channels=channels).mean.mean_frequency
frequencies = {
    name: fb.inference.image_means(fb.spectral.mean_frequency(result.delta)).mean
    for name, result in found.items()
}
for name, values in frequencies.items():
    print(f"{name:18s}{fb.inference.mean_interval(values)}")
print(f"{'white noise':18s}{float(null):.3f}")

# %% [markdown]
# ## Their spectra
#
# Radial profiles relative to white noise, one line per seed.

# %%
figure, axis = plt.subplots(figsize=(6, 4))
for color, (name, result) in zip(("#0072b2", "#e69f00", "#009e73"), found.items(), strict=True):
    power = fb.spectral.mean_spectrum(result.delta, axis=1) * (height * width - 1)
    profile = fb.spectral.radial_profile(power)
    lines = np.asarray(profile.mean)[:, 1:].T  # without zero frequency; one column per seed
    axis.semilogy(profile.frequency[1:], lines, color=color, alpha=0.6)
    axis.plot([], color=color, label=name)
axis.axhline(1, color="grey", linestyle=":")
axis.set(xlabel="frequency (cycles per pixel)", ylabel="power relative to white noise")
axis.legend()
plt.show()

# %%
local, dense = (frequencies[name] for name in ("conv, K = 3", "fully connected"))
effect = fb.inference.difference_interval(local, dense)
print(
    f"On {DATASET}, perturbations of conv K = 3 differ from those of fully connected networks by "
    f"{effect} in cycles per pixel; white noise lies at {float(null):.3f}."
)
