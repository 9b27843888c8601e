"""The linear study: tasks and rows, clocks and words on planted trajectories, library, command."""

import dataclasses
import itertools
import json
import pickle
import re

import numpy as np
import pandas as pd
import pytest
from absl import flags
from absl.testing import flagsaver
from matplotlib.collections import QuadMesh

from freqbias import data, plotting, runs, schema, spectral, theory
from freqbias.cli import claims as claims_cli
from freqbias.cli import linear_bias, merge, relabel
from freqbias.study import claims, description, executors, finished, linear
from freqbias.study.linear import Descent, LimitPlan, TaskPlan, figures, study, summary, tasks
from freqbias.study.linear.summary import Cell, Results
from freqbias.study.setting import Arm, Setting

# --- Tasks ----------------------------------------------------------------------------------------


def test_a_pair_is_its_two_classes_grey_cropped_and_standardised():
    plan = TaskPlan("patches_1_2", (4, 8), 40)
    dataset = data.load("natural_patches")
    task = tasks.make_task(plan, {"natural_patches": dataset}, 0)
    assert task.title == "Photographs, chelsea against coffee"
    assert task.images.shape == (40, 28, 28, 1) and task.boxed
    np.testing.assert_allclose([task.images.mean(), task.images.std()], [0, 1], atol=1e-5)
    first = np.flatnonzero(dataset.train.labels == 2)[0]  # the first of class 1 of the task
    pixels = dataset.train.images[first][2:30, 2:30].mean(-1)
    got = task.images[np.flatnonzero(task.labels == 1)[0], ..., 0] * task.std + task.mean
    np.testing.assert_allclose(got, pixels, atol=1e-5)


def test_the_teacher_separates_its_task_within_its_band():
    task = tasks.make_task(TaskPlan("teacher", (4,), 700), {}, 0)
    svm = theory.support_vector_machine(task.images[:400], task.labels[:400])
    right = np.tensordot(task.images[400:], svm.weights, 3) > 0
    assert np.mean(right == task.labels[400:]) > 0.6  # learnable, unlike noise
    low, high = tasks.TEACHER_BAND
    share = spectral.band_fraction(svm.weights.astype(np.float32), low, high)
    area = spectral.band_mask((28, 28), low, high).mean()
    assert share > 1.5 * area


def test_samples_are_nested_balanced_and_differ_between_seeds():
    task = tasks.make_task(TaskPlan("noise", (4, 16), 60), {}, 0)
    members = tasks.members_of(task, (4, 16), (0, 1, 5), 0)
    assert members.shape == (2, 3, 60)
    np.testing.assert_array_equal(members.sum(-1), [[4] * 3, [16] * 3])
    assert np.all(members[1] >= members[0])
    assert np.all((members & (task.labels == 1)).sum(-1) == [[2], [8]])
    assert np.any(members[1, 0] != members[1, 1])
    alone = tasks.members_of(task, (16,), (5,), 0)
    np.testing.assert_array_equal(alone[0, 0], members[1, 2])  # whoever else is there


@pytest.mark.parametrize("name", ["fashion", "fashion_3_3", "cifar_0_1", "patches_a_b", ""])
def test_tasks_that_do_not_exist_are_named(name):
    with pytest.raises(ValueError, match=r"tasks must be noise, teacher, or one of fashion"):
        tasks.check_names([name])


def test_tasks_too_small_or_of_unknown_classes_are_refused():
    sources = {name: data.load(name) for name in ("natural_patches", "digits")}
    with pytest.raises(ValueError, match="has 1024 images, for a pool of 5000"):
        tasks.make_task(TaskPlan("patches_0_1", (8,), 5000), sources, 0)
    with pytest.raises(ValueError, match="classes below 8"):
        tasks.make_task(TaskPlan("patches_0_9", (8,), 50), sources, 0)
    with pytest.raises(ValueError, match="at least 28 x 28; got 8 x 8"):
        tasks.make_task(TaskPlan("digits_0_1", (8,), 50), sources, 0)


# --- Rows -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tiny_rows():
    plan, descent = TaskPlan("noise", (4, 8), 40), Descent((0, 1, 2), (1.0, 0.5), num_steps=20)
    task = tasks.make_task(plan, {}, 0)
    setting = Setting("noise", "linear", "conv", 1, "3")
    return pd.DataFrame(linear.follow(setting, task, plan, descent))


