"""How a plane is cut into tiles, and how their answers are joined without a seam."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Span:
    """Part of one axis that a tile owns, ``start`` to ``stop``, and the part that it reads."""

    start: int
    stop: int
    read_start: int
    read_stop: int

    @property
    def read(self) -> slice:
        """What the tile reads."""
        return slice(self.read_start, self.read_stop)


@dataclass(frozen=True)
class Tile:
    """A rectangle of a plane: what it owns, and with its halo what goes through the network."""

    rows: Span
    columns: Span

    @property
    def origin(self) -> tuple[int, int]:
        """Row and column of the first pixel read."""
        return self.rows.read_start, self.columns.read_start

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of what is read."""
        return (
            self.rows.read_stop - self.rows.read_start,
            self.columns.read_stop - self.columns.read_start,
        )

    def owned(self) -> NDArray[np.float32]:
        """Return (height, width) of what is read, 1 where the tile owns the pixel."""
        own = np.zeros(self.shape, np.float32)
        own[
            self.rows.start - self.rows.read_start : self.rows.stop - self.rows.read_start,
            self.columns.start - self.columns.read_start : self.columns.stop - self.columns.read_start,
        ] = 1
        return own


def spans(length: int, tile: int, halo: int) -> list[Span]:
    """Cut an axis into spans of ``tile`` pixels, each read with ``halo`` more on either side as far as there are.

    Nothing is read beyond the plane: at its border a tile sees just what the whole plane would show the network.
    """
    return [
        Span(start, min(start + tile, length), max(start - halo, 0), min(start + tile + halo, length))
        for start in range(0, length, tile)
    ]


def tile_rows(shape: tuple[int, int], tile: int, halo: int) -> Iterator[list[Tile]]:
    """Yield the tiles of a plane, row by row from the top."""
    columns = spans(shape[1], tile, halo)
    for row in spans(shape[0], tile, halo):
        yield [Tile(row, column) for column in columns]


class Slab:
    """Joins the logits of a plane from the top down, holding no more than one row of tiles.

    Tiles cross-fade linearly over ``2 * blend`` pixels around the border between what they own; the weights sum to 1
    at every pixel by construction.

    Parameters
    ----------
    shape : (int, int)
        Height and width of the plane.
    classes : int
        Channels of the logits.
    blend : int
        Half width of the cross-fade, in pixels; at most the halo.
    """

    def __init__(self, shape: tuple[int, int], classes: int, blend: int) -> None:
        self._height, self._width = shape
        self._classes = classes
        self._blend = blend
        self._top = 0
        self._logits = np.zeros((classes, 0, self._width), np.float32)

    def add(self, tile: Tile, logits: NDArray[np.float32]) -> None:
        """Add a tile's logits (classes, height, width)."""
        row_weights, rows = self._weights(tile.rows, self._height)
        column_weights, columns = self._weights(tile.columns, self._width)
        missing = rows.stop - self._top - self._logits.shape[1]
        if missing > 0:
            more = np.zeros((self._classes, missing, self._width), np.float32)
            self._logits = np.concatenate([self._logits, more], axis=1)
        part = logits[
            :,
            rows.start - tile.rows.read_start : rows.stop - tile.rows.read_start,
            columns.start - tile.columns.read_start : columns.stop - tile.columns.read_start,
        ]
        target = self._logits[:, rows.start - self._top : rows.stop - self._top, columns]
        target += part * row_weights[:, None] * column_weights

    def finish_row(self, row: Span) -> tuple[slice, NDArray[np.uint8]]:
        """Return the rows that no further tile reaches, and their classes (rows, width), once a row of tiles is added."""
        bottom = self._height if row.stop >= self._height else row.stop - self._blend
        count = bottom - self._top
        classes = self._logits[:, :count].argmax(0).astype(np.uint8)
        done = slice(self._top, bottom)
        self._logits = self._logits[:, count:].copy()
        self._top = bottom
        return done, classes

    def _weights(self, span: Span, length: int) -> tuple[NDArray[np.float32], slice]:
        """Return a span's weights and the pixels that they belong to."""
        blend = self._blend
        start = span.start - blend if span.start > 0 else 0
        stop = min(span.stop + blend, length)
        position = np.arange(start, stop, dtype=np.float32) + 0.5
        weights = np.ones(stop - start, np.float32)
        if blend and span.start > 0:
            weights = np.minimum(weights, (position - start) / (2 * blend))
        if blend and span.stop < length:
            # Where the plane ends before the fade does, the next tile's weights are 1 minus these all the same.
            weights = np.minimum(weights, (span.stop + blend - position) / (2 * blend))
        return weights.clip(0, 1), slice(start, stop)
