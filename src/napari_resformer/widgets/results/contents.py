"""What a result's Labels layer holds: made in the worker process, sent to napari's. Nothing here imports napari."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_resformer.images.image import Image
from napari_resformer.images.words import share
from napari_resformer.widgets.results.placement import Placement

if TYPE_CHECKING:
    from napari_resformer.events import MaskOpened
    from napari_resformer.prediction.result import PredictResult

_MOST_AT_ONCE = 2**28  # label values read from the disk; nobody here makes planes larger than that without a pyramid


@dataclass(frozen=True)
class Asked:
    """What a result was asked for: a new one replaces an earlier one that was asked for the same.

    Parameters
    ----------
    model : str
        Name in the library.
    region : str
        Name of the part of the image; empty for the whole.
    axes : str
        Axes of the image, as named when Run was pressed.
    zoom : float, optional
        As typed; None to follow the pixel sizes.
    channels : str, optional
        As typed; None for those that the model needs.
    """

    model: str
    region: str = ""
    axes: str = ""
    zoom: float | None = None
    channels: str | None = None

    def told(self) -> dict[str, Any]:
        """Return what is kept in the layer's metadata."""
        return {"model": self.model, "region": self.region, "axes": self.axes, "zoom": self.zoom, "channels": self.channels}

    def same(self, told: dict[str, Any]) -> bool:
        """Return whether metadata are of a result that was asked for the same."""
        return all(told.get(key) == value for key, value in self.told().items())


@dataclass(frozen=True)
class Earlier:
    """An earlier result of the same image, part of it and model, which a new one may replace.

    Parameters
    ----------
    layer_id : str
        The Labels layer's ``unique_id``.
    data : array
        Its data now.
    checksum : int, optional
        Of its data when the result was new.
    untouched : bool, optional
        Whether nobody has painted in it, where that is known already; the worker then need not ask for the data.
    """

    layer_id: str
    data: Any
    checksum: int | None
    untouched: bool | None = None

    def light(self) -> Earlier:
        """Return what a job needs to know."""
        return self if self.untouched is None else replace(self, data=None)


@dataclass(frozen=True)
class Growing:
    """A large mask that has just begun, to be seen while it grows.

    Parameters
    ----------
    levels : tuple of array
        The mask in its store, and then at falling resolution.
    placement : Placement
        Where it lies.
    metadata : dict
        What is known of the result already.
    resumed : bool
        Whether a part was there already.
    """

    levels: tuple[Any, ...]
    placement: Placement
    metadata: dict[str, Any]
    resumed: bool


@dataclass(frozen=True)
class LabelsData:
    """What a Labels layer is made of; computed in the worker process.

    Parameters
    ----------
    levels : tuple of array
        The mask, and then at falling resolution where it is a pyramid.
    placement : Placement
        Where it lies.
    features : dict of str to list
        One row per label value present, by columns.
    provenance : dict
        How the result came about.
    replaces : tuple of str
        The ids of the layers of earlier results that nobody has painted in.
    summary : str
        What was found, in words.
    """

    levels: tuple[Any, ...]
    placement: Placement
    features: dict[str, list[Any]]
    provenance: dict[str, Any]
    replaces: tuple[str, ...]
    summary: str


def labels_data(result: PredictResult, image: Image, asked: Asked, earlier: Sequence[Earlier] = ()) -> LabelsData:
    """Return the contents of a prediction's Labels layer.

    Parameters
    ----------
    result : PredictResult
        The answer.
    image : Image
        What it is about: a level, or a part, of the layer's image.
    asked : Asked
        What was asked for.
    earlier : sequence of Earlier
        Results that it may replace.
    """
    store = result.provenance.get("store")
    levels = tuple(result.levels) if store else (np.ascontiguousarray(result.mask),)
    features = _features(result)
    names = zip(features["mask class"], features["pixels"], strict=True)
    covered = [f"{name} covers {share(count, sum(result.pixels))}" for name, count in names]
    found = f"{', '.join(covered)}." if covered else "Nothing was found."
    where = f" The mask is stored in {store}." if store else ""
    placement = Placement.of(image)
    told = asked.told() | {"checksum": checksum(placement.place(levels).data if store else levels[0])}
    untouched = [one for one in earlier if _untouched(one)]  # last, so that little time is left to paint in them
    return LabelsData(
        levels, placement, features, result.provenance | {"widget": told}, tuple(one.layer_id for one in untouched),
        f"Done in {result.provenance['seconds']:.1f} s: {found}{where}",
    )  # fmt: skip


def growing(event: MaskOpened, image: Image, asked: Asked, mask_classes: int) -> Growing:
    """Return what to show of a mask that has just begun; the parameters are those of :func:`labels_data`."""
    told = {
        "format": 1,
        "complete": False,
        "store": event.folder,
        "mask_classes": {str(value): "" for value in range(1, mask_classes + 1)},
        "image": {"layer": image.name, "axes": image.axes},
        "widget": asked.told() | {"checksum": None},
    }
    return Growing(tuple(event.levels), Placement.of(image), told, event.resumed)


def _features(result: PredictResult) -> dict[str, list[Any]]:
    """Return a row for each label value; columns, since a data frame would load pandas in the thread that receives it."""
    present = [value for value, count in enumerate(result.pixels) if value and count]
    table: dict[str, list[Any]] = {
        "index": present,
        "mask class": [result.mask_classes[value - 1] for value in present],
        "pixels": [result.pixels[value] for value in present],
    }
    if size := result.provenance["image"]["pixel_size"]:
        table["area (µm²)"] = [result.pixels[value] * size[0] * size[1] for value in present]
    return table


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
    if earlier.untouched is not None:
        return earlier.untouched
    if earlier.checksum is None:
        return not isinstance(earlier.data, np.ndarray) and not hasattr(earlier.data, "dtype")
    try:
        return checksum(earlier.data) == earlier.checksum
    except Exception:  # noqa: BLE001 - a store that was deleted or damaged meanwhile is no fault of the new result
        return False
