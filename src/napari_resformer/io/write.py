"""Masks to label files that other programs open."""

from __future__ import annotations

from collections.abc import Iterator
from math import ceil, prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_resformer.images.image import Image
from napari_resformer.io.atomic import atomic_write

_TILE = 512  # a side; of TIFF files that are larger than this


def write_mask(mask: Any, image: Image, path: Path, note: str = "") -> None:
    """Write a mask as a compressed OME-TIFF with the image's axes and pixel size; the file is whole or not there.

    In a TIFF file the planes are Y, X and come last, so that a mask of other order is turned.

    Parameters
    ----------
    mask : array
        Labels, of ``image.mask_shape``; a zarr array is read tile by tile.
    image : Image
        What it is a mask of.
    path : Path
        Ends in ``.tif``.
    note : str
        Kept in the file, see :func:`read_note`.
    """
    import tifffile

    # OME knows five axes; another loop is stored as tifffile's Q, which readers show as an unnamed axis.
    axes = image.loop_axes + "YX"
    metadata: dict[str, Any] = {"axes": axes.replace("P", "Q"), "Name": image.name}
    if note:
        metadata["Description"] = note
    sizes = {} if image.pixel_size is None else {"Y": image.pixel_size[0], "X": image.pixel_size[1]}
    if image.z_step is not None:
        sizes["Z"] = image.z_step
    for axis, size in sizes.items():
        metadata |= {f"PhysicalSize{axis}": size, f"PhysicalSize{axis}Unit": "µm"}
    with atomic_write(path) as file:
        if axes != image.mask_axes or max(image.plane_shape) <= 2 * _TILE:
            turned = np.asarray(mask).transpose([image.mask_axes.index(axis) for axis in axes])
            tifffile.imwrite(file, turned, ome=True, photometric="minisblack", compression="zlib", metadata=metadata)
        else:
            tifffile.imwrite(
                file, _tiles(mask, image.mask_shape), shape=image.mask_shape, dtype=np.uint8, tile=(_TILE, _TILE), ome=True,
                photometric="minisblack", compression="zlib", metadata=metadata, bigtiff=prod(image.mask_shape) > 2**31,
            )  # fmt: skip


def read_note(path: Path) -> str:
    """Return the note in a mask's file; empty where there is none."""
    import xml.etree.ElementTree as ET

    import tifffile

    try:
        with tifffile.TiffFile(path) as file:
            told = file.ome_metadata
        nodes = ET.fromstring(told).iter() if told else ()
        return next((node.text or "" for node in nodes if node.tag.endswith("}Description")), "")
    except (OSError, ValueError, SyntaxError):  # no TIFF, or a damaged one
        return ""


def _tiles(mask: Any, shape: tuple[int, ...]) -> Iterator[NDArray[np.uint8]]:
    """Yield the tiles of all planes, row by row; the last ones are filled up with background."""
    height, width = shape[-2:]
    for index in np.ndindex(*shape[:-2]):
        for row in range(ceil(height / _TILE)):
            rows = np.asarray(mask[(*index, slice(row * _TILE, (row + 1) * _TILE))])
            for left in range(0, width, _TILE):
                tile = rows[:, left : left + _TILE]
                yield np.pad(tile, ((0, _TILE - tile.shape[0]), (0, _TILE - tile.shape[1]))).astype(np.uint8)
