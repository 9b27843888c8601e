"""One attack, one key, one answer: an ensemble, its slice, `evaluate`, and a network by itself."""

import attack_table
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from attack_table import mlp

from freqbias.attacks import (
    L2,
    Linf,
    apgd,
    auto_attack,
    band_masks,
    bisect,
    brendel_bethge,
    diagnose,
    evaluate,
    evaluate_bands,
    fab,
    heat_map,
    optimizer_pgd,
    pgd,
    robustness_curve,
    square,
    transfer,
    universal,
)
from freqbias.ensemble import Ensemble, stack
from freqbias.typing import Status

SEEDS = (3, 7, 11, 40)  # no two lists of positions agree with them
STRATEGIES = ("vmap", "sequential", "threads", "sharded")
PGD = pgd(L2(), epsilon=0.25, num_steps=3)
ATTACKS = {
    "pgd": PGD,
    "pgd_restarts": pgd(Linf(), epsilon=0.03, num_steps=2, num_restarts=2),
    "optimizer_pgd": optimizer_pgd(L2(), optax.adam(0.02), epsilon=0.25, num_steps=3),
    "apgd": apgd(Linf(), epsilon=0.03, num_steps=4),
    "square": square(Linf(), epsilon=0.03, num_steps=8),
    "fab": fab(L2(), num_steps=2, num_restarts=2),
    "brendel_bethge": brendel_bethge(L2(), num_steps=2, num_starts=2),
    "bisect": bisect(PGD, num_bisections=2),
    "auto_attack": auto_attack(L2(), epsilon=0.25, attacks=[PGD], batch_size=12),
}
attacks = pytest.mark.parametrize(
    "attack",
    [
        pytest.param(
            attack,
            id=name,
            marks=[]
            if name in ("pgd", "optimizer_pgd", "fab", "auto_attack")
            else pytest.mark.slow,
        )
        for name, attack in ATTACKS.items()
    ],
)
strategies = pytest.mark.parametrize("strategy", STRATEGIES)


@pytest.fixture(scope="module")
def data():
    model = attack_table.make_model("mlp")
    return np.asarray(model.images), np.asarray(model.labels)


def _ensemble(*params, seeds=None):
    seeds = tuple(range(len(params))) if seeds is None else seeds
    status = jnp.zeros(len(params), jnp.int32)
    return Ensemble(stack(params), status, {"loss": status[:, None]}, seeds, mlp)


@pytest.fixture(scope="module")
def nets():
    """Four copies of one network: what they are told to draw is all that tells them apart."""
    return _ensemble(*[attack_table.make_model("mlp").params] * len(SEEDS), seeds=SEEDS)


def _same(found, expected, seeds=slice(None)):
    """Equal but for the rounding of a product over another batch."""
    for name in ("delta", "distance"):
        np.testing.assert_allclose(
            getattr(found, name), np.asarray(getattr(expected, name))[seeds], atol=1e-5
        )
    for name in ("is_adversarial", "status", "gradient_evaluations"):
        np.testing.assert_array_equal(
            getattr(found, name), np.asarray(getattr(expected, name))[seeds]
        )


@attacks
def test_an_ensemble_its_slice_and_evaluate_find_the_same(attack, nets, data, key):
    together = nets.attack(attack, *data, key=key, strategy="sequential")
    differ = jnp.any(together.delta[:-1] != together.delta[1:], axis=(1, 2, 3, 4))
    minimal = hasattr(attack, "num_rivals")  # where a later start may end no nearer
    assert minimal or differ.all(), "the draws must matter here"
    _same(nets[1:3].attack(attack, *data, key=key, strategy="sequential"), together, slice(1, 3))
    for size in (12, 5):
        options = {"seeds": SEEDS, "batch_size": size, "strategy": "sequential"}
        result = evaluate(attack, mlp, nets.params, *data, key, **options)
        _same(result.perturbation, together)
    for position, seed in enumerate(SEEDS):
        own = jax.tree.map(lambda leaf, s=position: leaf[s], nets.params)
        alone = jax.random.fold_in(key, seed)
        _same(evaluate(attack, mlp, own, *data, alone, batch_size=5).perturbation,
              together, position)  # fmt: skip
        if seed == SEEDS[1]:
            _same(attack(mlp, own, *data, alone), together, position)


