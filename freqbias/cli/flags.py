"""Flags that every binary shares: one name, one meaning, one help text; and how a binary runs."""

import logging
import sys
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from absl import app, flags

from freqbias import _checks
from freqbias.study import engine, executors
from freqbias.study.engine import Executor

Plan = TypeVar("Plan")

PRESET = flags.DEFINE_string("preset", "quick", "Design and budget; the table is in the module.")
SEEDS = flags.DEFINE_list("seeds", None, "Seeds, e.g. 0-7 or 0,1,2; default: the preset's.")
INIT_SCALES = flags.DEFINE_list(
    "init_scales", None, "Output scales at initialisation, e.g. 1,0.5; default: the preset's."
)
RANDOM_KEY = flags.DEFINE_integer("random_key", None, "Root of all randomness; default 0.")
OUT = flags.DEFINE_string("out", None, "Folder of the run; by default one in results/.")
RUN = flags.DEFINE_string("run", "results/quick", "Folder of a finished run, for what reads one.")
OVERWRITE = flags.DEFINE_bool("overwrite", False, "Replace the run that --out holds.")
RESUME = flags.DEFINE_bool("resume", False, "Go on with the run that --out holds.")
EXECUTOR = flags.DEFINE_string(
    "executor",
    "threads",
    "Where settings are run, which changes no row: threads, processes of this machine, or dask.",
)
WORKERS = flags.DEFINE_integer(
    "workers", None, "Settings run side by side; default: one per CPU core, 1 on an accelerator."
)
SCHEDULER = flags.DEFINE_string(
    "scheduler",
    None,
    "Address of a Dask scheduler, e.g. tcp://host:8786, or the file it wrote; default: a local "
    "cluster.",
)


def parse_ints(name: str, texts: Sequence[str]) -> tuple[int, ...]:
    """Ints from a list flag, each "3" or a range "0-7" (both ends included).

    Raises:
      ValueError: a text that is neither.
    """
    values: list[int] = []
    for text in texts:
        first, dash, last = text.partition("-")
        if not first.isdigit() or (dash and not last.isdigit()):
            raise ValueError(f"{name} must be ints like 3 or ranges like 0-7; got {text!r}.")
        values += range(int(first), int(last or first) + 1)
    return tuple(values)


def parse_floats(name: str, texts: Sequence[str]) -> tuple[float, ...]:
    """Positive floats from a list flag.

    Raises:
      ValueError: a text that is none.
    """
    try:
        values = tuple(map(float, texts))
    except ValueError as error:
        raise ValueError(f"{name} must be numbers like 0.5; got {','.join(texts)}.") from error
    for value in values:
        _checks.positive(name, value)
    return values


def executor() -> Executor:
    """What runs the settings, by the flags.

    Raises:
      ValueError, ImportError, OSError: the flags do not go together, or nothing is there.
    """
    return executors.make(EXECUTOR.value, workers=WORKERS.value, scheduler=SCHEDULER.value)


def run(
    prepare: Callable[[], Plan], execute: Callable[[Plan], None], *, says: str | None = None
) -> None:
    """Runs a binary in two parts, so that bad input is told from a defect.

    Args:
      prepare: checks every flag and loads the data, and writes nothing before all is checked; what
        it raises ends the program with one line on stderr and status 2.
      execute: does the work on what ``prepare`` returned; what it raises is shown with traceback.
      says: what ``--help`` says first, unless the binary is a module with a docstring.
    """

    def main(argv: Sequence[str]) -> None:
        engine.configure()
        for chatty in ("fontTools", "jax"):  # what they log as info is not about the experiment
            logging.getLogger(chatty).setLevel(logging.WARNING)
        try:
            if len(argv) > 1:
                raise ValueError(f"arguments must be flags, --name=value; got {argv[1]!r}.")
            plan = prepare()
        except (ValueError, TypeError, OSError, ImportError) as error:
            print(f"error: {error}", file=sys.stderr)
            sys.exit(2)
        execute(plan)

    if any(argument in ("-h", "-help", "--help") for argument in sys.argv[1:]):
        print(usage(prepare, says))
        return
    app.run(main)


def usage(prepare: Callable[[], Any], says: str | None = None) -> str:
    """What a binary does, and its flags with units and defaults.

    Args:
      prepare: the function that checks the flags, or a partial of it.
      says: as in `run`.
    """
    module = sys.modules[getattr(prepare, "func", prepare).__module__]
    said = sys.modules["__main__"].__doc__ or says or module.__doc__ or ""
    modules = dict.fromkeys((module.__name__, __name__))  # where its flags are defined
    listed = [flags.FLAGS.module_help(name).partition("\n")[2] for name in modules]
    return "\n".join([said.strip(), "", "flags:", "", *listed])
