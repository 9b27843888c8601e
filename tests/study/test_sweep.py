"""What all binaries share: designs, flags that change them, parts that merge, what is asked."""

import contextlib
import dataclasses
import importlib
import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from absl import flags
from absl.testing import flagsaver

from freqbias import data, ensemble, ops, runs, study
from freqbias.cli import merge, sweep
from freqbias.study import arms, design, designs, engine, executors, measures, networks
from freqbias.study import sweep as library
from freqbias.study.design import Design
from freqbias.study.measures import Measured
from freqbias.study.setting import REGIMES, Arm, Asked, Budget, Setting

ROOT = Path(__file__).parents[2]
TINY = (
    "--preset=smoke", "--datasets=digits", "--regimes=linear", "--seeds=0-1", "--num_images=128",
    "--epochs=1", "--num_attacked=8", "--num_steps=2", "--init_scales=1",
)  # fmt: skip
BUDGET = Budget(
    seeds=(0, 3), num_images=128, epochs=2, batch_size=32, channels=2, width=8, block_width=8,
    num_attacked=8, num_steps=2,
)  # fmt: skip


@contextlib.contextmanager
def without_pages():
    """Runs write their tables and no page, whose figures take longest to draw."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(library.report, "write_report", lambda run: Path(run) / "no page")
        yield


def run(*given):
    """What the binary of kernel sizes does, in this process."""
    with flagsaver.flagsaver():
        flags.FLAGS(["kernel_size", *TINY, *given])
        request = sweep.prepare("kernel_size", designs.kernel_size)
        sweep.execute(request)
        runs.close_run(request.run)


def join(parts, out):
    with flagsaver.flagsaver():
        flags.FLAGS(["merge", f"--shards={','.join(map(str, parts))}", f"--out={out}"])
        plan = merge.prepare()
        merge.execute(plan)
        runs.close_run(plan.out)


@pytest.mark.parametrize("name", designs.ALL)
@pytest.mark.parametrize("preset", design.PRESETS)
def test_every_study_says_what_it_compares_at_every_preset(name, preset):
    settings = design.cells(designs.ALL[name](preset))
    assert settings
    assert len({setting.id for setting in settings}) == len(settings)
    for setting in settings:
        family = arms.family(setting.architecture)
        assert setting.regime in family.regimes
        assert not family.blocks or setting.init_scale == 1


def test_every_study_has_a_binary_and_every_binary_a_study():
    """At most 60 lines each, so that a reader sees what it asks and nothing else."""
    found = {}
    for path in (ROOT / "experiments").glob("*.py"):
        text = path.read_text()
        assert len(text.splitlines()) <= 60, path
        if "sweep.main(" in text:
            found[path.stem] = text
        if path.stem != "__init__":
            assert importlib.import_module(f"experiments.{path.stem}").__doc__
    assert found.keys() == designs.ALL.keys()
    for name, text in found.items():
        assert f'sweep.main("{name}", designs.{name})' in text


def test_a_setting_of_two_designs_is_run_once_with_all_that_both_ask():
    scales = (1.0, 0.5)
    asked = Asked(second_attack=True, checkpoints=2)
    one = Design(("digits",), (Arm("fc"),), init_scales=scales, asked=asked)
    other = Design(("digits",), (Arm("fc"),), init_scales=(1.0,), asked=Asked(checkpoints=5))
    found = design.cells((one, other))
    assert found == design.cells((other, one))
    assert len(found) == 4
    asked = {(s.regime, s.init_scale): value for s, value in found.items()}
    assert asked["relu", 1.0] == Asked(second_attack=True, checkpoints=5)
    assert asked["relu", 0.5] == Asked(second_attack=True, checkpoints=2)


def test_names_say_what_differs_from_the_default():
    def name(*args, **more):
        return Setting("digits", "relu", *Arm(*args, **more)).arm

    assert name("conv", 1, "3") == "conv_k3_d1"
    assert name("conv", 1, "3", "SAME") == "conv_k3_d1_same"
    assert name("vit", 2, optimizer="adam") == "vit_d2_adam"
    assert name("conv", 2, "full", channels=16) == "conv_full_d2_c16"
    assert name("fc", weight_decay=5e-4) == "fc_d1_wd0.0005"


def prepared(*given):
    with flagsaver.flagsaver():
        flags.FLAGS(["kernel_size", *TINY, *given])
        return sweep.prepare("kernel_size", designs.kernel_size).plan


def test_flags_replace_the_factors_of_a_preset(tmp_path):
    plan = prepared(
        "--kernel_sizes=1,5", "--depths=1-2", "--init_scales=1,0.1", f"--out={tmp_path}"
    )
    found = {(s.architecture, s.kernel, s.depth, s.init_scale) for s in plan.settings}
    convs = {("conv", k, d, i) for k in "15" for d in (1, 2) for i in (1.0, 0.1)}
    assert found == convs | {("fc", "", d, i) for d in (1, 2) for i in (1.0, 0.1)}


def test_a_preset_fits_sets_smaller_than_it(tmp_path):
    """Seeds still differ in what they train on; kernels larger than the image are left out."""
    with flagsaver.flagsaver():
        flags.FLAGS(["kernel_size", "--preset=standard", "--datasets=digits", f"--out={tmp_path}"])
        plan = sweep.prepare("kernel_size", designs.kernel_size).plan
    assert {setting.kernel for setting in plan.settings} == {"3", "5", "7", "full", ""}
    digits = plan.datasets["digits"]
    assert design.fitted(plan.budget, digits).num_images == len(digits.train.labels) // 2
    assert design.fitted(Budget(), digits) == Budget()


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("--kernel_sizes=9", "kernel_sizes must be at most the image side, 8 for digits; got 9"),
        ("--kernel_sizes=wide", "kernel_sizes must be positive ints or full; got 'wide'"),
        ("--depths=0", "depths must be at least 1; got 0"),
        ("--regimes=cubic", "regimes must be one of 'linear', 'relu'"),
        ("--init_scales=0", "init_scales must be positive"),
        ("--init_scales=big", "init_scales must be numbers like 0.5; got big"),
        ("--shard=3/2", "shard must be i/n with 1 <= i <= n, e.g. 2/4; got '3/2'"),
        ("--shard=1/99", "shard must be of at most 2 parts, as many as there are jobs; got 1/99"),
        ("--channels=0", "channels must be at least 1; got 0"),
    ],
)
def test_bad_input_is_named_before_anything_is_written(flag, message, tmp_path):
    with pytest.raises(ValueError, match=re.escape(message)):
        prepared(f"--out={tmp_path / 'out'}", flag)
    assert not (tmp_path / "out").exists()


def test_parts_merge_to_what_one_run_gives(tmp_path):
    for part in ("1/2", "2/2"):
        run(f"--shard={part}", f"--out={tmp_path / part[0]}")
        assert not (tmp_path / part[0] / "report.html").exists()
    with pytest.raises(ValueError, match=r"all parts of one sweep, each once; got 1/2\."):
        join([tmp_path / "1"], tmp_path / "merged")
    assert not (tmp_path / "merged").exists()
    join([tmp_path / "1", tmp_path / "2"], tmp_path / "merged")
    assert (tmp_path / "merged" / "report.html").exists()
    with without_pages():
        run(f"--out={tmp_path / 'once'}")
    for name in ("rows.csv", "claims.json"):
        assert (tmp_path / "merged" / name).read_bytes() == (tmp_path / "once" / name).read_bytes()


def test_runs_on_different_data_sets_merge_to_what_one_run_gives(tmp_path):
    """A person's own data beside the packaged ones, in one report."""
    sets = ("digits", "digits+low_pass_0.125")
    with without_pages():
        for part, names in (("1", sets[:1]), ("2", sets[1:]), ("once", sets)):
            run(f"--datasets={','.join(names)}", f"--out={tmp_path / part}")
    join([tmp_path / "1", tmp_path / "2"], tmp_path / "merged")
    assert (tmp_path / "merged" / "report.html").exists()
    for name in ("rows.csv", "claims.json"):
        assert (tmp_path / "merged" / name).read_bytes() == (tmp_path / "once" / name).read_bytes()
    merged, once = (runs.read_config(tmp_path / name)["config"] for name in ("merged", "once"))
    assert len(merged.pop("shards")) == 2
    assert merged == once
    with pytest.raises(ValueError, match=r"runs on different data sets; digits\+low_pass_0.125 is"):
        join([tmp_path / "merged", tmp_path / "2"], tmp_path / "twice")
    assert not (tmp_path / "twice").exists()


