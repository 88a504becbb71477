"""Whether labels lie on their image in the viewer: what is seen must be what is learned."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np

from napari_resformer.images.image import Image
from napari_resformer.widgets.train.annotation import full_data

_MOST = 0.51
"""Pixels of the image by which labels may be shifted: half a pixel is a matter of convention."""


def place_fault(layer: Any, image: Image, labels: Any) -> str:
    """Return what is wrong with where labels lie, in words; empty where they lie on their image.

    Parameters
    ----------
    layer : napari.layers.Image
        The image layer.
    image : Image
        The same with named axes.
    labels : napari.layers.Labels
        Labels that fit it by their shape.
    """
    if (away := _farthest(layer, image, labels)) <= _MOST:
        return ""
    return (
        f"{labels.name} lies elsewhere than {layer.name} in the viewer, up to {max(away, 1):.0f} px away: give both the same "
        "scale, translate and rotation, or choose other labels"
    )


def _farthest(layer: Any, image: Image, labels: Any) -> float:
    """Return how far, in pixels of the image, a corner of the labels is from the same corner of the image, at most."""
    shape = tuple(map(int, full_data(labels).shape))
    axes = image.axes[: layer.ndim]  # colours are no axis of a layer
    letters = image.mask_axes if shape == image.mask_shape else axes if len(shape) == len(axes) else axes[-2:].rjust(len(shape))
    # napari lays layers over each other by their last axes; whether the others are the same ones is another matter.
    compared = [
        (place, axis)
        for place, letter in enumerate(letters)
        if (axis := place - len(shape) + len(axes)) >= 0 and letter == axes[axis] and letter != "C"
    ]
    front = layer.data_to_world((0,) * len(axes))
    farthest = 0.0
    for corner in product(*(dict.fromkeys((0, shape[place] - 1)) for place, _ in compared)):
        position = np.zeros(len(shape))
        position[[place for place, _ in compared]] = corner
        world = labels.data_to_world(tuple(position))
        seen = layer.world_to_data((*front[: max(len(axes) - len(world), 0)], *world)[-len(axes) :])
        away = [abs(float(seen[axis]) - step) for (_, axis), step in zip(compared, corner, strict=True)]
        farthest = max(farthest, *away)
    return farthest
