"""The level of a pyramid that suits a model."""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil

from napari_resformer.images.image import MIN_PLANE_SIDE, Image

_FINE_ENOUGH = 1.1
"""A level whose pixels are larger than the model's by no more than this is as good as one that has its pixel size."""


def suitable_level(image: Image, pixel_size: float | None) -> Image:
    """Return the coarsest level that is as fine as a model needs; the full resolution where a pixel size is unknown.

    Parameters
    ----------
    image : Image
        At its full resolution, with or without a pyramid.
    pixel_size : float, optional
        Micrometres a pixel that the model was trained at.
    """
    if pixel_size is None or image.pixel_size is None or image.level or image.start:
        return image
    best = image
    for level in range(1, len(image.pyramid)):
        y, x = (int(image.pyramid[level].shape[image.axes.index(axis)]) for axis in "YX")
        if min(y, x) < MIN_PLANE_SIDE:
            break
        candidate = image.at_level(level)
        if candidate.pixel_size is None or max(candidate.pixel_size) > pixel_size * _FINE_ENOUGH:
            break
        if candidate.loop_shape == image.loop_shape:  # a level with fewer planes cannot stand for all
            best = candidate
    return best


def part_at_level(image: Image, ranges: Mapping[str, slice]) -> Image:
    """Return a part of an image, named by its pixels of the full resolution, at the level that the image is."""
    factors = dict(zip(image.axes, image.level_factors, strict=True))
    scaled = {}
    for axis, part in ranges.items():
        start = min(int(part.start / factors[axis]), image.size(axis) - 1)
        scaled[axis] = slice(start, max(min(ceil(part.stop / factors[axis]), image.size(axis)), start + 1))
    return image.part(scaled) if ranges else image
