"""From a prediction to its Labels layer: contents in the worker's thread, the layer itself on the GUI thread."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import product
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_resformer.images.image import Image
from napari_resformer.widgets.base.colours import OPACITY, mask_colormap

if TYPE_CHECKING:
    import napari
    from napari.layers import Labels

    from napari_resformer.events import MaskOpened
    from napari_resformer.prediction.result import PredictResult

METADATA_KEY = "napari_resformer"
_MOST_AT_ONCE = 2**28  # label values read from the disk; nobody here makes planes larger than that without a pyramid


@dataclass(frozen=True)
class Earlier:
    """An earlier result of the same image, part of it and model, which a new one may replace.

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
class Placed:
    """Data of a Labels layer, and where they lie in the image's.

    Parameters
    ----------
    data : array or list of array
        Label values, or the levels of a pyramid; where the image has a channel axis that is not the first, they repeat
        along it.
    axes : str
        The image's axes that its layer has too.
    dropped_axis : int, optional
        Axis of the image's geometry that the labels do not have.
    factors : tuple of float
        How many pixels of the image's full resolution a label spans, an axis.
    start : tuple of int
        Where the labels begin, in their own pixels, an axis.
    """

    data: Any
    axes: str
    dropped_axis: int | None
    factors: tuple[float, ...]
    start: tuple[int, ...]

    @property
    def multiscale(self) -> bool:
        """Whether the data are a pyramid."""
        return isinstance(self.data, list)

    @property
    def ndim(self) -> int:
        """Number of dimensions."""
        return int((self.data[0] if isinstance(self.data, list) else self.data).ndim)


@dataclass(frozen=True)
class Growing:
    """A large mask that has just begun, to be seen while it grows.

    Parameters
    ----------
    placed : Placed
        The levels in the store.
    metadata : dict
        What is known of the result already.
    resumed : bool
        Whether a part was there already.
    """

    placed: Placed
    metadata: dict[str, Any]
    resumed: bool


@dataclass(frozen=True)
class LabelsData:
    """What a Labels layer is made of; computed away from the GUI thread.

    Parameters
    ----------
    placed : Placed
        Label values and where they lie.
    features : DataFrame
        One row per label value present.
    provenance : dict
        How the result came about.
    replaces : tuple of Earlier
        Results that nobody has painted in.
    summary : str
        What was found, in words.
    """

    placed: Placed
    features: Any
    provenance: dict[str, Any]
    replaces: tuple[Earlier, ...]
    summary: str


def labels_data(result: PredictResult, image: Image, model: str, region: str = "", earlier: Sequence[Earlier] = ()) -> LabelsData:
    """Return the contents of a prediction's Labels layer.

    Parameters
    ----------
    result : PredictResult
        The answer.
    image : Image
        What it is about: a level, or a part, of the layer's image.
    model : str
        Its name in the library.
    region : str
        Name of the part.
    earlier : sequence of Earlier
        Results that it may replace.
    """
    stored = bool(result.provenance.get("store"))
    mask = result.mask if stored else np.ascontiguousarray(result.mask)
    placed = placed_labels(result.levels if stored else (mask,), image)
    features = _features(result)
    shares = [f"{row['mask class']} {row['pixels'] / sum(result.pixels):.1%}" for _, row in features.iterrows()]
    found = f"Share of the pixels: {', '.join(shares)}." if shares else "No object was found."
    where = f" The mask is in {result.provenance['store']}." if stored else ""
    told = {"model": model, "region": region, "checksum": checksum(placed.data if stored else mask)}
    untouched = [one for one in earlier if _untouched(one)]  # last, so that little time is left to paint in them
    return LabelsData(
        placed, features, result.provenance | {"widget": told}, tuple(untouched),
        f"Done in {result.provenance['seconds']:.1f} s. {found}{where}",
    )  # fmt: skip


def growing(event: MaskOpened, image: Image, model: str, region: str, mask_classes: int) -> Growing:
    """Return what to show of a mask that has just begun; the parameters are those of :func:`labels_data`."""
    told = {
        "format": 1,
        "complete": False,
        "store": event.folder,
        "mask_classes": {str(value): "" for value in range(1, mask_classes + 1)},
        "image": {"layer": image.name, "axes": image.axes},
        "widget": {"model": model, "region": region, "checksum": None},
    }
    return Growing(placed_labels(event.levels, image), told, event.resumed)


def placed_labels(levels: Sequence[Any], image: Image) -> Placed:
    """Place a mask so that napari, which aligns layers by their last axes, puts it under the right sliders.

    A leading channel axis can be left out. Any other keeps its place: the values are repeated along it without being
    copied. In memory that view is writable, so that painting in one channel shows in all.
    """
    axes = image.axes[:-1] if image.rgb and image.axes.endswith("C") else image.axes
    channel = axes.find("C")
    aligned = [level if channel <= 0 else _repeated(level, channel, image.channels) for level in levels]
    start = image.start or (0,) * len(image.axes)
    return Placed(
        aligned if len(aligned) > 1 else aligned[0], axes, 0 if channel == 0 else None,
        image.level_factors[: len(axes)], start[: len(axes)],
    )  # fmt: skip


