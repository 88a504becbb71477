"""What of a layer is looked at: all of it, the plane that is shown, or the part of it that is in sight."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np

from napari_resformer.images.image import MIN_PLANE_SIDE, Image
from napari_resformer.images.words import size_words

WHOLE, PLANE, VISIBLE = "whole layer", "this plane only", "visible region only"

_SHARE = 0.9  # of a plane; more in sight is all of it


@dataclass(frozen=True)
class Region:
    """A part of an image.

    Parameters
    ----------
    name : str
        What tells its result from those of other parts; empty for the whole.
    ranges : dict of str to slice
        First and last pixel of the full resolution, an axis; all of an axis that is not named.
    """

    name: str = ""
    ranges: dict[str, slice] = field(default_factory=dict)


def region_choices(image: Image, layer: Any, *, flat: bool, chosen: str = WHOLE) -> list[str]:
    """Return what makes a difference, and what was chosen as long as the image has such parts.

    Parameters
    ----------
    image : Image
        The layer's, at full resolution.
    layer : napari.layers.Image
        Where it is shown.
    flat : bool
        Whether the viewer shows a plane, not a volume.
    chosen : str
        What the user wants. Where the camera stands takes no choice away: the next one must not be of more planes.
    """
    choices = [WHOLE]
    if prod(image.loop_shape) > 1:
        choices.append(PLANE)
    seen = _in_sight(image, layer)
    if chosen == VISIBLE or (flat and _enough(seen) and not _all_of(image, seen)):
        choices.append(VISIBLE)
    return choices


def take_region(choice: str, image: Image, layer: Any, point: Sequence[float], *, flat: bool = True) -> Region:
    """Return the part of an image that is asked for now.

    Parameters
    ----------
    choice : str
        One of the choices.
    image : Image
        The layer's, at full resolution.
    layer : napari.layers.Image
        Where it is shown.
    point : sequence of float
        World coordinates of the viewer's sliders.
    flat : bool
        Whether the viewer shows a plane, not a volume.

    Raises
    ------
    ValueError
        If a visible region is asked for where there is none, or one too small.
    """
    if choice == WHOLE:
        return Region()
    place = layer.world_to_data(point[-layer.ndim :])
    ranges: dict[str, slice] = {}
    for axis in image.loop_axes:
        step = min(max(round(float(place[image.axes.index(axis)])), 0), image.size(axis) - 1)
        ranges[axis] = slice(step, step + 1)
    name = ", ".join(f"{axis} {part.start}" for axis, part in ranges.items())
    if choice == PLANE:
        return Region(name, ranges)
    if not flat:
        raise ValueError(
            "what is visible of a plane cannot be told while the viewer shows a volume; switch to 2D, or choose another region"
        )
    seen = _in_sight(image, layer)
    if _all_of(image, seen):
        return Region(name, ranges)
    if not _enough(seen):
        raise ValueError(f"less than {size_words(MIN_PLANE_SIDE)} of the image are in sight; zoom out, or choose another region")
    # The results of two places are not those of one.
    where = ", ".join(f"{axis} {part.start}–{part.stop - 1}" for axis, part in seen.items())
    return Region(f"{name}, visible {where}".removeprefix(", "), ranges | seen)


def _in_sight(image: Image, layer: Any) -> dict[str, slice]:
    """Return the rows and columns in sight, which may be none."""
    corners = np.asarray(layer.corner_pixels, float)
    if layer.multiscale:
        corners = corners * layer.downsample_factors[layer.data_level][: layer.ndim]
    seen = {}
    for axis in "YX":
        place = image.axes.index(axis)
        if place >= corners.shape[1]:
            return {}
        first, last = max(int(corners[0, place]), 0), min(int(np.ceil(corners[1, place])) + 1, image.size(axis))
        seen[axis] = slice(first, max(first, last))
    return seen


def _enough(seen: dict[str, slice]) -> bool:
    """Return whether the network can look at what is in sight."""
    return bool(seen) and all(part.stop - part.start >= MIN_PLANE_SIDE for part in seen.values())


def _all_of(image: Image, seen: dict[str, slice]) -> bool:
    """Return whether nearly all of the plane is in sight."""
    return bool(seen) and prod(part.stop - part.start for part in seen.values()) >= _SHARE * prod(image.plane_shape)
