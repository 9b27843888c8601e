"""The command ``freqbias``: every study and every tool by name, from wherever it is installed.

freqbias reproduce --preset=quick --out=results/quick
freqbias kernel_size --help
"""

import importlib
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import NamedTuple

from freqbias import _checks

_COMMANDS = {"datasets": "many_datasets"}  # studies whose name is that of a tool


class Command(NamedTuple):
    """A subcommand."""

    says: str  # what it does, on one line
    start: Callable[[], None]  # imports what it needs, whose flags are then defined, and runs it


def main(argv: Sequence[str] | None = None) -> None:
    """Runs the subcommand that the first argument names.

    Args:
      argv: the arguments; default: those of the process.
    """
    given = list(sys.argv[1:] if argv is None else argv)
    listed = commands()
    if not given or given[0] in ("--help", "-h", "help"):
        print(_usage(listed))
        return
    try:
        _checks.one_of("command", given[0], listed)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    sys.argv = [f"freqbias {given[0]}", *given[1:]]
    listed[given[0]].start()


def commands() -> Mapping[str, Command]:
    """All subcommands by name, in the order in which they are listed."""
    from freqbias.study import designs  # noqa: PLC0415  (the parser must not wait for JAX's friends)

    def tool(name: str) -> Callable[[], None]:
        return lambda: importlib.import_module(f"freqbias.cli.{name}").main()

    def sweep(name: str) -> None:
        importlib.import_module("freqbias.cli.sweep").main(name, designs.ALL[name])

    studies = {
        _COMMANDS.get(name, name): Command(
            _first_line(designs.ALL[name].__doc__), partial(sweep, name)
        )
        for name in ("reproduce", *designs.PARTS)
    }
    tools = {
        "analyze": "A network of your own: its perturbations, their spectra, one page.",
        "compare": "Networks compared: which family is attacked in higher frequencies.",
        "linear_bias": "Linear networks from initialisation to past separation, against theory.",
        "claims": "Judges the rows of a finished run again.",
        "merge": "Joins the parts of a sweep that was split.",
        "relabel": "How often the rules find a difference where there is none.",
        "cost": "What a preset costs, before it is run.",
        "datasets": "The data sets by name, whether they are here, and their transforms.",
        "models": "The networks of the library, and what can be set of each.",
        "doctor": "Versions, devices, memory, and what is missing.",
        "completion": "Completion of subcommands and flags in bash and zsh.",
    }
    found = {name: Command(says, tool(name)) for name, says in tools.items()}
    first = {name: found.pop(name) for name in ("analyze", "compare")}
    return {**first, **studies, **found}


def _first_line(docstring: str | None) -> str:
    return (docstring or "").strip().splitlines()[0]


def _usage(commands: Mapping[str, Command]) -> str:
    width = max(map(len, commands))
    lines = [f"  {name.ljust(width)}  {command.says}" for name, command in commands.items()]
    return "\n".join(
        [
            "freqbias COMMAND --flag=value ...",
            "",
            *lines,
            "",
            "freqbias COMMAND --help lists the flags of a command, with units and defaults.",
        ]
    )
