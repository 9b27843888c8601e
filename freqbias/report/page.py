"""The page of any study: sections of text, tables and figures, and the run's settings.

A study composes a `Page`; look, files of figures, numbering and settings are the same for all.
Texts are escaped; what is `Markup` (`freqbias.report.markup`) stands as it is.
"""

import base64
import os
import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import jinja2
from markupsafe import Markup

from freqbias import plotting, runs
from freqbias._checked import check_fields, checked
from freqbias.inference import Verdict
from freqbias.report.figures import ReportFigure
from freqbias.report.markup import MEANINGS, chip
from freqbias.report.settings import TIMING, setting_tables

LONG = 60
"""Rows of a folded table from which on it is not printed."""


class Cell(NamedTuple):
    """A cell with a class of style.css."""

    content: str
    kind: str


class Group(NamedTuple):
    """A row that is the heading of those below it, over all columns."""

    content: str
    kind: str = "group"  # a class of style.css


Row: TypeAlias = Sequence[str | Cell] | Group


class Table(NamedTuple):
    """A table; a cell that is a `Verdict` is shown as one."""

    caption: str  # may be empty where the table is folded
    columns: Sequence[str]
    rows: Sequence[Row]
    folded: str = ""  # if given, the table is folded away under this line
    kind: str = ""  # a class of style.css
    headed: bool = True  # whether the first cell of a row is its heading
    wide: bool = False  # whether its text is small and it may be wider than the page


class Bullets(NamedTuple):
    """A list."""

    items: Sequence[str]
    kind: str = ""  # a class of style.css


class Heading(NamedTuple):
    """A heading within a section."""

    text: str
    name: str = ""  # for links


class Aside(NamedTuple):
    """A paragraph that only the printed page has."""

    text: str


class Whole(NamedTuple):
    """Markup that is no paragraph."""

    content: Markup


Block: TypeAlias = str | Bullets | Heading | Aside | Whole | Table | ReportFigure
"""What stands in a section; a text is a paragraph."""


class Section(NamedTuple):
    """A heading with what stands under it, in this order."""

    name: str  # for links: letters and hyphens
    title: str
    content: Sequence[Block]
    short: str = ""  # in the line of links; the title if empty


class Page(NamedTuple):
    """What a page says."""

    title: str
    lead: Sequence[str]  # paragraphs
    sections: Sequence[Section]
    attacks: Sequence[Block] = ()  # above the run's config, under Settings
    numbers: str = Markup("<code>rows.csv</code>")  # the files that hold them
    alone: bool = False  # no folder of a run lies beside the page: no links to its files


@checked
def build_page(page: Page, config: Mapping[str, Any]) -> str:
    """The page as self-contained HTML; the same inputs give the same page.

    Args:
      page: what it says.
      config: the contents of ``config.json``, shown under Settings.

    Returns:
      HTML.

    Raises:
      ValueError: two sections have one name, or a row of a table does not fit its columns.
    """
    _check(page)
    pictures = {f.name: plotting.png_bytes(f.figure, dpi=plotting.DPI) for f in _figures(page)}
    return _rendered(page, config, pictures)


@checked
def write_page(run_dir: str | os.PathLike, page: Page) -> Path:
    """Writes ``figures/*.png``, ``figures/*.pdf`` and ``report.html`` into a run's folder.

    Args:
      run_dir: a run (`freqbias.runs`).
      page: what the page says.

    Returns:
      The path of ``report.html``.

    Raises:
      FileNotFoundError: ``run_dir`` holds no run.
      FileExistsError: a file that the run did not write is in the way.
      ValueError: as `build_page`.
    """
    _check(page)
    pictures = {}
    for item in _figures(page):
        pictures[item.name] = plotting.png_bytes(item.figure)
        runs.write_file(run_dir, f"figures/{item.name}.png", pictures[item.name])
        runs.write_file(run_dir, f"figures/{item.name}.pdf", plotting.pdf_bytes(item.figure))
    config = runs.read_config(run_dir)
    if (Path(run_dir) / TIMING).exists():
        config["took"] = runs.load_json(run_dir, TIMING)
    written = _rendered(page, config, pictures)
    return runs.write_file(run_dir, "report.html", written.encode())


def _blocks(page: Page) -> Iterator[Block]:
    for section in page.sections:
        yield from section.content
    yield from page.attacks


def _figures(page: Page) -> list[ReportFigure]:
    return [block for block in _blocks(page) if isinstance(block, ReportFigure)]


def _check(page: Page) -> None:
    check_fields(page)
    names = [section.name for section in page.sections]
    if len({*names, "settings"}) != len(names) + 1:
        raise ValueError(f"sections must have distinct names, none 'settings'; got {names}.")
    for table in (block for block in _blocks(page) if isinstance(block, Table)):
        for row in table.rows:
            if not isinstance(row, Group) and len(row) != len(table.columns):
                raise ValueError(f"rows must have {len(table.columns)} cells; got {list(row)}.")


def _rendered(page: Page, config: Mapping[str, Any], pictures: Mapping[str, bytes]) -> str:
    command = config.get("command") or ""
    return (
        _environment()
        .get_template("page.html.j2")
        .render(
            page=page,
            numbers={figure.name: n for n, figure in enumerate(_figures(page), start=1)},
            pictures={
                name: {"png": base64.b64encode(png).decode(), "width": _css_width(png)}
                for name, png in pictures.items()
            },
            cell=_cell,
            kind_of=lambda block: "text" if isinstance(block, str) else type(block).__name__,
            long=LONG,
            settings=setting_tables(config),
            command=command if isinstance(command, str) else shlex.join(map(str, command)),
            preset=str(config.get("config", config).get("preset", "")),
            started=str(config.get("started", "")).replace("T", " ").replace("+00:00", " UTC"),
        )
    )


def _environment() -> jinja2.Environment:
    """The template beside this module."""
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )


def _cell(content: str | Cell) -> Cell:
    """A cell as the template shows it."""
    if isinstance(content, Verdict):
        return Cell(chip(content, MEANINGS[content]), "")
    return content if isinstance(content, Cell) else Cell(content, "")


def _css_width(png: bytes) -> int:
    """The width in CSS pixels at which the picture has its printed size times 1.3."""
    pixels = int.from_bytes(png[16:20], "big")
    return round(1.3 * 96 * pixels / plotting.DPI)
