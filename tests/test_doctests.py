"""Every example runs: those in the docstrings of freqbias, and README's.

Examples of attacks and the like speak of a network and of images to attack; `names` has what those
words stand for.
"""

import doctest
import importlib
import re
from functools import cache
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from freqbias import models
from freqbias.ensemble import Ensemble, seed_keys
from freqbias.typing import Status

ROOT = Path(__file__).parents[1]
FILES = sorted(p for p in (ROOT / "freqbias").rglob("*.py") if ">>> " in p.read_text())
OPTIONS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


@cache
def names() -> dict[str, object]:
    """What an example may use beside the names of its module.

    ``nets``: two networks, fully connected, of ten classes; ``apply_fn`` and ``params``: the first
    of them; ``images`` [4, 28, 28, 1]; ``labels`` [4], what the first network predicts; ``key``.
    """
    key = jax.random.key(0)
    images = jax.random.uniform(key, (4, 28, 28, 1))
    model = models.FullyConnected(num_classes=10, depth=1, width=16)
    params = jax.vmap(model.init, (0, None))(seed_keys(key, range(2)), images)
    nets = Ensemble(params, jnp.full(2, Status.OK), None, (0, 1), model.apply)
    first = jax.tree.map(lambda leaf: leaf[0], params)
    labels = jnp.argmax(model.apply(first, images), axis=-1)
    return {
        "apply_fn": model.apply, "params": first, "nets": nets, "images": images, "labels": labels,
        "key": key, "jax": jax, "jnp": jnp, "np": np,
    }  # fmt: skip


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


@pytest.mark.parametrize("path", FILES, ids=module_of)
def test_the_examples_of_a_module_run(path, tmp_path, monkeypatch):
    name = module_of(path)
    monkeypatch.chdir(tmp_path)
    module = importlib.import_module(name)
    found = doctest.DocTestFinder(exclude_empty=True).find(module, name, extraglobs=names())
    number = sum(len(test.examples) for test in found)
    assert number == len(re.findall(r"^\s*>>> ", path.read_text(), re.MULTILINE))
    runner = doctest.DocTestRunner(optionflags=OPTIONS, verbose=False)
    said: list[str] = []
    for test in found:
        runner.run(test, out=said.append)
    assert runner.summarize(verbose=False).failed == 0, "".join(said)


SMALLER = {
    "seeds=range(8)": "seeds=range(2)",
    "num_images=2000": "num_images=128",
    "[:128]": "[:8]",
    "num_steps=40": "num_steps=2",
    "epochs=2": "epochs=1",
}


def test_the_example_of_the_readme_runs(capsys):
    """As printed, but on fewer images and seeds and for fewer steps."""
    (text,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    for written, smaller in SMALLER.items():
        assert written in text
        text = text.replace(written, smaller)
    exec(compile(text, "README.md", "exec"), {})
    assert "95 % interval over 2 seeds" in capsys.readouterr().out
