"""The page of a study: one self-contained HTML file, one template for every study.

``page`` says what a page is made of (sections of text, tables, figures) and writes it; ``sweep``
composes that of a study of attacks, from a run (``write_report``) or from its contents
(``build_report``); ``figures`` says which figures it has and what their captions state. ``claims``
and ``markup`` have the parts that any study may use: tables of verdicts, chips, numbers.
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
from freqbias.report.sweep import build_report as build_report
from freqbias.report.sweep import write_report as write_report

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
