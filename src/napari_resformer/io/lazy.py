"""Arrays that are turned, or whose samples are converted, when their pixels are asked for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_resformer.images.lazy import LazyArray, Place

_SWAPPED = (5, 6, 7, 8)  # rows are stored as columns
_ROWS_REVERSED = (3, 4, 7, 8)  # of what is shown, once rows are rows
_COLUMNS_REVERSED = (2, 3, 6, 7)


class Converted(LazyArray):
    """An array whose samples are converted.

    Parameters
    ----------
    source : array-like
        The stored pixels.
    axis : int, optional
        The dimension of ``source`` that holds the samples; None where a pixel has one.
    samples : int
        How many come out of the conversion; 0 for one without a dimension of its own. They come last where ``source`` has no
        such dimension.
    convert : callable
        From (..., samples in), or (...) without such a dimension, to (..., samples), or (...).
    dtype : numpy.dtype
        Of what comes out.
    """

    travels_by_value = True

    def __init__(
        self, source: Any, axis: int | None, samples: int, convert: Callable[[NDArray[Any]], NDArray[Any]], dtype: np.dtype[Any]
    ) -> None:
        shape = [int(size) for size in source.shape]
        self.sample_place = len(shape) if axis is None else axis
        if axis is not None:
            del shape[axis]
        if samples:
            shape.insert(self.sample_place, samples)
        super().__init__(shape, dtype)
        self.source, self.axis, self.samples, self.convert = source, axis, samples, convert

    def _read(self, place: Place) -> Any:
        keys = list(place)
        wanted = keys.pop(self.sample_place) if self.samples else slice(None)
        ranges = [isinstance(key, slice) for key in keys]
        at = sum(ranges if self.axis is None else ranges[: self.axis])
        if self.axis is None:
            part = self.convert(np.asarray(self.source[tuple(keys)]))
        else:
            keys.insert(self.axis, slice(None))
            part = self.convert(np.moveaxis(np.asarray(self.source[tuple(keys)]), at, -1))
        if not self.samples:
            return part
        part = part[..., wanted]
        return np.moveaxis(part, -1, at) if isinstance(wanted, slice) else part


class Turned(LazyArray):
    """An array that is turned and mirrored.

    Parameters
    ----------
    source : array-like
        The stored pixels.
    orientation : int
        2 to 8, as in EXIF and TIFF.
    y, x : int
        The dimensions of rows and columns, of the source and of what comes out alike.
    """

    travels_by_value = True

    def __init__(self, source: Any, orientation: int, y: int, x: int) -> None:
        shape = [int(size) for size in source.shape]
        self.swapped = orientation in _SWAPPED
        if self.swapped:
            shape[y], shape[x] = shape[x], shape[y]
        super().__init__(shape, source.dtype)
        self.source, self.y, self.x = source, y, x
        self.is_reversed = {y: orientation in _ROWS_REVERSED, x: orientation in _COLUMNS_REVERSED}

    def _read(self, place: Place) -> Any:
        stored, steps = list(place), [1] * self.ndim
        for dimension, is_reversed in self.is_reversed.items():
            key, size = place[dimension], self.shape[dimension]
            wanted = key if isinstance(key, slice) else slice(key, key + 1, 1)  # single rows are read as ranges of one
            steps[dimension] = wanted.step
            start, stop = (size - wanted.stop, size - wanted.start) if is_reversed else (wanted.start, wanted.stop)
            stored[self.y + self.x - dimension if self.swapped else dimension] = slice(start, stop)
        part = np.asarray(self.source[tuple(stored)])
        ranges = [dimension for dimension in range(self.ndim) if isinstance(stored[dimension], slice)]
        if self.swapped:
            part = part.swapaxes(ranges.index(self.y), ranges.index(self.x))
        for dimension, is_reversed in self.is_reversed.items():
            part = np.flip(part, ranges.index(dimension)) if is_reversed else part
        part = part[tuple(slice(None, None, steps[dimension]) for dimension in ranges)]
        return part[tuple(slice(None) if isinstance(place[dimension], slice) else 0 for dimension in ranges)]


def turned(pixels: Any, orientation: int, y: int, x: int) -> Any:
    """Return pixels the way that viewers show them; those in memory at once.

    Parameters
    ----------
    pixels : array-like
        As stored.
    orientation : int
        1 (upright) to 8; anything else counts as upright.
    y, x : int
        The dimensions of rows and columns.
    """
    return in_memory(Turned(pixels, orientation, y, x)) if orientation in range(2, 9) else pixels


def in_memory(lazy: Any) -> Any:
    """Return the pixels of a lazy array whose source is in memory; it itself where they are still unread."""
    return lazy[...] if is_read(lazy.source) else lazy


def is_read(pixels: Any) -> bool:
    """Return whether pixels are in memory."""
    return isinstance(pixels, np.ndarray) and not isinstance(pixels, np.memmap)
