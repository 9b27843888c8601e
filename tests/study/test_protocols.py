"""Protocols: the way from the authors' to ours, what it changes, and what is read at its stages."""

import dataclasses
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from absl import flags
from absl.testing import flagsaver

from freqbias import data, runs, schema, spectral
from freqbias.cli import sweep
from freqbias.study import arms, bridge, claims, design, designs, networks, protocols
from freqbias.study import sweep as library
from freqbias.study.log_amplitude import SPLIT, log_tilt
from freqbias.study.setting import LONG, Arm, Asked, Budget, Setting

CONV, FC = Arm("conv", 1, "3"), Arm("fc")
STAGES = list(protocols.STAGES)
DIGITS = data.load("digits")


def differing(one, other):
    return {
        field.name
        for field in dataclasses.fields(Budget)
        if getattr(one, field.name) != getattr(other, field.name)
    }


def test_the_way_begins_at_the_authors_and_ends_at_ours():
    first = protocols.applied(Budget(), "authors")
    assert (first.width, first.batch_size, first.learning_rate) == (3072, 128, 0.01)
    assert (first.decay_factor, first.momentum, first.clip) == (0.3, 0.9, None)
    assert (first.steps, first.num_images, first.standardized) == (15_600, 0, False)
    assert (first.long_attacked, first.long_steps, first.epsilon_linf) == (2_000, 1_000, 8 / 255)
    assert protocols.arm_at("authors", CONV)[2:5] == ("3", "VALID", 3)
    assert STAGES[-1] == ""
    assert protocols.applied(Budget(), "") == Budget()
    for arm in designs.ENDS:
        assert protocols.arm_at("", arm) == arm


@pytest.mark.parametrize(
    ("stage", "changed"),
    [
        ("width", {"width"}),  # and channels, of the arm
        ("constant", {"steps", "decay_factor", "decay_epochs"}),
        ("steps", {"steps"}),
        ("batch", {"batch_size"}),
        ("images", {"num_images", "epochs", "steps"}),
        ("rate", {"rate_halvings", "fitted"}),
        ("standardized", {"standardized"}),
        ("scale", {"initial"}),
        ("", set()),  # the padding, of the arm
    ],
)
def test_each_stage_changes_one_thing(stage, changed):
    before = STAGES[STAGES.index(stage) - 1]
    found = [protocols.applied(Budget(), name) for name in (before, stage)]
    assert differing(*found) == changed
    arms_there = [protocols.arm_at(name, CONV) for name in (before, stage)]
    other = {n for n in Arm._fields if getattr(arms_there[0], n) != getattr(arms_there[1], n)}
    assert other == {"protocol"} | {"width": {"channels"}, "": {"padding"}}.get(stage, set())


def test_a_constant_rate_has_the_sum_of_the_decayed_one():
    rates = [0.3**tenth for tenth in range(10) for _ in range(1_560)]
    assert protocols.STAGES["constant"].budget["steps"] == round(sum(rates))


@pytest.mark.parametrize("stage", STAGES)
def test_the_usual_arm_is_what_a_stage_was_made_of(stage):
    for arm in designs.ENDS:
        assert protocols.usual(protocols.arm_at(stage, arm)) == arm
    wide = protocols.arm_at("authors", CONV)._replace(channels=32)
    assert protocols.usual(wide) == CONV._replace(channels=32)


def test_what_was_given_by_hand_stays():
    budget = Budget(width=7, given=("width",))
    assert protocols.applied(budget, "authors").width == 7
    assert protocols.applied(budget, "authors").batch_size == 128
    with pytest.raises(ValueError, match=r"protocol must be one of 'authors'.*got 'mine'"):
        protocols.applied(budget, "mine")
    with pytest.raises(ValueError, match=r"stage must be one of 'authors'.*got 'clipped'"):
        protocols.arm_at("clipped", FC)


def test_steps_become_epochs_and_the_rate_decays_at_each_tenth():
    setting = Setting("digits", "relu", *protocols.arm_at("authors", FC))
    spent = design.spent(setting, Budget(), DIGITS)
    per_epoch = len(DIGITS.train.labels) // 128
    assert spent.num_images == len(DIGITS.train.labels)
    assert abs(spent.epochs * per_epoch - 15_600) < per_epoch
    assert spent.decay_epochs == round(spent.epochs / 10)
    ours = Setting("digits", "relu", *FC)
    assert design.spent(ours, Budget(), DIGITS) == design.fitted(Budget(), DIGITS)


