"""TIFF files, OME-TIFF and ImageJ's among them; large ones are read where and when pixels are asked for."""

from __future__ import annotations

import weakref
from math import inf
from pathlib import Path
from typing import Any

from napari_resformer.images.axes import AXES
from napari_resformer.images.image import PixelSize
from napari_resformer.images.units import micrometres
from napari_resformer.io.lazy import turned
from napari_resformer.io.metadata import Found
from napari_resformer.io.tiff_samples import samples_of

LAZY_BYTES = 2**28
"""A larger image is not read into memory as a whole."""

_FROM_TIFFFILE = {"S": "C", "I": "P", "Q": "P", "R": "P"}


def read_tiff(path: Path) -> Found:
    """Describe the first image of a TIFF file."""
    import tifffile

    file = tifffile.TiffFile(path)
    try:
        series = file.series[0]
        axes = "".join(_FROM_TIFFFILE.get(axis, axis) for axis in series.axes)
        known = set(axes) <= set(AXES) and len(set(axes)) == len(axes)
        # tifffile calls an unexplained leading axis Q or I; only named axes are more than a guess. OME explains them.
        named = known and (series.kind == "ome" or not set(series.axes) & set("QIR"))
        place = series.axes.find("S")  # of a pixel: they are its channels, whatever the other axes are
        axis = place if place >= 0 else None
        count = 1 if axis is None else series.shape[axis]
        samples, notes = samples_of(series.keyframe, axis, count, is_lut=series.kind in ("imagej", "ome", "lsm"))
        ome = _ome_pixels(file) if file.is_ome else None
        size, step, names = _ome_facts(ome) if ome is not None else (*_imagej_sizes(file), ())
        orientation = int(getattr(series.keyframe.tags.get("Orientation"), "value", 1))
        y, x = series.axes.index("Y"), series.axes.index("X")
        pixels = [_pixels(path, level, number) for number, level in enumerate(series.levels) if level.ndim == series.ndim]
        levels = tuple(turned(level, orientation, y, x) for level in pixels)
    except BaseException:
        file.close()
        raise
    if any(level.nbytes > LAZY_BYTES for level in series.levels):
        weakref.finalize(levels[0], file.close)  # pixels are still to be read
    else:
        file.close()
    return Found(levels, axes if named else _explained(series.axes), size, step, names, samples, notes)


def _explained(axes: str) -> str | None:
    """Return the axes of which at least the samples are explained, with ``?`` for the others; None without any samples."""
    letters = "".join("C" if axis == "S" else axis if axis in "TZYX" else "?" for axis in axes)
    return letters if sorted(axis for axis in letters if axis in "CYX") == ["C", "X", "Y"] else None


def _pixels(path: Path, level: Any, number: int) -> Any:
    import tifffile
    import zarr

    if level.nbytes <= LAZY_BYTES:
        return level.asarray()
    if number == 0 and level.dataoffset is not None:  # neither compressed nor in pieces
        return tifffile.memmap(path, series=0, level=0, mode="r")
    return zarr.open(level.aszarr(level=0), mode="r")


def _ome_pixels(file: Any) -> Any:
    import xml.etree.ElementTree as ET

    return next((node for node in ET.fromstring(file.ome_metadata).iter() if node.tag.endswith("}Pixels")), None)


def _ome_facts(pixels: Any) -> tuple[PixelSize | None, float | None, tuple[str, ...]]:
    """Return pixel size, step in Z and channel names of an OME-TIFF."""
    sizes: dict[str, float] = {}
    for axis in "ZYX":
        factor = micrometres(pixels.attrib.get(f"PhysicalSize{axis}Unit", "µm"))
        if f"PhysicalSize{axis}" in pixels.attrib and factor is not None:
            size = float(pixels.attrib[f"PhysicalSize{axis}"]) * factor
            if 0 < size < inf:  # some programs write 0 where they do not know it
                sizes[axis] = size
    names = tuple(node.attrib.get("Name", "") for node in pixels if node.tag.endswith("}Channel"))
    plane = (sizes["Y"], sizes["X"]) if {"Y", "X"} <= sizes.keys() else None
    return plane, sizes.get("Z"), names if all(names) else ()


def _imagej_sizes(file: Any) -> tuple[PixelSize | None, float | None]:
    """Return pixel size and step in Z of an ImageJ TIFF; a plain TIFF's resolution is a printer's more often than not."""
    told = (file.imagej_metadata or {}) if file.is_imagej else {}
    factor = micrometres(str(told.get("unit", "")).replace("\\u00B5", "µ"))
    tags = file.pages[0].tags
    resolution = tags.get("XResolution"), tags.get("YResolution")
    if factor is None or None in resolution or not all(all(tag.value) for tag in resolution):
        return None, None
    across, down = (tag.value[1] / tag.value[0] * factor for tag in resolution)
    step = float(told["spacing"]) * factor if told.get("spacing") else None
    return (down, across), step