def test_a_part_and_a_whole_run_do_not_merge(tmp_path):
    for part, given in (("1", ("--shard=1/2",)), ("2", ())):
        with flagsaver.flagsaver():
            flags.FLAGS(["kernel_size", *TINY, *given, f"--out={tmp_path / part}"])
            sweep.prepare("kernel_size", designs.kernel_size)
    with flagsaver.flagsaver():
        given = f"--shards={tmp_path / '1'},{tmp_path / '2'}"
        flags.FLAGS(["merge", given, f"--out={tmp_path / 'merged'}"])
        with pytest.raises(ValueError, match=r"or all be whole; .*2 is none"):
            merge.prepare()


def test_runs_that_are_no_sweeps_do_not_merge(tmp_path):
    for part in ("1", "2"):
        runs.open_run(tmp_path / part, {"experiment": "linear_bias"})
    with flagsaver.flagsaver():
        given = f"--shards={tmp_path / '1'},{tmp_path / '2'}"
        flags.FLAGS(["merge", given, f"--out={tmp_path / 'merged'}"])
        with pytest.raises(ValueError, match=r"parts of a sweep; .*1 is none"):
            merge.prepare()


def test_parts_of_different_sweeps_do_not_merge(tmp_path):
    for part, epochs in (("1/2", 1), ("2/2", 2)):
        with flagsaver.flagsaver():
            out = f"--out={tmp_path / part[0]}"
            flags.FLAGS(["kernel_size", *TINY, f"--shard={part}", f"--epochs={epochs}", out])
            sweep.prepare("kernel_size", designs.kernel_size)
    given = f"--shards={tmp_path / '1'},{tmp_path / '2'}"
    with flagsaver.flagsaver():
        flags.FLAGS(["merge", given, f"--out={tmp_path / 'merged'}"])
        with pytest.raises(ValueError, match=r"2 differs from .*1 in epochs"):
            merge.prepare()
    assert not (tmp_path / "merged").exists()


