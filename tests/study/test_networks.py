"""One setting from data to rows."""

import dataclasses
import itertools
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from freqbias import data, ensemble, spectral, training
from freqbias.attacks import Perturbation
from freqbias.study import measures, networks
from freqbias.study.setting import Asked, Budget, Setting
from freqbias.training import course

BUDGET = Budget(
    seeds=(0, 3), num_images=128, epochs=1, batch_size=32, channels=2, width=8,
    num_attacked=8, num_steps=2,
)  # fmt: skip


@pytest.fixture(scope="module")
def digits():
    return data.load("digits")


def test_names():
    setting = Setting("digits", "relu", "conv", 2, "full", init_scale=0.5)
    assert setting.arm == "conv_full_d2"
    assert setting.id == "digits.relu.conv_full_d2.scale0.5"
    assert setting.array("beta") == "digits/relu/conv_full_d2/0.5.beta"
    assert setting.kernel_size((8, 8, 1)) == 8
    assert Setting("digits", "relu", "fc", 1).arm == "fc_d1"
    assert Setting("digits", "relu", "fc", 1).kernel_size((8, 8, 1)) == 0
    assert Setting("digits", "relu", "conv", 1, "3").kernel_size((8, 8, 1)) == 3


@pytest.mark.parametrize("regime", ["linear", "relu"])
def test_rows_and_arrays(regime, digits):
    setting = Setting("digits", regime, "conv", 1, "3")
    rows, arrays = networks.run_setting(setting, digits, BUDGET, Asked(second_attack=True))
    assert [(row["seed"], row["geometry"]) for row in rows] == [
        (0, "l2"), (3, "l2"), (0, "linf"), (3, "linf"),
    ]  # fmt: skip
    for row in rows:
        assert row["status"] == "ok"
        assert 0 < row["mean_frequency"] < 0.5 * np.sqrt(2)
        assert 0 <= row["robust_accuracy"] <= row["test_accuracy"] + 0.5
        assert row["kernel_slack_change"] == pytest.approx(
            row["kernel_slack"] - row["kernel_slack_init"]
        )
        linear = regime == "linear"
        assert np.isnan(row["cosine_own"]) == linear
        assert np.isnan(row["alignment"])  # two seeds have no spread of what they share
        assert np.isnan(row["beta_mean_frequency"]) != linear
    profile = arrays[setting.array("profile")]
    assert profile.shape[0] == 2
    assert arrays[setting.array("spectrum")].sum() == pytest.approx(1, rel=1e-5)
    assert arrays[setting.array("examples")].shape == (3, 8, 8, 1)
    assert (setting.array("beta") in arrays) == (regime == "linear")


def test_two_routes_to_the_mean_frequency(digits):
    """The row's number is the statistic of the perturbations, recomputed by NumPy."""
    setting = Setting("digits", "linear", "fc", 1)
    rows, arrays = networks.run_setting(
        setting, digits, dataclasses.replace(BUDGET, num_attacked=3)
    )
    frequencies = []
    delta = arrays[setting.array("examples")]
    radius = np.hypot(*np.meshgrid(np.fft.fftfreq(8), np.fft.fftfreq(8)))
    for example in delta:
        power = (np.abs(np.fft.fft2(example, axes=(0, 1))) ** 2).sum(axis=-1)
        power[0, 0] = 0
        frequencies.append((power * radius).sum() / power.sum())
    np.testing.assert_allclose(spectral.mean_frequency(jnp.asarray(delta)), frequencies, rtol=1e-4)
    assert arrays[setting.array("beta")].shape == (8, 8, 1, 10)
    assert rows[0]["mean_frequency"] == pytest.approx(np.mean(frequencies), rel=1e-4)


