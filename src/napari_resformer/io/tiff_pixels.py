"""The pixels of one image of a TIFF file: judged, cut to the planes that are whole, in memory or unread."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from napari_resformer.images.lazy import Window
from napari_resformer.images.words import size_words
from napari_resformer.io.judge import UnreadableError, check_claim, has_memory
from napari_resformer.io.lazy import is_read
from napari_resformer.io.numbers import count

LAZY_BYTES = 2**28
"""A larger image is not read into memory as a whole."""

_LARGEST_PIECE = 2**26
"""Bytes; where a strip or tile is larger, each look into it would cost as much as reading the image."""

_MOST = {1: 1.0, 5: 2600.0, 8: 1040.0, 32946: 1040.0, 32773: 64.0, 6: 1100.0, 7: 1100.0, 33007: 1100.0, 50000: 33000.0}
"""Bytes of pixels that a byte becomes at most, by compression; others have no bound that would tell."""
_ANY = 2.0**20
_SPARSE = 1000
"""How many times as much a file may hold where tiles are left out, as slide scanners leave out glass."""


@dataclass(frozen=True)
class Stack:
    """The pixels of an image.

    Parameters
    ----------
    levels : tuple of array-like
        At full resolution and then at falling ones.
    axes : str
        Letters of tifffile, one a dimension.
    is_lazy : bool
        Whether some are still unread.
    notes : tuple of str
        Which planes are missing.
    """

    levels: tuple[Any, ...]
    axes: str
    is_lazy: bool
    notes: tuple[str, ...]


def stack_of(path: Path, file: Any, number: int, series: Any) -> Stack:
    """Return the pixels of an image, as far as the file holds them.

    Parameters
    ----------
    path : Path
        The file.
    file : tifffile.TiffFile
        The same, open.
    number : int
        Which of its series.
    series : tifffile.TiffPageSeries
        The series.

    Raises
    ------
    UnreadableError
        If the file cannot hold what it announces, or was cut off before the first plane ends.
    """
    held = int(file.filehandle.size)
    levels = [level for level in series.levels if level.ndim == series.ndim]
    for level in levels:
        _judge(level, held)
    if (cut := _cut_short(path, file, series, held)) is not None:
        return cut
    whole = _whole(levels[0], held)
    if whole < int(levels[0].shape[0]):
        return _first(file, number, levels[0], whole)
    arrays = tuple(_pixels(path, file, level) for level in levels)
    return Stack(arrays, series.axes, any(not is_read(array) for array in arrays), ())


def _judge(level: Any, held: int) -> None:
    """Refuse pixels that the file's bytes cannot hold."""
    page = level.keyframe
    width, height = int(page.imagewidth), int(page.imagelength)
    offsets, sizes = np.asarray(page.dataoffsets, np.int64), np.asarray(page.databytecounts, np.int64)
    few = min(len(offsets), len(sizes))
    there = np.clip(held - offsets[:few], 0, None)
    stored = int(np.minimum(sizes[:few], there)[offsets[:few] > 0].sum())
    bits = page.bitspersample if isinstance(page.bitspersample, int) else max(page.bitspersample)
    most = _MOST.get(int(page.compression), _ANY) * max(8 * np.dtype(page.dtype).itemsize / max(int(bits), 1), 1)
    if page.is_tiled and not (sizes > 0).all():
        most *= _SPARSE
    check_claim(int(page.nbytes), stored, most, size_words((height, width)))
    check_claim(int(level.nbytes), held, most, f"{prod(level.shape)} values")


def _whole(level: Any, held: int) -> int:
    """Return how many entries of the first dimension are in the file from end to end."""
    pages, length = list(level.pages), int(level.shape[0])
    for place, page in enumerate(pages):
        if page is not None and _ends(page, held):
            continue
        if len(pages) == 1:
            raise UnreadableError("it was cut off: it ends before its pixels do; copy it again")
        return place * length // len(pages) if len(pages) >= length else 0
    return length


