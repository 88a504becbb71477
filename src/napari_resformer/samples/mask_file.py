"""Mask files to their stored values, with nothing lost on the way: palettes, transparency and planes are kept."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_resformer.io.names import TIFF
from napari_resformer.io.pixels import RawPixels, read_pixels
from napari_resformer.io.write import read_note
from napari_resformer.metrics import IGNORE
from napari_resformer.samples.stored import StoredMask, opaque_value

_COLOURS = 3
_IGNORED = f"The value {IGNORE} means ignored"


def read_stored(path: Path, name: str = "") -> StoredMask:
    """Read a mask file as it is stored.

    Parameters
    ----------
    path : Path
        The file.
    name : str
        What to call it in messages; its own name when left out.

    Raises
    ------
    ValueError
        If the file cannot be read, or it has channels that are neither colours nor all the same.
    """
    name = name or path.name
    raw = read_pixels(path)
    raw = _rows_first(raw) if raw.axes and raw.axes.find("X") < raw.axes.find("Y") else raw
    channel = _channel(raw)
    if channel is None:
        values, colour = _planes(raw.values), False
    else:
        samples = np.moveaxis(raw.values, channel, -1)
        colour = not (samples == samples[..., :1]).all()
        values = _planes(samples, _COLOURS) if colour else _planes(samples[..., 0])
        if colour and ((raw.axes and raw.kind != "rgb") or samples.shape[-1] != _COLOURS):
            raise ValueError(
                f"the mask {name} has {samples.shape[-1]} channels that differ; one label value per pixel is needed: save the "
                "channel that holds the label values alone"
            )
    alpha = raw.alpha
    if alpha is not None and (alpha == opaque_value(alpha)).all():
        alpha = None
    indexed = raw.white_is_zero or (raw.palette is not None and not _shows_its_indices(raw.palette))
    ignores = not colour and values.dtype == np.uint8 and bool((values == IGNORE).any()) and _says_ignored(path)
    return StoredMask(name, values, colour, None if alpha is None else _planes(alpha), raw.lossy, indexed, ignores, raw.notes)


def ignored_note(mask: NDArray[Any]) -> str:
    """Return what a file of label values must say, so that 255 means ignored also where it is the only value; else nothing."""
    return _IGNORED if mask.dtype == np.uint8 and (mask == IGNORE).any() else ""


def _says_ignored(path: Path) -> bool:
    return path.suffix.lower() in TIFF and read_note(path) == _IGNORED


def _channel(raw: RawPixels) -> int | None:
    """Return the dimension of the samples of a pixel."""
    if raw.kind == "palette":
        return None
    if raw.axes is None:  # an array that says nothing of itself: colours come last and are few
        shape = raw.values.shape
        return 2 if len(shape) == _COLOURS == shape[2] and min(shape[:2]) > _COLOURS else None
    return raw.axes.index("C") if "C" in raw.axes else None


def _rows_first(raw: RawPixels) -> RawPixels:
    """Return pixels whose rows come before their columns."""
    assert raw.axes is not None
    y, x = raw.axes.index("Y"), raw.axes.index("X")
    letters = raw.axes.translate(str.maketrans("XY", "YX"))
    channel = raw.axes.find("C")
    alpha = raw.alpha
    if alpha is not None:
        alpha = np.swapaxes(alpha, *(place - (0 <= channel < place) for place in (x, y)))
    return replace(raw, values=np.swapaxes(raw.values, x, y), axes=letters, alpha=alpha)


def _shows_its_indices(palette: NDArray[np.uint8]) -> bool:
    """Return whether each index is shown as the gray of its number, or the two of a palette as black and white."""
    gray = palette[:, 0] if (palette == palette[:, :1]).all() else None
    return gray is not None and (np.array_equal(gray, np.arange(len(gray))) or gray.tolist() == [0, 255])


def _planes(values: NDArray[Any], samples: int = 0) -> NDArray[Any]:
    """Return (planes..., Y, X) without axes of one entry before Y."""
    last = 3 if samples else 2
    return values.reshape([size for size in values.shape[:-last] if size > 1] + list(values.shape[-last:]))
