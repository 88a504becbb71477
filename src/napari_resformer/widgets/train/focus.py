"""One image at a time: a row of the table is shown alone, and the eyes of the other layers are put back afterwards."""

from __future__ import annotations

from typing import Any

from napari.layers import Image, Labels


class Focus:
    """Shows an image and its labels alone, so that strokes land on what is seen.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
        Whose layers are shown and hidden. Layers other than images and labels stay as they are.
    """

    def __init__(self, viewer: Any) -> None:
        self._viewer = viewer
        self._eyes: dict[Any, bool] = {}  # by layer id, as they were before
        self.image: Any | None = None
        """The image that is shown alone; None while all are."""

    def show(self, image: Any, labels: Any | None) -> None:
        """Show an image with its labels and hide all other images and labels; select what would be painted in."""
        kept = {image.unique_id} | ({labels.unique_id} if labels is not None else set())
        for layer in self._viewer.layers:
            if isinstance(layer, Image | Labels):
                self._eyes.setdefault(layer.unique_id, bool(layer.visible))
                if layer.visible is not (layer.unique_id in kept):
                    layer.visible = layer.unique_id in kept
        self.image = image
        self._viewer.layers.selection.active = image if labels is None else labels

    def restore(self) -> None:
        """Show all layers that were shown before."""
        for layer in self._viewer.layers:
            before = self._eyes.get(layer.unique_id)
            if before is not None and layer.visible is not before:
                layer.visible = before
        self._eyes.clear()
        self.image = None

    def forget(self, layer: Any) -> None:
        """Drop what is known of a layer that is gone."""
        self._eyes.pop(layer.unique_id, None)
        if self.image is not None and layer.unique_id == self.image.unique_id:
            self.restore()


def new_labels(viewer: Any, image_layer: Any, data: Any, place: dict[str, Any]) -> Any:
    """Add an empty Labels layer for an image, ready to be painted in.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
        Where it goes.
    image_layer : napari.layers.Image
        What will be painted on.
    data : ndarray
        Zeros in the shape of its labels.
    place : dict
        The image's geometry, as arguments of ``add_labels``.

    Returns
    -------
    napari.layers.Labels
        The layer, selected, with the brush in hand.
    """
    added = viewer.add_labels(data, name=f"{image_layer.name} labels", **place)
    layer = next(one for one in viewer.layers if one == added)
    viewer.layers.selection.active = layer
    layer.mode = "paint"
    return layer
