"""Protocols: what is spent on an arm where it is not the study's own budget.

``authors`` is the protocol of the first author's public training code of 2020-21, as far as it was
read: no standardisation, fully connected width 3072, convolutions of 3 channels without padding,
PyTorch's initial scale, SGD at 0.01 with momentum 0.9 in batches of 128, the rate times 0.3 at each
tenth of the training, 40 epochs of 50,000 images (here as many steps on any set), L-inf PGD of
1,000 steps on the first 2,000 test images, and spectra of the grey perturbation in log amplitude.
What is not theirs: initial weights are normal, not uniform, and biases start at 0; perturbations
are found on the margin, of affine networks by the closed form; no number of theirs is quoted.

From there to the study's own protocol `STAGES` change one thing at a time. The order matters: an
effect that needs two changes shows at the second.

Reference: Caro et al. 2024, Front. Comput. Neurosci. 18:1387077.
"""

import dataclasses
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from freqbias import _checks
from freqbias.study.setting import Arm, Budget, Setting


class Protocol(NamedTuple):
    """What is not the budget's."""

    title: str  # in labels
    budget: Mapping[str, Any]  # fields of `Budget`
    arm: Mapping[str, Any] = MappingProxyType({})  # fields of `Arm`, of convolutions


_DECAYED_STEPS = 15_600  # 40 epochs of 390 batches
_AUTHORS = Protocol(
    "authors' protocol",
    {
        "standardized": False,
        "initial": "torch",
        "width": 3072,
        "num_images": 0,
        "steps": _DECAYED_STEPS,
        "epochs": 40,
        "batch_size": 128,
        "decay_factor": 0.3,
        "decay_epochs": 4,
        "rate_halvings": 0,
        "fitted": 0.0,
    },
    {"padding": "VALID", "channels": 3},
)
# A constant rate has this sum of rates over so many steps.
_EQUAL_STEPS = round(_DECAYED_STEPS / 10 * sum(0.3**tenth for tenth in range(10)))
_OURS = None  # of a field: what the budget says
_CHANGES: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "width": ("width and channels", {"width": _OURS, "channels": _OURS}),
    "constant": (
        f"constant rate, {_EQUAL_STEPS:,} steps",
        {"decay_factor": _OURS, "decay_epochs": _OURS, "steps": _EQUAL_STEPS},
    ),
    "steps": ("1,024 steps", {"steps": 1_024}),
    "batch": ("batches of 32", {"batch_size": _OURS}),
    "images": ("1,024 images a seed", {"num_images": _OURS, "epochs": _OURS, "steps": _OURS}),
    "rate": ("rate by rule", {"rate_halvings": _OURS, "fitted": _OURS}),
    "standardized": ("standardised", {"standardized": _OURS}),
    "scale": ("initial scale 1", {"initial": _OURS}),
}


def _changed(values: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Of ``values`` those that are not ours yet."""
    new = {key: changes.get(key, value) for key, value in values.items()}
    return {key: value for key, value in new.items() if value is not _OURS}


def _stages() -> dict[str, Protocol]:
    here, found = _AUTHORS, {"authors": _AUTHORS}
    for name, (title, changes) in _CHANGES.items():
        here = Protocol(title, _changed(here.budget, changes), _changed(here.arm, changes))
        found[name] = here
    return {**found, "": Protocol("circular padding", {})}


STAGES: Mapping[str, Protocol] = MappingProxyType(_stages())
"""From the authors' protocol to the study's own, "", one change at a time: what changed, and what
is not ours yet."""
CLIPPED = Protocol("clipped gradients", {"clip": 1.0, "rate_halvings": 0})
"""The control: no rate is searched, and the gradient of a step has a norm of at most 1."""
PROTOCOLS: Mapping[str, Protocol] = MappingProxyType({**STAGES, "clipped": CLIPPED})
"""All by name; "" is the budget itself."""


def arm_at(stage: str, arm: Arm) -> Arm:
    """An arm of the study as it is at a stage: a convolution with the stage's padding and channels.

    Raises:
      ValueError: no such stage; the message lists those there are.
    """
    _checks.one_of("stage", stage, STAGES)
    changes = STAGES[stage].arm if arm.kernel else {}
    return arm._replace(protocol=stage, **changes)


def usual(arm: Arm | Setting) -> Arm:
    """An arm without a protocol and what that prescribes of its convolutions."""
    prescribed = PROTOCOLS[arm.protocol].arm
    fields = {name: getattr(arm, name) for name in Arm._fields}
    kept = {name: value for name, value in fields.items() if prescribed.get(name) != value}
    return Arm(**{**kept, "protocol": ""})


def applied(budget: Budget, protocol: str) -> Budget:
    """The budget under a protocol; fields that were given by hand stay.

    Raises:
      ValueError: no such protocol; the message lists those there are.
    """
    _checks.one_of("protocol", protocol, PROTOCOLS)
    changes = PROTOCOLS[protocol].budget
    return dataclasses.replace(
        budget, **{name: value for name, value in changes.items() if name not in budget.given}
    )


def initial_scale(budget: Budget, regime: str, depth: int) -> float:
    r"""The scale of the output at initialisation, relative to unit variance layer by layer.

    .. math:: 3^{-(d+1)/2} \text{ (linear)}, \quad 6^{-d/2}\, 3^{-1/2} \text{ (ReLU)}

    for PyTorch's usual weights, of variance 1 / (3 fan_in), with d hidden layers, where unit
    variance needs 1 / fan_in, and 2 / fan_in before a ReLU.
    """
    if budget.initial == "unit":
        return 1.0
    hidden = 3.0 if regime == "linear" else 6.0
    return float(hidden ** (-depth / 2) * 3**-0.5)
