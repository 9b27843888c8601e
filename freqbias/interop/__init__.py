"""Networks from elsewhere as an ``apply_fn`` with its parameters.

`from_linen`, `from_nnx`, `from_equinox`, `from_haiku`, `from_torch`, and `from_function` for
anything else; each takes what the network expects of its images (`Preprocessing`), so that images
stay [N, H, W, C] in [0, 1] and epsilons in units of intensity. Their packages are imported when an
adapter is called, not before.
"""

from freqbias.interop.checks import UnfitError as UnfitError
from freqbias.interop.checks import as_images as as_images
from freqbias.interop.checks import as_labels as as_labels
from freqbias.interop.checks import check_network as check_network
from freqbias.interop.checks import how_to_adapt as how_to_adapt
from freqbias.interop.checks import refuse_probabilities as refuse_probabilities
from freqbias.interop.files import read_weights as read_weights
from freqbias.interop.modules import from_equinox as from_equinox
from freqbias.interop.modules import from_function as from_function
from freqbias.interop.modules import from_haiku as from_haiku
from freqbias.interop.modules import from_linen as from_linen
from freqbias.interop.modules import from_nnx as from_nnx
from freqbias.interop.preprocessing import Network as Network
from freqbias.interop.preprocessing import Preprocessing as Preprocessing
from freqbias.interop.preprocessing import preprocessing as preprocessing
from freqbias.interop.timm_networks import from_timm as from_timm
from freqbias.interop.timm_networks import imagenet_labels as imagenet_labels
from freqbias.interop.torch_modules import from_torch as from_torch
from freqbias.interop.weights import load_weights as load_weights

__all__ = [
    "Network",
    "Preprocessing",
    "UnfitError",
    "as_images",
    "as_labels",
    "check_network",
    "from_equinox",
    "from_function",
    "from_haiku",
    "from_linen",
    "from_nnx",
    "from_timm",
    "from_torch",
    "how_to_adapt",
    "imagenet_labels",
    "load_weights",
    "preprocessing",
    "read_weights",
    "refuse_probabilities",
]
