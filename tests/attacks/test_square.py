"""The Square attack: its schedule, its moves, its greed, and what it sees that gradients do not."""

import attack_table
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from attack_table import SHAPE, affine

from freqbias.attacks import L1, L2, FourierLinf, Linf, affine_attack, margin, pgd, square
from freqbias.attacks.norms.windows import _bumps, move_l1, move_l2, move_linf
from freqbias.attacks.square import square_sides
from freqbias.typing import Status


def test_the_square_shrinks_at_the_steps_of_the_paper():
    sides = np.array(square_sides(10_000, 100, 100, first_share=0.8))
    assert sides[0] == sides[10] == round(100 * np.sqrt(0.8))
    changes = np.flatnonzero(np.diff(sides)) + 1
    np.testing.assert_array_equal(changes, [11, 51, 201, 1001, 2001, 4001, 6001, 8001])
    np.testing.assert_allclose(sides[8001], 100 * np.sqrt(0.8 / 2**8), atol=0.5)
    short = square_sides(100, 28, 28, first_share=0.8)  # the same shares of a shorter search
    assert short[:4] == (25, 13, 13, 9) and len(short) == 100
    assert set(square_sides(50, 1, 7, first_share=1.0)) == {1}


@pytest.mark.parametrize("side, power", [(1, 2), (2, 2), (3, 2), (6, 2), (5, 4)])
def test_bumps_are_sums_of_inverse_powers(side, power):
    """The double sum of the paper, entry by entry; squares, in L1 fourth powers."""

    def bump(height, width):
        n = height // 2
        out = np.zeros((height, width))
        for r in range(1, height + 1):
            for s in range(1, width + 1):
                last = n - max(abs(r - height // 2 - 1), abs(s - width // 2 - 1))
                out[r - 1, s - 1] = sum((n + 1 - k) ** -power for k in range(last + 1))
        return out

    half = side // 2
    expected = np.concatenate([bump(side, half), -bump(side, side - half)], axis=1)
    where = *np.indices((side, side)), side, side
    bumps = jax.jit(lambda turned: _bumps(*where, turned, jnp.float32, power=power))
    found = [bumps(turned) for turned in (False, True)]
    np.testing.assert_allclose(found[0], expected, rtol=1e-5)
    np.testing.assert_allclose(found[1], expected.T, rtol=1e-5)


def test_a_move_in_linf_repaints_one_window(key):
    """At +-epsilon, a sign for each channel, everything else as it was."""
    delta = 0.1 * jax.random.uniform(key, SHAPE, minval=-1)
    keys = jax.random.split(key, 200)
    propose = jax.jit(jax.vmap(move_linf, (0, None, None, None)))
    moved = np.asarray(propose(keys, delta, jnp.int32(3), 0.1))
    changed = (moved != np.asarray(delta)).any(-1)
    rows, columns = changed.any(2), changed.any(1)
    assert (rows.sum(1) == 3).all() and (columns.sum(1) == 3).all()
    np.testing.assert_allclose(np.abs(moved[changed]), 0.1)
    corners = {(r.argmax(), c.argmax()) for r, c in zip(rows, columns, strict=True)}
    assert len(corners) == 4 * 3  # every place in 6 x 5 is drawn
    signs = np.sign([m[c][0] for m, c in zip(moved, changed, strict=True)])
    assert len(np.unique(signs, axis=0)) == 4


def test_a_move_in_l2_spends_the_whole_budget_and_moves_mass(key):
    """From zero as well; what lies outside both windows only changes in scale."""
    delta = jax.random.normal(key, SHAPE)
    delta = 0.3 * delta / jnp.linalg.norm(delta)
    propose = jax.jit(jax.vmap(move_l2, (0, None, None, None)))
    keys = jax.random.split(key, 20)
    for start in (delta, jnp.zeros(SHAPE)):
        for side in (1, 3, 5):
            moved = np.asarray(propose(keys, start, jnp.int32(side), 0.5))
            np.testing.assert_allclose(np.linalg.norm(moved.reshape(20, -1), axis=1), 0.5, 1e-5)
    assert np.isfinite(moved).all()
    side = 2
    moved = np.asarray(propose(keys, delta, jnp.int32(side), 0.5))[0]
    ratio = moved / np.asarray(delta)
    kept = np.isclose(ratio, np.median(ratio), rtol=1e-4)
    assert kept.all(-1).sum() >= 30 - 2 * side**2
    assert (moved == 0).all(-1).sum() in range(1, side**2 + 1)


@pytest.mark.parametrize("propose", [move_l1, move_l2])
def test_a_window_that_its_bump_would_cancel_takes_the_bump(propose, key):
    """Of one pixel the old content and the new have one direction or opposite ones: +-1 each."""
    delta = np.full((1, 1, 1), 0.3, np.float32)
    keys = jax.random.split(key, 20)
    propose = jax.jit(jax.vmap(propose, (0, None, None, None)))
    moved = np.asarray(propose(keys, delta, np.int32(1), 0.5)).ravel()
    np.testing.assert_allclose(abs(moved), 0.5, rtol=1e-5)
    assert len(np.unique(np.sign(moved))) == 2


@pytest.mark.parametrize("channels", [1, 2])
def test_a_move_in_l1_moves_mass_and_leaves_the_rest_alone(channels, key):
    """Of one channel the whole budget is spent; of more, windows get C times as much."""
    epsilon, side = 0.5, 2
    delta = np.array(jax.random.normal(key, (*SHAPE[:2], channels)))
    delta *= 0.3 / np.abs(delta).sum()
    propose = jax.jit(jax.vmap(move_l1, (0, None, None, None)))
    keys = jax.random.split(key, 40)
    moved = np.asarray(propose(keys, delta, jnp.int32(side), epsilon))
    nowhere = np.asarray(propose(keys, np.zeros_like(delta), jnp.int32(side), epsilon))
    np.testing.assert_allclose(np.abs(nowhere).sum((1, 2, 3)), channels * epsilon, rtol=1e-5)
    sizes = set()
    for one in moved:
        windows = (one != delta).any(-1)
        gone = (one == 0).all(-1)
        sizes.add((windows.sum(), gone.sum()))
        # What was in both windows, and the share of what was unused: C times over in the first.
        mass = np.abs(delta[windows]).sum(0) + 0.2 / channels
        np.testing.assert_allclose(np.abs(one[windows]).sum(0), channels * mass, rtol=1e-4)
        if channels == 1:
            np.testing.assert_allclose(np.abs(one).sum(), epsilon, rtol=1e-5)
    assert (8, 4) in sizes and len(sizes) > 2  # windows apart, and overlapping


@pytest.mark.parametrize("norm, size", [(L2(), 1), (L1(), 2)])
def test_tiles_are_as_long_as_the_windows_of_a_move(norm, size, key):
    tiles = jax.jit(lambda key: norm.windows(2).start(key, (11, 12, 2), jnp.float32))(key)
    np.testing.assert_allclose(norm.value(tiles), size, rtol=1e-5)
    tiles = np.asarray(tiles)
    assert (np.abs(tiles) > 0).mean() > 0.9 and 0.3 < (tiles > 0).mean() < 0.7


@pytest.mark.parametrize(
    "norm", [Linf(), *(pytest.param(norm, marks=pytest.mark.slow) for norm in (L1(), L2()))]
)
def test_it_climbs_and_returns_the_best(norm, key):
    """The loss since a start never falls, and a candidate is kept exactly if it is better."""
    model = attack_table.make_model("mlp")
    attack = square(norm, epsilon=0.4, num_steps=60, num_restarts=2)
    keys = jax.random.split(key, len(model.labels))
    (loop,) = attack.program(4)
    start, query, _ = loop.parts

    @jax.jit
    def search(params, images, labels):
        rows = model.apply_fn, params, images, labels

        def step(state, _):
            asked = margin(model.apply_fn(params, images + state.delta), labels)
            state = attack.step(*rows, state, query)
            return state, (asked, state.loss)

        state = attack.step(*rows, attack.init(*rows, keys), start)
        first = margin(model.apply_fn(params, images), labels)
        return first, jax.lax.scan(step, state, length=59)

    first, (state, (asked, kept)) = search(*model[1:])
    np.testing.assert_array_equal(kept, np.maximum.accumulate(np.asarray(asked)))
    np.testing.assert_array_equal(state.best.score, np.maximum(np.max(asked, axis=0), first))
    assert (kept[-1] > first).all()
    found = attack(*model, key)
    assert (found.is_adversarial[:-2] <= (found.distance > 0)[:-2]).all()
    np.testing.assert_array_equal(found.gradient_evaluations, 0)


@pytest.mark.parametrize(
    "norm, slack", [pytest.param(Linf(), 1.5, marks=pytest.mark.slow), (L2(), 2.0)]
)
def test_on_a_linear_model_it_comes_near_the_exact_radius(norm, slack, key):
    """And never below it. One channel: in L-inf every pixel may take its own sign."""
    generator = np.random.default_rng(0)
    beta = generator.normal(size=(2, 6, 6, 1)).astype(np.float32)
    images = generator.uniform(0.4, 0.6, (8, 6, 6, 1)).astype(np.float32)
    bias = -np.einsum("nhwc,khwc->nk", images, beta).mean(0)
    labels = np.argmax(affine((beta, bias), images), -1)
    radius = affine_attack(norm)(affine, (beta, bias), images, labels).distance

    @jax.jit
    def successes(epsilons):
        def one(epsilon, image, label, key):
            attack = square(norm, epsilon=epsilon, num_steps=800, bounds=None)
            return attack(affine, (beta, bias), image[None], label[None], key).is_adversarial[0]

        keys = jax.random.split(key, len(labels))
        return jax.vmap(one)(epsilons, jnp.asarray(images), jnp.asarray(labels), keys)

    assert successes(slack * radius).all()
    assert not successes(0.9999 * radius).any()


@pytest.mark.parametrize("channels, slack", [(1, 1.3), (2, 2.0)])
def test_in_l1_and_the_box_it_comes_near_the_exact_optimum(channels, slack, key):
    """Never below the exact radius; budget and box hold; random points do not do it.

    Mass that a start has in one channel stays there: of two, several starts are needed.
    """
    generator = np.random.default_rng(0)
    shape = (6, 6, channels)
    beta = generator.normal(size=(2, *shape)).astype(np.float32)
    images = generator.uniform(0, 1, (8, *shape)).astype(np.float32)
    bias = -np.einsum("nhwc,khwc->nk", images, beta).mean(0)
    labels = np.argmax(affine((beta, bias), images), -1)
    radius = affine_attack(L1(), bounds=(0.0, 1.0))(affine, (beta, bias), images, labels).distance

    @jax.jit
    def attack(epsilons):
        def one(epsilon, image, label, key):
            steps = {"num_steps": 5000 // channels**2, "num_restarts": channels**2}
            attack = square(L1(), epsilon=epsilon, **steps)
            found = attack(affine, (beta, bias), image[None], label[None], key)
            return jax.tree.map(lambda leaf: leaf[0], found)

        keys = jax.random.split(key, len(labels))
        return jax.vmap(one)(epsilons, jnp.asarray(images), jnp.asarray(labels), keys)

    for factor in (0.9999, slack):
        found = attack(factor * radius)
        assert (found.distance <= factor * radius * (1 + 1e-6)).all()
        assert (images + found.delta >= 0).all() and (images + found.delta <= 1).all()
        np.testing.assert_array_equal(found.is_adversarial, factor > 1)
    noise = generator.laplace(size=(1000, 8, *shape))
    noise /= np.abs(noise).sum((2, 3, 4), keepdims=True)
    noise *= slack * np.asarray(radius)[:, None, None, None]
    points = np.clip(images + noise, 0, 1).reshape(-1, *shape).astype(np.float32)
    fell = np.asarray(jnp.argmax(affine((beta, bias), points), -1)).reshape(-1, 8)
    assert (fell != np.asarray(labels)).any(0).sum() <= 2


def _staircase(params, images):
    """Affine in the pixels rounded to hundredths: no gradient anywhere."""
    return affine(params, jnp.round(100 * images) / 100)


def test_masked_gradients_do_not_stop_it(key):
    """PGD sees nothing and says so (DEAD); Square finds the adversarial images."""
    model = attack_table.make_model("affine")._replace(apply_fn=_staircase)
    labels = jnp.argmax(_staircase(model.params, model.images), -1)
    model = model._replace(labels=labels)
    blind = pgd(Linf(), epsilon=0.2, num_steps=3, random_start=False)(*model, key)
    assert (blind.status == Status.DEAD).all() and not blind.is_adversarial.any()
    found = square(Linf(), epsilon=0.2, num_steps=100)(*model, key)
    assert (found.status == Status.OK).all() and found.is_adversarial.all()


@pytest.mark.parametrize(
    "options, words",
    [
        (dict(norm=FourierLinf()), "norm"),
        (dict(first_share=0.0), "first_share"),
        (dict(first_share=1.1), "first_share"),
        (dict(num_steps=0), "num_steps"),
    ],
)
def test_bad_options_raise_where_the_attack_is_made(options, words):
    options = {"norm": Linf(), "epsilon": 0.1} | options
    with pytest.raises(ValueError, match=words):
        square(**options)
