"""Image files to images with named axes: TIFF, PNG, JPEG, npy and zarr."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from napari_resformer.images.axes import AXES
from napari_resformer.images.image import Image, PixelSize, from_array
from napari_resformer.images.units import micrometres

TIFF = {".tif", ".tiff"}
PICTURES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp"}
SUFFIXES = frozenset(TIFF | PICTURES | {".npy", ".zarr"})

_FROM_TIFFFILE = {"S": "C", "I": "P", "Q": "P", "R": "P"}


def read_image(path: str | Path, axes: str | None = None, pixel_size: PixelSize | None = None) -> Image:
    """Open an image file; the pixels of npy and zarr are read when they are asked for.

    Parameters
    ----------
    path : str or Path
        A file of one of :data:`SUFFIXES`.
    axes : str, optional
        Overrides what the file says.
    pixel_size : (float, float), optional
        Micrometres in Y and X; overrides what the file says.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the format is unknown, the file is damaged, or its axes are ambiguous.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"there is no image {path}")
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise ValueError(f"{path.name} has the unknown format {suffix or '(no suffix)'}; known are {', '.join(sorted(SUFFIXES))}")
    try:
        array, said_axes, said_size = _READERS[suffix](path)
    except (OSError, ValueError, SyntaxError, KeyError, EOFError, TypeError) as error:
        raise ValueError(f"{path.name} cannot be read as an image: {error}") from error
    return from_array(array, axes or said_axes, name=path.stem, pixel_size=pixel_size or said_size)


def read_mask(path: str | Path) -> np.ndarray[Any, np.dtype[Any]]:
    """Read a label image: one plane of non-negative whole numbers.

    Raises
    ------
    ValueError
        If it is in colour, has fractions or negative values, or cannot be read.
    """
    mask = read_image(path, axes=None).data
    name = Path(path).name
    if mask.ndim != 2:
        raise ValueError(
            f"the mask {name} has shape {mask.shape}; one label value a pixel (Y, X) is needed: "
            "save it as a gray or 16-bit label image, not in colour"
        )
    mask = np.asarray(mask)
    if mask.dtype.kind == "f":
        if not np.array_equal(mask, np.rint(mask)):
            raise ValueError(f"the mask {name} holds fractions; label values must be whole numbers, 0 is background")
        mask = mask.astype(np.int64)
    if mask.dtype.kind == "i" and mask.min() < 0:
        raise ValueError(f"the mask {name} holds negative values; label values start at 0, the background")
    return mask


Read = tuple[Any, str | None, PixelSize | None]


def _read_tiff(path: Path) -> Read:
    import tifffile

    with tifffile.TiffFile(path) as file:
        series = file.series[0]
        array = series.asarray()
        axes = "".join(_FROM_TIFFFILE.get(axis, axis) for axis in series.axes)
        known = set(axes) <= set(AXES) and len(set(axes)) == len(axes)
        # tifffile calls an unexplained leading axis Q or I; only named axes are more than a guess.
        named = known and not set(series.axes) & set("QIR")
        return array, (axes if named else None), _tiff_pixel_size(file)


def _tiff_pixel_size(file: Any) -> PixelSize | None:
    if file.is_ome:
        import xml.etree.ElementTree as ET

        pixels = next(
            (node for node in ET.fromstring(file.ome_metadata).iter() if node.tag.endswith("}Pixels")),
            None,
        )
        if pixels is None or "PhysicalSizeX" not in pixels.attrib or "PhysicalSizeY" not in pixels.attrib:
            return None
        factors = [micrometres(pixels.attrib.get(f"PhysicalSize{axis}Unit", "µm")) for axis in "YX"]
        sizes = [float(pixels.attrib[f"PhysicalSize{axis}"]) for axis in "YX"]
        return None if None in factors else (sizes[0] * factors[0], sizes[1] * factors[1])  # type: ignore[operator]
    page = file.pages[0]
    resolution = page.tags.get("XResolution"), page.tags.get("YResolution")
    unit = (file.imagej_metadata or {}).get("unit") if file.is_imagej else None
    if unit is None or None in resolution:
        return None  # a plain TIFF's resolution is that of a printer more often than that of a microscope
    across, down = (tag.value[1] / tag.value[0] for tag in resolution)
    factor = micrometres(unit.replace("\\u00B5", "µ"))
    return (down * factor, across * factor) if factor else None


def _read_picture(path: Path) -> Read:
    import imageio.v3 as imageio

    array = imageio.imread(path, plugin="pillow")  # asked at random, imageio's other plugins warn on a damaged file
    return array, ("YX" if array.ndim == 2 else "YXC" if array.ndim == 3 else None), None


def _read_npy(path: Path) -> Read:
    return np.load(path, mmap_mode="r", allow_pickle=False), None, None


def _read_zarr(path: Path) -> Read:
    import zarr

    node: Any = zarr.open(path, mode="r")
    if isinstance(node, zarr.Array):
        return node, None, None
    multiscales = node.attrs.get("ome", node.attrs).get("multiscales")
    if not multiscales:
        raise ValueError("the zarr group is no OME-Zarr image (no multiscales); give the path of an array in it")
    dataset = multiscales[0]["datasets"][0]
    names = multiscales[0].get("axes", [])
    axes = "".join(axis["name"][:1].upper() for axis in names) or None
    array = node[dataset["path"]]
    return array, axes, _ome_zarr_pixel_size(names, dataset, axes)


def _ome_zarr_pixel_size(names: Any, dataset: Any, axes: str | None) -> PixelSize | None:
    scales = [step["scale"] for step in dataset.get("coordinateTransformations", []) if step["type"] == "scale"]
    if not scales or not axes or not {"Y", "X"} <= set(axes):
        return None
    sizes = []
    for letter in "YX":
        place = axes.index(letter)
        factor = micrometres(names[place].get("unit", ""))
        if factor is None:
            return None
        sizes.append(float(scales[0][place]) * factor)
    return sizes[0], sizes[1]


_READERS = {
    **dict.fromkeys(TIFF, _read_tiff),
    **dict.fromkeys(PICTURES, _read_picture),
    ".npy": _read_npy,
    ".zarr": _read_zarr,
}
