"""A torch module as a network: forward and gradient by torch, everything else by JAX."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from freqbias._checked import checked
from freqbias.interop.checks import UnfitError, check_logits
from freqbias.interop.preprocessing import Network, network_of
from freqbias.typing import Array, Params


@checked
def from_torch(
    module: Any,
    *,
    mean: float | Sequence[float] | None = None,
    std: float | Sequence[float] | None = None,
    pixel_max: float = 1.0,
    channels_first: bool = True,
    resize: tuple[int, int] | None = None,
    output: Callable[[Any], Any] | None = None,
) -> Network:
    """A ``torch.nn.Module`` as a network that every attack and `freqbias.analyze` takes.

    Its parameters stay in torch, on the device where they are: ``params`` is empty. A batch goes
    there at once by ``jax.pure_callback``, also under ``jit``, ``vmap`` and ``scan``, and so do its
    gradients, by torch's own differentiation. Gradients of gradients, and those by parameters, are
    not available.

    Args:
      module: in evaluation mode (``module.eval()``), from images [N, C, H, W] to logits [N, K].
      mean: of each channel, in the network's units, e.g. ``(0.485, 0.456, 0.406)``.
      std: likewise, e.g. ``(0.229, 0.224, 0.225)``.
      pixel_max: what the network calls white, 1 or 255.
      channels_first: whether it expects [N, C, H, W], as torch's layers do.
      resize: (H, W) that it expects; None: as the images come.
      output: picks the logits out of what the module returns, e.g. ``lambda out: out.logits``.

    Returns:
      A `Network` of an ``apply_fn`` and no parameters.

    Raises:
      TypeError: no torch module.
      UnfitError: it is in training mode; when called: what it returns is no logits, or it refuses
        the images.

    Example:
      .. code-block:: python

        network = fb.interop.from_torch(module.eval(), mean=(0.5,), std=(0.25,))
        fb.analyze(*network, images, labels, key=key).save("report.html")
    """
    import torch  # noqa: PLC0415  (only where it is used)

    if not isinstance(module, torch.nn.Module):
        raise TypeError(f"module must be a torch.nn.Module; got {type(module).__name__}.")
    training = [name or "itself" for name, part in module.named_modules() if part.training]
    if training:
        raise UnfitError(
            "module must be in evaluation mode: call module.eval() first. In training mode: "
            f"{', '.join(training[:3])}{', ...' if len(training) > 3 else ''}."
        )
    return network_of(
        _Callback(module, output), (), mean=mean, std=std, pixel_max=pixel_max,
        channels_first=channels_first, resize=resize,
    )  # fmt: skip


class _Callback:
    """(no params, images as the module expects them) -> logits, differentiable by the images."""

    def __init__(self, module: Any, output: Callable[[Any], Any] | None):
        self._module, self._output = module, output
        self._num_classes: dict[tuple[int, ...], int] = {}

        @jax.custom_vjp
        def logits(images: Array) -> Array:
            return self._ask(self._values, (*images.shape[:1], self._classes(images)), images)

        def forward(images: Array) -> tuple[Array, Array]:
            return logits(images), images

        def backward(images: Array, slopes: Array) -> tuple[Array]:
            return (self._ask(self._gradients, images.shape, images, slopes),)

        logits.defvjp(forward, backward)
        self._logits = logits

    def __call__(self, params: Params, images: Array) -> Array:
        del params
        return self._logits(images)

    def _ask(self, fn: Callable[..., np.ndarray], shape: Sequence[int], *given: Array) -> Array:
        result = jax.ShapeDtypeStruct(tuple(shape), given[0].dtype)
        return jax.pure_callback(fn, result, *given, vmap_method="broadcast_all")

    def _classes(self, images: Array) -> int:
        """K, by asking for one black image of the shape."""
        shape = tuple(images.shape[1:])
        if shape not in self._num_classes:
            try:
                found = self._run(self._tensor(np.zeros((1, *shape), np.float32)))
            except UnfitError:
                raise
            except Exception as error:
                said = (str(error).strip() or type(error).__name__).splitlines()[0]
                raise UnfitError(
                    f"module must take images of shape {(1, *shape)} (resize=, channels_first= say "
                    f"what it is given); it raised {type(error).__name__}: {said}"
                ) from error
            self._num_classes[shape] = check_logits(found, 1)
        return self._num_classes[shape]

    def _tensor(self, images: np.ndarray) -> Any:
        """Images on the device and in the precision of the module."""
        import torch  # noqa: PLC0415

        like = next((p for p in self._module.parameters() if p.is_floating_point()), None)
        tensor = torch.from_numpy(np.array(images))  # a copy: JAX's memory is not torch's to keep
        return tensor if like is None else tensor.to(device=like.device, dtype=like.dtype)

    def _run(self, images: Any) -> Any:
        import torch  # noqa: PLC0415

        with torch.no_grad():
            found = self._module(images)
            return found if self._output is None else self._output(found)

    def _values(self, images: Any) -> np.ndarray:
        """Logits of images with any leading axes, the rank of a batch last."""
        array = np.asarray(images)
        found = self._run(self._tensor(array.reshape(-1, *array.shape[-3:])))
        return _array(found, array.dtype).reshape(*array.shape[:-3], -1)

    def _gradients(self, images: Any, slopes: Any) -> np.ndarray:
        """Of the sum of slopes times logits, by the images."""
        import torch  # noqa: PLC0415

        array, weights = np.asarray(images), np.asarray(slopes)
        given = self._tensor(array.reshape(-1, *array.shape[-3:])).requires_grad_(True)
        with torch.enable_grad():
            found = self._module(given)
            found = found if self._output is None else self._output(found)
            weighed = torch.from_numpy(np.array(weights.reshape(-1, weights.shape[-1])))
            total = (found * weighed.to(device=found.device, dtype=found.dtype)).sum()
            slope = None  # of logits that do not depend on the images
            if total.requires_grad:
                (slope,) = torch.autograd.grad(total, given, allow_unused=True)
        if slope is None:
            return np.zeros_like(array)
        return _array(slope, array.dtype).reshape(array.shape)


def _array(tensor: Any, dtype: Any) -> np.ndarray:
    return tensor.detach().float().cpu().numpy().astype(dtype)
