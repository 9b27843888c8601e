"""Networks of Linen, NNX, Equinox and Haiku, and plain functions, as networks of freqbias."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any, Unpack

import jax

from freqbias._checked import checked
from freqbias.interop.checks import UnfitError
from freqbias.interop.preprocessing import Network, Options, network_of
from freqbias.typing import Array, Params

_EVALUATION = {  # what a call may take, and its value when not training
    "train": False,
    "training": False,
    "is_training": False,
    "deterministic": True,
    "use_running_average": True,
    "inference": True,
}


@checked
def from_function(
    fn: Callable[[Params, Array], Any], params: Params, **options: Unpack[Options]
) -> Network:
    """A function of parameters and images as a network, with what it expects of its images.

    A function (params, images [N, H, W, C] in [0, 1]) -> logits [N, K] needs no adapter.

    Args:
      fn: (params, images as preprocessed) -> logits [N, K].
      params: any pytree of arrays; ``()`` for none.
      options: ``mean``, ``std``, ``pixel_max``, ``channels_first``, ``resize``: see
        `freqbias.interop.Preprocessing`; ``output`` picks the logits out of what it returns.

    Returns:
      A `Network`.

    Raises:
      ValueError: an option is out of range; when called: no logits.

    Example:
      >>> import jax.numpy as jnp
      >>> from freqbias import attacks, interop
      >>> apply_fn, params, images, labels = attacks.example()
      >>> network = interop.from_function(apply_fn, params, mean=0.5, std=0.25)
      >>> network.apply_fn(network.params, images).shape
      (4, 4)
    """
    if not callable(fn):
        raise TypeError(f"fn must be a function of params and images; got {type(fn).__name__}.")
    return network_of(fn, params, **options)


@checked
def from_linen(
    module: Any,
    variables: Mapping[str, Any],
    *,
    arguments: Mapping[str, Any] | None = None,
    **options: Unpack[Options],
) -> Network:
    """A Flax Linen module as a network, in evaluation mode.

    Dropout and batch statistics are off if the module's call has an argument that says so: of
    ``train``, ``training``, ``is_training`` (False) and ``deterministic``, ``use_running_average``,
    ``inference`` (True) those that it takes are given.

    Args:
      module: the module.
      variables: ``{"params": ..., "batch_stats": ...}`` as of ``module.init``; or the parameters
        alone.
      arguments: other keyword arguments of the call, or other values of these.
      options: as of `from_function`.

    Returns:
      A `Network` whose params are all variables.

    Raises:
      TypeError: no module of Linen.
      UnfitError: when called: it draws random numbers, changes its statistics or lacks some.

    Example:
      >>> import flax.linen as nn, jax
      >>> from freqbias import attacks, interop
      >>> images = attacks.example().images
      >>> module = nn.Sequential([lambda x: x.reshape(x.shape[0], -1), nn.Dense(4)])
      >>> network = interop.from_linen(module, module.init(jax.random.key(0), images))
      >>> network.apply_fn(network.params, images).shape
      (4, 4)
    """
    import flax  # noqa: PLC0415
    from flax import linen  # noqa: PLC0415

    if not isinstance(module, linen.Module):
        raise TypeError(f"module must be a flax.linen.Module; got {type(module).__name__}.")
    if "params" not in variables:
        variables = {"params": variables}
    given = _evaluation(type(module).__call__) | dict(arguments or {})

    def forward(variables: Any, images: Array) -> Any:
        try:
            return module.apply(variables, images, **given)
        except flax.errors.InvalidRngError as error:
            raise UnfitError(
                "module must be in evaluation mode; it draws random numbers (dropout). Say what "
                "turns that off, e.g. arguments={'train': False} or {'deterministic': True}."
            ) from error
        except flax.errors.ModifyScopeVariableError as error:
            raise UnfitError(
                "module must be in evaluation mode; it changes its batch statistics. Say what "
                "turns that off, e.g. arguments={'train': False} or {'use_running_average': True}."
            ) from error
        except (flax.errors.ScopeCollectionNotFound, flax.errors.ScopeVariableNotFoundError) as e:
            raise UnfitError(
                f"variables must hold all collections of the module, e.g. {{'params': params, "
                f"'batch_stats': batch_stats}}; got {sorted(variables)}: {_first_line(e)}"
            ) from e

    return network_of(forward, dict(variables), **options)


@checked
def from_nnx(model: Any, **options: Unpack[Options]) -> Network:
    """A Flax NNX model as a network; its state is read now, later changes are not seen.

    Args:
      model: in evaluation mode (``model.eval()``).
      options: as of `from_function`.

    Returns:
      A `Network` whose params are the model's state without its random streams.

    Raises:
      TypeError: no NNX module.
      UnfitError: a part is in training mode.
    """
    from flax import nnx  # noqa: PLC0415

    if not isinstance(model, nnx.Module):
        raise TypeError(f"model must be a flax.nnx.Module; got {type(model).__name__}.")
    training = [
        "/".join(map(str, path)) or "itself"
        for path, part in nnx.iter_graph(model)
        if isinstance(part, nnx.Module)
        and (
            getattr(part, "use_running_average", None) is False
            or (getattr(part, "deterministic", None) is False and getattr(part, "rate", 1) != 0)
        )
    ]
    if training:
        raise UnfitError(
            "model must be in evaluation mode: call model.eval() first. In training mode: "
            f"{', '.join(sorted(training)[:3])}{', ...' if len(training) > 3 else ''}."
        )
    graph, streams, state = nnx.split(model, nnx.RngState, ...)  # type: ignore[misc]

    def forward(state: Any, images: Array) -> Any:
        return nnx.merge(graph, streams, state)(images)

    return network_of(forward, state, **options)


@checked
def from_equinox(model: Any, state: Any = None, **options: Unpack[Options]) -> Network:
    """An Equinox model of one image as a network of many: ``jax.vmap`` is applied here.

    Args:
      model: of one image, [C, H, W] as Equinox's convolutions expect (``channels_first=False`` for
        [H, W, C]), in inference mode (``eqx.nn.inference_mode(model)``).
      state: of a model with state (batch normalisation), as of ``eqx.nn.make_with_state``; the
        model is then called with it, and what it becomes is dropped.
      options: as of `from_function`.

    Returns:
      A `Network` whose params are the model's arrays, and the state's.

    Raises:
      TypeError: no Equinox module.
      UnfitError: a part is in training mode.
    """
    import equinox as eqx  # noqa: PLC0415

    if not isinstance(model, eqx.Module):
        raise TypeError(f"model must be an equinox.Module; got {type(model).__name__}.")
    parts = jax.tree.leaves(model, is_leaf=lambda part: hasattr(part, "inference"))
    training = sorted({type(part).__name__ for part in parts
                       if getattr(part, "inference", None) is False})  # fmt: skip
    if training:
        raise UnfitError(
            "model must be in inference mode: model = eqx.nn.inference_mode(model). In training "
            f"mode: {', '.join(training)}."
        )
    arrays, rest = eqx.partition((model, state), eqx.is_array)

    def forward(arrays: Any, images: Array) -> Any:
        whole, own = eqx.combine(arrays, rest)
        if own is None:
            return jax.vmap(whole)(images)
        return jax.vmap(lambda image: whole(image, own)[0], axis_name="batch")(images)

    options.setdefault("channels_first", True)
    return network_of(forward, arrays, **options)


@checked
def from_haiku(
    transformed: Any,
    params: Params,
    state: Any = None,
    *,
    arguments: Mapping[str, Any] | None = None,
    **options: Unpack[Options],
) -> Network:
    """A Haiku function as a network.

    Args:
      transformed: of ``hk.transform`` or ``hk.transform_with_state``.
      params: as of its ``init``.
      state: of the latter.
      arguments: keyword arguments of the call, e.g. ``{"is_training": False}``.
      options: as of `from_function`.

    Returns:
      A `Network`; its params are ``params``, or (params, state).

    Raises:
      TypeError: nothing transformed.
      UnfitError: a state is missing or superfluous; when called: it draws random numbers.
    """
    if not (hasattr(transformed, "init") and hasattr(transformed, "apply")):
        raise TypeError(
            "transformed must be made by hk.transform or hk.transform_with_state; got "
            f"{type(transformed).__name__}."
        )
    stateful = type(transformed).__name__ == "TransformedWithState"
    if stateful != (state is not None):
        raise UnfitError(
            f"state must be given for hk.transform_with_state, and only there; got "
            f"{'none' if state is None else 'one'} for {type(transformed).__name__}."
        )
    given = dict(arguments or {})

    def forward(variables: Any, images: Array) -> Any:
        try:
            if stateful:
                return transformed.apply(*variables, None, images, **given)[0]
            return transformed.apply(variables, None, images, **given)
        except ValueError as error:
            if "PRNGKey" not in str(error) and "rng" not in str(error).lower():
                raise
            raise UnfitError(
                "transformed must be in evaluation mode; it draws random numbers (dropout). Say "
                "what turns that off, e.g. arguments={'is_training': False}."
            ) from error

    return network_of(forward, (params, state) if stateful else params, **options)


def _evaluation(call: Callable[..., Any]) -> dict[str, Any]:
    """Of the arguments that turn training off those that a call takes."""
    taken = inspect.signature(call).parameters
    return {name: value for name, value in _EVALUATION.items() if name in taken}


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0]
