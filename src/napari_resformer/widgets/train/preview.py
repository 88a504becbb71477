"""The live preview: what the network of the last epoch makes of the plane that the user looks at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from napari_resformer.images.image import Image, from_array
from napari_resformer.widgets.base.colours import OPACITY, mask_colormap
from napari_resformer.widgets.results.result_layer import METADATA_KEY, frame_of, geometry, placed_labels, put

if TYPE_CHECKING:
    from napari_resformer.model.file import Model

SIDE = 1024
"""Pixels; of a larger plane the middle is shown, so that a preview costs about a training step."""

_WHOLE_SIDE = 4096  # of a model that resizes the plane, the whole plane is read up to this side: it looks at all of it


@dataclass(frozen=True)
class PreviewTarget:
    """Which part of which layer to predict; made on the GUI thread, read in the worker's.

    Parameters
    ----------
    layer_id : object
        The image layer's ``unique_id``.
    image : Image
        The layer with named axes.
    index : tuple of int
        The plane.
    """

    layer_id: Any
    image: Image
    index: tuple[int, ...]

    @property
    def rows(self) -> slice:
        """The rows that are shown."""
        return _middle(self.image.plane_shape[0], SIDE)

    @property
    def columns(self) -> slice:
        """The columns that are shown."""
        return _middle(self.image.plane_shape[1], SIDE)


@dataclass(frozen=True)
class Preview:
    """A predicted preview.

    Parameters
    ----------
    target : PreviewTarget
        What it is of.
    mask : ndarray
        Label values of the rows and columns that are shown.
    mask_classes : int
        How many label values there may be.
    epoch : int
        Whose weights made it.
    """

    target: PreviewTarget
    mask: NDArray[np.uint8]
    mask_classes: int
    epoch: int


def predict_preview(model: Model, target: PreviewTarget, *, epoch: int, device: str) -> Preview:
    """Predict what is shown; reads no more than that, but for a model that looks at whole planes.

    Raises
    ------
    ValueError
        If the model cannot take the image.
    """
    from napari_resformer.prediction.api import predict

    image = target.image
    side = max(SIDE, model.card.input_size) if model.card.input_mode == "native" else _WHOLE_SIDE
    rows, columns = (_middle(length, side) for length in image.plane_shape)
    pixels = image.plane(target.index).read(rows, columns)
    if image.rgb:
        part = from_array(np.moveaxis(pixels, 0, -1), "YXC", name=image.name, pixel_size=image.pixel_size, rgb=True)
    else:
        part = from_array(
            pixels, "CYX", name=image.name, pixel_size=image.pixel_size, channel_names=image.channel_names, rgb=False
        )
    mask = np.asarray(predict(model, part, device=device).mask)
    shown = tuple(
        slice(show.start - read.start, show.stop - read.start) for show, read in ((target.rows, rows), (target.columns, columns))
    )
    return Preview(target, np.ascontiguousarray(mask[shown]), len(model.card.mask_classes), epoch)


def is_preview(layer: Any) -> bool:
    """Whether a layer is the preview of a training."""
    stored = layer.metadata.get(METADATA_KEY)
    return isinstance(stored, dict) and "preview" in stored


class PreviewLayer:
    """The layer of the preview, on the GUI thread: refreshed after each epoch until the user removes it.

    It stays when the training is over, with the answer of the best epoch, and the next training refreshes it.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
        Where it is shown.
    """

    _in_use: ClassVar[set[Any]] = set()  # layers of trainings that run, so that two docks do not share one

    def __init__(self, viewer: Any) -> None:
        self.wanted = False
        self._viewer = viewer
        self._layer: Any = None

    def begin(self) -> None:
        """Begin with a training."""
        self.wanted = True
        free = (layer for layer in self._viewer.layers if is_preview(layer) and layer.unique_id not in self._in_use)
        self._take(next(free, None))

    def end(self) -> None:
        """Leave the layer as it is."""
        self.wanted = False
        self._take(None)

    def _take(self, layer: Any) -> None:
        if self._layer is not None:
            self._in_use.discard(self._layer.unique_id)
        self._layer = layer
        if layer is not None:
            self._in_use.add(layer.unique_id)

    def removed(self, event: Any) -> None:
        """Note that a layer was removed; a preview that the user has removed is not shown again."""
        if self._layer is not None and event.value.unique_id == self._layer.unique_id:
            self.end()

    def show(self, preview: Preview) -> None:
        """Add the layer, or refresh it; what is selected stays selected."""
        viewer = self._viewer
        image_layer = next((one for one in viewer.layers if one.unique_id == preview.target.layer_id), None)
        if not self.wanted or image_layer is None:
            return
        try:
            data, place = _laid_out(preview, image_layer)
        except (ValueError, IndexError):  # the image has other dimensions by now; the next epoch has a new target
            return
        metadata = {METADATA_KEY: {"format": 1, "preview": {"image": image_layer.name, "epoch": preview.epoch}}}
        old = self._layer
        if old is not None and old.ndim == data.ndim:
            put(old, data, place)
            old.name, old.metadata = f"{image_layer.name} · preview", metadata
            return
        if old is not None:
            self._take(None)  # replacing it is no removal by the user
            viewer.layers.remove(old)
        active = viewer.layers.selection.active
        added = viewer.add_labels(
            data,
            name=f"{image_layer.name} · preview",
            metadata=metadata,
            opacity=OPACITY,
            colormap=mask_colormap(preview.mask_classes),
            **place,
        )
        added.editable = False  # the next epoch would paint over it
        if active is not None:
            viewer.layers.selection.active = active
        self._take(next(one for one in viewer.layers if one == added))


def _middle(length: int, shown: int) -> slice:
    start = max(length - shown, 0) // 2
    return slice(start, start + min(length, shown))


def _laid_out(preview: Preview, layer: Any) -> tuple[NDArray[np.uint8], dict[str, Any]]:
    """Return the mask with the dimensions of its image layer, and its place: only the predicted plane shows it."""
    target, image = preview.target, preview.target.image
    plane = {axis: slice(step, step + 1) for axis, step in zip(image.loop_axes, target.index, strict=True)}
    part = image.part(plane | {"Y": target.rows, "X": target.columns})
    mask = preview.mask if image.rows_first else np.ascontiguousarray(preview.mask.T)
    placed = placed_labels((mask.reshape(part.mask_shape),), part)
    return placed.data, geometry(frame_of(layer), placed)
