"""The live preview of a training: what the network makes of the plane that somebody is looking at."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from napari_resformer.images.image import Image, PlaneIndex

if TYPE_CHECKING:
    from napari_resformer.model.file import Model

SIDE = 1024
"""Pixels; of a larger plane the middle is previewed, so that a preview costs about as much as a training step."""

_WHOLE_SIDE = 4096  # of a model that resizes the plane, the whole plane is read up to this side: it looks at all of it


@dataclass(frozen=True)
class PreviewTarget:
    """What to preview after the next epoch.

    Parameters
    ----------
    key : hashable
        Whatever tells the image apart where it is shown; comes back with the preview.
    image : Image
        The image; only its plane is read.
    index : tuple of int
        The plane.
    """

    key: Hashable
    image: Image
    index: PlaneIndex


@dataclass(frozen=True)
class Preview:
    """A predicted preview; it holds no image, so that it travels light.

    Parameters
    ----------
    key, index
        As in the :class:`PreviewTarget`.
    rows, columns : slice
        Which part of the plane it shows.
    mask : ndarray
        Label values of that part.
    mask_classes : int
        How many mask classes there are.
    epoch : int
        The epoch that it was made after.
    """

    key: Hashable
    index: PlaneIndex
    rows: slice
    columns: slice
    mask: NDArray[np.uint8]
    mask_classes: int
    epoch: int


@dataclass(frozen=True)
class NoPreview:
    """A preview could not be made; the training goes on."""

    reason: str


def predict_preview(model: Model, target: PreviewTarget, *, epoch: int, device: str) -> Preview:
    """Predict the middle of a plane; no more is read, unless the model looks at whole planes.

    Raises
    ------
    ValueError
        If the model cannot take the image.
    """
    from napari_resformer.prediction.api import predict

    image = target.image
    side = max(SIDE, model.card.input_size) if model.card.input_mode == "native" else _WHOLE_SIDE
    read = [_middle(length, side) for length in image.plane_shape]
    shown = [_middle(length, SIDE) for length in image.plane_shape]
    pixels = image.plane(target.index).read(*read)
    part = Image(pixels, "CYX", image.name, image.pixel_size, image.channel_names, image.rgb)
    mask = np.asarray(predict(model, part, device=device).mask)
    rows, columns = shown
    inside = tuple(slice(show.start - some.start, show.stop - some.start) for show, some in zip(shown, read, strict=True))
    classes = len(model.card.mask_classes)
    return Preview(target.key, target.index, rows, columns, np.ascontiguousarray(mask[inside]), classes, epoch)


def _middle(length: int, side: int) -> slice:
    start = max(length - side, 0) // 2
    return slice(start, start + min(length, side))
