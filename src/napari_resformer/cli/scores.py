"""The table ``scores.csv``: a row a plane, of all runs that write to one folder, also at the same time."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from napari_resformer.io.atomic import atomic_write
from napari_resformer.io.lock import in_turn

if TYPE_CHECKING:
    from napari_resformer.prediction.result import PredictResult

Rows = list[list[str]]

_FIRST = ("image", "plane", "predicted")
_LAST = ("familiarity", "unsure")
"""Columns of later versions, whose names no class takes."""


def score_columns(classes: Iterable[str]) -> list[str]:
    """Return the names of all columns; a class that is called like another column has a column called ``score of <class>``."""
    taken = {*_FIRST, *_LAST}
    names = list(classes)
    columns = list(_FIRST)
    for name in names:
        column = name
        while column.strip().casefold() in taken or (column != name and column in names):
            column = f"score of {column}"
        columns.append(column)
    return columns


class ScoreTable:
    """The table of a folder.

    Parameters
    ----------
    path : Path
        Its file.
    classes : sequence of str
        Image classes of the model.
    overwrite : bool
        Whether a table that is of another model, or none of this program, may be replaced.
    """

    def __init__(self, path: Path, classes: Sequence[str], *, overwrite: bool = False) -> None:
        self.path, self._header, self._overwrite = path, score_columns(classes), overwrite

    def read(self) -> dict[str, Rows]:
        """Return the rows that are there, by image.

        Raises
        ------
        ValueError
            If rows cannot be added to what is there.
        """
        if not self.path.exists():
            return {}
        try:
            with self.path.open(encoding="utf-8-sig", newline="") as file:  # a spreadsheet may have put a mark in front
                first, *rest = [row for row in csv.reader(file) if row] or [self._header]
        except (UnicodeDecodeError, csv.Error) as error:
            if self._overwrite:
                return {}
            raise ValueError(f"{self.path} cannot be read as a table ({error}); move it, or choose another place") from error
        if first != self._header:
            if self._overwrite:
                return {}
            raise ValueError(
                f"{self.path} has the columns {','.join(first)}, those of this model are {','.join(self._header)}; choose "
                "another place for its results, or add --overwrite"
            )
        rows: dict[str, Rows] = {}
        for row in rest:
            rows.setdefault(row[0], []).append(row)
        return rows

    def put(self, image: str, rows: Rows) -> None:
        """Write the rows of an image, in their old place if it has some; what other runs have written meanwhile stays."""
        with in_turn(self.path.with_name(f".{self.path.name}.lock")):
            there = self.read()
            there[image] = rows
            text = io.StringIO()
            writer = csv.writer(text, lineterminator="\n")
            writer.writerow(self._header)
            for of_image in there.values():
                writer.writerows(of_image)
            with atomic_write(self.path) as file:
                file.write(text.getvalue().encode(errors="backslashreplace"))


def score_rows(name: str, result: PredictResult) -> Rows:
    """Return a row for each plane; the plane is named by its position on the loop axes, such as ``T0 Z3``."""
    import numpy as np

    axes = result.provenance["plane_axes"]
    rows = []
    for index in np.ndindex(result.scores.shape[:-1]):
        scores = result.scores[index]
        plane = " ".join(f"{axis}{place}" for axis, place in zip(axes, index, strict=True))
        predicted = result.classes[int(scores.argmax())] if result.classes else ""
        rows.append([name, plane, predicted, *(f"{score:.6f}" for score in scores)])
    return rows
