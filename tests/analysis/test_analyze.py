"""`analyze` against closed forms and second routes: what it averages, over what, what it says."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import freqbias as fb
from freqbias import analysis, attacks, inference, spectral
from freqbias.analysis import measure
from freqbias.ensemble import stack
from freqbias.plotting.style import distinct_styles

SHAPE = (6, 5, 2)
EPSILON = 0.3
PGD = {"PGD": attacks.pgd(attacks.L2(), epsilon=EPSILON, num_steps=3, bounds=None)}


def affine(params, images):
    weights, bias = params
    return images.reshape(images.shape[0], -1) @ weights + bias[None]


def affine_params(seed, num_classes=2):
    weights = jax.random.normal(jax.random.key(seed), (np.prod(SHAPE), num_classes))
    return weights, jnp.zeros(num_classes)


def hidden(params, images):
    """Not affine, so that perturbations differ from image to image."""
    first, second = params
    return jnp.tanh(images.reshape(images.shape[0], -1) @ first) @ second


def hidden_params(seed):
    keys = jax.random.split(jax.random.key(seed))
    return jax.random.normal(keys[0], (60, 7)) / 4, jax.random.normal(keys[1], (7, 3))


IMAGES = np.asarray(jax.random.uniform(jax.random.key(9), (11, *SHAPE)))
LABELS = np.asarray(jnp.argmax(hidden(hidden_params(0), IMAGES), -1))
LABELS = np.where(np.arange(11) == 4, (LABELS + 1) % 3, LABELS)  # one is misclassified


def quiet(*args, attacks=PGD, **options):
    options = {"key": jax.random.key(0), "progress": False, "batch_size": 4} | options
    return fb.analyze(*args, attacks=attacks, **options)


def rows_of(found, **wanted):
    table = found.table()
    for column, value in wanted.items():
        table = table[table[column] == value]
    return table


@pytest.fixture(scope="module")
def one():
    return quiet(hidden, hidden_params(0), IMAGES, LABELS)


@pytest.fixture(scope="module")
def several():
    params = stack([hidden_params(seed) for seed in range(3)])
    status = jnp.zeros(3, jnp.int32)
    nets = fb.Ensemble(params, status, None, (5, 1, 2), hidden)
    others = {"mine": (hidden, hidden_params(0)), "twin": (hidden, hidden_params(0))}
    others |= {"<other>": (hidden, hidden_params(1)), "nets": nets}
    return quiet(others, images=IMAGES, labels=LABELS)


def test_of_an_affine_network_every_perturbation_is_the_difference_of_the_weights():
    params = affine_params(3)
    labels = np.asarray(jnp.argmax(affine(params, IMAGES), -1))
    step = {"FGSM": attacks.fgsm(attacks.L2(), epsilon=EPSILON, bounds=None)}
    found = quiet(affine, params, IMAGES, labels, attacks=step)
    difference = (params[0][:, 1] - params[0][:, 0]).reshape(1, *SHAPE)
    expected = float(spectral.mean_frequency(difference)[0])
    for attack in ("FGSM", "input Jacobian"):
        (row,) = rows_of(
            found, attack=attack, perturbations="all", statistic="mean_frequency"
        ).itertuples()
        assert row.estimate == pytest.approx(expected, rel=2e-5)
        assert row.low == pytest.approx(row.high, rel=1e-4)  # no image differs from another
        assert (row.num_images, row.over) == (11, "images")
        np.testing.assert_allclose(
            found.measured.found["network"][attack].spectra["all"][0],
            spectral.normalized_power(difference)[0],
            atol=2e-6,
        )
    norms = rows_of(found, attack="FGSM", perturbations="all", statistic="relative_norm")
    (norm,) = norms.itertuples()
    assert norm.estimate == pytest.approx(np.mean(EPSILON / found.measured.contrast), rel=1e-4)


def test_the_numbers_are_those_of_evaluate_and_of_the_interval_over_images(one):
    """A second route, and batches that do not divide the images."""
    key = jax.random.key(0)
    again = attacks.evaluate(PGD["PGD"], hidden, hidden_params(0), IMAGES, LABELS, key)
    perturbation = again.perturbation
    frequency = np.asarray(spectral.mean_frequency(perturbation.delta))
    for group, where in (
        ("all", perturbation.clean_correct),
        ("flipped", perturbation.flipped),
        ("not flipped", perturbation.clean_correct & ~perturbation.is_adversarial),
    ):
        expected = inference.mean_interval(frequency[where], over="images")
        (row,) = rows_of(
            one, attack="PGD", perturbations=group, statistic="mean_frequency"
        ).itertuples()
        assert row.num_images == where.sum() >= 2
        np.testing.assert_allclose(
            [row.estimate, row.low, row.high],
            [expected.estimate, expected.low, expected.high],
            rtol=1e-4,
        )
    assert one.measured.found["network"]["PGD"].correct.sum() == 10  # not the misclassified one
    (own,) = rows_of(one, attack="the images", statistic="mean_frequency").itertuples()
    assert own.estimate == pytest.approx(float(spectral.mean_frequency(IMAGES).mean()), rel=1e-5)
    np.testing.assert_allclose(one.measured.null["mean_frequency"], own.white_noise)


def test_the_network_is_traced_once_for_all_batches():
    traced = []

    def counted(params, images):
        traced.append(images.shape)
        return hidden(params, images)

    params = hidden_params(0)
    quiet(counted, params, IMAGES[:4], LABELS[:4])
    once = len(traced)
    quiet(counted, params, IMAGES, LABELS)
    assert len(traced) == once
    assert set(traced) == {(4, *SHAPE)}


def test_an_ensemble_has_intervals_over_seeds_and_the_same_perturbations(several):
    found = several.measured.found["nets"]["PGD"]
    key = jax.random.key(0)
    params = stack([hidden_params(seed) for seed in range(3)])
    alone = attacks.evaluate(PGD["PGD"], hidden, params, IMAGES, LABELS, key, seeds=(5, 1, 2))
    frequency = np.asarray(spectral.mean_frequency(alone.perturbation.delta))
    np.testing.assert_allclose(found.statistics["mean_frequency"], frequency, rtol=1e-4)
    means = inference.image_means(frequency, where=alone.perturbation.clean_correct)
    expected = inference.mean_interval(means.mean)
    (row,) = rows_of(
        several, network="nets", attack="PGD", perturbations="all", statistic="mean_frequency"
    ).itertuples()
    assert (row.over, row.num_seeds) == ("seeds", 3)
    np.testing.assert_allclose([row.low, row.high], [expected.low, expected.high], rtol=1e-4)


def test_differences_are_paired_over_images(several):
    table = several.differences()
    table = table[(table.attack == "PGD") & (table.perturbations == "all")]
    table = table[table.statistic == "mean_frequency"].set_index(["first", "second"])
    twins = table.loc["mine", "twin"]
    assert (twins.estimate, twins.low, twins.high, twins.num_images) == (0, 0, 0, 10)
    first, second = (several.measured.found[name]["PGD"] for name in ("mine", "<other>"))
    both = (first.correct & second.correct)[0]
    apart = (first.statistics["mean_frequency"] - second.statistics["mean_frequency"])[0, both]
    expected = inference.mean_interval(apart, over="images")
    other = table.loc["mine", "<other>"]
    np.testing.assert_allclose([other.low, other.high], [expected.low, expected.high], rtol=1e-4)
    scale = float(spectral.mean_frequency(IMAGES).mean())
    assert other.relative == pytest.approx(other.estimate / scale, rel=1e-4)
    beside = table.loc["mine", "nets"]
    assert np.isfinite(beside.estimate)
    assert np.isnan(beside.low)
    assert beside.over == ""


def test_the_jacobian_is_that_of_the_centred_logits():
    params = hidden_params(0)
    keys = attacks.image_keys(jax.random.key(1), 11)
    exact = analysis.jacobian_power(hidden, params, IMAGES, keys, num_probes=3)

    def centred(image):
        (logits,) = hidden(params, image[None])
        return logits - logits.mean()

    jacobian = jax.vmap(jax.jacrev(centred))(IMAGES)  # [N, K, H, W, C]
    power = spectral.power_spectrum(jacobian).sum(1)
    np.testing.assert_allclose(
        exact.power / exact.power.sum((1, 2), keepdims=True),
        power / power.sum((1, 2), keepdims=True),
        rtol=2e-4,
        atol=1e-7,
    )
    np.testing.assert_array_equal(exact.predicted, jnp.argmax(hidden(params, IMAGES), -1))


def test_random_signs_estimate_the_jacobian_without_bias():
    params, image = affine_params(0, num_classes=9), IMAGES[:1]
    exact = analysis.jacobian_power(
        affine, params, image, attacks.image_keys(jax.random.key(0), 1), num_probes=9
    )
    keys = jax.random.split(jax.random.key(1), 400)
    many = analysis.jacobian_power(affine, params, np.repeat(image, 400, 0), keys, num_probes=1)
    weights = params[0] - params[0].mean(1, keepdims=True)
    expected = spectral.power_spectrum(weights.T.reshape(9, *SHAPE)).sum(0)
    np.testing.assert_allclose(
        exact.power[0] / exact.power[0].sum(), expected / expected.sum(), rtol=1e-4
    )

    def signs(key):
        return jax.random.rademacher(key, (1, 9), jnp.float32)[0]

    sums = jax.vmap(lambda key: jnp.sum(jnp.square(weights @ signs(key))))(keys)
    # `power` is up to a factor of each image; its sum is the square norm of the gradient.
    scaled = many.power / many.power.sum((1, 2), keepdims=True) * sums[:, None, None]
    error = np.std(scaled, axis=0, ddof=1) / 20
    assert np.all(np.abs(scaled.mean(0) - expected) < 5 * error)


def test_a_dead_network_is_said_and_not_averaged_away():
    def dead(params, images):
        return jnp.zeros((images.shape[0], 1)) * images.sum() + params[None]

    params = {"dead": (dead, jnp.array([0.0, 1.0])), "alive": (affine, affine_params(3))}
    labels = np.ones(11, np.int32)
    found = quiet(params, images=IMAGES, labels=labels, attacks={"DDN": attacks.ddn(num_steps=2)})
    outcomes = found.outcomes().set_index(["network", "attack"])
    assert outcomes.loc["dead", "input Jacobian"].no_gradient == 11
    assert outcomes.loc["dead", "DDN"].no_spectrum == 11
    dead_rows = rows_of(found, network="dead", statistic="mean_frequency")
    assert dead_rows.estimate.isna().all()
    assert (dead_rows.num_images == 0).all()
    assert rows_of(found, network="alive", statistic="mean_frequency").estimate.notna().any()
    assert "at 100 % of the images its input gradient is exactly zero" in str(found)
    assert "nothing to compare" in found.page()


def test_a_broken_network_costs_the_others_nothing():
    def broken(params, images):
        return affine(params, images) * jnp.nan

    params = affine_params(3)
    labels = np.asarray(jnp.argmax(affine(params, IMAGES), -1))
    both = {"broken": (broken, params), "good": (affine, params)}
    found = quiet(both, images=IMAGES, labels=labels)
    assert "broken" in str(found)
    assert "100 % of the logits or gradients are not finite" in str(found)
    assert (found.outcomes().set_index("network").loc["broken"].not_finite == 11).all()
    assert rows_of(found, network="good", attack="PGD", perturbations="all").estimate.notna().all()


def test_a_seed_without_a_spectrum_is_counted():
    alive, dead = affine_params(3), jax.tree.map(jnp.zeros_like, affine_params(3))
    params = stack([alive, dead, affine_params(4)])
    nets = fb.Ensemble(params, jnp.zeros(3, jnp.int32), None, (0, 1, 2), affine)
    found = quiet(nets, images=IMAGES, labels=np.zeros(11, np.int32))
    (row,) = rows_of(found, attack="input Jacobian", statistic="mean_frequency").itertuples()
    assert row.num_seeds == 2
    assert "input Jacobian: 1 of 3 seeds has no spectrum; no mean contains it" in str(found)


def test_wrong_labels_are_suspected():
    params = affine_params(3)
    wrong = 1 - np.asarray(jnp.argmax(affine(params, IMAGES), -1))
    found = quiet(affine, params, IMAGES, wrong)
    assert "Do the labels, the order of channels, mean, std" in str(found)
    assert "no perturbation has a spectrum" in found.page()  # nothing is left to measure


def test_images_without_power_and_one_image_alone():
    """No spectrum of their own: dashes, and no warning of NumPy's."""
    params = affine_params(3)
    grey = np.full((1, *SHAPE), 0.5, np.float32)
    labels = np.asarray(jnp.argmax(affine(params, grey), -1))
    both = {"a": (affine, params), "b": (affine, params)}
    found = quiet(both, images=grey, labels=labels)
    (row,) = rows_of(found, attack="the images", statistic="mean_frequency").itertuples()
    assert np.isnan(row.estimate)
    rows = rows_of(found, network="a", attack="PGD", perturbations="all")
    assert rows.set_index("statistic").loc["mean_frequency"].num_images == 1
    assert np.isfinite(rows.set_index("statistic").loc["mean_frequency"].estimate)
    assert np.isnan(rows.set_index("statistic").loc["relative_norm"].estimate)
    assert found.differences()["relative"].isna().all()
    assert "(no interval: a single image)" in found.page()


