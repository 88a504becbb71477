"""Arrays that are turned, or whose samples are converted, when their pixels are asked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

_SWAPPED = (5, 6, 7, 8)  # rows are stored as columns
_ROWS_REVERSED = (3, 4, 7, 8)  # of what is shown, once rows are rows
_COLUMNS_REVERSED = (2, 3, 6, 7)


class Lazy:
    """An array whose pixels are made of another one's, part by part."""

    shape: tuple[int, ...]

    @property
    def ndim(self) -> int:
        """Number of dimensions."""
        return len(self.shape)

    def __getitem__(self, key: Any) -> NDArray[Any]:
        keys = list(key if isinstance(key, tuple) else (key,))
        if Ellipsis in keys:
            place = keys.index(Ellipsis)
            keys[place : place + 1] = [slice(None)] * (self.ndim - len(keys) + 1)
        return self.read(keys + [slice(None)] * (self.ndim - len(keys)))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        whole = self[...]
        return whole if dtype is None else whole.astype(dtype, copy=False)

    def read(self, keys: list[Any]) -> NDArray[Any]:
        """Read a part, by one slice (with a positive step) or whole number a dimension."""
        raise NotImplementedError


@dataclass(frozen=True)
class Converted(Lazy):
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

    source: Any
    axis: int | None
    samples: int
    convert: Callable[[NDArray[Any]], NDArray[Any]]
    dtype: np.dtype[Any]

    @property
    def sample_place(self) -> int:
        """The dimension of the samples that come out."""
        return len(self.source.shape) if self.axis is None else self.axis

    @property
    def shape(self) -> tuple[int, ...]:  # type: ignore[override]
        """Length of each dimension."""
        shape = [int(size) for size in self.source.shape]
        if self.axis is not None:
            del shape[self.axis]
        if self.samples:
            shape.insert(self.sample_place, self.samples)
        return tuple(shape)

    def read(self, keys: list[Any]) -> NDArray[Any]:
        """Read a part."""
        wanted = keys.pop(self.sample_place) if self.samples else slice(None)
        ranges = [isinstance(key, slice) for key in keys]
        place = sum(ranges if self.axis is None else ranges[: self.axis])
        if self.axis is None:
            part = self.convert(np.asarray(self.source[tuple(keys)]))
        else:
            keys.insert(self.axis, slice(None))
            part = self.convert(np.moveaxis(np.asarray(self.source[tuple(keys)]), place, -1))
        if not self.samples:
            return part
        part = part[..., wanted]
        return np.moveaxis(part, -1, place) if isinstance(wanted, slice) else part


@dataclass(frozen=True)
class Turned(Lazy):
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

    source: Any
    orientation: int
    y: int
    x: int

    @property
    def dtype(self) -> Any:
        """Type of the pixels."""
        return self.source.dtype

    @property
    def shape(self) -> tuple[int, ...]:  # type: ignore[override]
        """Length of each dimension."""
        shape = [int(size) for size in self.source.shape]
        if self.orientation in _SWAPPED:
            shape[self.y], shape[self.x] = shape[self.x], shape[self.y]
        return tuple(shape)

    def read(self, keys: list[Any]) -> NDArray[Any]:
        """Read a part."""
        shape, plane = self.shape, (self.y, self.x)
        last = [isinstance(key, slice) or 0 for key in keys]  # single rows and columns are read as ranges of one
        stored = list(keys)
        steps = {}
        for dimension, reversed_ in zip(plane, (_ROWS_REVERSED, _COLUMNS_REVERSED), strict=True):
            key, size = keys[dimension], shape[dimension]
            key = key if isinstance(key, slice) else slice(int(key), int(key) + 1)
            start, stop, steps[dimension] = key.indices(size)
            if self.orientation in reversed_:
                start, stop = size - max(stop, start), size - start
            swapped = self.orientation in _SWAPPED
            stored[self.y + self.x - dimension if swapped else dimension] = slice(start, max(stop, start))
        part = np.asarray(self.source[tuple(stored)])
        ranges = [place for place in range(self.ndim) if isinstance(stored[place], slice)]
        y, x = (ranges.index(dimension) for dimension in plane)
        if self.orientation in _SWAPPED:
            part = part.swapaxes(y, x)
        for place, reversed_ in ((y, _ROWS_REVERSED), (x, _COLUMNS_REVERSED)):
            part = np.flip(part, place) if self.orientation in reversed_ else part
        steps = {ranges.index(dimension): step for dimension, step in steps.items()}
        part = part[tuple(slice(None, None, steps.get(place)) for place in range(part.ndim))]
        return part[tuple(slice(None) if last[place] else 0 for place in ranges)]


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