def _repeated(level: Any, axis: int, count: int) -> Any:
    if isinstance(level, np.ndarray):
        shape, strides = list(level.shape), list(level.strides)
        shape.insert(axis, count)
        strides.insert(axis, 0)
        return np.lib.stride_tricks.as_strided(level, shape, strides, writeable=True)
    import dask.array as da

    lazy = da.expand_dims(da.from_array(level, chunks=level.chunks), axis)
    return da.broadcast_to(lazy, (*lazy.shape[:axis], count, *lazy.shape[axis + 1 :]))


def _features(result: PredictResult) -> Any:
    import pandas as pd

    present = [value for value, count in enumerate(result.pixels) if value and count]
    table: dict[str, Any] = {
        "index": present,
        "mask class": [result.mask_classes[value - 1] for value in present],
        "pixels": [result.pixels[value] for value in present],
    }
    if size := result.provenance["image"]["pixel_size"]:
        table["area (µm²)"] = [result.pixels[value] * size[0] * size[1] for value in present]
    return pd.DataFrame(table)


def checksum(data: Any) -> int | None:
    """Return a number that changes when somebody paints; None for a pyramid, and for what nobody here has made.

    An array on the disk is read a few planes at a time. That takes a while: not for the GUI thread.
    """
    if isinstance(data, np.ndarray):
        once = data[tuple(slice(1) if stride == 0 else slice(None) for stride in data.strides)]
        return zlib.crc32(np.ascontiguousarray(once).view(np.uint8).data)
    chunk = getattr(data, "chunksize", None) or getattr(data, "chunks", None)  # dask's, or zarr's
    if not hasattr(data, "shape") or chunk is None:
        return None
    # Where the store has a chunk for each step, that axis is a loop; the others are a plane, and channels at the most.
    if prod(size for part, size in zip(chunk, data.shape, strict=True) if part > 1) > _MOST_AT_ONCE:
        return None
    steps = (range(size) if part == 1 else (slice(None),) for part, size in zip(chunk, data.shape, strict=True))
    number = 0
    for place in product(*steps):
        number = zlib.crc32(np.ascontiguousarray(data[place]).view(np.uint8).data, number)
    return number


def _untouched(earlier: Earlier) -> bool:
    """Return whether nobody painted in a result: napari does not let anybody paint in a pyramid."""
    if earlier.checksum is None:
        return not isinstance(earlier.data, np.ndarray) and not hasattr(earlier.data, "dtype")
    try:
        return checksum(earlier.data) == earlier.checksum
    except Exception:  # noqa: BLE001 - a store that was deleted or damaged meanwhile is no fault of the new result
        return False


def earlier_results(layers: Iterable[Any], image_layer: Any, model: str, region: str = "") -> list[Earlier]:
    """Find the layers that hold results of this image layer, part of it and model, oldest first."""
    found = []
    for layer in layers:
        told = _told(layer)
        if told.get("complete", True) and _same(told, image_layer, model, region):
            found.append(Earlier(layer.unique_id, _data_of(layer), told["widget"].get("checksum")))
    return found


def _data_of(layer: Any) -> Any:
    return tuple(layer.data) if getattr(layer, "multiscale", False) else layer.data


def _is_still(layer: Any, earlier: Earlier) -> bool:
    """Return whether a layer is an earlier result, and holds the very data that it held when the run began.

    The user may have given it others meanwhile, or another widget, and nobody has looked whether these were painted in.
    """
    if layer.unique_id != earlier.layer_id:
        return False
    now, then = (data if isinstance(data, tuple) else (data,) for data in (_data_of(layer), earlier.data))
    return len(now) == len(then) and all(one is other for one, other in zip(now, then, strict=True))


def _told(layer: Any) -> dict[str, Any]:
    told = layer.metadata.get(METADATA_KEY)
    return told if isinstance(told, dict) and isinstance(told.get("widget"), dict) else {}


def _same(told: dict[str, Any], image_layer: Any, model: str, region: str) -> bool:
    widget = told.get("widget", {})
    return bool(
        widget.get("layer_id") == str(image_layer.unique_id)
        and widget.get("model") == model
        and widget.get("region", "") == region
    )


def stored_result(layer: Any) -> dict[str, Any] | None:
    """Return what a Labels layer says about the prediction that it came from; None if it came from elsewhere."""
    stored = layer.metadata.get(METADATA_KEY) if layer is not None else None
    needed = ("classes", "scores", "plane_axes", "image", "model")
    return stored if isinstance(stored, dict) and all(key in stored for key in needed) else None