@pytest.mark.parametrize("regime", REGIMES)
def test_checkpoints_are_rows_and_change_nothing_at_the_end(regime):
    digits = data.load("digits")
    setting = Setting("digits", regime, "conv", 1, "3")
    asked = Asked(
        second_attack=True, checkpoints=3, minimal=True, minimal_in_training=True, filtered=True
    )
    rows, arrays = networks.run_setting(setting, digits, BUDGET, asked)
    assert [row["final"] for row in rows if row["geometry"] == "linf"] == [True, True]
    rows = [row for row in rows if row["geometry"] == "l2"]
    assert [row["step"] for row in rows[::2]] == [0, 1, 2, 4, 8]  # half of the steps among them
    assert [row["final"] for row in rows[::2]] == [False] * 4 + [True]
    assert len({row["mean_frequency"] for row in rows[::2]}) == 5  # each of networks of its own
    plain, plain_arrays = networks.run_setting(setting, digits, BUDGET)
    for one, other in zip(rows[-2:], plain, strict=True):
        for name in ("mean_frequency", "test_accuracy", "train_accuracy", "robust_accuracy"):
            assert one[name] == pytest.approx(other[name], rel=1e-5)
        assert np.isnan(other["minimal_distance"])
    for name, array in plain_arrays.items():
        np.testing.assert_allclose(arrays[name], array, rtol=1e-3, atol=1e-6)
    for row in rows:
        assert (0 <= row["accuracy_low_0.0625"] <= 1) == row["final"]
        # Images are longer than 1.
        assert 0 < row["minimal_relative_distance"] < row["minimal_distance"]


