"""Signs of failed attacks, each on a network made to show it."""

import itertools

import attack_table
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from attack_table import affine, mlp

from freqbias.attacks import L1, L2, FourierL1, Linf, diagnose, pgd, square

ATTACK = pgd(Linf(), epsilon=0.03, num_steps=8, loss="margin")
BLACK_BOX = square(Linf(), epsilon=0.03, num_steps=30)


def _diagnose(apply_fn, params, attack=ATTACK, **options):
    model = attack_table.make_model("affine" if apply_fn is not mlp else "mlp")
    labels = jnp.argmax(apply_fn(params, model.images), -1)
    labels = labels.at[-1].add(1) % 4  # one image is misclassified
    options = {"black_box": BLACK_BOX} | options
    key = jax.random.key(0)
    return diagnose(attack, apply_fn, params, model.images, labels, key, **options)


def _params(name):
    return attack_table.make_model(name).params


def test_a_sound_attack_on_a_smooth_network_gets_a_clean_bill():
    found = _diagnose(mlp, _params("mlp"))
    assert found.failed() == ()
    assert found.correct.sum() == 11 and not found.correct[-1]
    assert set(found.shares) == set(found._fields[1:])


def test_no_gradient_is_never_called_robust():
    """An untrained head: zero logits whatever the image."""
    found = _diagnose(mlp, jax.tree.map(jnp.zeros_like, _params("mlp")))
    expected = ("no_gradient", "no_progress", "no_ascent", "stands_unbounded")
    assert found.failed() == expected and found.shares["no_gradient"] == 1


def _staircase(params, images):
    """Affine in the pixels rounded to hundredths: masked gradients."""
    return affine(params, jnp.round(100 * images) / 100)


def _mirrored(params, images):
    """The right logits with a gradient of the wrong sign."""
    logits = affine(params, images)
    return 2 * jax.lax.stop_gradient(logits) - logits


def test_masked_gradients_lose_against_a_black_box():
    """PGD without a random start, which alone might be lucky."""
    attack = pgd(Linf(), epsilon=0.2, num_steps=3, random_start=False)
    wide = square(Linf(), epsilon=0.2, num_steps=100)
    found = _diagnose(_staircase, _params("affine"), attack, black_box=wide)
    assert found.shares["no_gradient"] == found.shares["black_box_wins"] == 1
    assert {"no_ascent", "no_progress", "stands_unbounded"} <= set(found.failed())


def test_a_misleading_gradient_does_not_climb():
    """Not zero, so that only its effect gives it away."""
    attack = pgd(L2(), epsilon=0.1, num_steps=3, random_start=False)
    found = _diagnose(_mirrored, _params("affine"), attack, black_box=attack)
    assert {"no_ascent", "no_progress", "stands_unbounded"} <= set(found.failed())
    assert found.shares["no_gradient"] == 0 and found.shares["black_box_wins"] == 0


@pytest.mark.slow
def test_batches_do_not_matter():
    whole = _diagnose(mlp, _params("mlp"))
    parts = _diagnose(mlp, _params("mlp"), batch_size=5)
    for name in whole._fields:
        np.testing.assert_array_equal(getattr(parts, name), getattr(whole, name))


def test_a_broken_network_gets_no_clean_bill():
    params = jax.tree.map(lambda leaf: jnp.nan * leaf, _params("mlp"))
    found = _diagnose(mlp, params)
    assert not found.correct.any() and found.failed() == ("correct", "not_finite")
    assert found.shares["not_finite"] == 1


def test_where_no_image_is_correct_nothing_is_diagnosed():
    """Shares of no image are NaN, and no clean bill; of one network of an ensemble as well."""
    model = attack_table.make_model("mlp")
    wrong = (jnp.argmax(mlp(model.params, model.images), -1) + 1) % 4
    key, options = jax.random.key(0), {"black_box": BLACK_BOX}
    found = diagnose(ATTACK, mlp, model.params, model.images, wrong, key, **options)
    assert found.failed() == ("correct",) and found.shares["not_finite"] == 0
    assert all(np.isnan(found.shares[name]) for name in found._fields[1:] if name != "not_finite")
    other = attack_table.make_model("mlp", 1).params
    assert (jnp.argmax(mlp(other, model.images), -1) == wrong).any()
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), model.params, other)
    options["seeds"] = range(2)
    found = diagnose(ATTACK, mlp, stacked, model.images, wrong, key, **options)
    assert "correct" in found.failed()
    np.testing.assert_array_equal(np.isnan(found.shares["no_progress"]), [True, False])


def test_each_network_of_an_ensemble_is_diagnosed_as_by_itself():
    """A sound one, one without gradients, one of NaNs."""
    kinds = (jnp.ones_like, jnp.zeros_like, lambda leaf: jnp.nan * leaf)
    nets = [jax.tree.map(lambda leaf, k=kind: k(leaf) * leaf, _params("mlp")) for kind in kinds]
    model = attack_table.make_model("mlp")
    labels = jnp.argmax(mlp(nets[0], model.images), -1)
    key, seeds = jax.random.key(0), (5, 2, 8)

    def run(params, key, **more):
        options = {"black_box": BLACK_BOX} | more
        return diagnose(ATTACK, mlp, params, model.images, labels, key, **options)

    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *nets)
    results = [run(stacked, key, seeds=seeds, strategy=name) for name in ("auto", "vmap")]
    together = results[0]
    for index, params in enumerate(nets):
        alone = run(params, jax.random.fold_in(key, seeds[index]))
        for name, found in itertools.product(alone._fields, results):
            np.testing.assert_array_equal(getattr(found, name)[index], getattr(alone, name))
    assert {"no_gradient", "not_finite"} <= set(together.failed())
    assert [name for name, share in together.shares.items() if share[0] > 0] == []


@pytest.mark.parametrize(
    ("norm", "epsilon", "least"),
    [
        (Linf(), 0.2, 0.9),
        pytest.param(L2(), 2.0, 0.9, marks=pytest.mark.slow),
        pytest.param(L1(), 20.0, 0.9, marks=pytest.mark.slow),
        (FourierL1(), 20.0, 0),
    ],
    ids=["linf", "l2", "l1", "none"],
)
def test_by_default_the_black_box_is_square(norm, epsilon, least):
    """On the staircase, whose gradient is zero; in norms without a black box nothing wins."""
    attack = pgd(norm, epsilon=epsilon, num_steps=2, random_start=False)
    found = _diagnose(_staircase, _params("affine"), attack, black_box=None)
    assert found.shares["black_box_wins"] >= least


def test_bad_attacks_raise():
    with pytest.raises(ValueError, match="untargeted"):
        _diagnose(mlp, _params("mlp"), pgd(L2(), epsilon=0.1, targeted=True))
    with pytest.raises(ValueError, match="bounds"):
        _diagnose(mlp, _params("mlp"), pgd(L2(), epsilon=0.1, bounds=None))