def test_rows_hold_every_group_seed_and_step(tiny_rows):
    assert len(tiny_rows) == 3 * (2 * 2 + 2) * 6  # seeds, groups, steps 0 1 2 5 10 20
    assert list(tiny_rows["step"].unique()) == [0, 1, 2, 5, 10, 20]
    start = tiny_rows[tiny_rows["step"] == 0]
    assert np.all(start["learned_share"].astype(float) < 1e-6)
    assert np.all(start["kernel_slack_change"].astype(float) == 0)
    np.testing.assert_allclose(start["parameter_residual"].astype(float), 1, atol=0.35)
    later = tiny_rows[tiny_rows["step"] == 20]
    assert np.all(later["log_loss"].astype(float).values < start["log_loss"].astype(float).values)
    assert later["delta_cosine"].astype(float).min() > 0.99999  # C6: delta is beta


def test_scales_share_their_start_and_only_small_ones_forget_it(tiny_rows):
    small = tiny_rows[tiny_rows["step_size"] == 0.01]
    wide = small.pivot_table(
        index=["num_train", "seed", "step"], columns="init_scale", values="mean_frequency"
    ).reset_index()
    start = wide[wide["step"] == 0]
    np.testing.assert_allclose(start[1.0], start[0.5], rtol=1e-5)
    shares = small[small["step"] == 20].groupby("init_scale")["learned_share"].mean()
    assert shares[0.5] > shares[1.0]


def test_separation_is_dated_by_the_first_step_without_errors(tiny_rows):
    keys = ["num_train", "init_scale", "step_size", "seed"]
    found = 0
    for _, part in tiny_rows.groupby(keys):
        right = part[part["train_accuracy"].astype(float) == 1]["step"]
        expected = right.min() if len(right) else None
        assert part["separation_step"].isna().all() == (expected is None)
        if expected is not None:
            assert part["separation_step"].iloc[0] == expected
            found += 1
    assert found > 0


def test_limits_are_certified_or_say_that_they_are_not():
    plan = TaskPlan("noise", (4, 8), 40)
    task = tasks.make_task(plan, {}, 0)
    wanted = [LimitPlan("l2", 8, 100), LimitPlan("fourier", 8, 2)]
    exact, cut = linear.solve_limits(task, wanted, [0], 0)
    assert exact["status"] == "ok" and abs(exact["gap"]) < 1e-6
    assert 0.3 < exact["mean_frequency"] < 0.45  # white images: a white predictor
    assert cut["status"] == "not_converged" and cut["mean_frequency"] is None


# --- Clocks, words and maps on planted rows -------------------------------------------------------

STEPS = (0, 1, 2, 5, 10, 20, 50, 100)


def planted(shift=0.05, slower=1.0, seeds=8, noise=0.002):
    """Conv above FC by ``shift`` from step 10 on; FC ``slower`` in everything by a factor."""
    rng = np.random.default_rng(0)
    rows = []
    for arm, num, scale, seed in itertools.product(
        ("conv_k3_d1", "fc_d1"), (32, 128), (1.0, 0.5), range(seeds)
    ):
        late = slower if arm == "fc_d1" else 1.0
        separation = 10.0 * late
        for step in STEPS:
            time = step / late
            own = shift * (time >= 10) if arm == "conv_k3_d1" else 0.0
            rows.append(
                {
                    "dataset": "noise", "regime": "linear", "arm": arm, "attack": "closed_form_l2",
                    "num_train": num, "init_scale": scale, "step_size": 0.01, "seed": seed,
                    "step": step, "final": step == STEPS[-1], "geometry": "l2",
                    "status": "ok", "separated": step >= separation,
                    "separation_step": separation, "log_loss": -np.log1p(time),
                    "mean_frequency": 0.3 - 0.02 * np.log1p(time) + own + rng.normal(0, noise),
                    "test_accuracy": 0.7,
                }
            )  # fmt: skip
    return pd.DataFrame(rows)


ARMS = ("conv_k3_d1", "fc_d1")
CELL = Cell("noise", 32, 1.0, 0.01)


