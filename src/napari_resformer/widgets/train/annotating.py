"""Follows the layers, the active one and the sliders: which plane is worked on, and what class it is given."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
from napari.layers import Labels
from qtpy.QtCore import QObject, QTimer, Signal  # type: ignore[attr-defined]

from napari_resformer.images.image import Image, PlaneIndex
from napari_resformer.widgets.base.fields import axes_hint
from napari_resformer.widgets.results.placement import Placement, frame_of, geometry
from napari_resformer.widgets.results.result_layer import stored_result
from napari_resformer.widgets.train.annotation import (
    fitting_classes,
    give_class,
    give_classes,
    layer_image,
    plane_words,
    pointed_plane,
    type_axes,
    typed_axes,
)
from napari_resformer.widgets.train.class_field import ClassField
from napari_resformer.widgets.train.focus import Focus, new_labels
from napari_resformer.widgets.train.pairs import PairRow, labels_fit
from napari_resformer.widgets.train.pairs_table import Pairs
from napari_resformer.widgets.train.preview import is_preview


@dataclass(frozen=True)
class ShownPlane:
    """The plane that is worked on: its layer, the layer with named axes, and its position on the loop axes."""

    layer: Any
    image: Image
    index: PlaneIndex


class Annotating(QObject):
    """Keeps table and class field up to date with the viewer.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
        What is followed.
    pairs : Pairs
        The table of pairs.
    field : ClassField
        The field for the class of the shown plane.
    parent : QObject
        Lives as long as that.

    Attributes
    ----------
    shown_changed : Signal
        Another plane is worked on now.
    painted : Signal
        Somebody paints, or gives a layer other data.
    moved : Signal
        A layer's pixel size is another one now.
    focus_changed : Signal
        Another image is shown alone now, or all are shown.
    """

    shown_changed = Signal()
    painted = Signal()
    moved = Signal()
    focus_changed = Signal()

    def __init__(self, viewer: Any, pairs: Pairs, field: ClassField, parent: QObject) -> None:
        super().__init__(parent)
        self._viewer, self._pairs, self._field = viewer, pairs, field
        self._attached = False
        self._heard: dict[Any, Any] = {}  # layers by their id
        self._drawn: dict[Any, Any] = {}  # what a labels layer showed when it was drawn last, by its id
        self.focus = Focus(viewer)
        self._soon = QTimer(self)
        self._soon.setSingleShot(True)
        self._soon.setInterval(0)
        self._soon.timeout.connect(self.update_shown)
        field.given.connect(self._give)
        field.given_to_all.connect(self._give_all)
        field.axes_typed.connect(self._type_axes)
        pairs.changed.connect(self._pairs_changed)
        pairs.row_clicked.connect(self._show_row)

    def attach(self) -> None:
        """Listen to the viewer."""
        self._attached = True
        for emitter, slot in self._connections():
            emitter.connect(slot)
        self._layers_changed()
        self.update_shown()

    def detach(self) -> None:
        """Let go of the viewer; Qt's part of this may be gone already."""
        self._attached = False
        for emitter, slot in self._connections():
            emitter.disconnect(slot)
        self._listen_to(())
        self.focus.restore()
        with suppress(RuntimeError):
            self._soon.stop()

    def shown_plane(self) -> ShownPlane | None:
        """Return the plane that is worked on: of the active image, or of the image of the active labels."""
        layer = self._active_image()
        if layer is None:
            return None
        labels = next((row.labels for row in self._pairs.value if row.image is layer), None)
        try:
            image = layer_image(layer, labels)
            return ShownPlane(layer, image, pointed_plane(layer, image, self._viewer.dims.point))
        except (ValueError, TypeError, IndexError):
            return None

    def update_shown(self, *_: Any) -> None:
        """Show the class of the plane that is worked on."""
        if not self._attached:
            return
        shown, layer, field = self.shown_plane(), self._active_image(), self._field
        if layer is None:
            field.show_nothing("Select an image to set its class.")
            field.ask_axes("", "", visible=False)
        elif shown is None:
            field.show_nothing(f"{layer.name}: which axes does it have?")
            field.ask_axes(typed_axes(layer), axes_hint(layer), visible=True)
        else:
            where = plane_words(shown.image, shown.index)
            name = fitting_classes(layer, shown.image).get(shown.index, "")
            caption = f"Class of {layer.name}" + (f", plane {where}" if where else "")
            field.show_plane((layer, shown.index), caption, name, self._pairs.class_choices(), stack=bool(where))
            field.ask_axes(typed_axes(layer), shown.image.axes, visible=bool(typed_axes(layer)))
        self.shown_changed.emit()

    def _connections(self) -> list[tuple[Any, Any]]:
        viewer = self._viewer
        layers = viewer.layers.events
        return [
            (layers.inserted, self._inserted),
            (layers.removed, self._removed),
            (layers.reordered, self._layers_changed),
            (layers.renamed, self._layers_changed),
            (viewer.layers.selection.events.active, self._active_changed),
            (viewer.dims.events.current_step, self.update_shown),
        ]

    def _layers_changed(self, *_: Any) -> None:
        """Follow the layers; once for all of them, when many are added."""
        self._listen_to(list(self._viewer.layers))
        self._pairs.layers_changed()
        self._soon.start()

    def _active_changed(self, *_: Any) -> None:
        self._soon.start()

    def _show_row(self, row: PairRow) -> None:
        """Show the image of a row alone, so that strokes land on what is seen."""
        self.focus.show(row.image, row.labels)
        self.focus_changed.emit()

    def show_all(self) -> None:
        """Show all layers that were shown before a row was chosen."""
        self.focus.restore()
        self.focus_changed.emit()

    def add_labels(self) -> None:
        """Add an empty Labels layer for the image that is shown alone, or else for the active one."""
        layer = self.focus.image if self.focus.image is not None else self._active_image()
        if layer is None:
            return
        try:
            image = layer_image(layer)
        except (ValueError, TypeError):  # its axes are asked for in the field below
            return
        placed = Placement.of(image).place((np.zeros(image.mask_shape, np.uint8),))
        self.focus.show(layer, None)
        added = new_labels(self._viewer, layer, placed.data, geometry(frame_of(layer), placed))
        self._pairs.choose(layer, added)
        self.focus_changed.emit()

    def _inserted(self, event: Any) -> None:
        """Take labels that were added while one image is shown alone for labels of that image."""
        added, image = event.value, self.focus.image
        if image is not None and isinstance(added, Labels) and stored_result(added) is None and not is_preview(added):
            row = next((row for row in self._pairs.value if row.image is image), None)
            if row is not None and row.labels is None and self._fits(image, added):
                self._pairs.choose(image, added)
        self._layers_changed()

    @staticmethod
    def _fits(image_layer: Any, labels: Any) -> bool:
        try:
            return labels_fit(layer_image(image_layer, labels), labels)
        except (ValueError, TypeError):
            return False

    def _removed(self, event: Any) -> None:
        self._pairs.forget(event.value)
        self._drawn.pop(event.value.unique_id, None)
        self.focus.forget(event.value)
        self._layers_changed()

    def _listen_to(self, layers: Sequence[Any]) -> None:
        """Listen to these layers, and to no others."""
        wanted = {layer.unique_id: layer for layer in layers if not is_preview(layer)}
        gone = [layer for key, layer in self._heard.items() if key not in wanted]
        new = [layer for key, layer in wanted.items() if key not in self._heard]
        for connect, some in (("disconnect", gone), ("connect", new)):
            for layer in some:
                for name, slot in (
                    ("paint", self._on_paint),
                    ("set_data", self._on_redraw),
                    ("data", self._on_data),
                    ("metadata", self._on_metadata),
                    ("axis_labels", self._on_data),
                    *((name, self._on_place) for name in ("scale", "translate", "rotate", "shear", "affine")),
                ):
                    emitter = getattr(layer.events, name, None)  # an image has no paint, layers of an older napari no labels
                    if emitter is not None:
                        getattr(emitter, connect)(slot)
        self._heard = wanted
        self._drawn |= {layer.unique_id: self._shown_of(layer) for layer in new if isinstance(layer, Labels)}

    def _on_paint(self, *_: Any) -> None:
        self.painted.emit()

    def _on_redraw(self, event: Any) -> None:
        """Notice undo, redo, and other widgets that paint: they draw a layer anew, but so does a slider."""
        layer = event.source
        if isinstance(layer, Labels):
            shown = self._shown_of(layer)
            if self._drawn.get(layer.unique_id) == shown:
                self.painted.emit()
            self._drawn[layer.unique_id] = shown

    def _shown_of(self, layer: Any) -> Any:
        return tuple(self._viewer.dims.point), self._viewer.dims.ndisplay, bool(layer.visible)

    def _on_data(self, *_: Any) -> None:
        self._pairs.layers_changed()
        self.painted.emit()

    def _on_place(self, *_: Any) -> None:
        self._pairs.layers_changed()
        self.moved.emit()

    def _on_metadata(self, *_: Any) -> None:
        self._pairs.layers_changed()
        self.update_shown()

    def _pairs_changed(self, *_: Any) -> None:
        self._soon.start()

    def _active_image(self) -> Any | None:
        active = self._viewer.layers.selection.active
        if active is None:
            return None
        for row in self._pairs.value:
            if active.unique_id in (row.image.unique_id, getattr(row.labels, "unique_id", None)):
                return row.image
        return None

    def _give(self, plane: tuple[Any, PlaneIndex], name: str) -> None:
        layer, index = plane
        give_class(layer, index, name)

    def _give_all(self, name: str) -> None:
        shown = self.shown_plane()
        if shown is not None:
            give_classes(shown.layer, dict.fromkeys(shown.image.plane_indices(), name))

    def _type_axes(self, axes: str) -> None:
        layer = self._active_image()
        if layer is not None:
            type_axes(layer, axes)
