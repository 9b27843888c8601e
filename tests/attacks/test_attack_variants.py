"""Every attack of the table in other boxes and units, on two classes, and without a gradient.

No other test needs what these compile: in a file of their own, they leave memory to the others.
"""

import attack_table
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from attack_checks import (
    assert_close,
    check_budget_and_box,
    check_flags,
    check_status,
    parametrize,
    run,
    targets_of,
)
from attack_table import BOX, CASES, EPSILON, NUM_CLASSES, ROUGH, SLOW_CASES

from freqbias.attacks import L0, Linf, pgd
from freqbias.models import FullyConnected
from freqbias.typing import Status

by_gradients = parametrize(lambda case: case.gradients > 0 and case.model == "mlp")


def masked(params, images):
    """The table's `mlp`, without its gradient for images of no more than a mean brightness."""
    network, darkest = params
    bright = jnp.mean(images, axis=(1, 2, 3)) > darkest
    seen = jnp.where(bright[:, None, None, None], images, jax.lax.stop_gradient(images))
    return attack_table.mlp(network, seen)


def make_variant(case, darkest=-np.inf):
    """A network of two classes in a box that float32 has not, their number, and the box.

    One program of each attack serves all tests, whatever is ``darkest``.
    """
    bounds = case.bounds and (0.02, 0.9)
    # Fewer have no DLR; of two, AutoAttack spares what is misclassified: it has reached its target.
    num_classes = 4 if "dlr" in case.name or case.name == "auto_attack_linf_targeted" else 2
    model = attack_table.make_model(case.model, ROUGH, num_classes, bounds or BOX)
    if case.model == "mlp":
        model = model._replace(apply_fn=masked, params=(model.params, np.float32(darkest)))
    return model, num_classes, bounds


def run_in_box(case, variant, key, scale=1):
    """What an attack finds, at so many times its epsilon."""
    model, num_classes, bounds = variant
    attack = attack_table.with_bounds(case.make(scale * EPSILON[case.norm]), bounds)
    return attack(*model, key, targets=targets_of(case, model.labels, num_classes))


@parametrize()
def test_two_classes_in_a_box_that_float32_has_not(case, key):
    """Bounds 0.02 and 0.9 are rounded, and image + delta rounds anew; kept to the last bit."""
    model, num_classes, bounds = variant = make_variant(case)
    found = run_in_box(case, variant, key, scale=4)
    check_budget_and_box(case, model, found, bounds, scale=4)
    check_flags(case, model, found, num_classes)
    assert found.flipped.any()


@by_gradients
def test_without_a_gradient_no_image_is_alive_however_it_ends(case, key):
    """Not where a random start crossed the boundary, nor where the image is wrong as it is."""
    check_status(case, run_in_box(case, make_variant(case, darkest=np.inf), key), Status.DEAD)


def test_some_of_these_cross_the_boundary_without_a_gradient(key):
    """Else the test above shows nothing."""
    crossed = set()
    for case in CASES:
        if case.gradients and case.model == "mlp" and case.random:
            found = run_in_box(case, make_variant(case, darkest=np.inf), key, scale=4)
            if found.flipped.any():
                crossed.add(case.name)
                check_status(case, found, Status.DEAD)
    assert crossed >= {"pgd_l2", "pgd_linf_margin", "apgd_linf", "auto_attack_linf"}


@by_gradients
def test_an_image_is_alive_by_its_own_gradient(case, key):
    """Of one network, some images see a gradient and others none."""
    model, num_classes, bounds = make_variant(case, darkest=0.6)
    bright = np.arange(len(model.labels)) % 2 == 0
    images = np.where(bright[:, None, None, None], 0.85 + 0.05 * model.images, 0.5 * model.images)
    images = np.maximum(images, np.float32(bounds[0]))
    labels = np.argmax(masked(model.params, images), -1)
    labels = np.where(np.arange(len(labels)) < len(labels) - 2, labels, (labels + 1) % num_classes)
    variant = model._replace(images=images, labels=labels), num_classes, bounds
    found = run_in_box(case, variant, key)
    check_status(case, found, np.where(bright, Status.OK, Status.DEAD))


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
