"""A prediction's Labels layer, on the GUI thread: added, refreshed while it grows, put in the place of an earlier one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_resformer.widgets.base.colours import OPACITY, mask_colormap
from napari_resformer.widgets.results.contents import Asked, Earlier, Growing, LabelsData, checksum
from napari_resformer.widgets.results.placement import Frame, Placed, frame_of, geometry

if TYPE_CHECKING:
    import napari
    from napari.layers import Labels

METADATA_KEY = "napari_resformer"
ROWS = "row"
"""What numbers the rows of the features; napari's table calls it ``Index``, beside ``index``, which holds the label value."""


def earlier_results(layers: Iterable[Any], image_layer: Any, asked: Asked) -> list[Earlier]:
    """Find the layers that hold results of this image layer that were asked for the same, oldest first."""
    found = []
    for layer in layers:
        told = _told(layer)
        if told.get("complete", True) and _is_of(told, image_layer) and asked.same(told["widget"]):
            data, then = _data_of(layer), told["widget"].get("checksum")
            # Strokes are looked for here where that takes a moment only; what lies on the disk is left to the job.
            untouched = checksum(data) == then if isinstance(data, np.ndarray) else None
            found.append(Earlier(str(layer.unique_id), data, then, untouched))
    return found


def stores(layers: Iterable[Any]) -> dict[str, tuple[Any, ...]]:
    """Return the stores that results are shown from, with the arrays that their layers hold."""
    return {str(store): _arrays(layer) for layer in layers if (store := _told(layer).get("store"))}


def not_shown(before: dict[str, tuple[Any, ...]], layers: Iterable[Any]) -> tuple[str, ...]:
    """Return which stores no layer shows any more; a layer that was made from a result shows its arrays, too."""
    shown = {id(array) for layer in layers for array in _arrays(layer)}
    return tuple(store for store, arrays in before.items() if not shown & set(map(id, arrays)))


def latest_result(layers: Iterable[Any], image_layer: Any) -> Any | None:
    """Return the topmost layer that holds a finished result of an image layer; None where there is none."""
    found = [layer for layer in layers if stored_result(layer) is not None and _is_of(_told(layer), image_layer)]
    return found[-1] if found else None


def follow_names(layers: Iterable[Any]) -> None:
    """Give results the present names of their images, unless the user has named the results."""
    layers = list(layers)
    images = {str(layer.unique_id): layer for layer in layers}
    for layer in layers:
        told = _told(layer)
        image = images.get(str(told.get("widget", {}).get("layer_id")))
        if image is None or told["image"].get("layer") == image.name:
            continue
        before = _name(told)
        told = told | {"image": told["image"] | {"layer": image.name}}
        layer.metadata = {**layer.metadata, METADATA_KEY: told}
        if layer.name.partition(" [")[0] == before:
            layer.name = _name(told)


def _arrays(layer: Any) -> tuple[Any, ...]:
    data = layer.data
    return tuple(data) if getattr(layer, "multiscale", False) else (data,)


def _data_of(layer: Any) -> Any:
    return tuple(layer.data) if getattr(layer, "multiscale", False) else layer.data


def _is_still(layer: Any, earlier: Earlier) -> bool:
    """Return whether a layer is an earlier result, and holds the very data that it held when the run began.

    The user may have given it others meanwhile, or another widget, and nobody has looked whether these were painted in.
    """
    if str(layer.unique_id) != earlier.layer_id:
        return False
    now, then = (data if isinstance(data, tuple) else (data,) for data in (_data_of(layer), earlier.data))
    return len(now) == len(then) and all(one is other for one, other in zip(now, then, strict=True))


def _told(layer: Any) -> dict[str, Any]:
    told = layer.metadata.get(METADATA_KEY)
    return told if isinstance(told, dict) and isinstance(told.get("widget"), dict) else {}


def _is_of(told: dict[str, Any], image_layer: Any) -> bool:
    return bool(told) and told["widget"].get("layer_id") == str(image_layer.unique_id)


def stored_result(layer: Any) -> dict[str, Any] | None:
    """Return what a Labels layer says about the prediction that it came from; None if it came from elsewhere."""
    stored = layer.metadata.get(METADATA_KEY) if layer is not None else None
    needed = ("classes", "scores", "plane_axes", "image", "model")
    return stored if isinstance(stored, dict) and all(key in stored for key in needed) else None