def test_the_interval_decides_above_below_or_not_distinguishable():
    found = summary.difference(
        Results(planted()), CELL, ARMS, "mean_frequency", clock="step", grid=STEPS
    )
    np.testing.assert_array_equal(found.sign[STEPS.index(10) :], 1)
    np.testing.assert_allclose(found.estimate[-1], 0.05, atol=0.004)
    assert np.sum(found.sign[: STEPS.index(10)] != 0) <= 1  # 5 % of intervals miss 0
    below = summary.difference(
        Results(planted(-0.05)), CELL, ARMS, "mean_frequency", clock="step", grid=STEPS
    )
    assert below.sign[-1] == -1


@pytest.mark.parametrize("clock, grid", [("separation", [0.2, 1.0, 5.0]), ("loss", [-0.5, -1.0])])
def test_a_slower_arm_differs_on_the_step_clock_only(clock, grid):
    """FC is twice as slow in everything: at equal steps it differs, on the other clocks not."""
    results = Results(planted(0.0, slower=2.0, noise=1e-5))
    by_step = summary.difference(results, CELL, ARMS, "mean_frequency", clock="step", grid=[10])
    assert by_step.sign[0] == -1  # conv has come further down
    other = summary.difference(results, CELL, ARMS, "mean_frequency", clock=clock, grid=grid)
    np.testing.assert_allclose(other.estimate, 0, atol=2e-3)  # interpolation between steps
    assert np.abs(other.estimate).max() < np.abs(by_step.estimate[0]) / 4


def test_outside_of_what_was_recorded_there_is_no_estimate():
    results = Results(planted())
    found = summary.difference(
        results, CELL, ARMS, "mean_frequency", clock="separation", grid=[1.0, 10.0, 11.0]
    )
    np.testing.assert_array_equal(np.isnan(found.sign), [False, False, True])
    few = planted()
    gone = (few["arm"] == "fc_d1") & (few["seed"] > 3) & (few["step"] == 100)
    few.loc[gone, "mean_frequency"] = np.nan  # half of the seeds diverged
    found = summary.difference(
        Results(few), CELL, ARMS, "mean_frequency", clock="step", grid=[50, 100]
    )
    np.testing.assert_array_equal(np.isnan(found.sign), [False, True])


def test_words_and_sentences_come_from_the_rows():
    text = summary.runs_of(np.array([0, 0, 1, 1, -1, np.nan]), [0, 1, 2, 5, 10, 20])
    assert text == (
        "not distinguishable steps 0 to 1; above steps 2 to 5; below at step 10"
    )  # fmt: skip
    results = Results(planted(), titles={"noise": "Noise"})
    table = summary.word_table(results, ARMS)
    assert [line[:4] for line in table] == [
        ["Noise", n, s, "small"] for n in ("32", "128") for s in ("1", "0.5")
    ]
    assert all("above steps 10 to 100" in line[5] for line in table)
    assert all(line[4] == "10 / 10" for line in table)
    (sentence,) = summary.sentences(results, ARMS, ("conv", "FC"))
    above = int(re.search(r"above FC in (\d+) of 28 readings", sentence)[1])
    assert 16 <= above <= 18  # four cells, four of seven readings, and chance
    found = summary.tally(results, ARMS, "noise", separated=True)
    assert (found.above, found.below, found.neither) == (16, 0, 0)  # separated at step 10
    early = summary.tally(results, ARMS, "noise", separated=False)
    assert early.above + early.below + early.neither == 12 and early.neither >= 10
    assert summary.tally(results, ARMS, "noise", steps="large").where == ()


def test_maps_hatch_exactly_the_cells_whose_interval_includes_zero():
    rows = planted()
    results, zero = Results(rows, titles={"noise": "Noise"}), 0
    figure = figures.difference_map(results, ARMS, grid=STEPS)
    hatches = [c for ax in figure.axes for c in ax.collections if c.get_hatch()]
    hatched = [path for collection in hatches for path in collection.get_paths()]
    meshes = [c for ax in figure.axes for c in ax.collections if isinstance(c, QuadMesh)]
    for cell in summary.cells(rows):
        found = summary.difference(results, cell, ARMS, "mean_frequency", clock="step", grid=STEPS)
        zero += int(np.sum(found.sign == 0))
    assert len(hatched) == zero
    panels = [mesh.get_array() for mesh in meshes if mesh.get_array().shape == (2, len(STEPS))]
    assert len(panels) == 2 and not any(np.ma.getmaskarray(panel).any() for panel in panels)
    norm = figures._symmetric([found])
    assert norm.vmin == -norm.vmax  # centred on 0