def test_arms_draw_independently(digits):
    """Equal seeds of two settings do not pair: other subsamples, other weights, other attacks."""
    settings = [
        Setting("digits", regime, "conv", 1, kernel, init_scale=scale)
        for regime, kernel, scale in [
            ("relu", "3", 1.0), ("linear", "3", 1.0), ("relu", "5", 1.0), ("relu", "3", 0.5),
        ]
    ]  # fmt: skip
    plan = course.Plan(len(digits.train.labels), 128, 32, 1)
    model = networks.make_model(settings[0], digits, BUDGET)
    drawn = []
    for setting in settings:
        train_key, attack_key = jax.random.split(networks.setting_key(setting, BUDGET))
        seed_keys = ensemble.seed_keys(train_key, BUDGET.seeds)
        params = training.initial_params(
            model, digits.image_shape, seeds=BUDGET.seeds, key=train_key
        )
        drawn.append((
            np.sort(course.batches_of(plan, seed_keys).reshape(2, -1), axis=1),
            np.asarray(params["params"]["kernel_0"]),
            np.asarray(jax.random.normal(attack_key, (4,))),
        ))  # fmt: skip
    for one, other in itertools.combinations(drawn, 2):
        overlap = [len(np.intersect1d(a, b)) for a, b in zip(one[0], other[0], strict=True)]
        assert max(overlap) < 40  # 128 of 1,347 twice: 12 by chance
        assert not np.isclose(one[1], other[1]).any()
        assert not np.isclose(one[2], other[2]).any()


@pytest.mark.parametrize("kernel", ["3", "full"])
def test_the_form_that_shares_compilations_gives_the_same_rows(kernel, digits, monkeypatch):
    """Training kernels as data on the torus is training the convolution, to rounding."""
    setting = Setting("digits", "linear", "conv", 1, kernel)
    shared, arrays = networks.run_setting(setting, digits, BUDGET)
    monkeypatch.setattr(networks, "_is_shared", lambda *_: False)
    plain, expected = networks.run_setting(setting, digits, BUDGET)
    for one, other in zip(shared, plain, strict=True):
        assert one.keys() == other.keys()
        for name, value in one.items():
            same = other[name]
            if isinstance(value, float):
                same = pytest.approx(same, rel=1e-3, abs=1e-4, nan_ok=True)
            assert value == same, name
    for name in arrays:
        np.testing.assert_allclose(arrays[name], expected[name], rtol=1e-2, atol=1e-4)


def test_own_minus_others_by_hand():
    """Three seeds with orthogonal features; two deltas along their own, that of one mixed."""
    features = jnp.zeros((3, 1, 3, 1, 1))
    for seed, size in enumerate((2.0, 3.0, 5.0)):
        features = features.at[seed, 0, seed].set(size)
    delta = 0.1 * features
    delta = delta.at[1, 0, 0].set(0.6).at[1, 0, 1].set(0.8)
    own, values = measures.own_minus_others(delta, features)
    np.testing.assert_allclose(own, [1.0, 0.8, 1.0], atol=1e-6)
    plain = [1.0, 0.8 - 0.6 / 2, 1.0]  # own minus the mean of the others
    assert values.mean() == pytest.approx(np.mean(plain), abs=1e-6)
    # Without seed 0 the others' mean is 0 / 2, without seed 2 0.6 / 2; of all 0.6 / 6.
    left_out = [0.0, 0.0, 0.6 / 2]
    expected = [o - (3 * 0.6 / 6 - 2 * other) for o, other in zip(own, left_out, strict=True)]
    np.testing.assert_allclose(values, expected, atol=1e-6)
    assert np.isnan(measures.own_minus_others(delta[:2], features[:2])[1]).all()  # no spread


def test_networks_and_images_without_a_direction_are_nobody_s_other(key):
    """Five seeds: one diverged, one dead; of the live ones an image without a perturbation."""
    delta = jax.random.normal(key, (5, 5, 6, 6, 1))
    features = jax.random.normal(jax.random.key(1), delta.shape) + delta
    live = jnp.array([0, 3, 4])
    alone = measures.own_minus_others(delta[live, 1:], features[live, 1:])
    delta = delta.at[:, 0].set(0.0).at[1].set(0.0)
    features = features.at[1].set(0.0).at[2].set(jnp.nan)
    for got, expected in zip(measures.own_minus_others(delta, features), alone, strict=True):
        assert np.isnan(got).tolist() == [False, True, True, False, False]
        np.testing.assert_allclose(got[live], expected, rtol=1e-5)


