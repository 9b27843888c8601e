"""Figures as files, the same bytes for the same figure."""

import importlib
import io
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import matplotlib as mpl
from matplotlib.figure import Figure
from PIL import Image

from freqbias import _checks
from freqbias._checked import checked
from freqbias.plotting.style import DPI, STYLE


@checked
def png_bytes(figure: Figure, *, dpi: int = DPI) -> bytes:
    """The figure as PNG, without metadata: the same figure gives the same bytes.

    In the 256 colours that fit it best, which takes a third of the space of all colours: a page of
    many figures can be sent.
    """
    drawn = _encoded(figure, dpi, format="png", pil_kwargs={"compress_level": 0})
    full = Image.open(io.BytesIO(drawn))
    buffer = io.BytesIO()
    few = full.convert("RGB").quantize(256, dither=Image.Dither.NONE)
    few.save(buffer, "png", optimize=True, dpi=(dpi, dpi))
    return buffer.getvalue()


@checked
def pdf_bytes(figure: Figure, *, dpi: int = DPI) -> bytes:
    """The figure as PDF, without dates: the same figure gives the same bytes."""
    nothing = {"CreationDate": None, "Producer": None, "Creator": None}
    subset = importlib.import_module("fontTools.subset")  # loaded when it is needed
    with mock.patch.object(subset, "load_font", partial(_outlines, subset.load_font)):
        return _encoded(figure, dpi, format="pdf", metadata=nothing)


@checked
def save(figure: Figure, path_stem: str | os.PathLike, *, dpi: int = DPI) -> tuple[Path, Path]:
    """Writes ``path_stem`` + ``.png`` and ``.pdf``, the same bytes for the same figure.

    Args:
      figure: from the functions above.
      path_stem: path without suffix, in a folder that exists.
      dpi: pixels per inch of the PNG, and of images within the PDF.

    Returns:
      The two files.
    """
    stem = Path(path_stem)
    png, pdf = (stem.with_name(stem.name + suffix) for suffix in (".png", ".pdf"))
    png.write_bytes(png_bytes(figure, dpi=dpi))
    pdf.write_bytes(pdf_bytes(figure, dpi=dpi))
    return png, pdf


def _outlines(load: Callable[..., Any], *given: Any, **more: Any) -> Any:
    """A font without tables of layout: text in a PDF is laid out, and to read them takes long."""
    font = load(*given, **more)
    for table in {"GDEF", "GPOS", "GSUB", "kern"} & set(font.keys()):
        del font[table]
    return font


@mpl.rc_context(STYLE)
def _encoded(figure: Figure, dpi: int, **how: Any) -> bytes:
    _checks.positive_int("dpi", dpi)
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=dpi, **how)
    return buffer.getvalue()
