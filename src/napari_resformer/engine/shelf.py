"""What a job of a worker process may ask its caller for: arrays that stay here, and mailboxes into it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from napari_resformer.engine.arrays import Place, region_shape
from napari_resformer.engine.job import Inbox
from napari_resformer.engine.link import Parcel
from napari_resformer.engine.transfer import SMALL, Name, bytes_of, dtype_of, is_array, on_disk, open_on_disk, pack, unpack

NEVER_HERE = ("torch", "triton")
"""Packages that must not be imported into the caller's process: beside Mesa's OpenGL they end it."""

Say = Callable[[int, Parcel], None]


class Shelf:
    """The arrays and mailboxes of one job, on the side of its caller; they are held until the job has ended.

    Parameters
    ----------
    say : callable
        Sends what was put into a mailbox, by its number.
    """

    def __init__(self, say: Say) -> None:
        self._say = say
        self._lock = threading.Lock()
        self._kept: list[Any] = []
        self._numbers: dict[int, int] = {}
        self._ends: list[Callable[[], None]] = []

    def pack(self, value: Any) -> Parcel:
        """Return a value as bytes; arrays stay here."""
        return pack(value, self._name)

    def unpack(self, parcel: Parcel) -> Any:
        """Return a value that the job sends; an array of ours is the same object again."""
        return unpack(parcel, self._find, refused=NEVER_HERE)

    def connect(self) -> None:
        """Tell the job what is in its mailboxes, and all that is put in later."""
        for number, inbox in enumerate(self._kept.copy()):
            if isinstance(inbox, Inbox):
                self._ends.append(inbox.connect(partial(self._put, number)))

    def _put(self, number: int, value: Any) -> None:
        self._say(number, self.pack(value))

    def region(self, number: int, place: Place) -> tuple[tuple[Any, ...], Parcel]:
        """Read a region of an array; the one thing here that may take long.

        Returns
        -------
        tuple of (dtype, shape, order)
            What the bytes are.
        Parcel
            The bytes; they are the array's own where it lies in memory.
        """
        with self._lock:
            array = self._kept[number]
        part = np.asarray(array[place])
        shape = region_shape(place, tuple(map(int, array.shape)))
        if part.shape != shape:
            if part.size != np.prod(shape, dtype=int):
                raise ValueError(f"asked for a region of shape {shape}, the array gave {part.shape}")
            part = part.reshape(shape)
        if not shape:
            part = part.astype(dtype_of(array), copy=False)  # a single value of numpy has lost its byte order
        memory, order = bytes_of(part)
        return (part.dtype, shape, order), Parcel(b"", (memory,))

    def clear(self) -> None:
        """Let go of everything: the job has ended."""
        with self._lock:
            self._kept, self._numbers = [], {}
            ends, self._ends = self._ends, []
        for end in ends:
            end()

    def _name(self, value: Any) -> Name | None:
        if isinstance(value, Inbox):
            return ("inbox", self._number(value))
        if isinstance(value, np.ndarray):
            if type(value) not in (np.ndarray, np.memmap) or value.nbytes <= SMALL:  # others mean more than their values
                return None
        elif not is_array(value):
            return None
        dtype = dtype_of(value)
        if dtype is None:
            return None
        place = on_disk(value)
        if place is not None:
            return ("zarr", self._number(value), *place)
        strides = value.strides if isinstance(value, np.ndarray) else None
        kind = f"{type(value).__module__}.{type(value).__qualname__}"
        return ("array", self._number(value), tuple(map(int, value.shape)), dtype, _chunks(value), strides, kind)

    def _number(self, value: Any) -> int:
        with self._lock:
            number = self._numbers.setdefault(id(value), len(self._kept))
            if number == len(self._kept):
                self._kept.append(value)
            return number

    def _find(self, name: Name) -> Any:
        what, *rest = name
        if what == "zarr":
            return open_on_disk(*rest)
        with self._lock:
            return self._kept[rest[0]]


def _chunks(array: Any) -> Any:
    chunks = getattr(array, "chunks", None) or getattr(array, "chunksize", None)
    if not isinstance(chunks, tuple | list):
        return None
    try:
        return tuple(tuple(map(int, part)) if isinstance(part, tuple | list) else int(part) for part in chunks)
    except (TypeError, ValueError):
        return None  # of some other meaning
