"""Every attack of the table in other boxes and units, and on two classes.

No other test needs what these compile: in a file of their own, they leave memory to the others.
"""

import attack_table
import jax.numpy as jnp
import numpy as np
import pytest
from attack_checks import (
    assert_close,
    check_budget_and_box,
    check_flags,
    parametrize,
    run,
    targets_of,
)
from attack_table import BOX, CASES, EPSILON, NUM_CLASSES, ROUGH, SLOW_CASES

from freqbias.attacks import L0, Linf, pgd
from freqbias.models import FullyConnected


@parametrize()
def test_two_classes_in_a_box_that_float32_has_not(case, key):
    """Bounds 0.02 and 0.9 are rounded, and image + delta rounds anew; kept to the last bit."""
    bounds = case.bounds and (0.02, 0.9)
    num_classes = 4 if "dlr" in case.name else 2  # fewer have no DLR
    model = attack_table.make_model(case.model, ROUGH, num_classes, bounds or BOX)
    attack = attack_table.with_bounds(case.make(4 * EPSILON[case.norm]), bounds)
    found = attack(*model, key, targets=targets_of(case, model.labels, num_classes))
    check_budget_and_box(case, model, found, bounds, scale=4)
    check_flags(case, model, found, num_classes)
    assert found.flipped.any()


def _in_255(params, images):
    """The table's network on pixels from 0 to 255."""
    return attack_table.mlp(params, images / 255)


NO_UNIT = ("adam_l2", "bisect_pgd_l2", "bisect_pgd_linf")  # of lengths of their own, in pixels
UNITS_BY_DEFAULT = ("pgd_l2", "apgd_linf", "square_linf")
units_cases = pytest.mark.parametrize(
    "case",
    [
        pytest.param(c, id=c.name, marks=() if c.name in UNITS_BY_DEFAULT else pytest.mark.slow)
        for c in CASES + SLOW_CASES
        if c.model == "mlp" and c.name not in NO_UNIT
    ],
)


@units_cases
def test_pixels_from_0_to_255_are_another_unit_of_the_same_attack(case, key):
    """Epsilon, bounds and images times 255: the same delta times 255, the same flags."""
    model = attack_table.make_model(case.model, case.seed)
    unit = 1 if case.norm == L0() else 255  # which counts entries
    attack = attack_table.with_bounds(case.make(unit * EPSILON[case.norm]), (0.0, 255.0))
    large = model._replace(apply_fn=_in_255, images=255 * model.images)
    found = attack(*large, key, targets=targets_of(case, model.labels))
    assert_close(case, found._replace(delta=found.delta / 255), run(case, model, key))


def test_normalisation_belongs_to_the_network(key):
    """In the model, around it, or in its first weights: the same delta, in units of a pixel."""
    model = attack_table.make_model("mlp")
    mean, std = (0.3, 0.6), (0.1, 0.25)
    options = dict(num_classes=NUM_CLASSES, width=8, activation="gelu")
    inside, plain = FullyConnected(mean=mean, std=std, **options), FullyConnected(**options)
    params = inside.init(key, model.images)

    shift, scale = (jnp.broadcast_to(np.float32(x), attack_table.SHAPE) for x in (mean, std))

    def around(params, images):
        return plain.apply(params, (images - shift[None]) / scale[None])

    def folded(params, images):
        first = params["params"]["dense_0"]
        kernel = first["kernel"] / scale.reshape(-1, 1)
        bias = first["bias"] - jnp.sum(shift.reshape(-1, 1) * kernel, 0)
        first = first | {"kernel": kernel, "bias": bias}
        return plain.apply({"params": params["params"] | {"dense_0": first}}, images)

    labels = jnp.argmax(inside.apply(params, model.images), -1)
    attack = pgd(Linf(), epsilon=0.05, num_steps=5, loss="margin")
    expected = attack(inside.apply, params, model.images, labels, key)
    assert expected.is_adversarial.any() and expected.distance.max() <= 0.05 + 1e-6
    for apply_fn in (around, folded):
        found = attack(apply_fn, params, model.images, labels, key)
        np.testing.assert_allclose(found.delta, expected.delta, atol=1e-6)
        np.testing.assert_array_equal(found.is_adversarial, expected.is_adversarial)