@pytest.mark.parametrize("regime", REGIMES)
def test_each_regime_is_also_attacked_the_other_way_round_at_the_box(regime):
    """Fashion-MNIST is zero outside the clothes: the box binds, and more so in few pixels."""
    setting = Setting("fashion_mnist_mini", regime, "fc", 1)
    asked = Asked(second_attack=True, other_box=True)
    rows, _ = networks.run_setting(setting, data.load("fashion_mnist_mini"), BUDGET, asked)
    boxes = {row["attack"]: row["box"] for row in rows}
    if regime == "linear":
        assert boxes == {"closed_form_l2": False, "closed_form_linf": False, "pgd_l2-boxed": True}
    else:
        assert boxes == {"pgd_l2": True, "pgd_linf": True, "pgd_l2-free": False}
    frequency = {(row["box"], row["seed"]): row["mean_frequency"] for row in rows
                 if row["geometry"] != "linf"}  # fmt: skip
    for seed in BUDGET.seeds:
        assert abs(frequency[True, seed] - frequency[False, seed]) > 1e-3


def test_learning_rates_fall_in_steps():
    """By the factor after every so many epochs: the second epoch of two, here."""
    budget = dataclasses.replace(BUDGET, decay_factor=0.1)
    first = budget.learning_rate
    rate = networks._optimizer(Setting("digits", "relu", "fc", 1), budget, first)
    steps = BUDGET.num_images // BUDGET.batch_size
    # One program:
    assert rate is networks._optimizer(Setting("digits", "linear", "fc", 1), budget, first)
    params = jnp.ones(3)
    state, moved = rate.init(params), []
    for _ in range(2 * steps):
        update, state = rate.update(jnp.full(3, 1e-3), state, params)
        moved.append(float(-update[0]))
    velocity = [1e-3 * sum(BUDGET.momentum**j for j in range(i + 1)) for i in range(2 * steps)]
    rates = [BUDGET.learning_rate] * steps + [0.1 * BUDGET.learning_rate] * steps
    np.testing.assert_allclose(moved, np.multiply(velocity, rates), rtol=1e-5)


def test_minimal_distances_are_those_to_the_nearest_plane():
    """Two classes: |difference of logits| / ||difference of weights||, whatever the label."""
    rng = np.random.default_rng(0)
    weights = rng.normal(size=(3, 4, 4, 1, 2)).astype(np.float32)
    bias = rng.normal(size=(3, 2)).astype(np.float32)
    images = rng.uniform(size=(5, 4, 4, 1)).astype(np.float32)
    nets = ensemble.Ensemble(
        ops.AffinePredictor(jnp.asarray(weights), jnp.asarray(bias)),
        np.zeros(3, np.int32), None, seeds=(0, 1, 2), apply_fn=ops.AffinePredictor.__call__,
    )  # fmt: skip
    setting = Setting("digits", "linear", "fc", 1)
    found = measures.minimal_columns(
        Measured(
            setting,
            data.load("digits"),
            BUDGET,
            Asked(minimal=True),
            nets,
            nets,
            start=None,
            end=None,
            compact=None,
            images=images,
            labels=None,
            key=jax.random.key(0),
        )
    )
    normal = weights[..., 1] - weights[..., 0]
    gap = np.einsum("nhwc,shwc->sn", images, normal) + (bias[:, 1] - bias[:, 0])[:, None]
    distance = np.abs(gap) / np.sqrt((normal**2).sum(axis=(1, 2, 3)))[:, None]
    expected = np.median(distance, axis=1)
    np.testing.assert_allclose(found["minimal_distance"], expected, rtol=1e-4)
    size = np.sqrt((images**2).sum(axis=(1, 2, 3)))
    np.testing.assert_allclose(
        found["minimal_relative_distance"], np.median(distance / size, axis=1), rtol=1e-4
    )