def test_claims_are_judged_on_separated_seeds_at_the_last_step():
    rows = planted()
    late = (rows["num_train"] == 128) & (rows["arm"] == "fc_d1")
    rows.loc[late, "separated"] = False
    final = summary.final_rows(rows)
    assert set(final["dataset"]) == {"noise, N=32", "noise, N=128"}
    assert np.all(final["step"] == 100)
    registry = claims.load_registry(linear.REGISTRY)
    records = claims.judge(final, claims.select(registry, ["C1-late"]))
    verdicts = {r["dataset"]: r["verdict"] for r in records}
    assert verdicts == {"noise, N=32": "supported", "noise, N=128": "not decided"}


def test_every_registered_claim_can_be_decided_by_the_quick_preset():
    registry = claims.load_registry(linear.REGISTRY)
    arms = {study.setting_of("", arm).arm: () for arm in linear.PRESETS["quick"][0].arms}
    assert len(claims.with_arms(registry, arms).claims) == len(registry.claims)
    assert {claim.id.split("-")[0] for claim in registry.claims} >= {"C7", "C8"}


# --- The library ----------------------------------------------------------------------------------

COMPARED = linear.Comparison((TaskPlan("own", (4, 8), 20),), (Arm("fc", 1), Arm("conv", 1, "3")))
DESCENT = Descent((0, 1), (1.0,), num_steps=2)


@pytest.fixture(scope="module")
def own_task():
    """A task that no name makes."""
    noise = tasks.make_task(TaskPlan("noise", (8,), 20), {}, 0)
    return dataclasses.replace(noise, name="own", title="A task of my own")


@pytest.fixture
def no_pdf(monkeypatch):
    """The PDF of a figure, which takes as long as the rest of it, is that of the command below."""
    monkeypatch.setattr("freqbias.plotting.pdf_bytes", lambda *_: b"")


@pytest.mark.usefixtures("no_pdf")
def test_a_study_of_ones_own_task_gives_rows_verdicts_and_page(own_task, tmp_path):
    plan = linear.plan("mine", COMPARED, DESCENT, tasks={"own": own_task})
    assert {claim.id for claim in plan.registry.claims} == {"C8-slack", "C1-late"}
    run = linear.run(plan, tmp_path / "mine", workers=1)
    rows = runs.read_rows(run)
    assert len(rows) == 2 * 2 * 2 * 2 * 3  # arms, samples, small and large steps, seeds, steps
    assert set(schema.REQUIRED) - set(rows) == {"num_images"}  # no image is attacked one by one
    assert "A task of my own, N = 8" in (run / "report.html").read_text(encoding="utf-8")


def test_what_is_computed_travels_to_another_process(own_task, tmp_path, monkeypatch):
    plan = linear.plan("mine", COMPARED, DESCENT, tasks={"own": own_task})
    seen = []
    monkeypatch.setattr("freqbias.study.engine.run_jobs", lambda jobs, _: seen.extend(jobs))
    study.run_left(plan, study.open_run(plan, tmp_path / "run"), executors.make())
    assert [len(job.tasks) for job in seen] == [1, 1, 1]  # limits, two arms
    for job in seen:
        pickle.loads(pickle.dumps(job.tasks[0].compute))


