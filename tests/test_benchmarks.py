"""The one command: libraries agree, what it writes is whole, and the committed table holds."""

import re
import subprocess
import sys
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

from benchmarks import (
    attacks,
    convolution,
    fresh,
    harness,
    networks,
    pgd,
    products,
    profile,
    scaling,
    tables,
    training,
    winograd,
)
from freqbias import ops

SMOKE = harness.Settings(repeats=2, seconds=0.1, smoke=True)
ROOT = Path(__file__).parents[1]
STRENGTH = pd.read_csv(ROOT / "benchmarks" / "results" / "cpu-2-cores" / "attacks.csv")
NETWORKS = ("conv_3_1x8", "conv_28_1x8", "fc_1x512", "local_3_1x8")
FIXED = [
    f"{name}_{norm}"
    for name in ("fgsm", "pgd", "apgd", "apgd_dlr", "apgd_t", "square", "auto_attack")
    for norm in ("linf", "l2")
]
MINIMAL = (
    *("ddn_l2", "fmn_l0", "fmn_l1", "fmn_l2", "fmn_linf", "deepfool_l2", "deepfool_linf"),
    *("carlini_wagner_l2", "brendel_bethge_l0", "brendel_bethge_l1", "brendel_bethge_l2"),
    *("brendel_bethge_linf", "fab_l2", "fab_linf"),
)

# --- The committed ratios -------------------------------------------------------------------------

PGD = ("fc_1x64", *(f"conv_{size}_3x16" for size in (3, 7, 9, 15, 28)))
TRAINED = ("fc_1x256", *(f"conv_{size}_1x8" for size in (3, 7, 9, 15, 28)))
DEEP = ("", *(f"conv_{size}_3x8" for size in (3, 7, 9, 15, 28)))
ROWS = {  # of the table in README.md: how it begins, suite, networks, batch
    "L2 PGD, three layers x 16 (FC 784-64-10)": (pgd.SUITE, PGD, None),
    "training, one layer x 8 (FC 256), batch 32": (training.SUITE, TRAINED, 32),
    "the same, batch 128": (training.SUITE, TRAINED, 128),
    "training, three layers x 8, batch 32": (training.SUITE, DEEP, 32),
    "three layers, batch 128": (training.SUITE, DEEP, 128),
}


def _two_digits(value):
    return f"{float(f'{value:.2g}'):g}"


@pytest.mark.parametrize("row", ROWS)
def test_the_ratios_in_readme_are_those_of_the_committed_runs(row):
    suite, names, batch = ROWS[row]
    written = (ROOT / "README.md").read_text().split(f"| {row} |")[1]
    table = pd.read_csv(ROOT / "benchmarks" / "results" / "cpu-2-cores" / f"{suite.name}.csv")
    table = table if batch is None else table[table["batch"] == batch]
    found = tables.ratios(suite, table).set_index("network")
    cells = [f"{_two_digits(found['ratio'][n])}" if n in found.index else "-" for n in names]
    assert [cell.strip() for cell in written.split("|")[:6]] == cells


SENTENCES = {  # of README.md: the suite, and its attacks in the order of their ratios
    "AutoAttack": (attacks.AUTOATTACK, ("auto_attack_linf", "auto_attack_l2", "auto_attack_l1")),
    "Minimal attacks": (
        attacks.MINIMALS,
        ("ddn_l2", "carlini_wagner_l2", "fmn_l2", "fmn_linf", "fmn_l1", "fmn_l0"),
    ),
}


@pytest.mark.parametrize("start", SENTENCES)
def test_what_readme_says_of_attacks_is_in_the_committed_runs(start):
    """Ratios of rates, and that what was reached with them is no worse."""
    suite, names = SENTENCES[start]
    line = next(x for x in (ROOT / "README.md").read_text().split("\n\n") if x.startswith(start))
    table = pd.read_csv(ROOT / "benchmarks" / "results" / "cpu-2-cores" / f"{suite.name}.csv")
    found = tables.ratios(suite, table).set_index("attack").loc[list(names)]
    written = re.findall(r"(?<![\w.])\d\.\d", line)
    assert written == [f"{ratio:.1f}" for ratio in found["ratio"]]
    reached = "distance" if suite is attacks.MINIMALS else "robust_accuracy"
    assert (found[reached] <= found[f"{reached} of peer"] * 1.001).all()
    if suite is attacks.AUTOATTACK:
        assert (found["first_seconds"] < found["first_seconds of peer"]).all()


