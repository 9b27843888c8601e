"""The networks of the library by name, and what can be set of each.

freqbias models
"""

import inspect

from freqbias.cli import flags
from freqbias.models import zoo


def prepare() -> None:
    """There is nothing to check."""


def execute(plan: None) -> None:
    """Prints a paragraph for each network."""
    del plan
    for name, factory in zoo.ARCHITECTURES.items():
        parameters = inspect.signature(factory).parameters.values()
        settings = (
            p.name if p.default is p.empty else f"{p.name}={p.default!r}"
            for p in parameters
            if p.name not in ("parent", "name")
        )
        text = f"{name}: {', '.join(settings)}"
        print(flags.wrapped(text))


def main() -> None:
    """The binary."""
    flags.run(prepare, execute, shared=())