@pytest.mark.usefixtures("no_pdf")
def test_parts_of_a_study_merge_to_what_one_run_gives(own_task, tmp_path, monkeypatch):
    compared = COMPARED._replace(limits=(LimitPlan("l2", 4, 50),))
    plan = linear.plan("mine", compared, DESCENT, tasks={"own": own_task})
    with monkeypatch.context() as undrawn:
        undrawn.setattr("freqbias.study.linear.page.make_page", lambda *_: None)
        undrawn.setattr("freqbias.report.write_page", lambda *_: None)
        whole = linear.run(plan, tmp_path / "whole", workers=1)
    for part in (1, 2):
        linear.run(plan, tmp_path / str(part), workers=1, shard=(part, 2))
        assert not (tmp_path / str(part) / "claims.json").exists()
        assert len(runs.finished(tmp_path / str(part))) == 1
    merged(tmp_path, "2", "1", out="merged")  # in any order
    for name in ("rows.csv", "claims.json", "limits.json", "study.json"):
        assert (tmp_path / "merged" / name).read_bytes() == (whole / name).read_bytes(), name
    assert (tmp_path / "merged" / "report.html").exists()

    longer = dataclasses.replace(plan, descent=dataclasses.replace(DESCENT, num_steps=3))
    linear.run(longer, tmp_path / "longer", workers=1, shard=(2, 2))
    with pytest.raises(ValueError, match=r"one sweep; .*longer differs from .*1 in num_steps"):
        merged(tmp_path, "1", "longer", out="wrong")
    with pytest.raises(ValueError, match=r"all parts of one sweep, each once; got 1/2\."):
        merged(tmp_path, "1", out="wrong")
    with pytest.raises(ValueError, match=r"shard must be of at most 2 parts, .*; got 3/3"):
        linear.run(plan, tmp_path / "wrong", shard=(3, 3))
    assert not (tmp_path / "wrong").exists()


def merged(folder, *parts, out):
    with flagsaver.flagsaver():
        shards = ",".join(str(folder / part) for part in parts)
        flags.FLAGS(["merge", f"--shards={shards}", f"--out={folder / out}"])
        merge.execute(merge.prepare())


