"""Image files to images with named axes: TIFF, pictures, npy and zarr."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import numpy as np

from napari_resformer.images.axes import check_axes, explained_axes
from napari_resformer.images.image import Image, PixelSize, from_array
from napari_resformer.io.colour import as_shown
from napari_resformer.io.judge import UnreadableError
from napari_resformer.io.metadata import Found
from napari_resformer.io.names import ALL, FORMATS, PICTURES, SUFFIXES, TIFF, image_stem, pick, readable, split_choice
from napari_resformer.io.ome_zarr import is_zarr, read_zarr
from napari_resformer.io.pictures import is_picture, read_picture
from napari_resformer.io.tiff import read_tiff

Made = TypeVar("Made")
Reader = Callable[[Path, int | None], Found]

_TIFF_STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_NPY_START = b"\x93NUMPY"


def read_image(path: str | Path, axes: str | None = None, pixel_size: PixelSize | None = None, needed_channels: int = 0) -> Image:
    """Open an image file as viewers show it; the pixels of npy, zarr and large TIFF files are read when they are asked for.

    Parameters
    ----------
    path : str or Path
        A file of one of :data:`SUFFIXES`, or the folder of a zarr array or an OME-Zarr image. Of a file that holds several
        images, ``scan.tif:2`` is the third; without a number it is the first, and a note names the others.
    axes : str, optional
        Overrides what the file says.
    pixel_size : (float, float), optional
        Micrometres in Y and X; overrides what the file says.
    needed_channels : int
        Channels that a model cannot do without, for files that do not name their axes; 0 where nobody said.

    Returns
    -------
    Image
        Gray, or red, green and blue, or channels; its ``notes`` tell what the file holds beside it, what was damaged and
        ignored, and what was done to its values.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the format is unknown, the file is damaged, or its axes are ambiguous.
    TypeError
        If its pixels are not real numbers.
    MemoryError
        If it does not fit into memory.

    Examples
    --------
    >>> import napari_resformer as nr
    >>> image = nr.read_image("cells.tif")
    >>> image.axes, image.data.shape, image.pixel_size
    ('YX', (64, 80), (0.5, 0.5))
    """
    found, shown = _opened(path, as_shown)
    shape, name = shown.levels[0].shape, readable(image_stem(Path(path)))
    try:
        told = check_axes(axes, shape) if axes else explained_axes(shown.axes, shape, needed_channels) if shown.axes else None
        rgb = True if told and shown.colour is not None and told.find("C") == shown.colour else None
        image = from_array(
            shown.levels[0], told, name=name, pixel_size=pixel_size or found.pixel_size, rgb=rgb, z_step=found.z_step,
            channel_names=found.channel_names, pyramid=shown.levels, needed_channels=needed_channels, places=found.places,
            notes=(*found.notes, *shown.notes),
        )  # fmt: skip
    except ValueError as error:
        if name in str(error):
            raise
        raise ValueError(f"{readable(Path(path).name)}: {error}") from error
    return image if pixel_size is None else replace(image, places=())


def find_pixels(path: str | Path) -> Found:
    """Open an image file and return what it says of itself, its pixels as they are stored; raises as :func:`read_image`."""
    return _opened(path, lambda _: None)[0]


def _opened(path: str | Path, make: Callable[[Found], Made]) -> tuple[Found, Made]:
    """Open a file and make something of it; whatever a damaged file raises becomes one sentence."""
    path, chosen = split_choice(path)
    if not path.exists():
        raise FileNotFoundError(f"there is no image {path}")
    if chosen == ALL:
        raise ValueError(f"{path.name}:{ALL} is each image of {path.name}, where one is needed; give the number of one")
    reader = _reader(path)
    name = f"{path.name}:{chosen}" if chosen else path.name
    try:
        found = reader(path, int(chosen) if chosen else None)
        found = replace(found, notes=tuple(note[:1].upper() + note[1:] for note in dict.fromkeys(found.notes)))
        return found, make(found)
    except MemoryError as error:
        raise MemoryError(
            f"{name} does not fit into memory; save it as a tiled TIFF or an OME-Zarr, which are read in parts"
        ) from error
    except UnreadableError as error:
        raise ValueError(f"{name} cannot be read as an image: {error}") from error
    except PermissionError:
        raise
    except Exception as error:  # a damaged file makes its decoder raise anything, zlib's own errors among them
        said = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(f"{name} cannot be read as an image: it is damaged or was cut off ({said}); copy it again") from error


def _reader(path: Path) -> Reader:
    """Return what reads a file: by its first bytes, since names lie, and else by its suffix."""
    if path.is_dir():
        if is_zarr(path):
            return read_zarr
        what = "without zarr metadata (zarr.json, .zarray, .zgroup)" if path.suffix == ".zarr" else "of files"
        raise ValueError(f"{path.name} is a folder {what}, and no image; give an image")
    with path.open("rb") as file:
        head = file.read(16)
    suffix = path.suffix.lower()
    for reader, is_meant in (
        (read_tiff, head.startswith(_TIFF_STARTS)),
        (read_picture, is_picture(head)),
        (_read_npy, head.startswith(_NPY_START)),
        (read_tiff, suffix in TIFF),
        (read_picture, suffix in PICTURES),
        (_read_npy, suffix == ".npy"),
    ):
        if is_meant:
            return reader
    if suffix == ".zarr":
        raise ValueError(f"{path.name} is a file, a zarr image is a folder; unpack it first")
    raise ValueError(f"{path.name} is of a format that cannot be read ({suffix or 'no suffix'}); give {FORMATS}")


def _read_npy(path: Path, chosen: int | None) -> Found:
    pick(path.name, ["its array"], chosen)
    return Found((np.load(path, mmap_mode="r", allow_pickle=False),))


__all__ = ["PICTURES", "SUFFIXES", "TIFF", "find_pixels", "image_stem", "read_image"]