def test_the_page_of_several_networks(several, tmp_path):
    path = several.save(tmp_path / "report.html")
    page = path.read_text(encoding="utf-8")
    assert [file.name for file in tmp_path.iterdir()] == ["report.html"]
    for words in (
        "mine (one network)", "nets (ensemble of 3 seeds)", "&lt;other&gt;", "PGD</b>: epsilon 0.3",
        "of single networks over images, of ensembles over seeds", "The networks compared",
        "95 % interval over 10 images, paired", "Without an interval: &lt;other&gt; and nets",
        "prefers-color-scheme: dark", "white noise",
    ):  # fmt: skip
        assert words in page, words
    for name in ("mean_frequencies", "profiles", "mean_spectra", "examples"):
        assert f'id="figure-{name}"' in page
    assert "<other>" not in page
    for outside in ("figures/", "http:", "https:", "<script", "rows.csv"):
        assert outside not in page
    assert "<iframe srcdoc=" in several._repr_html_()
    assert several.page() == page


def test_a_thorough_analysis_has_a_heat_map_of_plane_waves(monkeypatch):
    small = analysis.Budget(None, 2, 2, 2, 5, 4, num_waved=3)
    monkeypatch.setitem(analysis.BUDGETS, "thorough", small)
    found = quiet(hidden, hidden_params(0), IMAGES, LABELS, budget="thorough")
    (errors,) = found.measured.heat_maps["network"]
    expected = attacks.heat_map(
        hidden, hidden_params(0), IMAGES[:3], LABELS[:3], jax.random.key(0),
        epsilon=4 * np.sqrt(30 / 1024), epsilon_per="channel",
    )  # fmt: skip
    np.testing.assert_array_equal(errors, expected)
    assert 0 < errors.mean() < 1
    assert 'id="figure-plane_waves"' in found.page()


