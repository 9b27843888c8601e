"""Flax Linen networks: ``model.init(key, images)``, ``model.apply(params, images) -> logits``.

Images are [N, H, W, C] in [0, 1]; each model standardises them itself, so that perturbations and
budgets are in units of intensity.
"""

from freqbias.models.convnet import ConvNet
from freqbias.models.efficientnet import EfficientNetLite
from freqbias.models.fully_connected import FullyConnected
from freqbias.models.global_filter import GlobalFilterNet
from freqbias.models.layers import num_parameters
from freqbias.models.masked import MaskedConvNet, as_masked, tap_params
from freqbias.models.patches import ConvMixer, MLPMixer, ViT
from freqbias.models.residual import VGG, ResNet
from freqbias.models.unshared import LocallyConnectedNet, ScatteredConvNet
from freqbias.models.zoo import ARCHITECTURES, create

__all__ = [
    "ARCHITECTURES",
    "VGG",
    "ConvMixer",
    "ConvNet",
    "EfficientNetLite",
    "FullyConnected",
    "GlobalFilterNet",
    "LocallyConnectedNet",
    "MLPMixer",
    "MaskedConvNet",
    "ResNet",
    "ScatteredConvNet",
    "ViT",
    "as_masked",
    "create",
    "num_parameters",
    "tap_params",
]
