"""What crosses the border between napari's process and the worker: values as they are, arrays by reference.

A message is a pickle and its buffers, which are sent one by one and not copied into it. Arrays among a job's arguments are
not sent at all: the worker gets a :class:`ServedArray` in their place, which asks for a region when one is read.
"""

from __future__ import annotations

import io
import pickle
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_resformer.engine.job import Inbox

SMALL = 2**16
"""Bytes; smaller numpy arrays are sent as they are."""

Read = Callable[[int, Any], NDArray[Any]]


@dataclass(frozen=True)
class Packed:
    """A value ready to be sent: its pickle, and the buffers beside it."""

    pickle: bytes
    buffers: tuple[Any, ...] = ()


class ServedArray:
    """An array that lies in another process; a region of it is read there when it is asked for.

    Parameters
    ----------
    number : int
        Its number among the job's arrays.
    shape, dtype, chunks
        Those of the array; ``chunks`` is None where it has none.
    read : callable
        Takes the number and a key, and returns the region as a numpy array of its own.
    """

    def __init__(self, number: int, shape: tuple[int, ...], dtype: np.dtype[Any], chunks: Any, read: Read) -> None:
        self.number = number
        self.shape = shape
        self.dtype = dtype
        self._chunks = chunks
        self._read = read

    @property
    def ndim(self) -> int:
        """Number of dimensions."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """Number of elements."""
        return prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes of all elements."""
        return self.size * self.dtype.itemsize

    @property
    def chunks(self) -> Any:
        """The chunks of the array, as it has them itself."""
        if self._chunks is None:
            raise AttributeError("this array has no chunks")
        return self._chunks

    def __getitem__(self, key: Any) -> NDArray[Any]:
        return self._read(self.number, key)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        whole = self[(slice(None),) * self.ndim]
        return whole if dtype is None else whole.astype(dtype, copy=False)

    def __len__(self) -> int:
        return self.shape[0]


class References:
    """The arrays and mailboxes of one job in the process that submits it, by number."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.arrays: list[Any] = []
        self.inboxes: list[Inbox[Any]] = []

    def number(self, thing: Any, among: list[Any]) -> int:
        """Return the number of a thing, the same each time."""
        with self._lock:
            for place, known in enumerate(among):
                if known is thing:
                    return place
            among.append(thing)
            return len(among) - 1


class _Pickler(pickle.Pickler):
    def __init__(self, file: Any, buffers: list[Any], references: References | None) -> None:
        super().__init__(file, protocol=5, buffer_callback=buffers.append)
        self._references = references

    def persistent_id(self, obj: Any) -> Any:
        if isinstance(obj, ServedArray):
            return ("array", obj.number)
        if (place := _place_on_disk(obj)) is not None:
            return ("zarr", *place)
        if self._references is None:
            return None
        if isinstance(obj, Inbox):
            return ("inbox", self._references.number(obj, self._references.inboxes))
        if _is_array(obj):
            number = self._references.number(obj, self._references.arrays)
            chunks = getattr(obj, "chunks", None)
            return ("array", number, tuple(map(int, obj.shape)), np.dtype(obj.dtype), chunks if _is_plain(chunks) else None)
        return None


class _Unpickler(pickle.Unpickler):
    def __init__(self, packed: Packed, find: Callable[[tuple[Any, ...]], Any]) -> None:
        super().__init__(io.BytesIO(packed.pickle), buffers=packed.buffers)
        self._find = find

    def persistent_load(self, pid: Any) -> Any:
        return _opened(*pid[1:]) if pid[0] == "zarr" else self._find(pid)


def pack(value: Any, references: References | None = None) -> Packed:
    """Make a value ready to be sent.

    Parameters
    ----------
    value : object
        What is sent.
    references : References, optional
        Where arrays and mailboxes are noted that the other side is to ask for; without it they are sent as they are.
    """
    file, buffers = io.BytesIO(), list[pickle.PickleBuffer]()
    _Pickler(file, buffers, references).dump(value)
    return Packed(file.getvalue(), tuple(buffer.raw() for buffer in buffers))


def unpack(packed: Packed, find: Callable[[tuple[Any, ...]], Any]) -> Any:
    """Return the value; ``find`` returns what a reference stands for."""
    return _Unpickler(packed, find).load()


class Channel:
    """A connection that several threads may send on; one reads."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._lock = threading.Lock()

    def send(self, message: tuple[Any, ...], packed: Packed | None = None) -> None:
        """Send a message, and what was packed for it.

        Raises
        ------
        OSError
            If the other side is gone.
        """
        sizes = None if packed is None else [memoryview(buffer).nbytes for buffer in packed.buffers]
        with self._lock:
            self._connection.send_bytes(pickle.dumps((message, sizes), protocol=5))
            if packed is not None:
                self._connection.send_bytes(packed.pickle)
                for buffer in packed.buffers:
                    self._connection.send_bytes(buffer)

    def receive(self) -> tuple[tuple[Any, ...], Packed | None]:
        """Wait for a message; its buffers can be written to.

        Raises
        ------
        EOFError, OSError
            If the other side is gone.
        """
        message, sizes = pickle.loads(self._connection.recv_bytes())
        if sizes is None:
            return message, None
        content = self._connection.recv_bytes()
        buffers = []
        for size in sizes:
            buffer = bytearray(size)
            self._connection.recv_bytes_into(buffer)
            buffers.append(buffer)
        return message, Packed(content, tuple(buffers))

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


def region(array: Any, key: Any) -> NDArray[Any]:
    """Read a region of an array, in one piece.

    Raises
    ------
    TypeError
        If it holds Python objects.
    """
    part = np.asarray(array[key])
    if part.dtype.hasobject:
        raise TypeError("the array holds Python objects; numbers are needed")
    return part if part.flags.c_contiguous else part.copy(order="C")


def _is_array(obj: Any) -> bool:
    if isinstance(obj, np.ndarray):
        return obj.nbytes > SMALL and not obj.dtype.hasobject
    if isinstance(obj, np.generic | type) or type(obj).__module__.partition(".")[0] == "pandas":
        return False
    return all(hasattr(obj, name) for name in ("shape", "dtype", "__getitem__"))


def _is_plain(chunks: Any) -> bool:
    return isinstance(chunks, Sequence) and all(isinstance(part, int | tuple) for part in chunks)


def _place_on_disk(obj: Any) -> tuple[str, str, int, bool] | None:
    """Return where a zarr array lies, if it is one of the disk: the other side opens it by itself."""
    if type(obj).__module__.partition(".")[0] != "zarr":
        return None
    import zarr
    from zarr.storage import LocalStore

    if not isinstance(obj, zarr.Array) or not isinstance(obj.store, LocalStore):
        return None
    return str(obj.store.root), obj.path, obj.metadata.zarr_format, bool(obj.read_only)


def _opened(root: str, path: str, zarr_format: Any, read_only: bool) -> Any:
    import zarr

    mode = "r" if read_only else "r+"
    return zarr.open_array(root, path=path or None, mode=mode, zarr_format=zarr_format)  # type: ignore[arg-type]