@pytest.mark.parametrize("regime", ["linear", "relu"])
@pytest.mark.parametrize("depth", [1, 2])
def test_initial_weights_are_as_small_as_pytorchs(regime, depth):
    """Of variance 1 / (3 fan_in) in every layer, taken together."""
    budget = Budget(width=512, initial="torch", standardized=False)
    setting = Setting("digits", regime, "fc", depth)
    model = networks.make_model(setting, DIGITS, budget)
    params = model.init(jax.random.key(0), jnp.zeros((1, *DIGITS.image_shape)))
    kernels = [leaf for leaf in jax.tree.leaves(params) if leaf.ndim == 2]
    assert len(kernels) == depth + 1
    ratio = np.prod([np.std(kernel) * np.sqrt(3 * kernel.shape[0]) for kernel in kernels])
    assert ratio == pytest.approx(1.0, rel=0.05)
    assert set(model.mean + model.std) == {0.0, 1.0}


def test_log_tilt_of_a_spectrum_with_a_step():
    """Amplitude e^1.5 times as large beyond 1/4 cycle per pixel: 1.5 nats, at any contrast."""
    radius = spectral.radius_grid((16, 16))
    noise = np.fft.fft2(np.random.default_rng(0).normal(size=(16, 16)))
    amplitude = np.where(radius > SPLIT, np.exp(1.5), 1.0)
    image = np.fft.ifft2(noise / np.abs(noise) * amplitude).real[..., None]
    colours = jnp.asarray(np.repeat(image, 3, axis=-1), jnp.float32)
    for contrast in (1.0, 1e-3):
        assert float(log_tilt(contrast * colours)) == pytest.approx(1.5, abs=1e-4)
    opposite = jnp.asarray(np.concatenate([image, -image], axis=-1), jnp.float32)
    found = log_tilt(jnp.stack([opposite, jnp.zeros_like(opposite)]))
    assert np.isnan(found).all()  # grey, nothing is left


def test_log_tilt_of_white_noise_is_zero(key):
    tilt = np.asarray(log_tilt(jax.random.normal(key, (400, 28, 28, 1))))
    assert abs(tilt.mean()) < 4 * tilt.std() / 20 + 0.01  # self-conjugate ones have less in log


def test_the_preset_can_decide_every_claim_of_the_way():
    registry = bridge.registry()
    staged = {claim.id for claim in registry.claims if claim.of}
    assert len(staged) == 2 * 2 * len(STAGES)
    there = design.asked_of_arms(design.cells(designs.reproduce("authors")))
    kept = {claim.id for claim in claims.with_arms(registry, there).claims}
    assert staged <= kept
    assert claims.parse_registry(claims.as_content(registry)) == registry


def test_the_last_stage_has_the_settings_of_quick():
    """So that their rows are the same, bit by bit: a setting's draws come from its name."""
    authors, quick = (design.cells(designs.reproduce(name)) for name in ("authors", "quick"))
    ours = {s for s in authors if not s.protocol}
    assert ours <= set(quick)
    assert {s.arm for s in ours} == {"conv_k3_d1", "conv_full_d1", "fc_d1"}
    assert design.BUDGETS["authors"] == design.BUDGETS["quick"]


def test_arms_under_a_protocol_look_like_the_plain_ones_and_say_so():
    for stage in STAGES[:-1]:
        for arm in designs.ENDS:
            plain, under = arms.style(arm), arms.style(protocols.arm_at(stage, arm))
            assert under[1:4] == plain[1:4]
            assert under.label == f"{plain.label}, {protocols.STAGES[stage].title}"
    settings = [
        Setting("digits", "relu", *protocols.arm_at(stage, arm))
        for stage in STAGES
        for arm in designs.ENDS
    ]
    drawn = arms.as_drawn(settings, Budget())
    assert drawn.groups["Authors' protocol"] == (
        "fc_d1_authors",
        "conv_k3_d1_valid_c3_authors",
        "conv_full_d1_valid_c3_authors",
    )
    assert drawn.groups["Kernel size"] == ("fc_d1", "conv_k3_d1", "conv_full_d1")
    assert drawn.factors["fc_d1_authors"]["protocol"] == "authors' protocol"
    alone = arms.as_drawn([s for s in settings if not s.protocol], Budget())
    assert "protocol" not in alone.factors["fc_d1"]