def test_the_rule_takes_a_route_that_is_fast_in_the_committed_table():
    found = pd.read_csv(ROOT / "benchmarks" / "results" / "cpu-2-cores" / "routes.csv")
    lines = convolution.chosen(found, "cpu")
    assert len(lines) == 222 and lines["to_best"].notna().all()
    assert (lines["to_best"] <= 1.15).mean() > 0.9 and (lines["to_best"] <= 1.5).mean() > 0.97
    assert np.exp(np.log(lines["to_best"]).mean()) < 1.03
    ours = lines[["direct", "im2col", "dft", "fft"]].min(axis=1)
    ahead = (ours / lines["winograd"]).dropna()  # as BUILD says of Winograd's
    assert ahead.max() < 1.2 and (ahead > 1).sum() <= 5 < len(ahead)


# --- The committed table of attacks --------------------------------------------------------------


def _reached(network, attack, column):
    """What freqbias reached, and the best peer."""
    chosen = (STRENGTH["network"] == network) & (STRENGTH["attack"] == attack)
    found = STRENGTH[chosen].set_index("library")[column]
    assert found.index.is_unique and found.notna().all(), f"{network}, {attack}: {found}"
    return found["freqbias"], found.drop("freqbias").min()


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("attack", FIXED)
def test_no_peer_leaves_half_a_point_less_accuracy(network, attack):
    ours, peer = _reached(network, attack, "robust_accuracy")
    assert 0 <= ours <= peer + 0.005


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("attack", MINIMAL)
def test_no_peer_is_two_percent_nearer(network, attack):
    ours, peer = _reached(network, attack, "distance")
    assert 0 < ours <= 1.02 * peer


def test_networks_had_learned():
    """A network that answers nothing stands against every attack."""
    assert (STRENGTH["correct"] >= 256).all()


def test_committed_tables_have_the_columns_of_their_suites():
    suites = (
        *(pgd.SUITE, training.SUITE, scaling.SUITE, fresh.SUITE, convolution.SUITE),
        *(attacks.AUTOATTACK, attacks.MINIMALS, attacks.STRENGTH),
    )
    columns = {suite.name: tables.columns(suite) for suite in suites}
    committed = list((ROOT / "benchmarks" / "results").glob("*/*.csv"))
    assert committed
    for path in committed:
        assert list(pd.read_csv(path)) == columns[path.stem], path


# --- Timing and tables ---------------------------------------------------------------------------


def test_repeats_are_interleaved_and_slow_peers_do_less(monkeypatch):
    clock, done = [0.0], []
    monkeypatch.setattr(harness.time, "perf_counter", lambda: clock[0])

    def runner(library, seconds):
        def run(seeds, steps):
            done.append(library)
            clock[0] += seconds * seeds * steps

        return harness.Runner(library, run)

    runners = [runner("freqbias", 9.0), runner("torch", 0.001), runner("JAX", 1.0)]
    settings = harness.Settings(repeats=2, seconds=10.0)
    timed = harness.interleaved(runners, seeds=4, steps=20, settings=settings)
    assert [run.library for run in timed] == ["freqbias", "torch", "JAX"] * 2
    assert done[-6:] == [run.library for run in timed]
    shares = {run.library: (run.seeds, run.steps) for run in timed}
    assert shares == {"freqbias": (4, 20), "torch": (4, 20), "JAX": (1, 10)}
    assert [run.seconds for run in timed] == pytest.approx([720, 0.08, 10] * 2)


def _rows(rates, **more):
    key = {"network": "fc_1x64", "seeds": 16, "images": 64, "steps": 40}
    return [
        key | {"library": library, "repeat": i, "seconds": 1 / rate, "rate": rate} | more
        for library, of_repeats in rates.items()
        for i, rate in enumerate(of_repeats)
    ]


