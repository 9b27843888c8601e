"""Networks of timm by name, with weights of a file; nothing is fetched."""

import re
import sys
import urllib.request

import jax
import numpy as np
import pytest
from absl import flags
from absl.testing import flagsaver
from PIL import Image

from freqbias import analysis, attacks, interop
from freqbias.cli import compare, inputs

pytestmark = pytest.mark.peers
IMAGES = np.asarray(jax.random.uniform(jax.random.key(0), (3, 160, 160, 3)))


@pytest.fixture(scope="module")
def timm(torch_with_timm):
    return sys.modules["timm"]


def test_weights_of_a_file_with_other_classes_and_preprocessing(timm, torch_with_timm, tmp_path):
    torch = torch_with_timm
    module = timm.create_model("test_resnet", num_classes=7).eval()
    torch.save(module.state_dict(), tmp_path / "weights.pth")
    network = interop.from_timm("test_resnet", weights=tmp_path / "weights.pth")
    pixels = torch.from_numpy(((IMAGES - 0.5) / 0.5).transpose(0, 3, 1, 2).copy())
    with torch.no_grad():
        expected = module(pixels).numpy()
    np.testing.assert_allclose(network.apply_fn((), IMAGES), expected, atol=1e-5)
    small = jax.image.resize(IMAGES, (3, 80, 80, 3), "bilinear")
    assert network.apply_fn((), small).shape == (3, 7)  # resized inside
    with pytest.raises(ValueError, match=r"weights must fit test_vit of timm: .*patch_embed"):
        interop.from_timm("test_vit", weights=tmp_path / "weights.pth")


def test_random_weights_are_those_of_their_seed(timm):
    first, again, other = (
        interop.from_timm("test_resnet", weights="random", seed=seed).apply_fn((), IMAGES)
        for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, again)
    assert not np.allclose(first, other)


def test_names_that_timm_does_not_know(timm):
    with pytest.raises(ValueError, match=r"got 'resnet5'\. Near it: .*resnet50"):
        interop.from_timm("resnet5")
    np.testing.assert_array_equal(interop.imagenet_labels(["n01443537", "n01440764"]), [1, 0])
    with pytest.raises(ValueError, match="classes of ImageNet-1k; got n00000000"):
        interop.imagenet_labels(["n01440764", "n00000000"])


def test_folders_named_by_wordnet_are_classes_of_imagenet(timm, tmp_path):
    for name in ("n01443537", "n01440764"):
        (tmp_path / name).mkdir()
        Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(tmp_path / name / "a.png")
    split, names = inputs.pictures(str(tmp_path), size=None, max_images=None)
    assert sorted(split.labels.tolist()) == [0, 1]
    assert names is None
    (tmp_path / "n01443537").rename(tmp_path / "n02099712")
    split, _ = inputs.pictures(str(tmp_path), size=None, max_images=None)
    assert sorted(split.labels.tolist()) == [0, 208]


def test_without_the_hub_a_file_is_asked_for(timm, monkeypatch):
    def unplugged(*given, **options):
        raise OSError("no route")

    monkeypatch.setattr(timm.models._builder, "load_pretrained", unplugged)
    monkeypatch.setattr(urllib.request, "urlopen", unplugged)
    with pytest.raises(OSError, match=r"could not be fetched from the hub .*; give a file of them"):
        interop.from_timm("resnet18")


def test_families_compared_by_the_command(timm, tmp_path, monkeypatch, capsys):
    step = attacks.fgsm(attacks.L2(), epsilon=1.0)
    monkeypatch.setattr(analysis.budget, "default_attacks", lambda *_: {"FGSM": step})
    monkeypatch.chdir(tmp_path)
    np.savez("images.npz", images=IMAGES, labels=np.arange(3))
    with flagsaver.flagsaver():
        flags.FLAGS(["compare", "--images=images.npz", "--batch_size=3",
                     "--network=CNN/resnet=timm:test_resnet@random",
                     "--network=ViT/vit=timm:test_vit@random"])  # fmt: skip
        compare.execute(inputs.prepare(several=True))
    said = capsys.readouterr().out
    assert re.search(r"resnet +FGSM", said)
    assert re.search(r"vit +FGSM", said)
    assert "CNN" in said
    assert (tmp_path / "report.html").stat().st_size > 10_000