def test_what_a_diverged_seed_leaves_behind_spoils_no_other(digits, monkeypatch):
    """Its features and its predictor are NaN: its row is empty, the others' are as ever."""
    relu, linear = (Setting("digits", regime, "fc", 1) for regime in ("relu", "linear"))
    budget = dataclasses.replace(BUDGET, seeds=(0, 1, 2, 3), rate_halvings=0)
    expected = [networks.run_setting(s, digits, budget) for s in (relu, linear)]
    train = networks.training.train

    def broken(*arguments, **options):
        nets = train(*arguments, **options)
        params = jax.tree.map(lambda leaf: leaf.at[1].set(jnp.nan), nets.params)
        return dataclasses.replace(nets, params=params, status=nets.status.at[1].set(1))

    monkeypatch.setattr(networks.training, "train", broken)
    for setting, (rows, arrays) in zip((relu, linear), expected, strict=True):
        found, drawn = networks.run_setting(setting, digits, budget)
        assert [row["status"] for row in found[:4]] == ["ok", "diverged", "ok", "ok"]
        for name in ("mean_frequency", "cosine_own", "beta_mean_frequency"):
            np.testing.assert_array_equal(found[0][name], rows[0][name], err_msg=name)
        assert np.isnan(found[0]["alignment"]) == (setting is linear)
        assert np.isfinite(drawn[setting.array("spectrum")]).all()
        profile = drawn[setting.array("profile")]
        assert np.isnan(profile[1]).all()
        np.testing.assert_array_equal(profile[0], arrays[setting.array("profile")][0])


def test_dead_seeds_keep_a_row():
    columns = {"mean_frequency": np.array([0.1, np.nan]), "num_flipped": np.array([3, 0])}
    rows = networks._rows({"arm": "conv_full_d1"}, columns, (5, 7), ["ok", "dead"])
    assert rows[0] == {
        "arm": "conv_full_d1", "seed": 5, "status": "ok", "mean_frequency": 0.1, "num_flipped": 3,
    }  # fmt: skip
    assert rows[1]["mean_frequency"] is None
    assert rows[1]["num_flipped"] == 0


def test_white_noise_has_a_flat_profile():
    noise = jax.random.normal(jax.random.key(0), (4000, 12, 12, 1))
    profile = measures.profile_of(spectral.mean_spectrum(noise, axis=0))
    np.testing.assert_allclose(profile.mean[1:], 1.0, atol=0.05)


def test_null_columns(digits):
    columns = measures.null_columns(digits, 16, jax.random.key(0))
    assert columns["null_mean_frequency"] == pytest.approx(
        np.hypot(*np.meshgrid(np.fft.fftfreq(8), np.fft.fftfreq(8))).sum() / 63, rel=1e-5
    )
    assert 0 < columns["data_mean_frequency"] < columns["null_mean_frequency"]


def test_white_perturbations_give_the_null_of_every_statistic(digits):
    """The columns of a setting stand beside their nulls: of white noise the two are equal."""
    delta = jax.random.normal(jax.random.key(1), (2, 4000, 8, 8, 1))
    zero = np.zeros(delta.shape[:2], np.int32)
    found = Perturbation(delta, zero == 0, zero > 0, zero > 0, zero.astype(float), zero, zero)
    nulls = measures.null_columns(digits, 16, jax.random.key(0))
    columns = measures.attack_columns(SimpleNamespace(perturbed=found))
    names = [name.removeprefix("null_") for name in nulls if name.startswith("null_")]
    assert len(names) >= 7
    for name in names:
        np.testing.assert_allclose(columns[name], nulls[f"null_{name}"], rtol=0.02, err_msg=name)


