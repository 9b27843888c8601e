"""A page of results of any kind: sections of text, tables and figures, and the run's settings.

An experiment that is not about attacks on trained networks says with these what its page holds;
the look, the figures' files and the settings are those of every report.
"""

import base64
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from freqbias import plotting, runs
from freqbias.inference import Verdict
from freqbias.report.figures import ReportFigure
from freqbias.report.render import (
    MEANINGS,
    command_line,
    css_width,
    environment,
    save_figures,
    setting_tables,
    verdict_chip,
)


class Table(NamedTuple):
    """A table of text; a cell with the word of a `Verdict` is shown as one."""

    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]  # the first cell of a row is its heading
    folded: str = ""  # if given, the table is folded away under this line


class Section(NamedTuple):
    """A heading with what stands under it, in this order."""

    name: str  # for links: letters and hyphens
    title: str
    text: Sequence[str] = ()  # paragraphs
    tables: Sequence[Table] = ()
    figures: Sequence[ReportFigure] = ()


class Page(NamedTuple):
    """What a page says."""

    title: str
    lead: str
    sections: Sequence[Section]


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
    pictures = {f.name: plotting.png_bytes(f.figure, dpi=plotting.DPI) for f in _figures(page)}
    return _rendered(page, config, pictures)


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
    pictures = save_figures(run_dir, _figures(page))
    target = runs.output_file(run_dir, "report.html")
    target.write_text(_rendered(page, runs.read_config(run_dir), pictures), encoding="utf-8")
    return target


def _figures(page: Page) -> list[ReportFigure]:
    return [figure for section in page.sections for figure in section.figures]


def _rendered(page: Page, config: Mapping[str, Any], pictures: Mapping[str, bytes]) -> str:
    names = [section.name for section in page.sections]
    if len({*names, "settings"}) != len(names) + 1:
        raise ValueError(f"sections must have distinct names, none 'settings'; got {names}.")
    shown = set()
    for table in (table for section in page.sections for table in section.tables):
        for row in table.rows:
            if len(row) != len(table.columns):
                raise ValueError(f"rows must have {len(table.columns)} cells; got {list(row)}.")
            shown |= {cell for cell in row if isinstance(cell, Verdict)}
    return (
        environment()
        .get_template("page.html.j2")
        .render(
            page=page,
            pictures={
                name: {"png": base64.b64encode(png).decode(), "width": css_width(png)}
                for name, png in pictures.items()
            },
            chips={verdict: verdict_chip(verdict) for verdict in Verdict},
            meanings={str(v): [verdict_chip(v), MEANINGS[v]] for v in Verdict if v in shown},
            settings=setting_tables(config),
            command=command_line(config),
            started=str(config.get("started", "")).replace("T", " ").replace("+00:00", " UTC"),
        )
    )