@strategies
def test_on_every_strategy(strategy, nets, data, key):
    together = nets.attack(PGD, *data, key=key, strategy="sequential")
    _same(nets.attack(PGD, *data, key=key, strategy=strategy), together)
    options = {"seeds": SEEDS[1:], "batch_size": 5, "strategy": strategy}
    found = evaluate(PGD, mlp, nets[1:].params, *data, key, **options).perturbation
    _same(found, together, slice(1, None))


def test_what_is_built_on_evaluate_takes_the_same_seeds(nets, data, key):
    """Curves, bands and diagnoses of a slice are the slice of the ensemble's."""
    part, seeds = nets[2:], SEEDS[2:]
    masks = band_masks(data[0].shape[1:3], [0, 0.3, np.inf])
    own = jax.tree.map(lambda leaf: leaf[2], nets.params)
    alone = jax.random.fold_in(key, SEEDS[2])
    box = square(L2(), epsilon=0.25, num_steps=5)

    def compare(function, axis=0, **options):
        run = lambda params, key, **more: function(PGD, mlp, params, *data, key, **options | more)  # noqa: E731
        whole = run(nets.params, key, seeds=SEEDS)
        sliced = run(part.params, key, seeds=seeds, batch_size=5)
        single = run(own, alone)
        for name in set(whole._fields) - {"epsilons", "perturbation"}:
            found = np.asarray(getattr(whole, name))
            np.testing.assert_array_equal(getattr(sliced, name), found.take((2, 3), axis))
            np.testing.assert_array_equal(getattr(single, name), found.take(2, axis))
        return whole

    curve = compare(robustness_curve, epsilons=[0.1, 0.25])
    assert curve.robust_accuracy.shape == (4, 2)
    bands = compare(evaluate_bands, axis=1, masks=masks)
    assert bands.robust_accuracy.shape == (2, 4)
    assert compare(diagnose, black_box=box).correct.shape == (4, 12)


def test_a_heat_map_draws_alike_for_every_seed(nets, data, key):
    whole = heat_map(mlp, nets.params, *data, key, epsilon=1.0, ensemble=True)
    own = jax.tree.map(lambda leaf: leaf[2], nets.params)
    np.testing.assert_array_equal(heat_map(mlp, own, *data, key, epsilon=1.0), whole[2])


def test_a_universal_perturbation_of_a_slice(nets, data, key):
    attack = universal(L2(), epsilon=0.5, num_epochs=2, batch_size=5)
    whole = nets.attack(attack, *data, key=key)
    assert jnp.any(whole.delta[0] != whole.delta[1])
    part = nets[2:].attack(attack, *data, key=key)
    own = jax.tree.map(lambda leaf: leaf[2], nets.params)
    alone = attack(mlp, own, *data, jax.random.fold_in(key, SEEDS[2]))
    np.testing.assert_allclose(part.delta, whole.delta[2:], atol=1e-6)
    np.testing.assert_allclose(alone.delta, whole.delta[2], atol=1e-6)


def test_a_slice_keeps_its_seeds(nets):
    for index, seeds in (
        (slice(1, 3), (7, 11)),
        (slice(None, None, 2), (3, 11)),
        ([3, 0], (40, 3)),
        (np.array([False, True, False, True]), (7, 40)),
        (2, (11,)),
        (-1, (40,)),
    ):
        part = nets[index]
        assert part.seeds == seeds and part.apply_fn is nets.apply_fn and len(part) == len(seeds)
        positions = [SEEDS.index(seed) for seed in seeds]
        whole, found = (jax.tree.leaves((n.params, n.status, n.history)) for n in (nets, part))
        for leaf, expected in zip(found, whole, strict=True):
            np.testing.assert_array_equal(leaf, np.asarray(expected)[positions])
    assert [one.seeds for one in nets] == [(seed,) for seed in SEEDS]