def _ends(page: Any, held: int) -> bool:
    """Return whether the last byte of a page's pixels is in the file."""
    offsets, sizes = page.dataoffsets, page.databytecounts
    return len(offsets) > 0 and all(offset + size <= held for offset, size in zip(offsets, sizes, strict=False))


def _first(file: Any, number: int, level: Any, whole: int) -> Stack:
    """Return the first entries of an image of many pages."""
    length = int(level.shape[0])
    if not whole:
        raise UnreadableError("it was cut off: it ends before its first plane does; copy it again")
    note = f"the file was cut off or is damaged: {whole} of {length} planes ({level.axes[0]}) are whole, and are read"
    shape = (whole, *map(int, level.shape[1:]))
    if prod(shape) * level.dtype.itemsize <= LAZY_BYTES:
        pages = range(whole * (len(level.pages) // length))
        return Stack((file.asarray(key=pages, series=number).reshape(shape),), level.axes, False, (note,))
    return Stack((Window(_unread(level), tuple(slice(0, size) for size in shape)),), level.axes, True, (note,))


def _pixels(path: Path, file: Any, level: Any) -> Any:
    if level.nbytes <= LAZY_BYTES:
        return level.asarray()
    if level.dataoffset is not None:  # neither compressed nor in pieces
        return _mapped(path, file, level.keyframe, level.dataoffset, level.shape)
    piece = prod(map(int, level.keyframe.chunks)) * level.dtype.itemsize
    if piece > _LARGEST_PIECE and has_memory(level.nbytes):
        return level.asarray()
    return _unread(level)


def _unread(level: Any) -> Any:
    import zarr

    return zarr.open(level.aszarr(level=0), mode="r")


def _mapped(path: Path, file: Any, page: Any, offset: int, shape: tuple[int, ...]) -> Any:
    return np.memmap(path, np.dtype(page.dtype).newbyteorder(file.byteorder), "r", offset, tuple(map(int, shape)))


def _cut_short(path: Path, file: Any, series: Any, held: int) -> Stack | None:
    """Return the planes that are left of a stack whose pixels lie in one piece, and whose end is missing."""
    page = series.keyframe
    if len(file.pages) != 1 or not page.is_contiguous or not page.dataoffsets:
        return None
    shape, axes = _announced(file, page)
    if not axes or page.compression != 1:
        return None
    offset = int(page.dataoffsets[0])
    fits, inner = (held - offset) // int(page.nbytes), prod(shape[1 : len(shape) - page.ndim])
    whole = fits // inner
    if not 0 < whole < shape[0]:
        return None
    planes = shape[0] * inner
    note = f"the file was cut off: it announces {planes} planes, {whole * inner} of them are whole ({axes[0]}), and are read"
    pixels = _mapped(path, file, page, offset, (whole, *shape[1:]))
    lazy = pixels.nbytes > LAZY_BYTES
    return Stack((pixels if lazy else np.array(pixels),), axes, lazy, (note,))


def _announced(file: Any, page: Any) -> tuple[tuple[int, ...], str]:
    """Return shape and axes that ImageJ or tifffile announce for a stack behind the first page; empty where they do not."""
    if file.is_imagej:
        words = file.imagej_metadata or {}
        sizes = {axis: count(words.get(name, 1)) or 1 for axis, name in (("T", "frames"), ("Z", "slices"), ("C", "channels"))}
        loops = [axis for axis in "TZC" if sizes[axis] > 1]
        return (*(sizes[axis] for axis in loops), *page.shape), "".join(loops) + page.axes if loops else ""
    if file.is_shaped:
        told: dict[str, Any] = (file.shaped_metadata or ({},))[0]
        shape = tuple(count(size) or 1 for size in told.get("shape", ()))
        axes = str(told.get("axes", ""))
        if len(shape) > page.ndim and shape[-page.ndim :] == tuple(page.shape) and prod(shape[: -page.ndim]) > 1:
            return shape, axes if len(axes) == len(shape) else "Q" * (len(shape) - page.ndim) + page.axes
    return (), ""
