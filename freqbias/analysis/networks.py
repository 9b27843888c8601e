"""Which networks are analysed: one or several, each by itself or an ensemble that says so."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax

from freqbias import interop
from freqbias.ensemble import Ensemble, select
from freqbias.typing import ApplyFn, Params

ONLY = "network"
"""The name of a network that nobody named."""


class Subject(NamedTuple):
    """What is analysed under one name."""

    name: str
    apply_fn: ApplyFn
    params: Params  # of one network; of an ensemble, leaves [S, ...]
    seeds: tuple[int, ...] | None  # None: one network, which has no seed axis

    @property
    def num_seeds(self) -> int:
        """S, 1 for one network."""
        return 1 if self.seeds is None else len(self.seeds)

    @property
    def first(self) -> Params:
        """Parameters of one network, the first."""
        return self.params if self.seeds is None else select(self.params, 0)

    @property
    def kind(self) -> str:
        """What this is, in words."""
        return "one network" if self.seeds is None else f"ensemble of {len(self.seeds)} seeds"

    @property
    def num_parameters(self) -> int:
        """Of one network, as far as JAX sees them."""
        return sum(leaf.size for leaf in jax.tree.leaves(self.first) if hasattr(leaf, "size"))


def subjects(network: Any, params: Params | None) -> list[Subject]:
    """The networks that were passed to `analyze`.

    Args:
      network: an ``apply_fn`` (then ``params`` are its parameters); or, with ``params`` None, an
        `Ensemble`, a pair (apply_fn, params), or a mapping of names to these.
      params: of one network.

    Returns:
      One or more, of different names.

    Raises:
      TypeError: none of these.
      ValueError: parameters too many or too few, or no network.
    """
    if not isinstance(network, Mapping):
        return [_subject(ONLY, network if params is None else (network, params))]
    if params is not None:
        raise ValueError(
            "params must not be given beside several networks: each brings its own. Write "
            "analyze({'name': (apply_fn, params), ...}, images=images, labels=labels, key=key)."
        )
    if not network:
        raise ValueError("network must name at least one network; got an empty mapping.")
    return [_subject(name, one) for name, one in network.items()]


def _subject(name: Any, given: Any) -> Subject:
    if not isinstance(name, str) or not name.strip():
        raise TypeError(f"names of networks must be texts; got {name!r}.")
    if isinstance(given, Ensemble):
        return Subject(name, given.apply_fn, given.params, given.seeds)
    pair = isinstance(given, tuple) and len(given) == 2 and callable(given[0])
    call = interop.how_to_adapt(given[0] if pair else given)
    if call:
        raise TypeError(f"network {name!r} must be adapted first: {call}.")
    if pair:
        return Subject(name, given[0], given[1], None)
    raise TypeError(
        f"network {name!r} must be a pair (apply_fn, params), what an adapter of freqbias.interop "
        f"returns, or an Ensemble; got {type(given).__name__}"
        f"{' without params' if callable(given) else ''}."
    )