@pytest.mark.parametrize(("halvings", "rate"), [(0, 64.0), (2, 16.0), (9, 1.0)])
def test_the_rate_is_the_largest_at_which_every_seed_is_stable(halvings, rate):
    """Of two seeds one's loss rises at 64, 32 and 16, is infinite at 8, and NaN at 4; dead at 2."""
    budget = dataclasses.replace(BUDGET, learning_rate=64.0, rate_halvings=halvings)
    tried = []

    def train(optimizer, hyperparameters, until):
        state = optax.tree_utils.tree_set(optimizer.init(jnp.ones(1)), **hyperparameters)
        update, _ = optimizer.update(jnp.ones(1), state)
        tried.append(-float(update[0]) / (1 if budget.clip is None else budget.clip))
        ends = {8.0: np.inf, 4.0: np.nan, 2.0: 0.5, 1.0: 0.5}.get(tried[-1], 1.1)
        assert (until is None) == (len(tried) == halvings + 1)  # the last is kept, whatever comes
        for loss in ([1.0], [1.0, 0.9], [1.0, 0.9, 0.5]), ([1.0], [1.0, 1.0], [1.0, 1.0, ends]):
            for losses in loss if until else ():
                until(np.array(losses), np.ones(len(losses)))
        history = SimpleNamespace(accuracy=np.ones((2, 4)))
        return SimpleNamespace(alive=np.array([True, tried[-1] != 2.0]), history=history)

    _, found = networks.train_stably(Setting("digits", "relu", "fc", 1), budget, train)
    assert found == rate
    assert tried == pytest.approx([64.0 * 0.5**j for j in range(len(tried))])
    assert tried[-1] == pytest.approx(rate)


@pytest.mark.parametrize(
    ("regime", "accuracies", "taken"),
    [
        ("relu", [0.5, 0.7, 0.96, 0.99], 2),  # the first that fits
        ("relu", [0.5, 0.7, 0.6, 0.99], 1),  # lower rates fit less
        ("relu", [0.5, 0.6, 0.7, 0.8], 3),  # as far as the halvings go
        ("linear", [0.5, 0.7, 0.96, 0.99], 0),  # linear ones need not
    ],
)
def test_of_stable_rates_the_largest_that_fits(regime, accuracies, taken):
    budget = dataclasses.replace(BUDGET, learning_rate=1.0, rate_halvings=3, fitted=0.95)
    left = list(accuracies)

    def train(optimizer, hyperparameters, until):
        history = SimpleNamespace(accuracy=np.array([[left.pop(0)] * 4, [1.0] * 4]))
        return SimpleNamespace(alive=np.ones(2, bool), history=history)

    _, rate = networks.train_stably(Setting("digits", regime, "fc", 1), budget, train)
    assert rate == 0.5**taken


def test_a_rate_at_which_one_seed_breaks_is_left_by_all():
    unstable = networks._Unstable()
    half = np.full(2, 0.5)
    assert not unstable(np.array([1.0, 1.0]), half)
    assert unstable(np.array([1.0, 1.1]), half)
    assert unstable(np.array([1.0, 0.9]), half)  # the next seed, in the same epoch


@pytest.mark.slow
def test_a_rate_that_diverges_is_halved(digits):
    """Real networks: without the rule two seeds diverge, with it they learn."""
    setting = Setting("digits", "linear", "fc", 1)
    wild = dataclasses.replace(BUDGET, learning_rate=8.0, clip=None, epochs=8)
    rows, _ = networks.run_setting(setting, digits, wild)
    assert {row["status"] for row in rows} == {"diverged"}
    rows, _ = networks.run_setting(setting, digits, dataclasses.replace(wild, rate_halvings=8))
    assert {row["status"] for row in rows} == {"ok"}
    assert 0 < rows[0]["learning_rate"] < 8
