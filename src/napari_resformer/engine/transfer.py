"""Putting values into bytes and back, with the memory of arrays beside them and large arrays by name."""

from __future__ import annotations

import io
import pickle
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from napari_resformer.engine.link import Parcel, Part

SMALL = 2**16
"""Bytes of a numpy array that is rather copied into another process than read from there."""

_ASIDE = 2**12  # bytes from which on memory is sent beside the pickle, and never copied into it
_BLOCK = 2**22  # bytes of an array that are copied at once when it does not lie in memory as it is sent
_PLAIN = frozenset({type(None), bool, int, float, complex, str, bytes, tuple, list, dict, set, frozenset, slice})
_BY_VALUE = ("pandas", "torch")  # they have shape and dtype, but are no images

Name = tuple[Any, ...]


class _Pickler(pickle.Pickler):
    def __init__(
        self, file: io.BytesIO, aside: Callable[[pickle.PickleBuffer], bool], name: Callable[[Any], Name | None]
    ) -> None:
        super().__init__(file, protocol=5, buffer_callback=aside)
        self._name = name

    def persistent_id(self, obj: Any) -> Name | None:
        return None if type(obj) in _PLAIN else self._name(obj)

    def reducer_override(self, obj: Any) -> Any:
        """Send the memory of numpy's arrays aside even if it has gaps; by itself numpy would also lose its byte order then."""
        if type(obj) is np.ndarray and not obj.dtype.hasobject and not (obj.flags.c_contiguous or obj.flags.f_contiguous):
            return np.ascontiguousarray(obj).__reduce_ex__(5)
        return NotImplemented


class _Unpickler(pickle.Unpickler):
    def __init__(self, body: bytes, buffers: Iterable[Any], find: Callable[[Name], Any], refused: Sequence[str]) -> None:
        super().__init__(io.BytesIO(body), buffers=buffers)
        self._find, self._refused = find, refused

    def persistent_load(self, pid: Any) -> Any:
        return self._find(pid)

    def find_class(self, module: str, name: str) -> Any:
        if module.partition(".")[0] in self._refused:
            raise pickle.UnpicklingError(f"{module}.{name} must not come into this process; send numbers or numpy arrays instead")
        return super().find_class(module, name)


def pack(value: Any, name: Callable[[Any], Name | None]) -> Parcel:
    """Return a value as bytes.

    Parameters
    ----------
    value : object
        What to send.
    name : callable
        Returns what to send instead of an object; None to send the object itself.
    """
    parts: list[Part] = []

    def aside(buffer: pickle.PickleBuffer) -> bool:
        with buffer.raw() as raw:
            # What is read-only stays so if it is sent within the pickle; the receiver should be able to write.
            if not raw.nbytes or (raw.nbytes < _ASIDE and not raw.readonly):
                return True
        memory = buffer.raw()
        parts.append(Part(memory.nbytes, (memory,)))
        return False

    file = io.BytesIO()
    _Pickler(file, aside, name).dump(value)
    return Parcel(file.getvalue(), parts)


def unpack(parcel: Parcel, find: Callable[[Name], Any], *, refused: Sequence[str] = ()) -> Any:
    """Return the value again.

    Parameters
    ----------
    parcel : Parcel
        As it was received.
    find : callable
        Returns the object of a name.
    refused : sequence of str
        Packages that must not be imported for it.
    """
    return _Unpickler(parcel.body, parcel.buffers, find, refused).load()


def is_array(value: Any) -> bool:
    """Whether something is an array that can be read region by region, of whatever library."""
    if isinstance(value, type | ModuleType | np.generic | np.dtype):
        return False
    kind = type(value)
    if kind.__module__.partition(".")[0] in _BY_VALUE or getattr(kind, "travels_by_value", False):
        return False
    return all(hasattr(value, name) for name in ("shape", "dtype", "__getitem__"))


def dtype_of(array: Any) -> np.dtype[Any] | None:
    """Return the type of an array's values as numpy's; None where numpy has none, or values are Python objects."""
    try:
        dtype = np.dtype(getattr(array.dtype, "numpy_dtype", array.dtype))  # tensorstore has types of its own
    except TypeError:
        return None
    return None if dtype.hasobject or not dtype.itemsize else dtype


def on_disk(array: Any) -> tuple[str, str, int] | None:
    """Return folder, path in it and format of a zarr array in a local folder; None for anything else."""
    zarr = sys.modules.get("zarr")  # where it is not loaded there is no such array
    if zarr is None or not isinstance(array, zarr.Array) or type(array.store_path.store) is not zarr.storage.LocalStore:
        return None
    return str(array.store_path.store.root.absolute()), array.store_path.path, array.metadata.zarr_format


def open_on_disk(root: str, path: str, zarr_format: Literal[2, 3]) -> Any:
    """Open a zarr array in a local folder, to read."""
    import zarr

    return zarr.open_array(zarr.storage.LocalStore(root, read_only=True), path=path, mode="r", zarr_format=zarr_format)


def bytes_of(array: NDArray[Any]) -> tuple[Part, str]:
    """Return an array's values to be sent, and their order in memory, C or F; nothing is copied yet.

    What does not lie in memory in either order is copied in blocks, one after the other, while it is sent.
    """
    if array.flags.c_contiguous:
        return Part(array.nbytes, (_flat(array),)), "C"
    if array.flags.f_contiguous:
        return Part(array.nbytes, (_flat(array.T),)), "F"
    return Part(array.nbytes, _Blocks(array)), "C"


def _flat(array: NDArray[Any]) -> memoryview:
    return memoryview(array.reshape(-1).view(np.uint8))  # type: ignore[arg-type]  # also of types that a memoryview does not know


@dataclass(frozen=True)
class _Blocks:
    array: NDArray[Any]

    def __iter__(self) -> Any:
        return self._of(self.array)

    def _of(self, array: NDArray[Any]) -> Any:
        if array.flags.c_contiguous or array.nbytes <= _BLOCK:
            yield _flat(np.ascontiguousarray(array))
            return
        rows = max(1, _BLOCK // max(1, array.nbytes // len(array)))
        for first in range(0, len(array), rows):
            part = array[first : first + rows]
            if len(part) == 1 and part.nbytes > _BLOCK:
                yield from self._of(part[0])
            else:
                yield _flat(np.ascontiguousarray(part))


def array_from(memory: Any, shape: tuple[int, ...], dtype: np.dtype[Any], order: str) -> NDArray[Any]:
    """Return an array on memory that was received."""
    flat: NDArray[Any] = np.frombuffer(memory, dtype)
    return flat.reshape(shape) if order == "C" else flat.reshape(shape[::-1]).T
