"""How a plane is cut into tiles."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Cut:
    """How the axes of a plane are cut.

    Parameters
    ----------
    tile : int
        Pixels on a side that are final once a tile is done, multiple of ``stride``.
    halo : int
        Pixels that a tile sees beyond what it owns.
    blend : int
        Half width of the cross-fade between neighbours, in pixels.
    stride : int
        Tiles read from a multiple of it.
    """

    tile: int
    halo: int
    blend: int
    stride: int

    def spans(self, length: int, start: int = 0) -> list[Span]:
        """Cut an axis, from a place on where what lies before is final.

        The border between two tiles lies ``blend`` pixels behind a multiple of ``tile``, so that their cross-fade begins
        just there: what is final are then whole chunks of a store. Nothing is read beyond the plane: at its border a
        tile sees just what the whole plane would show the network.
        """
        spans: list[Span] = []
        while not spans or spans[-1].stop < length:
            first = start + self.blend if start else 0
            stop = min(start + self.tile + self.blend, length)
            read = max(first - self.halo, 0) // self.stride * self.stride
            spans.append(Span(first, stop, read, min(stop + self.halo, length)))
            start += self.tile
        return spans

    def rows(self, shape: tuple[int, int], start: int = 0) -> Iterator[list[Tile]]:
        """Yield the tiles of a plane, row by row, from where the rows before are final."""
        columns = self.spans(shape[1])
        for row in self.spans(shape[0], start):
            yield [Tile(row, column) for column in columns]

    def count(self, shape: tuple[int, int], start: int = 0) -> int:
        """Return how many tiles that makes."""
        return len(self.spans(shape[0], start)) * len(self.spans(shape[1]))


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
