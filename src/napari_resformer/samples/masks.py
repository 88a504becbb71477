"""Label values from mask files, as far as a file leaves no doubt what they are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_resformer.io.read import read_image

_WHITE = 255


def read_label_file(path: Path) -> NDArray[Any]:
    """Read a mask (Y, X) of whole numbers from 0 up.

    Accepted beside plain label images: a colour image whose channels are all equal, floats that are whole numbers, and a
    mask in black and white, where 255 counts as 1 (no class can have the number 255).

    Raises
    ------
    ValueError
        If the file cannot be read, or its values might mean more than one thing.
    """
    image = read_image(path)
    pixels = np.asarray(image.data)
    if image.channels > 1:
        pixels = _gray(np.moveaxis(pixels, image.axes.index("C"), -1), image.rgb, path.name)
    pixels = pixels.reshape([size for size in pixels.shape if size > 1] if pixels.ndim > 2 else pixels.shape)
    if pixels.ndim != 2:
        raise ValueError(
            f"the mask {path.name} has shape {tuple(image.data.shape)}; one label value a pixel (Y, X) is needed: "
            "save one plane a file"
        )
    if pixels.dtype.kind == "f":
        whole = np.rint(pixels)
        if not np.array_equal(pixels, whole):
            raise ValueError(
                f"the mask {path.name} holds fractions or NaN ({pixels.dtype}); label values must be whole numbers, "
                "0 is background: threshold it and save whole numbers"
            )
        pixels = whole.astype(np.int64)
    if pixels.dtype.kind == "i" and pixels.size and pixels.min() < 0:
        raise ValueError(f"the mask {path.name} holds negative values; label values start at 0, the background")
    if pixels.dtype == np.uint8 and pixels.max() == _WHITE and np.isin(pixels, (0, _WHITE)).all():
        return (pixels > 0).astype(np.uint8)
    return pixels


def _gray(pixels: NDArray[Any], rgb: bool, name: str) -> NDArray[Any]:
    colours = pixels[..., :3] if rgb else pixels
    first: NDArray[Any] = colours[..., 0]
    if not (colours == first[..., None]).all():
        raise ValueError(
            f"the mask {name} is in colour (shape {tuple(pixels.shape)}); which colour means which class is not known: "
            "save it as a gray or 16-bit label image with the values 0, 1, 2, ..."
        )
    return first
