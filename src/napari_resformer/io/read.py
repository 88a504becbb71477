"""Image files to images with named axes: TIFF, PNG, JPEG, npy and zarr."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from napari_resformer.images.axes import check_axes, explained_axes
from napari_resformer.images.image import Image, PixelSize, from_array
from napari_resformer.io.metadata import Found
from napari_resformer.io.ome_zarr import is_zarr, read_zarr
from napari_resformer.io.tiff import read_tiff

TIFF = {".tif", ".tiff"}
_NO_RGB = {"CMYK", "YCbCr", "LAB", "HSV"}
"""Colours of a picture that are not red, green and blue."""
PICTURES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp"}
SUFFIXES = frozenset(TIFF | PICTURES | {".npy", ".zarr"})


def read_image(path: str | Path, axes: str | None = None, pixel_size: PixelSize | None = None, needed_channels: int = 0) -> Image:
    """Open an image file; the pixels of npy, zarr and large TIFF files are read when they are asked for.

    Parameters
    ----------
    path : str or Path
        A file of one of :data:`SUFFIXES`, or the folder of a zarr array or an OME-Zarr image.
    axes : str, optional
        Overrides what the file says.
    pixel_size : (float, float), optional
        Micrometres in Y and X; overrides what the file says.
    needed_channels : int
        Channels that a model cannot do without, for files that do not name their axes; 0 where nobody said.

    Returns
    -------
    Image
        With its axes, and with pixel size and channel names where the file tells them.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the format is unknown, the file is damaged, or its axes are ambiguous.

    Examples
    --------
    >>> import napari_resformer as nr
    >>> image = nr.read_image("cells.tif")
    >>> image.axes, image.data.shape, image.pixel_size
    ('YX', (64, 80), (0.5, 0.5))
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"there is no image {path}")
    suffix = ".zarr" if is_zarr(path) else path.suffix.lower()
    if suffix not in SUFFIXES:
        raise ValueError(f"{path.name} has the unknown format {suffix or '(no suffix)'}; known are {', '.join(sorted(SUFFIXES))}")
    try:
        found = _READERS[suffix](path)
    except Exception as error:  # a damaged file makes its decoder raise anything, zlib's own errors among them
        said = str(error) or type(error).__name__
        raise ValueError(f"{path.name} cannot be read as an image: {said}") from error
    shape = found.levels[0].shape
    told = check_axes(axes, shape) if axes else explained_axes(found.axes, shape, needed_channels) if found.axes else None
    rgb = True if told and found.colour is not None and told.find("C") == found.colour else None
    return from_array(
        found.levels[0], told, name=image_stem(path), pixel_size=pixel_size or found.pixel_size, rgb=rgb,
        z_step=found.z_step, channel_names=found.channel_names, pyramid=found.levels, needed_channels=needed_channels,
    )  # fmt: skip


def image_stem(path: Path) -> str:
    """Return a file's name without its suffix; ``.ome.zarr`` and ``.ome.tif`` are one."""
    return path.stem.removesuffix(".ome") if path.suffix.lower() in TIFF | {".zarr"} else path.stem


def _read_picture(path: Path) -> Found:
    import imageio.v3 as imageio

    file: Any  # imageio's own type does not know the plugin's options; asked at random, other plugins warn on a damaged file
    with imageio.imopen(path, "r", plugin="pillow") as file:
        mode = file.metadata(index=0).get("mode")
        array = file.read(mode="RGB") if mode in _NO_RGB else file.read()
    if mode == "LA":
        array = array[..., 0]  # what is transparent is no channel
    if array.ndim == 4 and len(array) == 1:  # a GIF has frames, be it one
        array = array[0]
    return Found((array,), {2: "YX", 3: "YXC", 4: "TYXC"}.get(array.ndim))


def _read_npy(path: Path) -> Found:
    return Found((np.load(path, mmap_mode="r", allow_pickle=False),))


_READERS: dict[str, Callable[[Path], Found]] = {
    **dict.fromkeys(TIFF, read_tiff),
    **dict.fromkeys(PICTURES, _read_picture),
    ".npy": _read_npy,
    ".zarr": read_zarr,
}
