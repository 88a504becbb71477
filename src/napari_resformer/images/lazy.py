"""Arrays whose values are read or made only where they are asked for.

They stand in for numpy, dask and zarr arrays. All that is asked of such an array is ``shape``, ``dtype``, ``ndim`` and indexing
by whole numbers and slices.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from itertools import product
from types import EllipsisType
from typing import Any

import numpy as np
from numpy.typing import NDArray

Place = tuple[int | slice, ...]
"""Where a part of an array lies: a number or a slice for each dimension, all within its bounds."""


class LazyArray(ABC):
    """An array that is read by parts.

    Parameters
    ----------
    shape : sequence of int
        Length of each dimension.
    dtype : numpy.dtype
        Type of the values.

    Attributes
    ----------
    travels_by_value : bool
        Whether another process reads the arrays that this one is made of by itself, and does here what this one does; else it
        asks for what comes out of it. True where what goes in is not much more, and may be a file that the other can open.
    """

    travels_by_value = False

    def __init__(self, shape: Sequence[int], dtype: Any) -> None:
        self.shape = tuple(int(size) for size in shape)
        self.dtype = np.dtype(dtype)

    @property
    def ndim(self) -> int:
        """Number of dimensions."""
        return len(self.shape)

    def __getitem__(self, key: int | slice | EllipsisType | tuple[int | slice | EllipsisType, ...]) -> NDArray[Any]:
        return np.asarray(self._read(self._place(key)))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        whole = self[...]  # numpy 1 knows no copy=None
        return np.array(whole, dtype=dtype) if copy else whole.astype(dtype or whole.dtype, copy=False)

    @abstractmethod
    def _read(self, place: Place) -> Any:
        """Return a part; the dimensions of whole numbers are gone from it."""

    def _place(self, key: int | slice | EllipsisType | tuple[int | slice | EllipsisType, ...]) -> Place:
        parts = key if isinstance(key, tuple) else (key,)
        missing = self.ndim - sum(part is not Ellipsis for part in parts)
        at = parts.index(Ellipsis) if Ellipsis in parts else len(parts)
        named = [part for part in parts if not isinstance(part, EllipsisType)]
        if missing < 0:
            raise IndexError(f"{len(named)} indices were given for an array of {self.ndim} dimensions")
        full = [*named[:at], *[slice(None)] * missing, *named[at:]]
        return tuple(_bounded(part, size) for part, size in zip(full, self.shape, strict=True))


class Window(LazyArray):
    """A rectangular part of an array; a plain slice of a zarr array would read it.

    Parameters
    ----------
    array : array-like
        What it is a part of.
    parts : tuple of slice
        First and last entry for each dimension; with numbers, and without steps.
    """

    travels_by_value = True

    def __init__(self, array: Any, parts: tuple[slice, ...]) -> None:
        super().__init__([part.stop - part.start for part in parts], array.dtype)
        self.array, self.parts = array, parts

    def _read(self, place: Place) -> Any:
        return self.array[tuple(_shifted(part, window.start) for part, window in zip(place, self.parts, strict=True))]


class LargestAlong(LazyArray):
    """The largest values along an axis of another array.

    Parameters
    ----------
    array : array-like
        Has the axis.
    axis : int
        Which of its dimensions is left out here.
    """

    def __init__(self, array: Any, axis: int) -> None:
        super().__init__([*array.shape[:axis], *array.shape[axis + 1 :]], array.dtype)
        self.array, self.axis = array, axis

    def _read(self, place: Place) -> Any:
        inside = sum(isinstance(part, slice) for part in place[: self.axis])
        whole = np.asarray(self.array[(*place[: self.axis], slice(None), *place[self.axis :])])
        return whole.max(axis=inside)


class SparsePlanes(LazyArray):
    """Planes that are held in memory each on its own, and are 0 where none was put in.

    Parameters
    ----------
    shape : sequence of int
        Length of each dimension.
    plane_axes : (int, int)
        The dimensions of a plane; the others number the planes.
    """

    def __init__(self, shape: Sequence[int], plane_axes: tuple[int, int]) -> None:
        super().__init__(shape, np.uint8)
        self._axes = plane_axes
        self._planes: dict[tuple[int, ...], NDArray[Any]] = {}

    def put(self, index: tuple[int, ...], plane: NDArray[Any]) -> None:
        """Hold a copy of a plane; one of zeros takes no memory, and small whole numbers take a byte each.

        Parameters
        ----------
        index : tuple of int
            Its place on the other dimensions, in their order.
        plane : ndarray
            With the dimensions of a plane, in their order.
        """
        if not plane.any():
            return
        small = plane.dtype.kind in "bui" and plane.min() >= 0 and plane.max() <= np.iinfo(np.uint8).max
        self._planes[index] = plane.astype(np.uint8 if small else plane.dtype, copy=True)
        self.dtype = np.result_type(self.dtype, self._planes[index].dtype)

    def _read(self, place: Place) -> Any:
        wanted = [
            range(size)[part] if isinstance(part, slice) else range(part, part + 1)
            for part, size in zip(place, self.shape, strict=True)
        ]
        whole = np.zeros([len(steps) for steps in wanted], self.dtype)
        loops = [axis for axis in range(self.ndim) if axis not in self._axes]
        inside = tuple(slice(wanted[axis].start, wanted[axis].stop, wanted[axis].step) for axis in self._axes)
        for found in product(*(enumerate(wanted[axis]) for axis in loops)):
            plane = self._planes.get(tuple(step for _, step in found))
            if plane is not None:
                target: list[int | slice] = [slice(None)] * self.ndim
                for axis, (position, _) in zip(loops, found, strict=True):
                    target[axis] = position
                whole[tuple(target)] = plane[inside]
        return whole[tuple(slice(None) if isinstance(part, slice) else 0 for part in place)]


def _bounded(part: Any, size: int) -> int | slice:
    """Return an index without negative numbers and open ends."""
    if isinstance(part, slice):
        start, stop, step = part.indices(size)
        if step < 0:
            raise IndexError("slices of a lazy array run forwards only")
        return slice(start, max(start, stop), step)
    number = int(part)
    if not -size <= number < size:
        raise IndexError(f"index {number} is out of bounds for a dimension of length {size}")
    return number % size


def _shifted(part: int | slice, by: int) -> int | slice:
    return slice(part.start + by, part.stop + by, part.step) if isinstance(part, slice) else part + by
