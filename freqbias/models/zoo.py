"""One table of all architectures: a name and settings give a Flax module.

To add a family: write its module in a file of its own, and add one line here.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from flax import linen as nn

from freqbias import _checks
from freqbias._checked import checked
from freqbias.models.convnet import ConvNet
from freqbias.models.efficientnet import EfficientNetLite
from freqbias.models.fully_connected import FullyConnected
from freqbias.models.global_filter import GlobalFilterNet
from freqbias.models.patches import ConvMixer, MLPMixer, ViT
from freqbias.models.residual import VGG, ResNet
from freqbias.models.unshared import LocallyConnectedNet, ScatteredConvNet

ARCHITECTURES: Mapping[str, Callable[..., nn.Module]] = {
    "fc": FullyConnected,
    "conv": ConvNet,
    "locally_connected": LocallyConnectedNet,
    "locally_connected_tied": partial(LocallyConnectedNet, tied_init=True),
    "scattered": partial(ScatteredConvNet, shared=True),
    "scattered_unshared": partial(ScatteredConvNet, shared=False),
    "resnet": ResNet,
    "vgg": VGG,
    "efficientnet_lite": EfficientNetLite,
    "conv_mixer": ConvMixer,
    "vit": ViT,
    "mlp_mixer": MLPMixer,
    "global_filter": GlobalFilterNet,
}


@checked
def create(name: str, **settings: Any) -> nn.Module:
    """The architecture ``name`` with ``settings``.

    Args:
      name: a key of `ARCHITECTURES`.
      **settings: attributes of the module, e.g. ``num_classes=10, depth=2, kernel_size=7``.

    Returns:
      A Flax module, used through ``init`` and ``apply``.

    Raises:
      ValueError: unknown name.
      TypeError: a setting that the architecture does not have.

    Example:
      >>> from freqbias import models
      >>> models.create("conv", num_classes=10, kernel_size=7).kernel_size
      7
    """
    _checks.one_of("name", name, ARCHITECTURES)
    return ARCHITECTURES[name](**settings)
