"""What importing freqbias brings with it, and that it changes nothing."""

import subprocess
import sys

HEAVY = (
    "scipy.signal", "scipy.stats", "scipy.optimize", "scipy.special", "scipy.linalg", "pandas",
    "matplotlib", "orbax", "cvxpy", "jinja2", "tqdm", "sklearn", "grain", "tensorflow",
    "tensorflow_datasets", "torch", "dask", "distributed",
)  # fmt: skip


def run(program: str) -> str:
    """What a program prints in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_importing_freqbias_imports_nothing_slow():
    """Two to three seconds once, most of them for scipy.signal; the like is loaded where used."""
    program = f"""
import sys
import jax, flax, flax.linen, optax
before = set(sys.modules)
import freqbias
after = set(sys.modules) - before
print(sorted(name for name in {HEAVY} if name in after))
"""
    assert run(program).strip() == "[]"


def test_importing_any_module_changes_no_configuration_and_no_environment():
    program = """
import importlib, os, pkgutil
import jax
before = dict(jax.config.values), dict(os.environ)
import freqbias
count = 0
for module in pkgutil.walk_packages(freqbias.__path__, "freqbias."):
    importlib.import_module(module.name)
    count += 1
    after = dict(jax.config.values), dict(os.environ)
    for kind, old, new in zip(("config", "environment"), before, after):
        changed = {n for n in {*old, *new} if old.get(n) != new.get(n)}
        assert not changed, (module.name, kind, changed)
print(count)
"""
    assert int(run(program)) > 50
