"""`freqbias compare`: networks and images from the texts of flags, to a table and a sentence."""

import re
import sys

import flax
import jax
import numpy as np
import pandas as pd
import pytest
from absl import flags
from absl.testing import flagsaver

from freqbias import analysis, attacks, models
from freqbias.cli import compare, inputs

OWN = """
import jax
import jax.numpy as jnp

def _net(seed, smooth):
    weights = jax.random.normal(jax.random.key(seed), (8, 8, 10))
    if smooth:
        weights = weights + jnp.roll(weights, 1, 0)
        weights = weights + jnp.roll(weights, 1, 1)
    return (lambda weights, images: jnp.tanh(images.reshape(len(images), -1) @ weights)), (
        weights.reshape(64, 10) / 8)

def rough(): return _net(0, False)
def rough_too(): return _net(1, False)
def smooth(): return _net(2, True)
def smooth_too(): return _net(3, True)
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    (tmp_path / "own.py").write_text(OWN)
    images = np.asarray(jax.random.uniform(jax.random.key(0), (12, 8, 8, 1)))
    labels = np.argmax(images.reshape(12, -1) @ np.asarray(_weights(0)), -1)
    np.savez(tmp_path / "images.npz", images=images, labels=labels)
    monkeypatch.chdir(tmp_path)
    step = attacks.fgsm(attacks.L2(), epsilon=0.1, bounds=None)
    monkeypatch.setattr(analysis.budget, "default_attacks", lambda *_: {"FGSM": step})
    return tmp_path


def _weights(seed):
    return jax.random.normal(jax.random.key(seed), (64, 10))


def run(*given):
    with flagsaver.flagsaver():
        flags.FLAGS(["compare", *given])
        compare.execute(inputs.prepare(several=True))


def test_families_of_own_networks_to_a_table_a_sentence_and_a_page(own, capsys):
    run("--network=Rough/a=own.py:rough", "--network=Rough/b=own.py:rough",
        "--network=Smooth/c=own.py:smooth,Smooth/d=own.py:smooth_too",
        "--images=images.npz", "--batch_size=12", "--table=table.csv")  # fmt: skip
    said = capsys.readouterr()
    lines = said.out.splitlines()
    assert lines[0].split()[:2] == ["network", "attack"]
    assert sum("FGSM" in line for line in lines if line.split()[:1] in ([n] for n in "abcd")) == 4
    assert re.search(r"Rough (is|or Smooth)", said.out)
    assert "images, of these networks alone)" in said.out
    assert "FGSM: epsilon 0.1" in said.err
    assert "c: it predicts" in said.err  # labels are those of another network
    table = pd.read_csv(own / "table.csv", keep_default_na=False)
    assert list(table["family"].unique()) == ["", "Rough", "Smooth"]
    page = (own / "report.html").read_text()
    assert "Rough: a, b; Smooth: c, d" in page


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ((), "network must be [NAME=]SPEC; got none"),
        (("own.py:rough",), "network must name two or more to compare"),
        (("A/a=own.py:rough", "A/b=own.py:smooth"), "of different families if these are named"),
        (("A/a=own.py:rough", "b=own.py:smooth"), "network must name a family of each or of none"),
        (("a=own.py:rough", "a=own.py:smooth"), "network must not repeat a name; got 'a'"),
        (("/a=own.py:rough", "b=own.py:smooth"), "network must be [[FAMILY/]NAME=]SPEC"),
        (("own.py:rough", "a="), "network must be [[FAMILY/]NAME=]SPEC; got 'a='"),
        (("own.py:rough", "no.py:smooth"), "network must name a file; there is no no.py"),
        (("own.py:rough", "own.py:none"), "network must name a function of own.py"),
        (("own.py:rough", "zoo:conv(kernel_size=3)"), "zoo:NAME(setting=value, ...)@FILE, e.g."),
        (("own.py:rough", "zoo:conv(3)@x.npz"), "zoo:NAME(setting=value, ...)@FILE, e.g."),
        (("own.py:rough", "zoo:conv(a=f())@x.npz"), "zoo:NAME(setting=value, ...)@FILE, e.g."),
        (("own.py:rough", "zoo:cnn()@x.npz"), "name must be one of 'fc', 'conv'"),
        (("own.py:rough", "zoo:conv(taps=3)@x.npz"), "zoo:conv has no such settings"),
        (("own.py:rough", "resnet50"), "timm:NAME or zoo:NAME(...)@FILE; got 'resnet50'"),
    ],
)
def test_bad_networks_are_named(given, words, own):
    with pytest.raises((ValueError, OSError), match=re.escape(words)):
        run(*(f"--network={text}" for text in given), "--images=images.npz")


def test_a_network_of_this_library_with_a_file_of_weights(own):
    model = models.create("fc", num_classes=10, depth=1, width=4)
    params = model.init(jax.random.key(0), np.zeros((1, 8, 8, 1), np.float32))
    arrays = flax.traverse_util.flatten_dict(params["params"], sep=".")
    np.savez("fc.npz", **arrays)
    found = inputs.network("zoo:fc(num_classes=10, depth=1, width=4)@fc.npz", (8, 8, 1))
    jax.tree.map(np.testing.assert_array_equal, found.params, dict(params))


def test_an_archive_must_have_images_and_labels(own):
    np.savez("bytes.npz", images=np.full((2, 8, 8, 1), 255, np.uint8), labels=np.zeros(2, int))
    split, _ = inputs.pictures("bytes.npz", size=None, max_images=1)
    np.testing.assert_array_equal(split.images, np.ones((1, 8, 8, 1)))
    np.savez("half.npz", images=np.zeros((2, 8, 8, 1)))
    both = ("--network=own.py:rough", "--network=own.py:smooth")
    with pytest.raises(ValueError, match=r"labels \[N\]; half.npz has images"):
        run(*both, "--images=half.npz")
    np.savez("objects.npz", images=np.array([{}], object), labels=np.zeros(1, int))
    with pytest.raises(ValueError, match=r"objects.npz is damaged or holds more"):
        run(*both, "--images=objects.npz")
    with pytest.raises(FileNotFoundError, match=r"got none.npz"):
        run(*both, "--images=none.npz")


def test_without_timm_the_line_that_installs_it_is_said(own, monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ImportError, match=r"need timm .*: pip install 'freqbias\[peers\]'"):
        inputs.network("timm:resnet18@random", (224, 224, 3))
