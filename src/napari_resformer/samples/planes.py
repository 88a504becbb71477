"""Which planes a file of a data folder holds; its pixels are read only where its description leaves it open."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from napari_resformer.images.axes import AXES
from napari_resformer.io.read import PICTURES, TIFF, read_image


def loops_of(path: Path, axes: str | None = None) -> tuple[str, tuple[int, ...]]:
    """Return the loop axes of a file and their sizes; empty for a file of one plane, or one that cannot be read.

    What is wrong with a file is said when its pixels are asked for, together with that of all others.
    """
    try:
        if _is_one_plane(path, axes):
            return "", ()
        image = read_image(path, axes)
    except (ValueError, TypeError, OSError, MemoryError):
        return "", ()
    if max(image.loop_shape, default=1) == 1:
        return "", ()
    return "".join(image.loop_axes), tuple(image.loop_shape)


def _is_one_plane(path: Path, axes: str | None) -> bool:
    """Return whether a file surely holds one plane, by its head alone."""
    suffix = path.suffix.lower()
    if axes is not None and not set(axes.upper()) - set("CYX"):
        return True
    if suffix in TIFF:
        return _tiff_is_one_plane(path)
    if suffix in PICTURES:
        from PIL import Image

        with Image.open(path) as picture:
            return getattr(picture, "n_frames", 1) == 1
    if suffix == ".npy":
        return np.load(path, mmap_mode="r", allow_pickle=False).ndim < 3
    return False


def _tiff_is_one_plane(path: Path) -> bool:
    import tifffile

    try:
        with tifffile.TiffFile(path) as file:
            if len(file.series) > 1:
                return False  # the reader knows which of them is meant
            series = file.series[0]
            long = "".join(axis for axis, size in zip(series.axes, series.shape, strict=True) if size > 1 or axis in "YX")
            if len(file.pages) == 1 and not file.is_imagej:
                return True  # of a set of files each stands for its own page
    except Exception:  # noqa: BLE001  a damaged file makes tifffile raise anything; it is named where it is read
        return True
    return not set(long) - set("SYX") or (set(long) <= set(AXES) and not set(long) - set("SCYX"))
