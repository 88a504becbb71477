"""How large a plane is when the network sees it, and the frame that it is padded to."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from napari_resformer.images.image import MIN_PLANE_SIDE, Image
from napari_resformer.images.words import pixel_words, size_words
from napari_resformer.network.config import BACKGROUND

SAME_SIZE = 0.02
"""Pixel sizes that differ by no more than this share count as equal."""
MOST_ENLARGED = 16
"""Times, on a side; a pixel size that asks for more is a wrong unit, not a coarse image."""


def fitted_shape(shape: tuple[int, int], size: int) -> tuple[int, int]:
    """Return height and width once the longer side is ``size`` pixels, with the aspect ratio kept."""
    scale = size / max(shape)
    return max(round(shape[0] * scale), 1), max(round(shape[1] * scale), 1)


def native_shape(image: Image, pixel_size: float | None, zoom: float | None = None) -> tuple[int, int]:
    """Return height and width of an image's planes at a model's pixel size, or enlarged by a zoom.

    Parameters
    ----------
    image : Image
        The image.
    pixel_size : float, optional
        Micrometres a pixel that the model was trained at. Where it or the image's is unknown, they are taken to be equal.
    zoom : float, optional
        How many times as large, on a side, the network is to see the image; overrides the pixel sizes.

    Raises
    ------
    ValueError
        If the zoom is out of range, the planes would become too small, or the pixel size cannot be right.
    """
    if zoom is not None:
        return _zoomed_shape(image, zoom)
    if pixel_size is None or image.pixel_size is None:
        return image.plane_shape
    factors = [size / pixel_size for size in image.pixel_size]
    if all(abs(factor - 1) <= SAME_SIZE for factor in factors):
        return image.plane_shape
    height, width = (round(side * factor) for side, factor in zip(image.plane_shape, factors, strict=True))
    if min(height, width) < MIN_PLANE_SIDE or max(factors) > MOST_ENLARGED:
        raise ValueError(
            f"{image.name} has pixels of {pixel_words(image.pixel_size)}, the model was trained at {pixel_size:g} µm: its "
            f"planes of {size_words(image.plane_shape)} would become {size_words((height, width))}; check the pixel size and its "
            "unit, or use a model for this magnification"
        )
    return height, width


def _zoomed_shape(image: Image, zoom: float) -> tuple[int, int]:
    if not 1 / MOST_ENLARGED <= zoom <= MOST_ENLARGED:
        raise ValueError(
            f"zoom {zoom:g} is out of range; give a number from {1 / MOST_ENLARGED:g} to {MOST_ENLARGED}: 1 leaves the image as "
            "it is, 0.5 suits objects that are twice as large, in pixels, as those that the model was trained on"
        )
    height, width = (round(side * zoom) for side in image.plane_shape)
    if min(height, width) < MIN_PLANE_SIDE:
        raise ValueError(
            f"at zoom {zoom:g} the planes of {image.name} become {size_words((height, width))}; at least "
            f"{size_words(MIN_PLANE_SIDE)} are needed: give a larger zoom"
        )
    return height, width


def padded(parts: Sequence[NDArray[np.float32]], frame: tuple[int, int]) -> NDArray[np.float32]:
    """Stack parts of planes and pad them at the bottom and the right with the darkest value.

    Parameters
    ----------
    parts : sequence of ndarray
        (C, height, width), of one shape.
    frame : (int, int)
        Least height and width of the result.

    Returns
    -------
    ndarray
        (B, C, H, W), with the channels last in memory, as the network is fastest.
    """
    channels, height, width = parts[0].shape
    rows, columns = max(height, frame[0]), max(width, frame[1])
    stacked = np.empty((len(parts), rows, columns, channels), np.float32)
    stacked[:, height:] = BACKGROUND
    stacked[:, :, width:] = BACKGROUND
    for place, part in enumerate(parts):
        stacked[place, :height, :width] = part.transpose(1, 2, 0)
    return stacked.transpose(0, 3, 1, 2)