def test_ratios_are_those_of_each_repeat_to_the_best_torch_peer():
    rates = {"freqbias": (8, 9, 4), "torch": (1, 1, 1), "torchattacks": (2, 3, 1), "JAX": (99,) * 3}
    (line,) = tables.ratios(pgd.SUITE, tables.as_frame(pgd.SUITE, _rows(rates))).to_dict("records")
    assert line["peer"] == "torchattacks" and line["freqbias"] == 8
    assert (line["lowest"], line["ratio"], line["highest"]) == (3, 4, 4)
    assert line["target"] == 4


def test_a_peer_that_failed_is_not_the_best():
    key = {"network": "fc_1x64", "attack": "ddn_l2", "images": 8, "repeat": 0}
    rates = {"freqbias": (6, 0.5), "adv-lib": (3, np.inf), "foolbox (torch)": (2, 0.6)}
    rows = [
        key | {"library": library, "rate": rate, "distance": distance}
        for library, (rate, distance) in rates.items()
    ]
    table = tables.as_frame(attacks.MINIMALS, rows)
    (line,) = tables.ratios(attacks.MINIMALS, table).to_dict("records")
    assert (line["peer"], line["ratio"], line["distance of peer"]) == ("foolbox (torch)", 3, 0.6)


def test_rows_replace_those_of_the_same_case_and_library(tmp_path):
    path = tmp_path / "device" / "pgd.csv"
    old = tables.as_frame(pgd.SUITE, _rows({"freqbias": (1, 1), "torch": (2,)}))
    tables.save(pgd.SUITE, old, path)
    new = tables.as_frame(pgd.SUITE, _rows({"freqbias": (5,)}))
    kept = tables.save(pgd.SUITE, new, path)
    assert sorted(kept["rate"]) == [2, 5]


def _multiplications(model, **options):
    found = products.of_step(model, (28, 28, 1), 32, **options)
    return sum(np.prod(product) for product in found)


def test_products_of_a_dense_network_are_counted_in_closed_form():
    model = networks.named("fc_2x64")
    forward = 784 * 64 + 64 * 64 + 64 * 10
    # Every weight once forwards and once for its gradient; all but the first layer's once back.
    expected = 32 * (3 * forward - 784 * 64)
    assert _multiplications(model, training=True) == expected
    assert _multiplications(model, training=False) == 32 * 2 * forward


def test_products_of_a_convolution_are_those_of_its_taps_or_of_its_frequencies():
    small, wide, readout = networks.named("conv_3_1x8"), networks.named("conv_28_1x8"), 6272 * 10
    assert _multiplications(small, training=True) == 32 * (2 * 9 * 8 * 784 + 3 * readout)
    # Of a channel: over rows, then over columns in two stages, of 7 and 4.
    over_frequencies = 2 * 15 * 28**2 + 15 * 4 * 28 * (7 + 4)
    mixing = 15 * 28 * 4 * 8
    expected = 32 * ((1 + 8 + 8) * over_frequencies + 2 * mixing + 3 * readout)
    assert _multiplications(wide, training=True) == expected


def test_products_of_unshared_layers_are_not_known():
    assert products.counts(networks.named("conv_3_1x4"))
    assert not products.counts(networks.named("local_3_1x4"))


def test_no_product_is_left_out():
    found = products.of_step(networks.named("fc_2x64"), (28, 28, 1), 32, training=True)
    program = jax.jit(products._repeated, static_argnums=0).lower(tuple(found), *jnp.arange(2))
    assert program.compile().as_text().count(" dot(") == len(found) == 8


def test_a_column_that_a_suite_does_not_have_is_refused():
    with pytest.raises(ValueError, match=r"columns of suite pgd; got \['speed'\]"):
        tables.as_frame(pgd.SUITE, _rows({"torch": (1,)}, speed=3))


