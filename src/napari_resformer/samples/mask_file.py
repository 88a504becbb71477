"""Mask files to their stored values, with nothing lost on the way: palettes, transparency and planes are kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_resformer.io.read import PICTURES, read_image
from napari_resformer.samples.stored import StoredMask, opaque_value

_LOSSY = {".jpg", ".jpeg"}


def read_stored(path: Path, name: str = "", axes: str | None = None) -> StoredMask:
    """Read a mask file as it is stored.

    Parameters
    ----------
    path : Path
        The file.
    name : str
        What to call it in messages; its own name when left out.
    axes : str, optional
        Overrides what the file says.

    Raises
    ------
    ValueError
        If the file cannot be read, or it has channels that are neither colours nor all the same.
    """
    name = name or path.name
    lossy = path.suffix.lower() in _LOSSY
    values, samples, colours, alpha = _picture(path) if path.suffix.lower() in PICTURES and axes is None else _image(path, axes)
    if not samples:
        return StoredMask(name, _planes(values), lossy=lossy)
    clear = values[..., -1] if alpha else None
    clear = None if clear is None or (clear == opaque_value(clear)).all() else _planes(clear)
    values = values[..., :-1] if alpha else values
    if (values == values[..., :1]).all():
        return StoredMask(name, _planes(values[..., 0]), alpha=clear, lossy=lossy)
    if not colours or values.shape[-1] != 3:
        raise ValueError(
            f"the mask {name} has {values.shape[-1]} channels that differ; one label value a pixel is needed: save the channel "
            "that holds the label values alone"
        )
    return StoredMask(name, _planes(values, 3), True, clear, lossy)


def _picture(path: Path) -> tuple[NDArray[Any], bool, bool, bool]:
    """Return values, and whether the last axis are samples, colours, and ends with opacity."""
    from PIL import Image, ImageOps

    try:
        with Image.open(path) as picture:
            frames = []
            for number in range(getattr(picture, "n_frames", 1)):
                picture.seek(number)
                frames.append(np.asarray(ImageOps.exif_transpose(picture)))
            mode = picture.mode
    except (OSError, ValueError, SyntaxError, EOFError) as error:
        raise ValueError(f"the mask {path.name} cannot be read as an image: {error}") from error
    values = frames[0] if len(frames) == 1 else np.stack(frames)
    return values, mode in ("LA", "RGB", "RGBA"), mode != "LA", mode in ("LA", "RGBA")


def _image(path: Path, axes: str | None) -> tuple[NDArray[Any], bool, bool, bool]:
    image = read_image(path, axes)
    values = np.asarray(image.data)
    if not image.rows_first:
        values = np.swapaxes(values, image.axes.index("Y"), image.axes.index("X"))
    channel = image.axes.find("C")
    if channel < 0:
        return values, False, False, False
    values = np.moveaxis(values, channel, -1)
    return values, True, image.rgb, image.rgb and values.shape[-1] == 4


def _planes(values: NDArray[Any], samples: int = 0) -> NDArray[Any]:
    """Return (planes..., Y, X) without planes of one entry."""
    last = 3 if samples else 2
    return values.reshape([size for size in values.shape[:-last] if size > 1] + list(values.shape[-last:]))
