"""The report of a study: one self-contained HTML page, from a run directory or from its contents.

``write_report(run)`` reads a run, writes ``figures/*.png`` and ``*.pdf`` and ``report.html``;
``build_report(rows, claims, spectra, config)`` is the pure function behind it. ``figures`` says
which figures there are and what their captions state, ``render`` what stands in the tables.
Experiments of another kind compose a ``Page`` of sections; ``write_page`` does the same for it.
"""

from freqbias.plotting import Drawn as Drawn
from freqbias.report.figures import OwnFigure as OwnFigure
from freqbias.report.figures import ReportFigure as ReportFigure
from freqbias.report.figures import make_figures as make_figures
from freqbias.report.page import Page as Page
from freqbias.report.page import Section as Section
from freqbias.report.page import Table as Table
from freqbias.report.page import build_page as build_page
from freqbias.report.page import write_page as write_page
from freqbias.report.render import build_report as build_report
from freqbias.report.render import write_report as write_report

__all__ = [
    "Drawn",
    "OwnFigure",
    "Page",
    "ReportFigure",
    "Section",
    "Table",
    "build_page",
    "build_report",
    "make_figures",
    "write_page",
    "write_report",
]
