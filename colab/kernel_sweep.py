# %% [markdown]
# # Kernel size, on whatever device is here
#
# Does the frequency of perturbations fall as kernels grow, up to the width of the image? The same
# cells run on a TPU, on one GPU or several, and on a CPU: seeds are dealt over all devices, and
# more of them are trained where more cost little.

# %%
# Where freqbias is: this checkout, a folder that you uploaded, or git+https://... of your copy.
SOURCE = ".."
# %pip install -q {SOURCE}

# %%
SMALL = False  # True: seconds on a CPU, as the tests run it

# %%
import time

import jax
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

import freqbias as fb

jax.config.update("jax_default_matmul_precision", "highest")  # accelerators round otherwise
key = jax.random.key(0)
accelerated = jax.default_backend() != "cpu"
seeds = range(2 if SMALL else 64 if accelerated else 4)
data = fb.data.load("digits" if SMALL else "fashion_mnist_mini")
side = data.image_shape[0]
kernel_sizes = [3, side] if SMALL else [3, 5, 7, 11, 15, 21, side]
num_images, epochs, num_attacked = (128, 1, 8) if SMALL else (2000, 30, 128)
print(
    f"{jax.device_count()} x {jax.devices()[0].device_kind}: {len(seeds)} seeds, "
    f"{fb.ensemble.choose_strategy()}; {len(kernel_sizes)} kernel sizes"
)

# %% [markdown]
# Every network trains on its own subsample, from its own weights. The first kernel size says what
# the rest will take.

# %%
images, labels = data.test.images[:num_attacked], data.test.labels[:num_attacked]
attack = fb.attacks.pgd(fb.attacks.L2(), epsilon=0.5, num_steps=20, loss="margin")
optimizer = fb.sgd(0.02, 0.9, clip=1.0)
frequencies, rows = {}, []
started = time.perf_counter()
for done, size in enumerate(kernel_sizes, 1):
    model = fb.models.ConvNet(
        num_classes=data.num_classes,
        kernel_size=size,
        channels=2 if SMALL else 8,
        mean=tuple(np.ravel(data.mean).tolist()),
        std=tuple(np.ravel(data.std).tolist()),
    )
    nets = fb.train(
        model, data.train, seeds=seeds, key=key,
        epochs=epochs, num_images=num_images, optimizer=optimizer,
    )  # fmt: skip
    nets = nets[nets.alive]
    found = nets.attack(attack, images, labels, key=key)
    frequencies[size] = fb.inference.image_means(fb.spectral.mean_frequency(found.delta)).mean
    interval = fb.inference.mean_interval(frequencies[size])
    rows.append((size, len(nets), float(nets.accuracy(images, labels).mean()), *interval[:3]))
    each = (time.perf_counter() - started) / done
    if done == 1 and len(kernel_sizes) > 1:
        left = each * (len(kernel_sizes) - 1)
        print(f"The first took {each:.0f} s; expect about {left:.0f} s more.")
table = pd.DataFrame(rows, columns=["K", "live seeds", "accuracy", "mean frequency", "low", "high"])
table.round(3)

# %%
white = fb.spectral.null((side, side), key=key, channels=data.image_shape[2]).mean
figure, axis = plt.subplots(figsize=(6, 4))
for size, values in frequencies.items():
    axis.plot([size] * len(values), values, "o", color="#0072b2", alpha=0.3)
axis.plot(table["K"], table["mean frequency"], color="#0072b2")
axis.fill_between(table["K"], table["low"], table["high"], color="#0072b2", alpha=0.2, linewidth=0)
axis.axhline(float(white.mean_frequency), color="grey", linestyle=":", label="white noise")
axis.set(xlabel="kernel size K", ylabel="mean frequency (cycles per pixel)", xscale="log")
axis.set_xticks(kernel_sizes, kernel_sizes)
axis.minorticks_off()
axis.legend()
plt.show()

# %%
trend = fb.inference.trend_interval(list(frequencies.values()), np.log(kernel_sizes))
says = "falls" if trend.high < 0 else "rises" if trend.low > 0 else "does not clearly change"
print(
    f"From K = 3 to K = {side} the mean frequency of perturbations {says}: the fitted change is "
    f"{trend}, in cycles per pixel."
)
