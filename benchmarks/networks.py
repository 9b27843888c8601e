"""The networks that are compared: by name, trained, and the same weights in plain JAX and in torch.

A name is a family, a kernel size and DEPTHxWIDTH: ``fc_1x64`` is dense with one hidden layer of 64
units, ``conv_9_3x16`` has three circular 9 x 9 convolutions of 16 channels, ``local_3_1x8`` the
same without shared weights. All have ReLU, a linear readout and ten classes.
"""

import re
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import freqbias as fb

NUM_CLASSES = 10
_NAME = re.compile(r"(fc|(?:conv|local)_([1-9]\d*))_([1-9]\d*)x([1-9]\d*)")


def named(name: str) -> Any:
    """The Flax module of a name; ValueError for a name that is none."""
    found = _NAME.fullmatch(name)
    if found is None:
        raise ValueError(f"name must be like fc_1x64, conv_9_3x16 or local_3_1x8; got {name!r}.")
    family, taps, depth, width = found.groups()
    depth, width = int(depth), int(width)
    if family == "fc":
        return fb.models.FullyConnected(num_classes=NUM_CLASSES, depth=depth, width=width)
    kind = fb.models.ConvNet if family.startswith("conv") else fb.models.LocallyConnectedNet
    return kind(num_classes=NUM_CLASSES, depth=depth, channels=width, kernel_size=int(taps))


def is_name(name: str) -> bool:
    """Whether `named` knows it."""
    return _NAME.fullmatch(name) is not None


class Problem(NamedTuple):
    """Networks of one architecture, and what they are attacked on."""

    model: Any
    nets: fb.Ensemble
    images: jax.Array  # [N, H, W, C]
    labels: jax.Array  # int32 [N]

    def params(self, seed: int) -> Any:
        """Of one network."""
        return fb.ensemble.select(self.nets.params, seed)


def images_of(split: Any, side: int) -> np.ndarray:
    """The images of a split [N, side, side, C]."""
    shape = (len(split.images), side, side, split.images.shape[-1])
    if split.images.shape == shape:
        return split.images
    return np.clip(np.asarray(jax.image.resize(split.images, shape, "linear")), 0, 1)


def problem(
    name: str,
    *,
    num_seeds: int = 1,
    num_images: int,
    num_training: int = 2000,
    epochs: int = 1,
    correct: bool = False,
) -> Problem:
    """Trains networks briefly, and takes test images for them.

    Args:
      name: of the architecture.
      num_seeds: networks.
      num_images: test images.
      num_training: images that each network learns from.
      epochs: passes over these.
      correct: whether to leave out the test images that the first network gets wrong.

    Raises:
      ValueError: with ``correct``, the network has not learned half of the images.
    """
    data, model = fb.data.load("fashion_mnist_mini"), named(name)
    # By default steps kernels of full width go to where no unit answers any image.
    optimizer = fb.training.sgd(0.02, clip=1.0)
    nets = fb.train(
        model,
        data.train,
        seeds=range(num_seeds),
        key=jax.random.key(0),
        epochs=epochs,
        num_images=num_training,
        optimizer=optimizer,
        progress=False,
    )
    images, labels = data.test.images[:num_images], data.test.labels[:num_images]
    if correct:
        logits = nets[0].logits(images)[0]
        kept = np.asarray(jnp.argmax(logits, axis=-1)) == labels
        if np.mean(kept) < 0.5:
            raise ValueError(f"{name} classifies {np.mean(kept):.0%} of the images; expected half.")
        images, labels = images[kept], labels[kept]
    return Problem(model, nets, jnp.asarray(images), jnp.asarray(labels, jnp.int32))


def hidden(model: Any, params: Any) -> list[tuple[Any, Any]]:
    """(weights, bias) of each hidden layer of a dense or convolutional network."""
    own = params["params"]
    if isinstance(model, fb.models.FullyConnected):
        return [
            (own[f"dense_{i}"]["kernel"], own[f"dense_{i}"]["bias"]) for i in range(model.depth)
        ]
    return [(own[f"kernel_{i}"], own[f"bias_{i}"]) for i in range(model.depth)]


def readout(params: Any) -> tuple[Any, Any]:
    """(weights, bias) of the last layer."""
    return params["params"]["head"]["readout"]["kernel"], params["params"]["head"]["readout"][
        "bias"
    ]