def test_the_budget_says_what_is_left_and_the_defaults_are_diagnosed(capsys):
    images = np.asarray(jax.random.uniform(jax.random.key(9), (6, 6, 6, 1)))
    params = jax.random.normal(jax.random.key(0), (36, 2)), jnp.zeros(2)
    labels = np.asarray(jnp.argmax(affine(params, images), -1))
    found = fb.analyze(affine, params, images, labels, key=jax.random.key(0), batch_size=3)
    said = capsys.readouterr().err
    assert "Compiled and done with 3 of 6 images" in said
    assert said.index("Expected, once compiled: about 1 s of attacks, 1 s of diagnosis.") < (
        said.index("Compiled and done"))  # fmt: skip
    assert "L-inf PGD: epsilon 0.03137, 20 steps" in said
    assert set(found.measured.diagnoses["network"]) == {"L2 PGD", "L-inf PGD"}
    assert found.measured.diagnoses["network"]["L2 PGD"].failed() == ()
    flipped = found.measured.found["network"]["DDN (smallest L2)"].adversarial
    assert flipped.all()
    page = found.page()
    assert "no sign of failure" in page
    assert "Not diagnosed, since without a radius: DDN (smallest L2)." in page


def test_what_is_expected_counts_passes_of_attacks_diagnosis_and_waves():
    images, budget = np.zeros((70, 24, 16, 3), np.float32), analysis.BUDGETS["thorough"]
    attacked = {"PGD": attacks.pgd(attacks.L2(), epsilon=1.0, num_steps=10),
                "DDN": attacks.ddn(num_steps=20)}  # fmt: skip
    plan = measure._Plan([None, None], images, None, attacked, None, budget, size=32)
    waves = 2 * 16 * 24 * 16 / 2 / 32 / 3
    assert measure._expected(plan, 1.0) == (
        f"Expected, once compiled: about {2 * 3 * (10 + 2 * 20)} s of attacks, "
        f"{2 * (2 * 10 + 1000 / 3):.0f} s of diagnosis, {waves:.0f} s of plane waves."
    )


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"images": np.zeros((11, 3, 6, 5), np.float32)}, r"looks like \[N, C, H, W\]"),
        ({"images": IMAGES * 4 - 2}, "before they are standardised, and mean= and std="),
        ({"images": IMAGES * 255}, "divide by 255"),
        ({"images": (IMAGES * 255).astype(np.uint8)}, "got uint8. Divide by 255"),
        ({"images": IMAGES[0]}, r"One image is images\[None\], grey ones are"),
        ({"images": LABELS, "labels": IMAGES}, "images must have rank 4"),
        ({"images": None}, "images must be given"),
        ({"labels": np.eye(3)[LABELS]}, r"labels.argmax\(-1\)"),
        ({"labels": LABELS + 3}, "labels must lie in 0..2"),
        ({"attacks": attacks.fgsm(attacks.L2(), epsilon=1.0)}, "attacks must be a mapping"),
        ({"attacks": {}}, "at least one attack"),
        ({"attacks": {"t": attacks.ddn(targeted=True)}}, "'t' needs targets"),
        ({"budget": "huge"}, "budget must be one of 'quick', 'thorough'"),
        ({"batch_size": 0}, "batch_size must be at least 1"),
        ({"network": lambda p, x: (hidden(p, x), 0)}, r"a tuple. .* output=lambda out: out\[0\]"),
        ({"network": lambda p, x: np.asarray(x) @ p[0]}, "must compute with jax.numpy"),
        ({"network": lambda p, x: hidden(p, x) * float(x.mean())}, r"Leave out float\(\)"),
        ({"network": lambda p, x: hidden(p, x) if x.max() > 0 else x}, "Branch by jnp.where"),
        ({"network": lambda p, x: x.data_ptr()}, "a torch module is adapted by"),
        ({"network": lambda p, x: x.reshape(-1, 7)}, "it raised TypeError: "),
        ({"network": lambda p, x: jax.nn.softmax(9 * hidden(p, x))}, "Leave out the softmax"),
        ({"network": lambda p, x: x.mean((1, 2, 3))}, "One logit z for two classes"),
        ({"network": 3}, "must be a pair"),
        ({"network": hidden, "params": None}, "function without params"),
        ({"network": {}, "params": None}, "at least one network"),
        ({"network": {"a": (hidden, 0)}}, "each brings its own"),
    ],
)  # fmt: skip
def test_what_does_not_fit_says_what_to_do(change, words):
    given = {
        "network": hidden, "params": hidden_params(0), "images": IMAGES, "labels": LABELS,
        "attacks": PGD, "key": jax.random.key(0),
    } | change  # fmt: skip
    with pytest.raises((ValueError, TypeError), match=words):
        fb.analyze(progress=False, **given)


def test_a_page_is_written_where_it_can_be_and_shown_as_text_elsewhere(one, tmp_path, capsys):
    one.show()  # in no notebook
    assert "mean frequency in cycles/pixel with 95 % intervals" in capsys.readouterr().out
    with pytest.raises(ValueError, match=r"path must end in \.html"):
        one.save(tmp_path / "report.pdf")


def test_any_names_have_looks_of_their_own():
    styles = distinct_styles([f"net {k}" for k in range(90)])
    assert len({(s.color, s.marker, s.linestyle) for s in styles.values()}) == 90
    assert list(styles) == [f"net {k}" for k in range(90)]
    assert len({s.color for s in list(styles.values())[:9]}) == 9