@pytest.mark.parametrize(
    ("index", "error"),
    [(4, IndexError), ([], ValueError), ([1, 1], ValueError), (slice(4, None), ValueError),
     ("0", TypeError), (0.5, TypeError), (np.array([True, False]), IndexError)],
)  # fmt: skip
def test_bad_slices_raise(index, error, nets):
    with pytest.raises(error, match=r"index|seeds"):
        nets[index]


def test_an_attack_of_ones_own_needs_a_call_alone(nets, data, key):
    """A pytree that is called as an attack is one, in an ensemble and in `evaluate`."""
    own = jax.tree_util.Partial(lambda *network, targets=None: PGD(*network, targets=targets))
    expected = nets.attack(PGD, *data, key=key, strategy="sequential")
    for strategy in ("vmap", "sequential"):
        _same(nets.attack(own, *data, key=key, strategy=strategy), expected)
        options = {"seeds": SEEDS, "strategy": strategy, "batch_size": 5}
        _same(evaluate(own, mlp, nets.params, *data, key, **options).perturbation, expected)


def test_bad_seeds_raise(nets, data, key):
    for seeds in ((0, 1), (0, 1, 2, 2), (0, 1, 2, -1)):
        with pytest.raises(ValueError, match="seeds"):
            evaluate(PGD, mlp, nets.params, *data, key, seeds=seeds)
    with pytest.raises(TypeError, match="key"):
        evaluate(PGD, mlp, nets.params, *data, jax.random.split(key, 4), seeds=SEEDS)


def _broken(params):
    """Finite parameters, logits of infinity."""
    return jax.tree.map(lambda leaf: jnp.sign(leaf) * 3e38, params)


@strategies
def test_a_broken_seed_has_a_status_and_raises_nothing(strategy, data, key):
    """Whatever the attack is composed of; alone it is refused."""
    sound = attack_table.make_model("mlp").params
    both, none = _ensemble(sound, _broken(sound)), _ensemble(*[_broken(sound)] * 2)
    members = [PGD, square(L2(), epsilon=0.25, num_steps=4)]
    for attack in (PGD, auto_attack(L2(), epsilon=0.25, attacks=members), bisect(PGD)):
        for nets, broken in ((both, 1), (none, slice(None)), *[(both[1:], 0)] * (attack is PGD)):
            found = nets.attack(attack, *data, key=key, strategy=strategy)
            np.testing.assert_array_equal(found.status[broken], Status.DIVERGED)
            assert nets is not both or found.clean_correct[0].any()
        with pytest.raises(ValueError, match="apply_fn must return finite logits"):
            attack(mlp, _broken(sound), *data, key)
    found = both.attack(universal(L2(), epsilon=1.0, num_epochs=1), *data, key=key)
    np.testing.assert_array_equal(found.status, [Status.OK, Status.DIVERGED])
    found = evaluate(PGD, mlp, both.params, *data, key, seeds=(0, 1), strategy=strategy)
    np.testing.assert_array_equal(found.num_diverged, [0, 12])
    np.testing.assert_array_equal(both.accuracy(*data)[1], 0)