@pytest.mark.parametrize("regime", ["linear", "relu"])
def test_the_long_attack_has_its_own_images_and_the_box(regime):
    budget = Budget(
        seeds=(0, 1, 2), num_images=128, epochs=2, width=8, num_attacked=8, num_steps=2,
        long_attacked=24, long_steps=4,
    )  # fmt: skip
    setting = Setting("digits", regime, "fc", 1)
    asked = Asked(second_attack=True, long_attack=True)
    rows, _ = networks.run_setting(setting, DIGITS, budget, asked)
    by_geometry = {row["geometry"]: row for row in rows}
    assert {g: row["num_images"] for g, row in by_geometry.items()} == {
        "l2": 8, "linf": 8, LONG: 24,
    }  # fmt: skip
    assert by_geometry[LONG]["box"]
    assert by_geometry["linf"]["box"] == (regime == "relu")
    assert all(np.isfinite(row[schema.LOG_TILT]) == (row["num_flipped"] > 0) for row in rows)


@pytest.mark.parametrize(
    ("name", "given", "message"),
    [
        ("depth", (), "preset must be one of the study's own for depth; got 'authors'"),
        ("reproduce", ("--parts=way",), "parts must be one of 'authors', 'width', 'bridge'"),
    ],
)
def test_bad_input_is_named(name, given, message, tmp_path):
    with flagsaver.flagsaver():
        flags.FLAGS([name, "--preset=authors", f"--out={tmp_path / 'out'}", *given])
        with pytest.raises(ValueError, match=re.escape(message)):
            sweep.prepare(name, designs.ALL[name])
    assert not (tmp_path / "out").exists()


def test_flags_beat_protocols(tmp_path):
    with flagsaver.flagsaver():
        flags.FLAGS(
            ["reproduce", "--preset=authors", "--parts=authors", "--datasets=digits", "--epochs=20",
             "--kernel_sizes=3", "--num_attacked=9", "--num_steps=5", f"--out={tmp_path}"]
        )  # fmt: skip
        plan = sweep.prepare("reproduce", designs.reproduce).plan
    for setting in plan.settings:
        spent = design.spent(setting, plan.budget, DIGITS)
        assert (spent.epochs, spent.decay_epochs, spent.width) == (20, 2, 3072)
        assert (spent.num_attacked, spent.long_attacked, spent.long_steps) == (9, 9, 5)


@pytest.fixture(scope="module")
def way(tmp_path_factory):
    """Three stages, K = 3 and FC, as the preset runs them, at a size for tests."""
    budget = Budget(
        seeds=(0, 1, 2), epochs=3, width=16, num_images=640, num_attacked=16, num_steps=2,
        long_attacked=32, given=("epochs", "width", "steps"),
    )  # fmt: skip
    asked = Asked(second_attack=True, long_attack=True, checkpoints=2, limit=True)
    compared = tuple(
        design.Design(
            ("digits",),
            tuple(protocols.arm_at(stage, arm) for arm in (CONV, FC)),
            regimes=("linear",),
            asked=asked,
        )
        for stage in ("authors", "rate", "")
    )
    plan = library.plan("way", compared, budget, registry=bridge.registry())
    return plan, library.run(plan, tmp_path_factory.mktemp("runs") / "way")


def test_a_run_holds_the_way_and_its_page_tells_it(way):
    _, folder = way
    rows = runs.read_rows(folder)
    assert set(rows["protocol"]) == {"authors", "rate", ""}
    at = rows[rows["geometry"].eq("l2")].groupby("protocol")
    assert at["num_train"].first().to_dict() == {"authors": 1400, "rate": 640, "": 640}
    found = runs.load_json(folder, "claims.json")
    staged = [claim for claim in found["claims"] if claim.get("of") == "C1"]
    titles = [protocols.STAGES[stage].title for stage in ("authors", "rate", "")]
    assert list(dict.fromkeys(claim["stage"] for claim in staged)) == titles
    assert {claim["statistic"] for claim in staged} == {schema.FREQUENCY, schema.LOG_TILT}
    page = (folder / "report.html").read_text()
    assert '<h2 id="bridge">' in page
    assert '<h2 id="ends">' in page
    ends = rows.loc[rows["protocol"].eq("authors"), "limit_separable"]
    assert ends.isin([0, 1]).all()  # all images
    assert rows.loc[rows["protocol"].eq(""), "limit_separable"].isna().all()


def test_the_last_stage_has_the_rows_of_a_run_without_a_way(way):
    plan, folder = way
    setting = Setting("digits", "linear", *FC)
    budget = dataclasses.replace(plan.budget, given=())
    alone, _ = networks.run_setting(setting, DIGITS, budget, plan.settings[setting])
    rows = runs.read_rows(folder)
    ours = rows[(rows["arm"] == "fc_d1") & rows["final"] & rows["geometry"].eq("l2")]
    values = [row["mean_frequency"] for row in alone if row["final"] and row["geometry"] == "l2"]
    assert ours.sort_values("seed")["mean_frequency"].tolist() == values
