"""Make the arrays of zarr stores and OME-Zarr 0.5 pyramids, ready to be filled block by block."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil
from pathlib import Path
from typing import Any

from napari_resformer.images.image import Image

SUFFIX, OME_SUFFIX = ".zarr", ".ome.zarr"

_TOP_SIDE = 2048  # a pyramid ends with the first level whose planes fit into this
_LEAST_CHUNK = 256
_KINDS = {"T": {"type": "time"}, "C": {"type": "channel"}, **{axis: {"type": "space"} for axis in "ZYX"}}


def create_array(
    folder: Path, shape: Sequence[int], axes: str, dtype: str, *, chunk: int, attributes: dict[str, Any]
) -> tuple[Any, ...]:
    """Make a zarr array.

    Parameters
    ----------
    folder : Path
        The store.
    shape, axes, dtype
        Of the array, with one letter an axis.
    chunk : int
        Pixels on a side of a chunk in Y and X; along all other axes a chunk has one entry.
    attributes : dict
        JSON-serialisable attributes.

    Returns
    -------
    tuple of zarr.Array
        The array alone.
    """
    import zarr

    return (
        zarr.create_array(folder, shape=tuple(shape), chunks=_chunks(shape, axes, chunk, 0), dtype=dtype, attributes=attributes),
    )


def create_pyramid(
    folder: Path,
    image: Image,
    shape: Sequence[int],
    axes: str,
    dtype: str,
    *,
    chunk: int,
    attributes: dict[str, Any],
    channel_names: Sequence[str] = (),
) -> tuple[Any, ...]:
    """Make an OME-Zarr image with the pixel size and place of another image; the parameters are those of :func:`create_array`.

    Parameters
    ----------
    image : Image
        What the arrays belong to.
    channel_names : sequence of str
        Names along the channel axis. Without a channel axis the image is marked as label values.

    Returns
    -------
    tuple of zarr.Array
        The levels, the full resolution first.
    """
    import zarr

    count = 1
    while max(image.plane_shape) > _TOP_SIDE * 2 ** (count - 1):
        count += 1
    group = zarr.create_group(folder)
    names = tuple(axis.lower() for axis in axes)
    levels = []
    for level in range(count):
        sizes = [ceil(size / 2**level) if axis in "YX" else int(size) for axis, size in zip(axes, shape, strict=True)]
        chunks = _chunks(sizes, axes, chunk, level)
        levels.append(group.create_array(str(level), shape=tuple(sizes), chunks=chunks, dtype=dtype, dimension_names=names))
    group.attrs.update(ome_attributes(image, axes, count, channel_names) | attributes)
    return tuple(levels)


def open_levels(folder: Path) -> tuple[Any, ...]:
    """Open the arrays of a store for writing, the full resolution first."""
    import zarr

    node: Any = zarr.open(folder, mode="r+")
    if isinstance(node, zarr.Array):
        return (node,)
    return tuple(node[dataset["path"]] for dataset in node.attrs["ome"]["multiscales"][0]["datasets"])


def ome_attributes(image: Image, axes: str, levels: int, channel_names: Sequence[str] = ()) -> dict[str, Any]:
    """Return the OME-Zarr 0.5 attributes of an image that lies on another one.

    Each level takes every second pixel of the one before, so that their first pixels lie on the same point.

    Parameters
    ----------
    image : Image
        Gives scale, units and translation as its own file says them; else the pixel size, and the place where it is a part of a
        larger image.
    axes : str
        One letter an axis of the arrays.
    levels : int
        How many arrays there are.
    channel_names : sequence of str
        See :func:`create_pyramid`.
    """
    described: list[dict[str, str]] = [{"name": axis.lower()} | _KINDS.get(axis, {}) for axis in axes]
    known: dict[str, float] = {}
    if image.pixel_size is not None:
        known |= {"Y": image.pixel_size[0], "X": image.pixel_size[1]}
    if image.z_step is not None:
        known["Z"] = image.z_step
    units = dict.fromkeys(known, "micrometer")
    shift = place_of(image, axes, known)
    if (place := image.mask_place) is not None:
        known = dict(zip(image.mask_axes, place.scale, strict=True))
        units = dict(zip(image.mask_axes, place.units, strict=True))
        shift = [dict(zip(image.mask_axes, place.translate, strict=True)).get(axis, 0.0) for axis in axes]
    for axis in described:
        if unit := units.get(axis["name"].upper()):
            axis["unit"] = unit
    datasets = []
    for level in range(levels):
        scale = [known.get(axis, 1.0) * (2**level if axis in "YX" else 1) for axis in axes]
        steps: list[dict[str, Any]] = [{"type": "scale", "scale": scale}]
        if any(shift):
            steps.append({"type": "translation", "translation": shift})
        datasets.append({"path": str(level), "coordinateTransformations": steps})
    multiscales = [{"name": image.name, "axes": described, "datasets": datasets, "type": "nearest"}]
    ome: dict[str, Any] = {"version": "0.5", "multiscales": multiscales}
    if channel_names:
        window = {"min": 0, "max": 1, "start": 0, "end": 1}
        ome["omero"] = {
            "channels": [{"label": name, "color": "FFFFFF", "active": True, "window": window} for name in channel_names]
        }
    else:
        ome["image-label"] = {"version": "0.5"}
    return {"ome": ome}


def place_of(image: Image, axes: str, steps: dict[str, float]) -> list[float]:
    """Return where the centre of an image's first pixel lies from that of the first pixel of the full resolution.

    Parameters
    ----------
    image : Image
        A level or a part of an image, or all of it.
    axes : str
        Which axes to tell; 0 along one that the image does not have.
    steps : dict of str to float
        Size of a pixel of ``image``, an axis; 1 where it is not named.
    """
    begin = dict(zip(image.axes, image.start or (0,) * len(image.axes), strict=True))
    factor = dict(zip(image.axes, image.level_factors, strict=True))
    # A pixel of a coarse level covers several of the full resolution: its centre is theirs.
    return [0.0 if axis == "C" else steps.get(axis, 1.0) * (begin[axis] + (factor[axis] - 1) / 2 / factor[axis]) for axis in axes]


def _chunks(shape: Sequence[int], axes: str, chunk: int, level: int) -> tuple[int, ...]:
    side = max(chunk >> level, min(_LEAST_CHUNK, chunk))
    return tuple(min(side, int(size)) if axis in "YX" else 1 for axis, size in zip(axes, shape, strict=True))