def show_growing(viewer: napari.viewer.Viewer, image_layer: Any, begun: Growing, frame: Frame | None = None) -> Labels:
    """Add the layer of a mask that has just begun, or give back that of the run that goes on; on the GUI thread.

    Nobody can paint in it until :func:`show_result`, since the run writes over what is painted. The parameters are those
    of that function.
    """
    told = begun.metadata | {
        "image": begun.metadata["image"] | {"layer": image_layer.name},
        "widget": begun.metadata["widget"] | {"layer_id": str(image_layer.unique_id)},
    }
    before = _of_store(viewer, told["store"])
    if before is None:
        placed = begun.placement.place(begun.levels)
        before = _add(viewer, placed, told, geometry(frame_of(image_layer) if frame is None else frame, placed))
    before.editable = False
    return before  # type: ignore[no-any-return]


def show_result(
    viewer: napari.viewer.Viewer,
    image_layer: Any,
    labels: LabelsData,
    earlier: Sequence[Earlier] = (),
    frame: Frame | None = None,
) -> Labels:
    """Add the result's layer, or put the result in the place of the earlier one; on the GUI thread.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
        Where it goes.
    image_layer : napari.layers.Image
        What it is a result of.
    labels : LabelsData
        Its contents.
    earlier : sequence of Earlier
        Results that it may replace, as they were when the run began.
    frame : Frame, optional
        Where the image lay, if its layer shows something else by now.

    Returns
    -------
    napari.layers.Labels
        The layer, selected.
    """
    stored = labels.provenance | {
        "image": labels.provenance["image"] | {"layer": image_layer.name},
        "widget": labels.provenance["widget"] | {"layer_id": str(image_layer.unique_id)},
    }
    placed = labels.placement.place(labels.levels)
    place = geometry(frame_of(image_layer) if frame is None else frame, placed)
    untouched = [one for one in earlier if one.layer_id in labels.replaces]
    olds = [layer for layer in viewer.layers if any(_is_still(layer, one) for one in untouched)]
    grown = _of_store(viewer, stored.get("store"))
    if grown is not None:
        for old in olds:
            if old is not grown:
                viewer.layers.remove(old)
        if grown.name.partition(" [")[0] == _name(_told(grown)):  # else the user has given it another
            grown.name = _name(stored)
        grown.metadata = {METADATA_KEY: stored}
        grown.editable = not grown.multiscale
        grown.refresh()
        return _selected(viewer, grown, labels.features)
    old = olds[-1] if olds else None
    if old is not None and old.ndim == placed.ndim and not old.multiscale and not placed.multiscale:
        _replace(old, placed, stored, place)
        return _selected(viewer, old, labels.features)
    layer = _add(viewer, placed, stored, place)
    if old is not None:  # the axes were named differently before
        position = viewer.layers.index(old)
        viewer.layers.remove(old)
        viewer.layers.move(len(viewer.layers) - 1, position)
        layer.name = _name(stored)
    return _selected(viewer, next(one for one in viewer.layers if one == layer), labels.features)


def _selected(viewer: Any, layer: Any, features: Any) -> Any:
    """Select a layer and give it its features, in this order.

    napari looks up the features under the mouse when a layer is selected; in a 3-D view where the mouse has not been yet,
    that fails.
    """
    layer.features = {}
    viewer.layers.selection.active = layer
    with layer.events.features.blocker():  # its table copies the features at once
        layer.features = features
    layer.features.index.name = ROWS
    layer.events.features()
    return layer


def _add(viewer: Any, placed: Placed, stored: dict[str, Any], place: dict[str, Any]) -> Any:
    return viewer.add_labels(
        placed.data, name=_name(stored), metadata={METADATA_KEY: stored}, opacity=OPACITY,
        colormap=mask_colormap(len(stored["mask_classes"])), multiscale=placed.multiscale, cache=False, **place,
    )  # fmt: skip


def _of_store(viewer: Any, folder: str | None) -> Any:
    """Return the layer that shows a store; None where there is none."""
    return next((layer for layer in viewer.layers if folder and _told(layer).get("store") == folder), None)


def _replace(old: Any, placed: Placed, stored: dict[str, Any], place: dict[str, Any]) -> None:
    before = old.metadata[METADATA_KEY]
    if old.name == _name(before):  # else the user has given it another
        old.name = _name(stored)
    put(old, placed.data, place)
    old.metadata = {METADATA_KEY: stored}


def put(layer: Any, data: Any, place: dict[str, Any]) -> None:
    """Give a layer other data and another place; what is the same already is not set, since napari draws anew for each."""
    layer.data = data
    for attribute, value in place.items():
        now = getattr(layer, attribute)
        if not np.array_equal(getattr(now, "affine_matrix", now), value):
            setattr(layer, attribute, value)


def _name(stored: dict[str, Any]) -> str:
    region = stored["widget"].get("region")
    return f"{stored['image']['layer']} · {stored['widget']['model']}" + (f" ({region})" if region else "")
