"""Flags that every binary shares: one name, one meaning, one help text; and how a binary runs."""

import logging
import sys
from collections.abc import Callable, Sequence
from typing import Any, TypeVar, cast

import jax
from absl import app, flags

from freqbias import _checks, distributed, runs
from freqbias.ensemble import STRATEGIES, Strategy
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
SHARD = flags.DEFINE_string(
    "shard",
    None,
    "Run only part i of n, written i/n with i in 1..n, of the settings; `freqbias merge` joins the "
    "parts. Default: all.",
)
COMPILATION_CACHE = flags.DEFINE_string(
    "compilation_cache",
    None,
    "Folder in which compiled programs are kept for later runs (JAX's persistent cache); default: "
    "that of the environment variable JAX_COMPILATION_CACHE_DIR, or none.",
)
STRATEGY = flags.DEFINE_string(
    "strategy",
    "auto",
    "How the seeds of a setting are run: vmap, sequential, threads, sharded (over devices), or "
    "auto, as suits the device.",
)
COORDINATOR_ADDRESS = flags.DEFINE_string(
    "coordinator_address",
    None,
    "host:port of the first of several processes that share the seeds of every setting; auto: as "
    "Slurm, Open MPI or a Cloud TPU says.",
)
NUM_PROCESSES = flags.DEFINE_integer("num_processes", None, "How many such processes there are.")
PROCESS_ID = flags.DEFINE_integer(
    "process_id", None, "Which of them this is, from 0; process 0 writes the folder of the run."
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


def shard() -> tuple[int, int] | None:
    """(i, n) of --shard; None for all.

    Raises:
      ValueError: it is not i/n.
    """
    text = SHARD.value
    if text is None:
        return None
    first, slash, last = text.partition("/")
    if not (slash and first.isdigit() and last.isdigit() and 1 <= int(first) <= int(last)):
        raise ValueError(f"shard must be i/n with 1 <= i <= n, e.g. 2/4; got {text!r}.")
    return int(first), int(last)


def strategy() -> Strategy:
    """That of the seed axis.

    Raises:
      ValueError: an unknown one, or one by which several processes would all do the same.
    """
    _checks.one_of("strategy", STRATEGY.value, STRATEGIES)
    if jax.process_count() > 1:
        _checks.one_of("strategy of several processes", STRATEGY.value, ("auto", "sharded"))
    return cast(Strategy, STRATEGY.value)


def run(
    prepare: Callable[[], Plan],
    execute: Callable[[Plan], None],
    *,
    says: str | None = None,
    over_processes: bool = False,
    shared: Sequence[str] | None = None,
) -> None:
    """Runs a binary in two parts, so that bad input is told from a defect.

    Args:
      prepare: checks every flag and loads the data, and writes nothing before all is checked; what
        it raises ends the program with one line on stderr and status 2.
      execute: does the work on what ``prepare`` returned; what it raises is shown with traceback,
        but for a file that cannot be written: one line, and status 1.
      says: what ``--help`` says first, unless the binary is a module with a docstring.
      over_processes: whether several processes can share the work.
      shared: names of the other flags that the binary reads; None: all of this module.
    """

    def main(argv: Sequence[str]) -> None:
        engine.configure(COMPILATION_CACHE.value)
        # What these log as info is not about the experiment.
        for chatty in ("distributed", "fontTools", "jax"):
            logging.getLogger(chatty).setLevel(logging.WARNING)
        try:
            if len(argv) > 1:
                raise ValueError(f"arguments must be flags, --name=value; got {argv[1]!r}.")
            _join_processes(over_processes)
            with distributed.together():
                plan = prepare()
        except (ValueError, TypeError, OSError, ImportError) as error:
            print(f"error: {error}", file=sys.stderr)
            sys.exit(2)
        try:
            with distributed.together():
                execute(plan)
        except runs.WriteError as error:
            print(f"error: {error}", file=sys.stderr)
            sys.exit(1)

    if any(argument in ("-h", "-help", "--help") for argument in sys.argv[1:]):
        print(usage(prepare, says, shared))
        return
    app.run(main, flags_parser=_parsed)


def _parsed(argv: Sequence[str]) -> list[str]:
    """What is left of the arguments; a flag that cannot be read ends the program in one line."""
    try:
        return flags.FLAGS(argv)
    except flags.Error as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        sys.exit(2)


def _join_processes(can: bool) -> None:
    """Joins this process to others if the flags say so; before JAX makes its first array."""
    address, given = COORDINATOR_ADDRESS.value, (NUM_PROCESSES.value, PROCESS_ID.value)
    if address is None and given == (None, None):
        return
    if not can:
        raise ValueError("coordinator_address, num_processes and process_id must not be given: "
                         "this runs in one process.")  # fmt: skip
    if address == "auto" and given != (None, None):
        raise ValueError("num_processes and process_id must not be given with coordinator_address "
                         f"auto; got {given[0]} and {given[1]}.")  # fmt: skip
    try:
        distributed.initialize(*(() if address == "auto" else (address, *given)))
    except RuntimeError as error:
        raise OSError(f"coordinator_address must be where the others come; got {address}: "
                      f"{str(error).splitlines()[0]}") from error  # fmt: skip


def usage(
    prepare: Callable[[], Any], says: str | None = None, shared: Sequence[str] | None = None
) -> str:
    """What a binary does, and its flags with units and defaults.

    Args:
      prepare: the function that checks the flags, or a partial of it.
      says: as in `run`.
      shared: as in `run`.
    """
    module = sys.modules[getattr(prepare, "func", prepare).__module__]
    said = sys.modules["__main__"].__doc__ or says or module.__doc__ or ""
    own, all_shared = map(flags.FLAGS.get_flags_for_module, (module.__name__, __name__))
    more = all_shared if shared is None else [flags.FLAGS[name] for name in shared]
    listed = [_help_of(flag) for flag in (*own, *more)]
    return "\n".join([said.strip(), "", "flags:", "", *(listed or ["  none"])])


def _help_of(flag: Any) -> str:
    """A flag's name, meaning and default."""
    no = "[no]" if flag.boolean else ""
    help_text = flag.help.partition(";\n")[0]  # absl adds that a flag can be repeated
    default = flag.default_unparsed
    given = "" if default is None or "default:" in help_text else f" Default: {default}."
    return wrapped(f"--{no}{flag.name}: {help_text}{given}")


def wrapped(text: str) -> str:
    """A paragraph whose first line stands out."""
    return flags.text_wrap(text, 80, "    ", "  ")
