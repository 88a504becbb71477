"""A plane on another pixel grid: linear filters with antialiasing that are the same for any part of the plane."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from math import ceil
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_resformer.preprocessing.channels import float_type

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

_STRIP_PIXELS = 2**23  # read at once; at a coarse grid a tile may need a large part of the plane

Read = Callable[[slice, slice], NDArray[Any]]


@dataclass(frozen=True)
class AxisFilter:
    """Brings an axis of ``source`` pixels to ``target`` pixels that span the same length.

    The filter is a triangle, as wide as the coarser of the two pixels, cut off and normed at the ends: what
    ``torch.nn.functional.interpolate(mode="bilinear", antialias=True)`` does to a whole axis, for any part of it.
    """

    source: int
    target: int

    @cached_property
    def _windows(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        if self.source == self.target:
            return np.arange(self.target), np.arange(1, self.target + 1)
        centre = (np.arange(self.target) + 0.5) * (self.source / self.target)
        starts = np.floor(centre - self.support + 0.5).clip(0).astype(np.int64)
        stops = np.floor(centre + self.support + 0.5).clip(None, self.source).astype(np.int64)
        return starts, stops

    @property
    def support(self) -> float:
        """Half width of the filter, in source pixels."""
        return max(self.source / self.target, 1.0)

    @property
    def margin(self) -> int:
        """Source pixels before the last known one that a target pixel which is not final yet may need."""
        return 2 * ceil(self.support) + 2

    def needed(self, start: int, stop: int) -> slice:
        """Return the source pixels that the target pixels ``start`` to ``stop`` are made of."""
        starts, stops = self._windows
        return slice(int(starts[start]), int(stops[stop - 1]))

    def final(self, known: int) -> int:
        """Return how many target pixels are final once the first ``known`` source pixels are there."""
        return int(np.searchsorted(self._windows[1], known, side="right"))

    def matrix(self, start: int, stop: int, floats: np.dtype[Any]) -> csr_matrix:
        """Return the weights (stop - start, source pixels needed), sparse; each row sums to 1, as exactly as the floats can."""
        from scipy.sparse import csr_matrix

        starts, stops = (edges[start:stop, None] for edges in self._windows)
        columns = starts + np.arange(int((stops - starts).max()))
        centre = (np.arange(start, stop)[:, None] + 0.5) * (self.source / self.target)
        weights = (1 - np.abs(columns + 0.5 - centre) / self.support).clip(0)
        weights[columns >= stops] = 0
        weights /= weights.sum(1, keepdims=True)
        needed = self.needed(start, stop)
        inside = (columns < stops).nonzero()
        entries = (weights[inside].astype(floats), (inside[0], columns[inside] - needed.start))
        return csr_matrix(entries, shape=(stop - start, needed.stop - needed.start))


@dataclass(frozen=True)
class Grid:
    """Two pixel grids over the same plane.

    Parameters
    ----------
    source, target : (int, int)
        Height and width in pixels of the one and of the other.
    """

    source: tuple[int, int]
    target: tuple[int, int]

    @property
    def same(self) -> bool:
        """Whether there is nothing to do."""
        return self.source == self.target

    @cached_property
    def rows(self) -> AxisFilter:
        """The filter along Y."""
        return AxisFilter(self.source[0], self.target[0])

    @cached_property
    def columns(self) -> AxisFilter:
        """The filter along X."""
        return AxisFilter(self.source[1], self.target[1])

    def back(self) -> Grid:
        """Return the way back."""
        return Grid(self.target, self.source)

    def unchanged(self) -> Grid:
        """Return the grid from the source to itself."""
        return Grid(self.source, self.source)

    def nearest(self, labels: NDArray[Any]) -> NDArray[Any]:
        """Bring label values (height, width) of the source to the target: those of the nearest pixel."""
        if self.same:
            return labels
        rows, columns = (
            ((np.arange(target) + 0.5) * (source / target)).astype(np.intp)
            for source, target in zip(self.source, self.target, strict=True)
        )
        return labels[rows[:, None], columns]

    def needed(self, rows: slice, columns: slice) -> tuple[slice, slice]:
        """Return which source pixels a part of the target is made of."""
        return self.rows.needed(rows.start, rows.stop), self.columns.needed(columns.start, columns.stop)

    def resample(self, part: NDArray[Any], rows: slice, columns: slice) -> NDArray[np.floating[Any]]:
        """Bring source pixels to a part of the target.

        Parameters
        ----------
        part : ndarray
            (C, height, width), just the source pixels of :meth:`needed`. A target pixel is not finite where less than
            half of the pixels that it is made of, by weight, are.
        rows, columns : slice
            The part of the target.

        Returns
        -------
        ndarray
            (C, rows, columns), in floats that hold the values: float32, or float64 for more than 16 bits.
        """
        floats = float_type(part.dtype)
        down = None if self.rows.source == self.rows.target else self.rows.matrix(rows.start, rows.stop, floats)
        across = None if self.columns.source == self.columns.target else self.columns.matrix(columns.start, columns.stop, floats)

        def apply(plane: NDArray[np.floating[Any]]) -> NDArray[np.floating[Any]]:
            plane = plane if down is None else down @ plane
            return plane if across is None else (across @ plane.T).T

        result = np.empty((len(part), rows.stop - rows.start, columns.stop - columns.start), floats)
        for channel, values in enumerate(part):
            values = values.astype(floats, copy=False)
            finite = np.isfinite(values)
            if finite.all():
                result[channel] = apply(values)
            else:
                weight = apply(finite.astype(floats))
                with np.errstate(divide="ignore", invalid="ignore"):
                    result[channel] = apply(np.where(finite, values, floats.type(0))) / weight
                result[channel][weight < 0.5] = np.nan
        return result

    def read(self, read: Read, rows: slice, columns: slice) -> NDArray[np.floating[Any]]:
        """Read a part of the target, in strips, so that little of the source is in memory at once.

        Parameters
        ----------
        read : callable
            Takes rows and columns of the source and returns them as (C, height, width).
        rows, columns : slice
            The part of the target.
        """
        strips = []
        top = rows.start
        across = self.columns.needed(columns.start, columns.stop)
        width, per_row = across.stop - across.start, self.rows.source / self.rows.target
        height = max(int(_STRIP_PIXELS / (width * per_row)), 1)
        while top < rows.stop:
            strip = slice(top, min(top + height, rows.stop))
            strips.append(self.resample(read(self.rows.needed(strip.start, strip.stop), across), strip, columns))
            top = strip.stop
        return strips[0] if len(strips) == 1 else np.concatenate(strips, axis=1)


@dataclass(frozen=True)
class ResampledPlane:
    """A plane as it looks on another grid; pixels are read when they are asked for.

    Parameters
    ----------
    full : callable
        Reads rows and columns of the plane as it is.
    grid : Grid
        From the plane as it is to what this one shows.
    where : str
        What to call it in messages.
    """

    full: Read
    grid: Grid
    where: str

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.grid.target

    def read(self, rows: slice = slice(None), columns: slice = slice(None)) -> NDArray[Any]:
        """Read a part of the plane as (C, height, width); in the image's own dtype where the grids are the same."""
        (top, bottom, _), (left, right, _) = (part.indices(size) for part, size in zip((rows, columns), self.shape, strict=True))
        rows, columns = slice(top, bottom), slice(left, right)
        return self.full(rows, columns) if self.grid.same else self.grid.read(self.full, rows, columns)
