"""Images, masks and other outputs to TIFF files that other programs open."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_resformer.images.image import PixelSize
from napari_resformer.io.atomic import atomic_write
from napari_resformer.io.names import readable

_TILE = 512  # a side; of TIFF files that are larger than this
_OME_TYPES = {"uint8", "uint16", "uint32", "int8", "int16", "int32", "float32", "float64"}
_BIG = 2**31  # bytes; beyond these the file is a BigTIFF


def write_tiff(
    path: Path,
    pixels: Any,
    axes: str,
    *,
    name: str = "",
    pixel_size: PixelSize | None = None,
    z_step: float | None = None,
    channel_names: Sequence[str] = (),
    note: str = "",
) -> None:
    """Write an array as a compressed OME-TIFF; the file is whole or not there.

    In a TIFF file the planes are Y, X and come last, so that an array of other order is turned. What OME has no type for is
    written as a plain TIFF file.

    Parameters
    ----------
    path : Path
        Ends in ``.tif``; a file that is there is replaced.
    pixels : array
        Numpy, dask or zarr array; large planes are read tile by tile.
    axes : str
        One letter a dimension: T, Z, P, C, Y, X; or S for the red, green and blue of a pixel, which come last.
    name : str
        What the file calls the image.
    pixel_size : (float, float), optional
        Micrometres in Y and X.
    z_step : float, optional
        Micrometres between planes of the axis Z.
    channel_names : sequence of str
        Names along the axis C.
    note : str
        Kept in the file, see :func:`read_note`.
    """
    import tifffile

    order = "".join(axis for axis in axes if axis not in "YXS") + ("YXS" if "S" in axes else "YX")
    shape = tuple(int(pixels.shape[axes.index(axis)]) for axis in order)
    dtype = np.dtype(pixels.dtype)
    # OME knows five axes; another loop is stored as tifffile's Q, which readers show as an unnamed axis.
    metadata: dict[str, Any] = {"axes": order.replace("P", "Q")}
    if ome := dtype.name in _OME_TYPES:
        metadata |= _ome_metadata(name, pixel_size, z_step, channel_names, note)
    photometric = "rgb" if "S" in axes else "minisblack"
    with atomic_write(path) as file:
        if order != axes or "S" in axes or max(shape[-2:]) <= 2 * _TILE:
            turned = np.asarray(pixels).transpose([axes.index(axis) for axis in order])
            tifffile.imwrite(
                file, np.ascontiguousarray(turned), ome=ome, photometric=photometric, compression="zlib", metadata=metadata
            )  # fmt: skip
        else:
            tifffile.imwrite(
                file, _tiles(pixels, shape), shape=shape, dtype=dtype, tile=(_TILE, _TILE), ome=ome, photometric=photometric,
                compression="zlib", metadata=metadata, bigtiff=int(np.prod(shape, dtype=np.int64)) * dtype.itemsize > _BIG,
            )  # fmt: skip


def _ome_metadata(
    name: str, pixel_size: PixelSize | None, z_step: float | None, channel_names: Sequence[str], note: str
) -> dict[str, Any]:
    metadata: dict[str, Any] = {}
    if name:
        metadata["Name"] = readable(name)
    if note:
        metadata["Description"] = note
    if channel_names:
        metadata["Channel"] = {"Name": list(map(readable, channel_names))}
    sizes = {} if pixel_size is None else {"Y": pixel_size[0], "X": pixel_size[1]}
    if z_step is not None:
        sizes["Z"] = z_step
    for axis, size in sizes.items():
        metadata |= {f"PhysicalSize{axis}": size, f"PhysicalSize{axis}Unit": "µm"}
    return metadata


def read_note(path: Path) -> str:
    """Return the note in a file; empty where there is none."""
    import xml.etree.ElementTree as ET

    import tifffile

    try:
        with tifffile.TiffFile(path) as file:
            told = file.ome_metadata
        nodes = ET.fromstring(told).iter() if told else ()
        return next((node.text or "" for node in nodes if node.tag.endswith("}Description")), "")
    except (OSError, ValueError, SyntaxError):  # no TIFF, or a damaged one
        return ""


def _tiles(pixels: Any, shape: tuple[int, ...]) -> Iterator[NDArray[Any]]:
    """Yield the tiles of all planes, row by row; the last ones are filled up with zeros."""
    height, width = shape[-2:]
    for index in np.ndindex(*shape[:-2]):
        for row in range(ceil(height / _TILE)):
            rows = np.asarray(pixels[(*index, slice(row * _TILE, (row + 1) * _TILE))])
            for left in range(0, width, _TILE):
                tile = rows[:, left : left + _TILE]
                yield np.pad(tile, ((0, _TILE - tile.shape[0]), (0, _TILE - tile.shape[1])))
