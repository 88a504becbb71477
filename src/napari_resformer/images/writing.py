"""Masks to label files that other programs open."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from napari_resformer.atomic import atomic_write
from napari_resformer.images.image import Image


def write_mask(mask: Any, image: Image, path: Path) -> None:
    """Write a mask as a compressed OME-TIFF with the image's axes and pixel size; the file is whole or not there.

    Parameters
    ----------
    mask : array
        Labels, of ``image.mask_shape``.
    image : Image
        What it is a mask of.
    path : Path
        Ends in ``.tif``.
    """
    import tifffile

    # OME knows five axes; another loop is stored as tifffile's Q, which readers show as an unnamed axis.
    metadata: dict[str, Any] = {"axes": image.mask_axes.replace("P", "Q"), "Name": image.name}
    if image.pixel_size is not None:
        metadata |= {
            "PhysicalSizeY": image.pixel_size[0],
            "PhysicalSizeYUnit": "µm",
            "PhysicalSizeX": image.pixel_size[1],
            "PhysicalSizeXUnit": "µm",
        }
    with atomic_write(path) as file:
        tifffile.imwrite(file, np.asarray(mask), ome=True, compression="zlib", metadata=metadata)