def test_one_network_is_refused_for_all_its_images_not_for_those_of_a_batch(data, key):
    """One image of NaNs among twelve is a status, in a batch of one too."""

    def apply_fn(params, images):
        marked = jnp.mean(images, axis=(1, 2, 3)) > 0.9
        return jnp.where(marked[:, None], jnp.nan, mlp(params, images))

    images, labels = data[0].copy(), data[1]
    images[4] = 0.95 + 0.05 * images[4]
    params = attack_table.make_model("mlp").params
    for size in (12, 1):
        found = evaluate(PGD, apply_fn, params, images, labels, key, batch_size=size)
        assert found.num_diverged == 1 and found.perturbation.status[4] == Status.DIVERGED
        curve = robustness_curve(
            PGD, apply_fn, params, images, labels, key, epsilons=[0.1, 0.2], batch_size=size
        )
        assert np.isnan(curve.radius[4])  # it stands, and nothing proves it
    for function in (evaluate, diagnose):
        with pytest.raises(ValueError, match="none of its 12 x 4 logits"):
            function(PGD, mlp, _broken(params), images, labels, key, batch_size=5)
    with pytest.raises(ValueError, match="none of its 12 x 4 logits"):
        robustness_curve(
            PGD, mlp, _broken(params), images, labels, key, epsilons=[0.1], batch_size=5
        )


@strategies
def test_bad_values_raise_on_every_strategy(strategy, nets, data, key):
    """Within vmap nothing can be read: what is wrong is told before."""
    images, labels = data
    nan, bright = np.full_like(images, np.nan), images + 1
    options = {"key": key, "strategy": strategy}
    targeted = pgd(L2(), epsilon=0.25, num_steps=2, targeted=True)
    for attack, batch, name in (
        (PGD, (nan, labels), "images"),
        (pgd(L2(), epsilon=0.25, bounds=None), (nan, labels), "images"),
        (PGD, (bright, labels), "images"),
        (PGD, (images, labels + 4), "labels"),
        (PGD, (images, np.stack([labels] * 3)), "labels"),
        (PGD, (images, np.stack([labels] * 3 + [labels + 4])), "labels"),
        (targeted, (images, labels), "targets"),
        (universal(L2(), epsilon=1.0), (nan, labels), "images"),
        (auto_attack(L2(), epsilon=0.25, attacks=[PGD]), (nan, labels), "images"),
        (bisect(PGD), (bright, labels), "images"),
    ):
        with pytest.raises(ValueError, match=name):
            nets.attack(attack, *batch, **options)
    with pytest.raises(ValueError, match="targets"):
        nets.attack(targeted, images, labels, targets=labels, **options)
    for batch, name in (((nan, labels), "images"), ((bright, labels), "images"),
                        ((images, labels + 4), "labels")):  # fmt: skip
        with pytest.raises(ValueError, match=name):
            evaluate(PGD, mlp, nets.params, *batch, key, seeds=SEEDS, strategy=strategy)
    for call in (nets.logits, lambda *batch, **more: nets.accuracy(*batch, labels, **more)):
        with pytest.raises(ValueError, match="images must be finite"):
            call(nan, strategy=strategy)


def test_nan_raises_in_every_function_of_images(nets, data, key):
    images, labels = data
    nan = images.copy()
    nan[3, 2, 1, 0] = np.nan
    own = nets[0].params
    one = jax.tree.map(lambda leaf: leaf[0], own)
    masks = band_masks(images.shape[1:3], [0, 0.3, np.inf])
    deltas = np.zeros((4, *images.shape), np.float32)
    for name, call in (
        ("images", lambda: evaluate(PGD, mlp, one, nan, labels, key)),
        ("images", lambda: robustness_curve(PGD, mlp, one, nan, labels, key, epsilons=[0.1])),
        ("images", lambda: evaluate_bands(PGD, mlp, one, nan, labels, key, masks=masks)),
        ("images", lambda: diagnose(PGD, mlp, one, nan, labels, key)),
        ("images", lambda: heat_map(mlp, one, nan, labels, epsilon=1.0)),
        ("images", lambda: heat_map(mlp, one, images + 1, labels, epsilon=1.0)),
        ("images", lambda: transfer(mlp, nets.params, nan, labels, deltas)),
        ("delta", lambda: transfer(mlp, nets.params, images, labels, deltas + np.nan)),
        ("starts", lambda: brendel_bethge(L2())(mlp, one, images, labels, key, starts=nan)),
    ):
        with pytest.raises(ValueError, match=name):
            call()