def test_a_heat_map_is_kept_per_seed():
    setting = Setting("digits", "linear", "fc", 1)
    _, arrays = networks.run_setting(setting, data.load("digits"), BUDGET, Asked(heat_map=True))
    errors = arrays[setting.array("heat_map")]
    assert errors.shape == (2, 8, 8)
    assert ((errors >= 0) & (errors <= 1)).all()
    np.testing.assert_array_equal(errors, np.roll(np.flip(errors, (1, 2)), 1, (1, 2)))  # f and -f


def test_budgets_shrink_with_the_contrast_of_a_transformed_set(monkeypatch):
    asked_for = []

    def heat_map(apply_fn, params, images, labels, key, *, epsilon, ensemble):
        asked_for.append(epsilon)
        return np.zeros((2, 8, 8))

    monkeypatch.setattr("freqbias.study.measures.attacks.heat_map", heat_map)
    dataset = data.load("digits+low_pass_0.25")
    assert dataset.contrast < 0.99
    setting = Setting(dataset.name, "linear", "fc", 1)
    rows, _ = networks.run_setting(
        setting, dataset, BUDGET, Asked(second_attack=True, heat_map=True)
    )
    epsilons = {row["attack"]: row["epsilon"] for row in rows}
    assert epsilons["closed_form_l2"] == pytest.approx(BUDGET.epsilon_l2 * dataset.contrast)
    assert epsilons["closed_form_linf"] == pytest.approx(BUDGET.epsilon_linf * dataset.contrast)
    assert asked_for == [pytest.approx(BUDGET.epsilon_heat_map * dataset.contrast)]


@pytest.mark.parametrize(
    "arm",
    [
        Arm("resnet", 1, "3", "SAME"), Arm("vgg", 1, "3", "SAME"),
        Arm("conv_mixer", 1, "3", "SAME"), Arm("vit", 1), Arm("mlp_mixer", 1),
        Arm("global_filter", 1),
        Arm("conv", 1, "3", "VALID", 4, "adam"),
    ],
    ids=lambda arm: arm.architecture,
)  # fmt: skip
def test_every_family_goes_from_data_to_rows(arm):
    rows, _ = networks.run_setting(Setting("digits", "relu", *arm), data.load("digits"), BUDGET)
    for row in rows:
        assert row["status"] == "ok"
        assert 0 < row["mean_frequency"] < 0.5 * np.sqrt(2)


def test_of_photographs_only_what_networks_can_learn_is_asked():
    settings = design.cells(designs.frequency_controlled_data("standard"))
    assert {s.regime for s in settings if "natural_patches+high_pass" in s.dataset} == {"relu"}
    assert {s.regime for s in settings if "mini+high_pass" in s.dataset} == {"linear", "relu"}
    taught = {s.dataset for s in settings if "natural_patches+teacher" in s.dataset}
    assert taught == {"natural_patches+teacher_0.02_0.1", "natural_patches+teacher_0.1_0.25"}


def test_trained_networks_can_be_loaded_again(tmp_path):
    """Those that gave the rows, also where they were trained in another form."""
    design = Design(("digits",), (Arm("conv", 1, "3"), Arm("fc")), ("linear",), init_scales=(1.0,))
    plan = study.plan("mine", [design], BUDGET, save_params=True)
    run = library.open_run(plan, tmp_path / "run")
    engine.run_jobs(library._jobs(plan, run), executors.make())
    rows = runs.write_rows(run)
    test = plan.datasets["digits"].test[: BUDGET.num_tested]
    for setting in plan.settings:
        nets = study.load_networks(plan, run, setting)
        assert nets.alive.all() and nets.seeds == BUDGET.seeds
        told = rows[(rows["arm"] == setting.arm) & rows["final"]].groupby("seed")["test_accuracy"]
        np.testing.assert_allclose(
            nets.accuracy(test.images, test.labels), told.first()[list(BUDGET.seeds)], atol=1e-6
        )
    wider = dataclasses.replace(plan, budget=dataclasses.replace(BUDGET, width=9))
    with pytest.raises(ValueError, match="like must have the leaves and shapes"):
        study.load_networks(wider, run, setting)