def test_slopes_are_those_of_a_power_law():
    points = [
        {"task": "pgd", "axis": axis, "library": "torch", "repeat": 0, "at": at, "cost": cost(at)}
        for axis, cost in (("side", lambda n: 3 * n**2), ("kernel_size", lambda k: max(k, 9)))
        for at in (3, 5, 9, 18, 27)
    ]
    found = tables.slopes(pd.DataFrame(points)).set_index(["axis", "part"])["slope"]
    assert found["side", "all"] == pytest.approx(2)
    assert found["kernel_size", "up to 9"] == pytest.approx(0)
    assert found["kernel_size", "from 9"] == pytest.approx(1)


@pytest.mark.parametrize("name", ["fc", "fc_3_1x8", "conv_1x8", "conv_0_1x8", "vgg_3_1x8"])
def test_a_name_that_is_no_network_is_refused(name):
    with pytest.raises(ValueError, match="name must be like fc_1x64"):
        networks.named(name)


# --- The same networks, and the same results -----------------------------------------------------


ALIKE = ("fc_2x7", "conv_3_2x4", "conv_4_1x5", "conv_6_1x4")  # even, odd and full width


def _network(name, key, side=6, channels=3):
    model = networks.named(name)
    images = jax.random.uniform(key, (5, side, side, channels))
    params = jax.jit(model.init)(jax.random.key(1), images)
    noise = lambda leaf: leaf + 0.1 * jax.random.normal(key, leaf.shape)  # noqa: E731 (of biases)
    return model, jax.tree.map(noise, params), images


@pytest.mark.parametrize("name", ALIKE)
def test_plain_jax_has_the_same_logits(name, key):
    model, params, images = _network(name, key)
    found = jax.jit(partial(networks.plain_apply, model))(params, images)
    np.testing.assert_allclose(found, jax.jit(model.apply)(params, images), atol=1e-4)


def _smoke(suite, **more):
    """All rows of a suite at its smallest sizes."""
    rows = []
    for case in suite.cases(SMOKE._replace(**more)):
        assert set(case.key) == set(suite.keys)
        rows += [case.key | row for row in case.measure()]
    found = tables.as_frame(suite, rows)
    assert len(found) and (found.filter(like="seconds").dropna(axis=1) >= 0).all(axis=None)
    assert "nan" not in tables.markdown(tables.medians(suite, found))
    return found


@pytest.mark.parametrize(("side", "inputs", "outputs"), [(8, 3, 4), (12, 2, 2)])
def test_winograd_is_a_convolution(key, side, inputs, outputs):
    images = jax.random.normal(key, (side, side, inputs, 5))
    kernel = jax.random.normal(jax.random.key(1), (3, 3, inputs, outputs)) / 3

    def slopes(conv):
        loss = jax.value_and_grad(lambda *at: jnp.sum(jnp.tanh(conv(*at))), (0, 1))
        return jax.jit(loss)(images, kernel)

    plain = slopes(lambda *at: ops.conv(*at, method="im2col", images_last=True))
    found = slopes(winograd.conv)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=2e-4), found, plain)


def test_every_route_is_timed_and_the_chosen_one_is_among_them():
    found = _smoke(convolution.SUITE, repeats=1)
    lines = convolution.chosen(found, "cpu")
    assert len(lines) == 2 and (lines["to_best"] >= 1).all()
    assert {"direct", "dft", "fft", "winograd"} <= set(found["library"])


def test_a_profile_tells_the_kernels_of_a_program_and_how_often_each_ran():
    step = jax.jit(lambda x: jax.lax.fori_loop(0, 7, lambda _, x: jnp.sin(x) @ x, x))
    found = profile.kernels(lambda: step(jnp.ones((64, 64))))
    assert len(found) and (found["calls"] == 7).any()
    assert (found["milliseconds"] > 0).all() and found["milliseconds"].is_monotonic_decreasing


def test_training_ends_where_a_plain_loop_in_jax_does():
    found = _smoke(training.SUITE, libraries=("freqbias", "JAX"), networks=("fc_1x16",))
    assert list(found["library"]) == ["freqbias", "JAX"] * SMOKE.repeats
    np.testing.assert_allclose(found["loss"], found["loss_freqbias"], rtol=1e-4)


