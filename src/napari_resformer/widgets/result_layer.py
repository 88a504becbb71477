"""A prediction to a Labels layer: geometry of the image, features, metadata."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_resformer.prediction.result import PredictResult

METADATA_KEY = "napari_resformer"


@dataclass(frozen=True)
class LabelsData:
    """What a Labels layer is made of; computed away from the GUI thread."""

    data: NDArray[np.uint8]
    features: dict[str, list[Any]]
    metadata: dict[str, Any]
    dropped_axis: int | None
    signature: int


def labels_data(result: PredictResult, axes: str, shape: tuple[int, ...], *, rgb: bool) -> LabelsData:
    """Return the contents of a prediction's Labels layer.

    napari aligns layers by their last axes. A leading channel axis can be left out; any other keeps its place as a
    broadcast, so that the axes before it still follow their own sliders.
    """
    mask = np.asarray(result.mask)
    channel = axes.find("C")
    dropped: int | None = None
    if rgb or channel < 0:
        data = mask
    elif channel == 0:
        data, dropped = mask, 0
    else:
        data = np.broadcast_to(np.expand_dims(mask, channel), shape)
    counts = np.bincount(mask.ravel(), minlength=len(result.mask_classes) + 1)
    present = [value for value in range(1, len(counts)) if counts[value]]
    features: dict[str, list[Any]] = {
        "index": present,
        "mask class": [result.mask_classes[value - 1] for value in present],
        "pixels": [int(counts[value]) for value in present],
    }
    if size := result.provenance["image"]["pixel_size"]:
        features["area (µm²)"] = [int(counts[value]) * size[0] * size[1] for value in present]
    return LabelsData(data, features, {METADATA_KEY: result.provenance}, dropped, content_signature(data))


def content_signature(data: NDArray[Any]) -> int:
    """Return a number that changes when somebody paints."""
    import zlib

    base = data.base if isinstance(data.base, np.ndarray) and data.strides and 0 in data.strides else data
    return zlib.crc32(np.ascontiguousarray(base).tobytes())


def geometry(layer: Any, dropped_axis: int | None) -> dict[str, Any]:
    """Return the layer's geometry as arguments of ``add_labels``, without the dropped axis."""
    keep = [axis for axis in range(layer.ndim) if axis != dropped_axis]
    square = np.ix_([*keep, layer.ndim], [*keep, layer.ndim])
    # One affine says the same as scale, rotate and shear together, but scale and translate are kept apart: people read them.
    arguments: dict[str, Any] = {
        "scale": np.asarray(layer.scale)[keep],
        "translate": np.asarray(layer.translate)[keep],
        "affine": np.asarray(layer.affine.affine_matrix)[square],
        "units": [layer.units[axis] for axis in keep],
        "axis_labels": [layer.axis_labels[axis] for axis in keep],
    }
    if len(keep) == layer.ndim:
        arguments |= {"rotate": layer.rotate, "shear": layer.shear}
    else:
        arguments |= {"rotate": np.asarray(layer.rotate)[np.ix_(keep, keep)]}
    return arguments
