"""From a prediction to its Labels layer: contents in the worker's thread, the layer itself on the GUI thread."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_resformer.images.image import Image
from napari_resformer.widgets.colours import OPACITY as _OPACITY
from napari_resformer.widgets.colours import mask_colormap as _colormap

if TYPE_CHECKING:
    import napari
    from napari.layers import Labels

    from napari_resformer.prediction.result import PredictResult

METADATA_KEY = "napari_resformer"

_CHUNK = 2**20  # values counted at once: numpy holds the GIL meanwhile, and makes 8 bytes of each


@dataclass(frozen=True)
class Earlier:
    """An earlier result of the same image and model, which a new one may replace.

    Parameters
    ----------
    layer_id : object
        The Labels layer's ``unique_id``.
    data : array
        Its data now.
    checksum : int, optional
        Of its data when the result was new.
    """

    layer_id: Any
    data: Any
    checksum: int | None


@dataclass(frozen=True)
class LabelsData:
    """What a Labels layer is made of; computed away from the GUI thread.

    Parameters
    ----------
    data : ndarray
        Label values; where the image has a channel axis that is not the first, a view that repeats them along it.
    features : DataFrame
        One row per label value present.
    provenance : dict
        How the result came about.
    dropped_axis : int, optional
        Axis of the image's geometry that the labels do not have.
    replaces : object, optional
        ``unique_id`` of the earlier layer that nobody has painted in.
    summary : str
        What was found, in words.
    """

    data: NDArray[np.uint8]
    features: Any
    provenance: dict[str, Any]
    dropped_axis: int | None
    replaces: Any
    summary: str


def labels_data(result: PredictResult, image: Image, model: str, earlier: Sequence[Earlier] = ()) -> LabelsData:
    """Return the contents of a prediction's Labels layer; ``model`` is its name in the library."""
    mask = np.ascontiguousarray(result.mask)
    data, dropped = _aligned(mask, image)
    untouched = [one.layer_id for one in earlier if one.checksum is not None and checksum(one.data) == one.checksum]
    features = _features(result, mask)
    shares = [f"{row['mask class']} {row['pixels'] / mask.size:.1%}" for _, row in features.iterrows()]
    found = f"Share of the pixels: {', '.join(shares)}." if shares else "No object was found."
    return LabelsData(
        data,
        features,
        result.provenance | {"widget": {"model": model, "checksum": checksum(mask)}},
        dropped,
        untouched[-1] if untouched else None,
        f"Done in {result.provenance['seconds']:.1f} s. {found}",
    )


def _aligned(mask: NDArray[np.uint8], image: Image) -> tuple[NDArray[np.uint8], int | None]:
    """Return the mask so that napari, which aligns layers by their last axes, puts it under the right sliders.

    A leading channel axis can be left out. Any other keeps its place: the values are repeated along it without being
    copied. The view is writable, so that painting in one channel shows in all.
    """
    channel = image.axes.find("C")
    if image.rgb or channel < 0:
        return mask, None
    if channel == 0:
        return mask, 0
    strides = list(mask.strides)
    strides.insert(channel, 0)
    return np.lib.stride_tricks.as_strided(mask, tuple(image.data.shape), strides, writeable=True), None


def _features(result: PredictResult, mask: NDArray[np.uint8]) -> Any:
    import pandas as pd

    flat = mask.reshape(-1)
    counts = np.zeros(256, np.int64)
    for start in range(0, flat.size, _CHUNK):
        counts += np.bincount(flat[start : start + _CHUNK], minlength=256)
    present = [value for value in range(1, 256) if counts[value]]
    table: dict[str, Any] = {
        "index": present,
        "mask class": [result.mask_classes[value - 1] for value in present],
        "pixels": counts[present],
    }
    if size := result.provenance["image"]["pixel_size"]:
        table["area (µm²)"] = counts[present] * (size[0] * size[1])
    return pd.DataFrame(table)


def checksum(data: Any) -> int | None:
    """Return a number that changes when somebody paints; None for what is no array in memory."""
    if not isinstance(data, np.ndarray):
        return None
    once = data[tuple(slice(1) if stride == 0 else slice(None) for stride in data.strides)]
    return zlib.crc32(np.ascontiguousarray(once).view(np.uint8).data)


