"""What can be done with the finished run of any study, whichever kind it is."""

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from freqbias._checked import checked
from freqbias.study import description, linear, sweep
from freqbias.study.claims import Registry, Verdicts
from freqbias.study.description import Kind


class _Study(NamedTuple):
    """A kind of study."""

    judged_rows: Callable[[str | os.PathLike], pd.DataFrame]
    verdicts: Callable[[str | os.PathLike], Verdicts]
    finish: Callable[[Path], None]
    join: Callable[[Sequence[str | os.PathLike], Path], None]  # what is neither rows nor arrays


_STUDIES: Mapping[Kind, _Study] = {
    "sweep": _Study(sweep.judged_rows, sweep.verdicts, sweep.finish, lambda shards, run: None),
    "linear": _Study(linear.judged_rows, linear.verdicts, linear.finish, linear.join),
}


def registry_of(run: str | os.PathLike) -> Registry:
    """The claims for which a run was made.

    Raises:
      FileNotFoundError: ``run`` holds no run of a study.
    """
    return description.read(run).registry


def judged_rows(run: str | os.PathLike) -> pd.DataFrame:
    """The rows of a run that its claims are judged on.

    Those of trained networks; of linear networks the separated ones, with small steps, each task
    and sample size as a data set of its own.

    Raises:
      FileNotFoundError: ``run`` holds no run of a study.
    """
    return _STUDIES[description.read(run).kind].judged_rows(run)


def verdicts(run: str | os.PathLike) -> Verdicts:
    """What the claims of a run say of its rows, judged anew; writes nothing.

    Raises:
      FileNotFoundError: ``run`` holds no run of a study.
    """
    return _STUDIES[description.read(run).kind].verdicts(run)


@checked
def finish(run: str | os.PathLike) -> None:
    """Judges the rows of a run, draws and reports, anew.

    Raises:
      FileNotFoundError: ``run`` holds no run of a study, or one without results that it needs.
    """
    _STUDIES[description.read(run).kind].finish(Path(run))


def join(shards: Sequence[str | os.PathLike], run: Path) -> None:
    """Finishes a run that was merged from shards (`freqbias.runs.merge`), as if run at once."""
    description.join(shards, run)
    _STUDIES[description.read(run).kind].join(shards, run)
    finish(run)
