"""Every flag of every subcommand with bad values: one line on stderr that names the flag.

A value may also be accepted, up to where the work would begin. The process ends with status 2, and
there is no traceback.

    python -m pytest -n 0 -rP tests/fuzz/test_flags.py    # prints how many there were
"""

import contextlib
import io
import itertools
import sys

import pytest
from absl import flags as absl_flags
from absl.testing import flagsaver

from freqbias.cli import command, completion, flags

WRONG = ("nonsense", "", "-1", "0", "1.5", "nan", "1,1")
STUDY = {"preset": "smoke", "datasets": "digits"}
GIVEN = {  # what else is said, so that one flag alone is wrong
    "analyze": {"network": "own.py:net", "images": "digits"},
    "compare": {"network": ("A/a=own.py:net", "B/b=own.py:net"), "images": "digits"},
    "linear_bias": {"preset": "smoke", "tasks": "noise"},
    "cost": {"preset": "smoke"},
}
OWN = """
import jax.numpy as jnp

def net():
    return (lambda params, images: images.reshape(len(images), -1) @ params), jnp.ones((64, 10))
"""
NEED_A_RUN = {"claims", "relabel", "merge"}
"""Of these, only what cannot be read, and a run that is none."""
ALONE = {"coordinator_address", "num_processes", "process_id"}
"""Of several processes, by which this one would wait for others: tests/cli/test_processes.py."""
LISTED = completion.flags_of_commands()
SWEEPS = [name for name, listed in LISTED.items() if "--datasets" in listed]
WHOLE = [name for name in LISTED if name not in SWEEPS[2:]]  # others have the flags of the first


class Accepted(Exception):
    """The work would begin."""


def accepted(plan):
    raise Accepted


@pytest.fixture
def start(monkeypatch, tmp_path):
    """Runs a subcommand up to its work: (status, stderr); None if it was accepted."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.py").write_text(OWN)
    run, numbers = flags.run, itertools.count()
    monkeypatch.setattr(
        flags, "run", lambda prepare, execute, **options: run(prepare, accepted, **options)
    )

    def started(name, given):
        given = {"out": str(tmp_path / str(next(numbers)))} | given
        words = [
            f"--{key}={one}"
            for key, value in given.items()
            if f"--{key}" in LISTED[name]
            for one in (value if isinstance(value, tuple) else (value,))
        ]
        said = io.StringIO()
        monkeypatch.setattr(sys, "argv", ["freqbias"])
        with flagsaver.flagsaver(), contextlib.redirect_stderr(said):
            absl_flags.FLAGS.unparse_flags()
            try:
                command.main([name, *words])
            except Accepted:
                return None
            except SystemExit as ended:
                return ended.code, said.getvalue()
        return 0, said.getvalue()

    return started


@pytest.mark.parametrize("name", WHOLE)
def test_a_wrong_flag_is_named_on_one_line(start, name):
    ended = {"accepted": 0, "refused": 0}
    bad = []
    for flag, value in itertools.product(LISTED[name], WRONG):
        flag = flag.removeprefix("--")  # noqa: PLW2901
        if flag in ALONE or (name in NEED_A_RUN and value != "nonsense"):
            continue
        if name in NEED_A_RUN and flag in ("out", "compilation_cache"):
            continue
        given = (STUDY if name in SWEEPS else {}) | GIVEN.get(name, {}) | {flag: value}
        found = start(name, given)
        ended["refused" if found else "accepted"] += 1
        if found:
            status, said = found
            if status != 2 or len(said.splitlines()) != 1 or flag not in said:
                bad.append((name, flag, value, status, said[-300:]))
    print(f"{name}: {sum(ended.values())} calls with a wrong flag, {ended}, {len(bad)} ended badly")
    assert not bad, "\n".join(map(str, bad))
