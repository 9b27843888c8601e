"""Notebooks from their text twins: ``python colab/build.py`` writes NAME.ipynb for each NAME.py.

A twin is in the percent format (jupytext's): ``# %%`` begins a cell, ``# %% [markdown]`` one of
text in comments, and ``# %pip`` is a command of the notebook. The twin is the source; a test holds
the notebook to it.
"""

import json
import re
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}


def twins() -> list[Path]:
    """The text twins, this file not among them."""
    return sorted(path for path in HERE.glob("*.py") if path != Path(__file__))


def cells(text: str) -> list[tuple[str, str]]:
    """The cells of a twin: ("markdown" or "code", source)."""
    found = []
    for head, body in re.findall(r"^# %%(.*)\n((?:(?!# %%).*(?:\n|$))*?)(?=# %%|\Z)", text, re.M):
        kind = "markdown" if "[markdown]" in head else "code"
        prefix = r"^# ?" if kind == "markdown" else r"^# (?=%)"
        found.append((kind, re.sub(prefix, "", body.strip("\n"), flags=re.M)))
    return found


def notebook(text: str) -> dict[str, Any]:
    """The notebook of a twin, without outputs."""
    made = []
    for index, (kind, source) in enumerate(cells(text)):
        cell = {"cell_type": kind, "id": f"cell-{index}", "metadata": {}}
        if kind == "code":
            cell |= {"execution_count": None, "outputs": []}
        made.append(cell | {"source": source.splitlines(keepends=True)})
    return {
        "cells": made,
        "metadata": {"kernelspec": KERNEL, "language_info": {"name": "python"}},
        "nbformat": 4,
        "nbformat_minor": 5,
    }


def written(text: str) -> str:
    """The file of a notebook."""
    return json.dumps(notebook(text), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    for twin in twins():
        twin.with_suffix(".ipynb").write_text(written(twin.read_text()))
        print(twin.with_suffix(".ipynb").name)