def test_a_study_that_cannot_be_run_is_refused(own_task):
    def plan(descent=DESCENT, own=own_task, **changes):
        return linear.plan("x", COMPARED._replace(**changes), descent, tasks={"own": own})

    with pytest.raises(ValueError, match="architecture must be one of 'fc', 'conv', 'locally_"):
        plan(arms=(Arm("scattered", 1, "3"),))
    with pytest.raises(ValueError, match="arms must not be empty"):
        plan(arms=())
    with pytest.raises(ValueError, match="norm must be l2, fourier, kernel_K"):
        plan(limits=(LimitPlan("l3", 4, 10),))
    with pytest.raises(ValueError, match="own has 20 images, for a pool of 30"):
        plan(tasks=(TaskPlan("own", (8,), 30),))
    rare = dataclasses.replace(own_task, labels=np.arange(20, dtype=np.int32) // 18)
    with pytest.raises(ValueError, match="must have 4 images of either class, for samples of 8"):
        plan(own=rare)
    with pytest.raises(ValueError, match="tasks must be noise, teacher"):
        linear.plan("x", COMPARED, DESCENT)
    with pytest.raises(ValueError, match="init_scales must hold 1"):
        plan(dataclasses.replace(DESCENT, init_scales=(0.5,)))


# --- The command ----------------------------------------------------------------------------------

TINY = (
    "--preset=smoke", "--tasks=patches_1_2", "--num_train=16", "--train_steps=5",
    "--seeds=0-1", "--workers=1",
)  # fmt: skip


def run(*arguments):
    with flagsaver.flagsaver():
        flags.FLAGS(["linear_bias", *TINY, *arguments])
        linear_bias.execute(linear_bias.prepare())


@pytest.fixture(scope="module")
def tiny_run(tmp_path_factory):
    out = tmp_path_factory.mktemp("linear") / "tiny"
    run(f"--out={out}")
    return out


def test_writes_rows_claims_limits_figures_and_page(tiny_run):
    rows = pd.read_csv(tiny_run / "rows.csv")
    assert len(rows) == 3 * 2 * 3 * 4  # arms, seeds, groups, steps 0 1 2 5
    assert json.loads((tiny_run / "claims.json").read_text())["claims"]
    limits = json.loads((tiny_run / "limits.json").read_text())
    assert {limit["norm"] for limit in limits} == {"l2", "fourier"}
    names = {file.name for file in (tiny_run / "figures").iterdir()}
    for stem in ("time_beta_scale1", "phase_step", "phase_separation", "sparsity", "slack"):
        assert {f"{stem}.png", f"{stem}.pdf"} <= names
    page = (tiny_run / "report.html").read_text(encoding="utf-8")
    assert "conv K=3 lies above FC in" in page
    assert not re.search(r"\b(nan|None)\b", re.sub(r"base64,[^\"]*", "", page))


def test_a_finished_run_is_judged_again_as_it_was(tiny_run, capsys):
    with flagsaver.flagsaver():
        flags.FLAGS(["claims", f"--run={tiny_run}"])
        claims_cli.execute(claims_cli.prepare())
    shown = capsys.readouterr().out
    for record in json.loads((tiny_run / "claims.json").read_text())["claims"]:
        assert f"{record['id']} {record['dataset']}" in re.sub(" +", " ", shown)
    judged = finished.judged_rows(tiny_run)
    assert set(judged["dataset"]) == {"patches_1_2, N=16"}
    assert judged["final"].all() and judged["step_size"].nunique() == 1


def test_seeds_of_a_linear_run_are_dealt_anew_by_task_and_sample(tmp_path, capsys):
    run = runs.open_run(tmp_path / "run", {"datasets": ["noise"]})
    rows = planted(seeds=8).assign(kernel="3")
    for arm, part in rows.groupby("arm"):
        runs.append_rows(run, f"noise.{arm}", part.to_dict("records"))
    registry = claims.load_registry(linear.REGISTRY)
    description.write(run, "linear", plotting.UNKNOWN, registry)
    with flagsaver.flagsaver():
        flags.FLAGS(["relabel", f"--run={run}", "--deals=20"])
        relabel.execute(relabel.prepare())
    lines = pd.read_csv(run / "relabelled.csv")
    counts = lines.groupby(["dataset", "arm"]).size()  # each at two initial scales
    assert counts.to_dict() == {
        (f"noise, N={num}", arm): 2 for num in (32, 128) for arm in ("conv_k3_d1", "fc_d1")
    }
    assert set(lines["seeds"]) == {8}
    assert "mean over 8 arms" in capsys.readouterr().out


def test_resume_fills_in_what_is_missing_and_nothing_else(tiny_run):
    before = (tiny_run / "rows.csv").read_bytes()
    lost, *kept = sorted((tiny_run / "settings").glob("*.csv"))
    times = {path: path.stat().st_mtime_ns for path in kept}
    lost.unlink()
    with flagsaver.flagsaver():
        flags.FLAGS(["linear_bias", *TINY, f"--out={tiny_run}", "--resume"])
        with pytest.warns(UserWarning, match="computed again: settings/.*: it is missing"):
            request = linear_bias.prepare()
        study.run_left(request.plan, request.run, request.executor)
    runs.write_rows(tiny_run)
    assert (tiny_run / "rows.csv").read_bytes() == before
    assert {path: path.stat().st_mtime_ns for path in kept} == times
    with pytest.raises(FileExistsError, match="holds the results of another run"):
        run(f"--out={tiny_run}")
    with pytest.raises(ValueError, match="cannot be resumed"):
        run(f"--out={tiny_run}", "--resume", "--train_steps=6")


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("--preset=huge", "preset must be one of 'smoke', 'quick', 'full'"),
        ("--tasks=fashion_0_6,imagenet_0_1", "tasks must be noise, teacher, or one of"),
        ("--tasks=noise,noise", "tasks must not repeat"),
        ("--num_train=1", "num_train must be distinct sizes >= 2; got [1]"),
        ("--num_train=a", "num_train must be ints like 3"),
        ("--init_scales=1,x", "init_scales must be numbers like 0.5; got 1,x"),
        ("--init_scales=0", "init_scales must be positive"),
        ("--init_scales=0.5", "init_scales must hold 1"),
        ("--train_steps=0", "train_steps must be at least 1; got 0"),
        ("--step_size=-1", "step_size must be positive"),
        ("--seeds=0", "seeds must be at least 2"),
        ("--shard=4/4", "shard must be of at most 3 parts, as many as there are jobs; got 4/4"),
        ("--strategy=fast", "strategy must be one of 'auto', 'vmap'"),
        ("--num_train=3000", "patches_1_2 has 1024 images, for a pool of 3000"),
    ],
)
def test_bad_input_is_named_before_anything_is_written(flag, message, tmp_path):
    with flagsaver.flagsaver():
        flags.FLAGS(["linear_bias", *TINY, f"--out={tmp_path / 'out'}", flag])
        with pytest.raises(ValueError, match=re.escape(message)):
            linear_bias.prepare()
    assert not (tmp_path / "out").exists()