@dataclass(frozen=True)
class Frame:
    """Where an image layer lies in the world; the fields are those of the layer."""

    scale: NDArray[Any]
    translate: NDArray[Any]
    rotate: NDArray[Any]
    shear: NDArray[Any]
    affine: NDArray[Any]
    units: tuple[Any, ...]
    axis_labels: tuple[str, ...]


def frame_of(layer: Any) -> Frame:
    """Return where an image layer lies now."""
    shear = np.asarray(layer.shear)
    if shear.ndim == 1:  # napari gives the entries above the diagonal alone where that is enough
        above, shear = shear, np.eye(layer.ndim)
        shear[np.triu_indices(layer.ndim, 1)] = above
    return Frame(
        np.array(layer.scale), np.array(layer.translate), np.array(layer.rotate), shear,
        np.array(layer.affine.affine_matrix), tuple(layer.units), tuple(layer.axis_labels),
    )  # fmt: skip


def geometry(frame: Frame, placed: Placed) -> dict[str, Any]:
    """Return arguments of ``add_labels`` for labels that lie somewhere in the image.

    A pixel of a coarse level covers several of the full resolution, and its centre is theirs.
    """
    factors, ndim = np.asarray(placed.factors), len(frame.scale)
    begin = np.asarray(placed.start) * factors + (factors - 1) / 2
    translate = frame.translate + frame.rotate @ frame.shear @ (frame.scale * begin)
    keep = [axis for axis in range(ndim) if axis != placed.dropped_axis]
    block = np.ix_(keep, keep)
    return {
        "scale": (frame.scale * factors)[keep],
        "translate": translate[keep],
        "rotate": frame.rotate[block],
        "shear": frame.shear[block],
        "affine": frame.affine[np.ix_([*keep, ndim], [*keep, ndim])],
        "units": tuple(frame.units[axis] for axis in keep),
        "axis_labels": tuple(frame.axis_labels[axis] for axis in keep),
    }


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
        place = geometry(frame_of(image_layer) if frame is None else frame, begun.placed)
        before = _add(viewer, begun.placed, told, place, None)
    before.editable = False
    return before  # type: ignore[no-any-return]


def show_result(viewer: napari.viewer.Viewer, image_layer: Any, labels: LabelsData, frame: Frame | None = None) -> Labels:
    """Add the result's layer, or put the result in the place of the earlier one; on the GUI thread.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
        Where it goes.
    image_layer : napari.layers.Image
        What it is a result of.
    labels : LabelsData
        Its contents.
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
    place = geometry(frame_of(image_layer) if frame is None else frame, labels.placed)
    olds = [layer for layer in viewer.layers if any(_is_still(layer, one) for one in labels.replaces)]
    grown = _of_store(viewer, stored.get("store"))
    if grown is not None:
        for old in olds:
            if old is not grown:
                viewer.layers.remove(old)
        if grown.name.partition(" [")[0] == _name(_told(grown)):  # else the user has given it another
            grown.name = _name(stored)
        grown.features, grown.metadata = labels.features, {METADATA_KEY: stored}
        grown.editable = not grown.multiscale
        grown.refresh()
        viewer.layers.selection.active = grown
        return grown  # type: ignore[no-any-return]
    old = olds[-1] if olds else None
    if old is not None and old.ndim == labels.placed.ndim and not old.multiscale and not labels.placed.multiscale:
        _replace(old, labels, stored, place)
        viewer.layers.selection.active = old
        return old  # type: ignore[no-any-return]
    layer = _add(viewer, labels.placed, stored, place, labels.features)
    if old is not None:  # the axes were named differently before
        position = viewer.layers.index(old)
        viewer.layers.remove(old)
        viewer.layers.move(len(viewer.layers) - 1, position)
        layer.name = _name(stored)
    return next(one for one in viewer.layers if one == layer)  # type: ignore[no-any-return]


def _add(viewer: Any, placed: Placed, stored: dict[str, Any], place: dict[str, Any], features: Any) -> Any:
    return viewer.add_labels(
        placed.data, name=_name(stored), features=features, metadata={METADATA_KEY: stored}, opacity=OPACITY,
        colormap=mask_colormap(len(stored["mask_classes"])), multiscale=placed.multiscale, cache=False, **place,
    )  # fmt: skip


def _of_store(viewer: Any, folder: str | None) -> Any:
    """Return the layer that shows a store; None where there is none."""
    return next((layer for layer in viewer.layers if folder and _told(layer).get("store") == folder), None)


def _replace(old: Any, labels: LabelsData, stored: dict[str, Any], place: dict[str, Any]) -> None:
    before = old.metadata[METADATA_KEY]
    if old.name == _name(before):  # else the user has given it another
        old.name = _name(stored)
    put(old, labels.placed.data, place)
    old.features = labels.features
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
