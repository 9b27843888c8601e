"""What `analyze` returns: tables, a page, and what a notebook shows."""

import dataclasses
import html
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from freqbias._checked import checked
from freqbias.analysis import families, tables
from freqbias.analysis.measure import Measured
from freqbias.analysis.networks import Subject

if TYPE_CHECKING:
    import pandas as pd


@dataclasses.dataclass(frozen=True, repr=False)
class Analysis:
    """What was found on one or more networks; ``print`` shows the main numbers.

    Attributes:
      subjects: what was analysed, under which name.
      measured: numbers per image: statistics, profiles, mean spectra, diagnoses.
      attacks: name -> attack, as they were run.
      budget: "quick" or "thorough".
      batch_size: images at once.
      example_images: [n, H, W, C], the images of the examples.
      example_labels: int [n].
      class_names: of the labels, or None.
      num_classes: of each subject, by name.
      num_given: images that were given, of which ``num_images`` were used.
      families: of each network, by name; None where none are named.
    """

    subjects: Sequence[Subject]
    measured: Measured
    attacks: Mapping[str, Any]
    budget: str
    batch_size: int
    example_images: np.ndarray
    example_labels: np.ndarray
    class_names: Sequence[str] | None
    num_classes: Mapping[str, int]
    num_given: int
    families: Mapping[str, str] | None = None

    @property
    def num_images(self) -> int:
        """Images used."""
        return self.measured.images.correct.shape[1]

    def table(self) -> "pd.DataFrame":
        """Means with 95 % intervals, tidy: see `freqbias.analysis.tables.statistics_table`.

        One row per network, attack, group of perturbations (all, flipped, not flipped) and
        statistic. The column ``over`` says what an interval is over: "images" (of one network),
        or "seeds" (of an ensemble). Where families are named, each row has that of its network.
        """
        found = tables.statistics_table(self.subjects, self.measured)
        if self.families is not None:
            found.insert(1, "family", found["network"].map(self.families).fillna(""))
        return found

    def overview(self) -> "pd.DataFrame":
        """The main numbers, for the eye: see `freqbias.analysis.tables.overview`."""
        return tables.overview(self.subjects, self.measured)

    def differences(self) -> "pd.DataFrame":
        """Every pair of networks: see `freqbias.analysis.tables.differences_table`."""
        return tables.differences_table(self.subjects, self.measured)

    def by_family(self) -> "pd.DataFrame":
        """Every pair of families: see `freqbias.analysis.families.table`."""
        return families.table(self)

    def verdict(self) -> str:
        """Which family, or network, is attacked in higher frequencies, in one sentence.

        Raises:
          ValueError: there is but one.
        """
        return families.verdict(self)

    def outcomes(self) -> "pd.DataFrame":
        """What became of the images: see `freqbias.analysis.tables.outcomes_table`."""
        return tables.outcomes_table(self.subjects, self.measured)

    @checked
    def save(self, path: str | os.PathLike) -> Path:
        """Writes the page, one self-contained HTML file.

        Args:
          path: of the file; it is replaced.

        Returns:
          The path.

        Raises:
          ValueError: the path does not end in .html.
          OSError: the folder is not there, or cannot be written.
        """
        target = Path(path)
        if target.suffix.lower() not in (".html", ".htm"):
            raise ValueError(f"path must end in .html; got {str(path)!r}.")
        target.write_text(self.page(), encoding="utf-8")
        return target

    def page(self) -> str:
        """The page as HTML."""
        from freqbias.analysis import page  # noqa: PLC0415  (matplotlib and Jinja only where used)

        return page.build(self)

    def show(self) -> None:
        """Shows the page in a notebook; elsewhere prints the main numbers."""
        try:
            from IPython import get_ipython  # noqa: PLC0415
            from IPython.display import display  # noqa: PLC0415
        except ImportError:
            print(self)
            return
        if hasattr(get_ipython(), "kernel"):
            display(self)
        else:
            print(self)

    def _repr_html_(self) -> str:
        """The page in a frame, so that its style does not change the notebook's."""
        return (
            f'<iframe srcdoc="{html.escape(self.page())}" title="freqbias: analysis" '
            'style="width: 100%; height: 48rem; border: 1px solid #d7dde3;"></iframe>'
        )

    def __repr__(self) -> str:
        from freqbias.analysis import words  # noqa: PLC0415

        return words.summary(self)
