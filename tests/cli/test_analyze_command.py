"""The commands of a newcomer: `analyze` on a network of one's own, `doctor`, and help of all."""

import re

import jax
import pandas as pd
import pytest
from absl import flags
from absl.testing import flagsaver

from freqbias import analysis
from freqbias.cli import analyze, command, doctor, inputs

OWN = """
import jax.numpy as jnp
import jax

def net():
    weights = jax.random.normal(jax.random.key(0), (64, 10))
    return (lambda weights, images: images.reshape(images.shape[0], -1) @ weights), weights

def wrong():
    return (lambda weights, images: (images, weights)), jnp.zeros(3)
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    name = f"own_{abs(hash(str(tmp_path)))}"  # a module that no other test has imported
    (tmp_path / f"{name}.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    return name


def run(*given):
    with flagsaver.flagsaver():
        flags.FLAGS(["analyze", *given])
        analyze.execute(inputs.prepare())


def test_a_network_of_ones_own_to_page_and_table(own, tmp_path, capsys, monkeypatch):
    step = analysis.budget.attacks.fgsm(analysis.budget.attacks.L2(), epsilon=0.1, bounds=None)
    monkeypatch.setattr(analysis.budget, "default_attacks", lambda *_: {"FGSM": step})
    run(f"--network={own}:net", "--images=digits", "--max_images=12", "--batch_size=12",
        "--table=table.csv")  # fmt: skip
    said = capsys.readouterr().out
    assert "12 images; mean frequency in cycles/pixel" in said
    assert "page: report.html" in said
    page = (tmp_path / "report.html").read_text()
    assert f"{own}:net (one network)" in page
    table = pd.read_csv(tmp_path / "table.csv")
    assert set(table["attack"]) == {"the images", "input Jacobian", "FGSM"}


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ((), "network must be [NAME=]SPEC; got none"),
        (
            ("--network=OWN:net",),
            "images must name a folder of pictures, an .npz",
        ),
        (("--network=OWN", "--images=digits"), "network must be module:function, file.py:fun"),
        (("--network=OWN:none", "--images=digits"), "it has no 'none'"),
        (("--network=nowhere_at_all:net", "--images=digits"), "No module named"),
        (("--network=OWN:net,OWN:net", "--images=digits"), "network must not repeat a name"),
        (("--network=OWN:net", "--images=digit"), "'digits'"),
        (
            ("--network=OWN:net", "--images=./digits"),
            "a folder of pictures or .npz file; got ./dig",
        ),
        (("--network=OWN:net", "--images=digits", "--page=x.pdf"), "page must end in .html"),
        (("--network=OWN:net", "--images=digits", "--page=no/x.html"), "there is no folder"),
    ],
)
def test_bad_flags_are_named_before_anything_runs(given, words, own):
    given = [text.replace("OWN", own) for text in given]
    with pytest.raises((ValueError, OSError), match=re.escape(words.replace("OWN", own))):
        run(*given)


def test_a_network_that_is_none_ends_in_one_line(own, capsys):
    with pytest.raises(SystemExit) as ended:
        run(f"--network={own}:wrong", "--images=digits", "--max_images=4")
    assert ended.value.code == 2
    assert "output=lambda out: out[0]" in capsys.readouterr().err


@pytest.mark.parametrize("name", list(command.commands()))
def test_help_of_every_command_lists_its_flags_with_defaults(name, capsys, monkeypatch):
    monkeypatch.setattr("sys.argv", ["freqbias"])  # which the command changes
    command.main([name, "--help"])
    said = capsys.readouterr().out
    assert "flags:" in said
    named = re.findall(r"^  --(?:\[no\])?(\w+):", said, re.MULTILINE)
    assert len(named) == len(set(named))
    assert named or name in ("doctor", "datasets", "models", "completion")
    if name == "analyze":
        assert {"network", "images", "batch_size", "random_key"} <= set(named)
        assert not {"seeds", "preset", "run"} & set(named)
        assert "Default: 32." in said
        assert "specify a list of values" not in said


def test_doctor_says_what_is_here_and_what_is_missing(monkeypatch):
    required = ["jax>=0.8", "a-package-that-is-not>=1; extra == 'extra'", "jax; extra == 'whole'"]
    monkeypatch.setattr(doctor.metadata, "requires", lambda _: required)
    said = "\n".join(doctor.report())
    assert jax.__version__ in said
    assert "a product of matrices works" in said
    assert "missing: a-package-that-is-not" in said
    assert "-m pip install 'freqbias[extra]'" in said
    assert re.search(r"whole +complete", said)
    assert jax.devices()[0].device_kind in said
