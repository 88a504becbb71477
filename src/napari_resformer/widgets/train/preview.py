"""The layer of the live preview: what the network of the last epoch makes of the plane that the user looks at."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from napari_resformer.engine.job import Inbox
from napari_resformer.images.image import Image, PlaneIndex
from napari_resformer.training.preview import Preview, PreviewTarget
from napari_resformer.widgets.base.colours import OPACITY, mask_colormap
from napari_resformer.widgets.results.placement import Placement, frame_of, geometry
from napari_resformer.widgets.results.result_layer import METADATA_KEY, put


def is_preview(layer: Any) -> bool:
    """Whether a layer is the preview of a training."""
    stored = layer.metadata.get(METADATA_KEY)
    return isinstance(stored, dict) and "preview" in stored


class LivePreview:
    """What the user looks at while a training runs, and the layer that shows what the network makes of it.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
        Where it is shown.

    Attributes
    ----------
    inbox : Inbox
        Tells the running session what to preview.
    """

    def __init__(self, viewer: Any) -> None:
        self._layer = PreviewLayer(viewer)
        self._images: dict[Any, Image] = {}  # what was to be previewed, by its layer
        self.inbox: Inbox[PreviewTarget | None] = Inbox()

    @property
    def wanted(self) -> bool:
        """Whether a training runs, and the user has not removed the layer."""
        return self._layer.wanted

    def begin(self) -> None:
        """Begin with a training; give it the inbox that is there after this."""
        self._layer.begin()
        self._images, self.inbox = {}, Inbox()

    def end(self) -> None:
        """Leave the layer as it is."""
        self._layer.end()
        self._images = {}
        self.inbox.put(None)

    def watch(self, layer: Any, image: Image, index: PlaneIndex) -> None:
        """Preview a plane of an image layer from now on."""
        self._images[layer.unique_id] = image
        self.inbox.put(PreviewTarget(layer.unique_id, image, index))

    def removed(self, event: Any) -> None:
        """Note that a layer was removed; a preview that the user has removed is not shown again."""
        self._layer.removed(event)

    def show(self, preview: Preview) -> str:
        """Show a preview; return why it could not be shown, or nothing."""
        reason = ""
        try:
            self._layer.show(preview, self._images[preview.key])
        except Exception as error:  # noqa: BLE001 - no memory for the layer, say; the training goes on without it
            reason = f"No preview: {error}"
            self._layer.end()
        if not self.wanted:
            self.inbox.put(None)
        return reason


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

    def show(self, preview: Preview, image: Image) -> None:
        """Add the layer, or refresh it; what is selected stays selected.

        Parameters
        ----------
        preview : Preview
            Its key is the ``unique_id`` of an image layer.
        image : Image
            That layer with named axes, as it was when the preview was asked for.
        """
        viewer = self._viewer
        image_layer = next((one for one in viewer.layers if one.unique_id == preview.key), None)
        if not self.wanted or image_layer is None:
            return
        try:
            data, place = _laid_out(preview, image, image_layer)
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


def _laid_out(preview: Preview, image: Image, layer: Any) -> tuple[NDArray[np.uint8], dict[str, Any]]:
    """Return the mask with the dimensions of its image layer, and its place: only the predicted plane shows it."""
    plane = {axis: slice(step, step + 1) for axis, step in zip(image.loop_axes, preview.index, strict=True)}
    part = image.part(plane | {"Y": preview.rows, "X": preview.columns})
    mask = preview.mask if image.rows_first else np.ascontiguousarray(preview.mask.T)
    placed = Placement.of(part).place((mask.reshape(part.mask_shape),))
    return placed.data, geometry(frame_of(layer), placed)