@pytest.fixture
def torch():
    return pytest.importorskip("torch")


@pytest.mark.peers
@pytest.mark.parametrize("name", [*ALIKE, "local_3_1x4"])
def test_torch_has_the_same_logits(name, key, torch):
    model, params, images = _network(name, key)
    module = networks.as_torch(model, params, images.shape[1:])
    found = module(networks.to_torch(images)).detach().numpy()
    np.testing.assert_allclose(found, model.apply(params, images), atol=1e-4)


@pytest.mark.peers
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("network", ["fc_1x16", "conv_3_1x4"])
def test_all_libraries_train_to_the_same_loss(network, torch):
    found = _smoke(training.SUITE, networks=(network,))
    assert {"freqbias", "torch", "JAX", "products"} <= set(found["library"])
    found = found[found["library"] != "products"]  # which trains nothing
    np.testing.assert_allclose(found["loss"], found["loss_freqbias"], rtol=1e-4)


@pytest.mark.peers
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("network", ["fc_1x16", "conv_3_1x4"])
def test_all_libraries_attack_to_the_same_loss(network, torch):
    found = _smoke(pgd.SUITE, networks=(network,))
    assert {"freqbias", "torch", "JAX", "products"} <= set(found["library"])
    peers = found[~found["library"].isin(["freqbias", "products"])]
    np.testing.assert_allclose(peers["loss"], peers["loss_freqbias"], rtol=0.02)
    np.testing.assert_allclose(
        peers["robust_accuracy"], peers["robust_accuracy_freqbias"], atol=1 / 16
    )
    for _, alike in peers.groupby(["seeds_run", "steps_run"]):
        np.testing.assert_allclose(alike["loss"], alike["loss"].iloc[0], rtol=1e-3)


@pytest.mark.peers
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("suite", [attacks.AUTOATTACK, attacks.MINIMALS], ids=lambda s: s.name)
def test_timed_attacks_are_as_strong_as_the_peers(suite, torch):
    found = _smoke(suite, repeats=1)
    column = "distance" if suite is attacks.MINIMALS else "robust_accuracy"
    for _, case in found.groupby("attack"):
        reached = case.set_index("library")[column]
        assert len(reached) > 1 and reached["freqbias"] <= 1.02 * reached.min() + 1e-6


@pytest.mark.peers
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("suite", [scaling.SUITE, fresh.SUITE], ids=lambda s: s.name)
def test_costs_and_first_calls_are_told(suite, torch):
    found = _smoke(suite, repeats=1)
    assert {"freqbias", "torch"} <= set(found["library"])
    if suite is fresh.SUITE:
        ours = found[found["library"] == "freqbias"]
        assert (ours["programs"] > 0).all() and (ours["compile_seconds"] > 0).all()
        assert (found["peak_mb"] >= found["loaded_mb"]).all() and (found["loaded_mb"] > 50).all()


@pytest.mark.slow
def test_the_command_writes_rows_machine_and_page(tmp_path):
    command = [sys.executable, "-m", "benchmarks", "--preset=smoke", "--suites=training"]
    more = ["--networks=fc_1x16", "--libraries=JAX", "--repeats=1", f"--out={tmp_path}"]
    ended = subprocess.run([*command, *more], cwd=ROOT, check=False, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    folder = tmp_path / harness.device()
    assert {path.name for path in folder.iterdir()} == {
        "training.csv",
        "training.json",
        "training.md",
    }
    assert list(pd.read_csv(folder / "training.csv")["library"]) == ["freqbias", "JAX"]
    page = (folder / "training.md").read_text()
    assert "--suites=training" in page and page in ended.stdout


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("--suites=speed", "must be of pgd, training"),
        ("--networks=vgg", "must be like fc_1x64"),
        ("--attacks=nothing", "must be of fgsm_linf"),
    ],
)
@pytest.mark.slow
def test_a_wrong_flag_is_named(flag, message):
    command = [sys.executable, "-m", "benchmarks", flag]
    ended = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True)
    assert ended.returncode != 0 and message in ended.stderr + ended.stdout
