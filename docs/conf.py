"""The site: ``pip install ".[docs]" && python -m sphinx -W docs site``."""

import re
from typing import Any

from docutils import nodes
from latex2mathml.converter import convert

project = "freqbias"
extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "myst_parser",
]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = "freqbias"
html_math_renderer = "mathml"  # no script, no network
default_role = "code"
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3
napoleon_use_ivar = True  # attributes of tuples are documented once
autodoc_member_order = "groupwise"
autodoc_typehints = "none"  # shapes and units stand in the text

_LITERAL = re.compile(r"(``.+?``|`.+?`)")


def _plain(app: Any, *arguments: Any) -> None:
    """Docstrings are read as plain text: of reST only literals, lists, sections and directives.

    In formulas ``|x|`` is no substitution and ``x*`` no emphasis.
    """
    lines: list[str] = arguments[-1]
    directive = -1  # indentation of the directive that a line belongs to
    for index, line in enumerate(lines):
        indent = len(line) - len(line.lstrip())
        if line.strip() and indent <= directive:
            directive = -1
        if line.lstrip().startswith((".. ", ">>>", "... ")):
            directive = indent if line.lstrip().startswith(".. ") else directive
            continue
        if directive >= 0 or line.lstrip().startswith("* "):
            continue
        parts = _LITERAL.split(line)
        parts[::2] = [re.sub(r"(?<!\\)([|*])", r"\\\1", part) for part in parts[::2]]
        lines[index] = "".join(parts)


def _mathml(formula: str, display: str) -> str:
    """MathML, which browsers draw by themselves."""
    made = convert(formula, display=display)
    if "\\" in made:  # a command that the converter does not know is left as it is
        raise ValueError(f"formula {formula!r} has a command that is not drawn: {made}.")
    return made


def _inline(translator: Any, node: Any) -> None:
    """A formula within text."""
    translator.body.append(_mathml(node.astext(), "inline"))
    raise nodes.SkipNode


def _display(translator: Any, node: Any) -> None:
    """A formula on its own."""
    translator.body.append(f'<div class="math">{_mathml(node.astext(), "block")}</div>')
    raise nodes.SkipNode


def setup(app: Any) -> None:
    """Called by Sphinx."""
    app.add_html_math_renderer("mathml", (_inline, None), (_display, None))
    app.connect("autodoc-process-docstring", _plain, priority=1000)
