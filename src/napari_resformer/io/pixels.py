"""The pixels of a file as they are stored: for masks, whose values are labels and no colours."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from napari_resformer.io.colour import to_colours
from napari_resformer.io.read import find_pixels


@dataclass(frozen=True)
class RawPixels:
    """The pixels of a file as they are stored, turned the way that viewers show them.

    Parameters
    ----------
    values : ndarray
        Gray values or palette indices; of a colour file red, green and blue. Transparency is not among them.
    axes : str, optional
        One letter a dimension of ``values``, ``C`` for the samples of a pixel, ``?`` for one that the file does not explain;
        None where it explains nothing.
    kind : {"gray", "palette", "rgb", "channels"}
        Whether a pixel is one value, an index into ``palette``, a colour, or several values that are no colour.
    bits : int
        Bits a sample as stored: 1 for black and white, 8, 16; 0 where the file does not say.
    palette : ndarray of uint8, optional
        (entries, 3) red, green and blue of each index.
    alpha : ndarray, optional
        Of the shape of ``values`` without ``C``; 0 is transparent, the largest value of the type (1 for floats) opaque.
    white_is_zero : bool
        Whether viewers show 0 as white. The values are those in the file all the same.
    lossy : bool
        Whether the file's compression changes values, as JPEG does.
    notes : tuple of str
        What the file holds beside these pixels, and what was damaged and ignored.
    """

    values: NDArray[Any]
    axes: str | None = None
    kind: Literal["gray", "palette", "rgb", "channels"] = "gray"
    bits: int = 0
    palette: NDArray[np.uint8] | None = None
    alpha: NDArray[Any] | None = None
    white_is_zero: bool = False
    lossy: bool = False
    notes: tuple[str, ...] = ()


def read_pixels(path: str | Path) -> RawPixels:
    """Read the pixels of an image file into memory as they are stored.

    Parameters
    ----------
    path : str or Path
        As in :func:`~napari_resformer.io.read.read_image`.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the format is unknown or the file is damaged.
    """
    found = find_pixels(path)
    samples = found.samples
    values = np.asarray(found.levels[0])
    alpha, axis = None, samples.axis
    axes = found.axes
    if axis is not None:
        if samples.alpha:
            alpha = values.take(-1, axis)
            values = values.take(np.arange(values.shape[axis] - 1), axis)
        if values.shape[axis] == 1:
            values = values.take(0, axis)
            axes = axes and axes[:axis] + axes[axis + 1 :]
    kind = samples.kind
    if kind not in ("gray", "palette", "channels", "rgb"):
        values, kind = np.moveaxis(to_colours(np.moveaxis(values, axis or 0, -1), samples), -1, axis or 0), "rgb"
    return RawPixels(
        values, axes, kind, samples.bits, samples.palette, alpha, samples.white_is_zero, samples.lossy, found.notes
    )  # fmt: skip