def earlier_results(layers: Iterable[Any], image_layer: Any, model: str) -> list[Earlier]:
    """Find the layers that hold results of this image layer and model, oldest first."""
    found = []
    for layer in layers:
        stored = (stored_result(layer) or {}).get("widget", {})
        if stored.get("layer_id") == str(image_layer.unique_id) and stored.get("model") == model:
            found.append(Earlier(layer.unique_id, layer.data, stored.get("checksum")))
    return found


def stored_result(layer: Any) -> dict[str, Any] | None:
    """Return what a Labels layer says about the prediction that it came from; None if it came from elsewhere."""
    stored = layer.metadata.get(METADATA_KEY) if layer is not None else None
    needed = ("classes", "scores", "plane_axes", "image", "model")
    return stored if isinstance(stored, dict) and all(key in stored for key in needed) else None


def geometry(layer: Any, dropped_axis: int | None = None) -> dict[str, Any]:
    """Return an image layer's geometry as arguments of ``add_labels``, without the dropped axis."""
    keep = [axis for axis in range(layer.ndim) if axis != dropped_axis]
    block, affine_block = np.ix_(keep, keep), np.ix_([*keep, layer.ndim], [*keep, layer.ndim])
    return {
        "scale": np.asarray(layer.scale)[keep],
        "translate": np.asarray(layer.translate)[keep],
        "rotate": np.asarray(layer.rotate)[block],
        "shear": _shear_matrix(layer)[block],
        "affine": np.asarray(layer.affine.affine_matrix)[affine_block],
        "units": tuple(layer.units[axis] for axis in keep),
        "axis_labels": tuple(layer.axis_labels[axis] for axis in keep),
    }


def _shear_matrix(layer: Any) -> NDArray[Any]:
    """Return the shear as a matrix; napari gives the entries above the diagonal alone where that is enough."""
    shear = np.asarray(layer.shear)
    if shear.ndim == 2:
        return shear
    matrix = np.eye(layer.ndim)
    matrix[np.triu_indices(layer.ndim, 1)] = shear
    return matrix


def show_result(viewer: napari.viewer.Viewer, image_layer: Any, labels: LabelsData) -> Labels:
    """Add the result's layer, or put the result in the place of the earlier one; on the GUI thread.

    Returns
    -------
    napari.layers.Labels
        The layer, selected.
    """
    stored = labels.provenance | {
        "image": labels.provenance["image"] | {"layer": image_layer.name},
        "widget": labels.provenance["widget"] | {"layer_id": str(image_layer.unique_id)},
    }
    name, metadata = _name(stored), {METADATA_KEY: stored}
    place = geometry(image_layer, labels.dropped_axis)
    old = next((layer for layer in viewer.layers if layer.unique_id == labels.replaces), None)
    if old is not None and old.ndim == labels.data.ndim:
        _replace(old, name, labels, metadata, place)
        viewer.layers.selection.active = old
        return old  # type: ignore[no-any-return]
    layer = viewer.add_labels(
        labels.data, name=name, features=labels.features, metadata=metadata, opacity=_OPACITY,
        colormap=_colormap(len(labels.provenance["mask_classes"])), **place,
    )  # fmt: skip
    if old is not None:  # the axes were named differently before
        position = viewer.layers.index(old)
        viewer.layers.remove(old)
        viewer.layers.move(len(viewer.layers) - 1, position)
        layer.name = name
    return next(one for one in viewer.layers if one == layer)  # type: ignore[no-any-return]


def _replace(old: Any, name: str, labels: LabelsData, metadata: dict[str, Any], place: dict[str, Any]) -> None:
    before = old.metadata[METADATA_KEY]
    if old.name == _name(before):  # else the user has given it another
        old.name = name
    old.data = labels.data
    for attribute, value in place.items():
        now = getattr(old, attribute)
        same = np.array_equal(getattr(now, "affine_matrix", now), value)
        if not same:
            setattr(old, attribute, value)
    old.features = labels.features
    old.metadata = metadata


def _name(stored: dict[str, Any]) -> str:
    return f"{stored['image']['layer']} · {stored['widget']['model']}"
