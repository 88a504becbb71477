"""An array that stays with the caller of a job: the job asks for the regions that it needs."""

from __future__ import annotations

import operator
import threading
from collections import OrderedDict
from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

Place = tuple[int | slice, ...]
"""One number or slice a dimension; from 0, forwards, within the array."""
Ask = Callable[[Place], NDArray[Any]]


class ServedArray:
    """An array in another process; reading a part of it fetches that part.

    Parameters
    ----------
    ask : callable
        Fetches a region.
    shape, dtype : tuple of int, dtype
        Of the array.
    chunks : tuple, optional
        Those of the array, where it has any: as zarr's or as dask's.
    strides : tuple of int, optional
        Those of the array, where it is one of numpy; None where it is read or computed.
    kind : str
        What the array is, for messages.

    Raises
    ------
    IndexError
        If a key has anything but whole numbers, slices and one Ellipsis.
    OSError
        If the other process cannot read or compute the region.
    """

    def __init__(
        self, ask: Ask, shape: tuple[int, ...], dtype: np.dtype[Any], chunks: Any, strides: tuple[int, ...] | None, kind: str
    ) -> None:
        self.shape, self.dtype, self.chunks, self.strides = shape, dtype, chunks, strides
        self._ask, self._kind = ask, kind
        self._kept: _Kept | None = None

    @property
    def ndim(self) -> int:
        """Number of dimensions."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """Number of values."""
        return prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes that all values take in memory."""
        return self.size * self.dtype.itemsize

    @property
    def in_memory(self) -> bool:
        """Whether it is an array in the memory of the other process, which can change under the job."""
        return self.strides is not None

    def keep(self, budget: int) -> ServedArray:
        """Keep regions that were read, to read them again at no cost; the longest unused ones go first.

        Parameters
        ----------
        budget : int
            Bytes that they may take together; 0 to keep none.
        """
        self._kept = _Kept(budget) if budget else None
        return self

    def __getitem__(self, key: Any) -> Any:
        place, backwards, dotted = _placed(key, self.shape)
        shape = region_shape(place, self.shape)
        if 0 in shape:
            part: NDArray[Any] = np.empty(shape, self.dtype)
        elif self._kept is None:
            part = self._ask(place)
        else:
            part = self._kept.get(place, self._ask)
        if any(backwards):
            part = part[tuple(slice(None, None, -1) if back else slice(None) for back in backwards)]
        return part[()] if part.ndim == 0 and not dotted else part  # as numpy: numbers alone give a number

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        if copy is False:
            raise ValueError("an array of another process cannot be had without a copy")
        whole: NDArray[Any] = self[...]
        return whole if dtype is None else whole.astype(dtype, copy=False)

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError("an array without dimensions has no length")
        return self.shape[0]

    def __repr__(self) -> str:
        return f"<ServedArray of {self._kind}, shape={self.shape}, dtype={self.dtype}>"

    def __copy__(self) -> ServedArray:
        return self

    def __deepcopy__(self, _memo: Any) -> ServedArray:
        return self  # what it stands for is elsewhere, and the same

    def __reduce__(self) -> Any:
        raise TypeError("an array of another process can be read in its job only; read the region that is needed first")


class _Kept:
    """Regions that were read, up to a number of bytes."""

    def __init__(self, budget: int) -> None:
        self._budget, self._bytes = budget, 0
        self._lock = threading.Lock()
        self._parts: OrderedDict[Any, NDArray[Any]] = OrderedDict()

    def get(self, place: Place, ask: Ask) -> NDArray[Any]:
        """Return a copy of a region, since who reads it may write into it."""
        name = tuple((part.start, part.stop, part.step) if isinstance(part, slice) else part for part in place)
        with self._lock:
            kept = self._parts.get(name)
            if kept is not None:
                self._parts.move_to_end(name)
                return kept.copy(order="K")
        part = ask(place)  # two threads may ask for the same at once: they would wait for each other else
        if part.nbytes > self._budget:
            return part
        with self._lock:
            if name not in self._parts:
                self._parts[name] = part.copy(order="K")
                self._bytes += part.nbytes
            while self._bytes > self._budget:
                _, oldest = self._parts.popitem(last=False)
                self._bytes -= oldest.nbytes
        return part


def region_shape(place: Place, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the shape of a region."""
    both = zip(place, shape, strict=True)
    return tuple(len(range(*part.indices(size))) for part, size in both if isinstance(part, slice))


def _placed(key: Any, shape: tuple[int, ...]) -> tuple[Place, list[bool], bool]:
    """Return what to fetch, which of its dimensions to turn round, and whether the key had an Ellipsis.

    All arrays understand numbers and slices that are written out and run forwards; not all of them understand more.
    """
    parts = list(key) if isinstance(key, tuple) else [key]
    dots = [number for number, part in enumerate(parts) if part is Ellipsis]
    missing = len(shape) - len(parts) + len(dots)
    if missing < 0 or len(dots) > 1:
        raise IndexError(f"the key {key!r} does not fit an array with {len(shape)} dimensions")
    where = dots[0] if dots else len(parts)
    parts[where : where + len(dots)] = [slice(None)] * missing
    place: list[int | slice] = []
    backwards: list[bool] = []
    for axis, (part, size) in enumerate(zip(parts, shape, strict=True)):
        if isinstance(part, slice):
            run = range(*part.indices(size))
            forwards = run[::-1] if run.step < 0 else run
            place.append(_written_out(forwards))
            backwards.append(run.step < 0)
        else:
            place.append(_number(part, axis, size))
    return tuple(place), backwards, bool(dots)


def _written_out(run: range) -> slice:
    if not run:
        return slice(0, 0)
    return slice(run[0], run[-1] + 1, run.step) if run.step > 1 and len(run) > 1 else slice(run[0], run[-1] + 1)


def _number(part: Any, axis: int, size: int) -> int:
    if isinstance(part, bool | np.bool_):
        raise IndexError("an array of another process takes whole numbers, slices and Ellipsis; read it first, then use a mask")
    try:
        number = operator.index(part)
    except TypeError:
        raise IndexError(f"an array of another process takes whole numbers, slices and Ellipsis, not {part!r}") from None
    if not -size <= number < size:
        raise IndexError(f"index {number} is out of bounds for axis {axis} with size {size}")
    return number % size