def plain_apply(model: Any, params: Any, images: jax.Array) -> jax.Array:
    """Logits [N, K] as one would write them in JAX: XLA's convolution, images [N, H, W, C]."""
    x = images
    for weights, bias in hidden(model, params):
        if weights.ndim == 2:
            x = x.reshape(len(x), -1) @ weights
        else:
            margin = ((weights.shape[0] - 1) // 2, weights.shape[0] // 2)
            x = jax.lax.conv_general_dilated(
                jnp.pad(x, ((0, 0), margin, margin, (0, 0)), mode="wrap"),
                weights,
                (1, 1),
                "VALID",
                dimension_numbers=("NHWC", "HWIO", "NHWC"),
            )
        x = jax.nn.relu(x + bias.reshape((1,) * (x.ndim - 1) + (-1,)))
    weights, bias = readout(params)
    return x.reshape(len(x), -1) @ weights + bias[None]


def as_torch(model: Any, params: Any, image_shape: tuple[int, ...]) -> Any:
    """A torch module of the same weights, images [N, C, H, W] -> logits.

    Args:
      model: a dense or convolutional network; any other becomes one function of torch, computed by
        JAX.
      params: of one network.
      image_shape: (H, W, C).
    """
    if not isinstance(model, fb.models.FullyConnected | fb.models.ConvNet):
        return _in_jax(model, params)
    import torch  # noqa: PLC0415 (the peer is needed only here)
    from torch import nn  # noqa: PLC0415

    def tensor(array: Any) -> Any:
        return nn.Parameter(torch.from_numpy(np.array(array, np.float32)))

    class Circular(nn.Module):  # type: ignore[misc]
        def __init__(self, weights: Any, bias: Any):
            super().__init__()
            size = weights.shape[0]
            self.margins = ((size - 1) // 2, size // 2) * 2
            self.weight = tensor(np.array(weights).transpose(3, 2, 0, 1))
            self.bias = tensor(bias)

        def forward(self, x: Any) -> Any:
            padded = nn.functional.pad(x, self.margins, mode="circular")
            return nn.functional.conv2d(padded, self.weight, self.bias)

    def dense(weights: Any, bias: Any, flattened: tuple[int, ...] | None) -> Any:
        weights = np.array(weights)
        if flattened is not None:  # torch has channels first: the weights follow
            weights = weights.reshape(*flattened, -1).transpose(2, 0, 1, 3)
            weights = weights.reshape(np.prod(flattened), -1)
        layer = nn.Linear(*weights.shape)
        layer.weight, layer.bias = tensor(weights.T), tensor(bias)
        return layer

    layers: list[Any] = []
    shape: tuple[int, ...] | None = tuple(image_shape)
    for weights, bias in hidden(model, params):
        if weights.ndim == 2:
            layers += [nn.Flatten()] if shape else []
            layers += [dense(weights, bias, shape), nn.ReLU()]
            shape = None
        else:
            layers += [Circular(weights, bias), nn.ReLU()]
            shape = (*image_shape[:2], weights.shape[-1])
    layers += [nn.Flatten()] if shape else []
    return nn.Sequential(*layers, dense(*readout(params), shape)).to(torch_device()).eval()


def torch_device() -> str:
    """Where torch computes: on a GPU if JAX does and it can."""
    import torch  # noqa: PLC0415

    return "cuda" if jax.default_backend() == "gpu" and torch.cuda.is_available() else "cpu"


def to_torch(array: Any) -> Any:
    """Images [N, H, W, C] as a tensor [N, C, H, W]; labels as they are."""
    import torch  # noqa: PLC0415

    array = np.array(array)
    if array.ndim == 4:
        return torch.from_numpy(array.transpose(0, 3, 1, 2).copy()).to(torch_device())
    return torch.from_numpy(array.astype(np.int64)).to(torch_device())


def from_torch(tensor: Any) -> np.ndarray:
    """Images [N, C, H, W] of torch as an array [N, H, W, C]."""
    return tensor.detach().cpu().numpy().transpose(0, 2, 3, 1)


def _in_jax(model: Any, params: Any) -> Any:
    import torch  # noqa: PLC0415

    network = jax.jit(lambda images: model.apply(params, images))
    pull = jax.jit(lambda images, rows: jax.vjp(network, images)[1](rows)[0])

    def there(array: Any) -> Any:
        return torch.from_numpy(np.array(array))

    class Function(torch.autograd.Function):  # type: ignore[misc]
        @staticmethod
        def forward(ctx: Any, images: Any) -> Any:
            ctx.save_for_backward(images)
            return there(network(from_torch(images)))

        @staticmethod
        def backward(ctx: Any, *rows: Any) -> Any:
            (images,) = ctx.saved_tensors
            return there(pull(from_torch(images), rows[0].numpy())).permute(0, 3, 1, 2)

    class Network(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.anchor = torch.nn.Parameter(torch.zeros(()))  # tells the device

        def forward(self, images: Any) -> Any:
            return Function.apply(images)

    return Network().eval()
