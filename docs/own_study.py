"""A study of your own: your module beside conv and FC, your data, your claim; rows to report."""

import sys
from pathlib import Path

import numpy as np
from flax import linen as nn

import freqbias as fb
from freqbias import study


class MyNet(nn.Module):  # any Linen module: params and images [N, H, W, C] to logits [N, K]
    num_classes: int

    @nn.compact
    def __call__(self, images):
        x = nn.gelu(nn.Dense(32)(images.mean(axis=3).reshape(len(images), -1)))
        return nn.Dense(self.num_classes)(x)


def my_data():  # images in [0, 1]; here stripes: the class is their direction
    rng = np.random.default_rng(0)
    labels = rng.integers(2, size=400)
    wave = 0.3 * np.sin(2 * np.pi * (np.arange(12) / 4 + rng.uniform(size=(400, 1))))
    images = np.where(labels[:, None, None], wave[:, None, :], wave[:, :, None])
    images = (0.5 + images + rng.normal(scale=0.1, size=images.shape)).clip(0, 1)[..., None]
    return fb.data.from_arrays(images[:300], labels[:300], images[300:], labels[300:], name="mine")


def main(out):
    study.configure()
    build = lambda setting, dataset, budget: MyNet(dataset.num_classes)  # noqa: E731
    study.register(study.Family("my_net", "My net", "#117733", "D", build, regimes=("relu",)))
    arms = (study.Arm("my_net"), study.Arm("conv", 1, "3"), study.Arm("fc"))
    design = study.Design(("mine",), arms, regimes=("relu",), init_scales=(1.0,))
    budget = study.Budget(seeds=(0, 1, 2), num_images=256, epochs=16, num_attacked=32, num_steps=5)
    claims = study.load_registry(Path(__file__).with_name("own_claims.toml"))
    plan = study.plan("mine", [design], budget, datasets={"mine": my_data()}, registry=claims)
    study.run(plan, out, overwrite=True)


if __name__ == "__main__":
    main(sys.argv[1])
