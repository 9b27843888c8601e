"""Weights of networks as torch's own exporters write them to ONNX: logits as of the module.

The exporters store equal tensors once, fold batch normalisations into convolutions, and rename what
they transpose; each case is exported as people do it (by default) and plainly.
"""

import importlib.util
import itertools

import jax.numpy as jnp
import numpy as np
import pytest

from freqbias import interop, models

pytestmark = pytest.mark.peers
AFFINE = {"normalization": "affine"}
EXPORTERS = {
    "of TorchScript": {"dynamo": False},
    "of TorchScript, plainly": {"dynamo": False, "do_constant_folding": False},
    "of torch.export": {"dynamo": True, "verbose": False},
    "of torch.export, plainly": {"dynamo": True, "verbose": False, "optimize": False},
}


@pytest.fixture(scope="module")
def torch():
    pytest.importorskip("onnx")
    return pytest.importorskip("torch")


def vgg(torch):
    """Two stages, by the names of torchvision."""
    nn = torch.nn

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            widths, layers = (3, 8, 16), []
            for inputs, outputs in itertools.pairwise(widths):
                layers += [nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs),
                           nn.ReLU(), nn.MaxPool2d(2)]  # fmt: skip
            self.features, self.classifier = nn.Sequential(*layers), nn.Linear(16, 3)

        def forward(self, x):
            return self.classifier(self.features(x).mean((2, 3)))

    return Net()


def resnet(torch):
    from torchvision.models import resnet18  # noqa: PLC0415

    return resnet18(num_classes=3)


def vit(torch):
    from timm.models.vision_transformer import VisionTransformer  # noqa: PLC0415

    return VisionTransformer(img_size=32, patch_size=8, embed_dim=24, depth=2, num_heads=3,
                             num_classes=3)  # fmt: skip


def mixer(torch):
    from timm.models.mlp_mixer import MlpMixer  # noqa: PLC0415

    return MlpMixer(num_classes=3, img_size=32, patch_size=8, num_blocks=2, embed_dim=24,
                    mlp_ratio=(0.5, 2.0))  # fmt: skip


def efficientnet(torch):
    import timm  # noqa: PLC0415

    return timm.create_model("tf_efficientnet_lite0", num_classes=3)


OURS = {
    vgg: models.VGG(3, (1, 1), width=8, **AFFINE),
    resnet: models.ResNet(3, stem="large", **AFFINE),
    vit: models.ViT(3, patch_size=8, depth=2, width=24, heads=3),
    mixer: models.MLPMixer(3, patch_size=8, depth=2, width=24, tokens_width=12, channels_width=48),
    efficientnet: models.EfficientNetLite(3, **AFFINE),
}


def drawn(torch, make):
    """A module whose every number matters: zeros and ones would hide one in a wrong place."""
    generator = torch.Generator().manual_seed(0)
    module = make(torch).eval()
    with torch.no_grad():
        for leaf in module.parameters():
            leaf.add_(0.05 * torch.randn(leaf.shape, generator=generator))
        for layer in module.modules():
            if isinstance(layer, torch.nn.BatchNorm2d):
                layer.running_mean += 0.1 * torch.randn(layer.num_features, generator=generator)
                layer.running_var *= 1 + torch.rand(layer.num_features, generator=generator)
    return module


def exported(torch, module, images, path, exporter):
    options = EXPORTERS[exporter]
    if options["dynamo"] and importlib.util.find_spec("onnxscript") is None:
        pytest.skip("onnxscript is not installed")
    torch.onnx.export(module, (images,), path, **options)


@pytest.mark.parametrize("exporter", EXPORTERS)
@pytest.mark.parametrize("make", OURS, ids=lambda make: make.__name__)
@pytest.mark.filterwarnings("ignore")  # of the exporters
def test_logits_of_an_exported_network(torch, make, exporter, tmp_path, request):
    if make is not vgg:
        request.getfixturevalue("torch_with_timm")
    module, model = drawn(torch, make), OURS[make]
    images = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    exported(torch, module, images[:1], tmp_path / "x.onnx", exporter)
    params = interop.load_weights(tmp_path / "x.onnx", model, image_shape=(32, 32, 3))
    logits = model.apply(params, jnp.asarray(images.numpy().transpose(0, 2, 3, 1)))
    expected = module(images).detach().numpy()
    assert np.ptp(expected) > 0.05
    np.testing.assert_allclose(logits, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.filterwarnings("ignore")
def test_a_folded_normalisation_asks_for_an_affine_network(torch, tmp_path):
    exported(torch, drawn(torch, vgg), torch.zeros(1, 3, 32, 32), tmp_path / "x.onnx",
             "of TorchScript")  # fmt: skip
    with pytest.raises(ValueError, match=r"normalization='affine'.* are folded"):
        model = models.VGG(3, (1, 1), width=8)
        interop.load_weights(tmp_path / "x.onnx", model, image_shape=(32, 32, 3))


@pytest.mark.filterwarnings("ignore")
def test_the_state_is_read_under_the_names_of_the_module(torch, tmp_path):
    """Also of two layers that are equal, of which the file has one."""
    module = drawn(torch, vgg)
    module.add_module("more", torch.nn.Identity())
    with torch.no_grad():
        module.features[1].bias.copy_(module.features[1].weight)
    images = torch.zeros(1, 3, 32, 32)
    exported(torch, module, images, tmp_path / "x.onnx", "of TorchScript, plainly")
    found = interop.read_weights(tmp_path / "x.onnx")
    state = {name: leaf.numpy() for name, leaf in module.state_dict().items()
             if not name.endswith("num_batches_tracked")}  # fmt: skip
    assert found.keys() == state.keys()
    for name, array in state.items():
        np.testing.assert_array_equal(found[name], array)
