"""Pixel sizes that programs other than OME's write into TIFF files: ImageJ, Aperio, Zeiss LSM, MetaMorph."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from napari_resformer.images.image import PixelSize
from napari_resformer.images.units import micrometres
from napari_resformer.io.numbers import number, positive


@dataclass(frozen=True)
class Facts:
    """What a file says of an image's pixels.

    Parameters
    ----------
    pixel_size : (float, float), optional
        Micrometres in Y and X.
    z_step : float, optional
        Micrometres between planes.
    notes : tuple of str
        What could not be read and was ignored.
    """

    pixel_size: PixelSize | None = None
    z_step: float | None = None
    notes: tuple[str, ...] = ()


def facts_of(file: Any) -> Facts:
    """Return what a file that is no OME-TIFF says; a plain TIFF's resolution is a printer's more often than not.

    Parameters
    ----------
    file : tifffile.TiffFile
        The open file.
    """
    if file.is_imagej:
        return _imagej(file)
    if file.is_svs:
        size = re.search(r"\bMPP\s*=\s*([0-9.,]+)", file.pages[0].description)
        both = positive(size[1]) if size else None
        return Facts((both, both)) if both is not None else Facts()
    if file.is_lsm:
        told = file.lsm_metadata or {}
        return _in_metres(*(told.get(f"VoxelSize{axis}") for axis in "YXZ"))
    if file.is_stk:
        return _metamorph(file.stk_metadata or {})
    return Facts()


def _imagej(file: Any) -> Facts:
    """Return what ImageJ says; it counts pixels a unit, and writes a negative spacing for stacks that run downwards."""
    told = file.imagej_metadata or {}
    notes: list[str] = []
    unit = str(told.get("unit", ""))
    factors = {axis: micrometres(str(told.get(f"{axis}unit", unit))) for axis in "yz"} | {"x": micrometres(unit)}
    tags = file.pages[0].tags
    sizes = {}
    for axis, tag in (("y", "YResolution"), ("x", "XResolution")):
        pair = getattr(tags.get(tag), "value", None)
        pixels, units = pair if isinstance(pair, tuple) and len(pair) == 2 else (None, None)
        many, over, factor = positive(pixels), positive(units), factors[axis]
        if many and over and factor:
            sizes[axis] = over / many * factor
    spacing, step = told.get("spacing"), None
    if spacing is not None and factors["z"] is not None:
        distance = number(spacing)
        step = abs(distance) * factors["z"] if distance else None
        if distance is None:
            notes.append(f"its spacing of planes ({spacing!r}) is no number and was ignored")
    return Facts((sizes["y"], sizes["x"]) if len(sizes) == 2 else None, step, tuple(notes))


def _in_metres(y: Any, x: Any, z: Any) -> Facts:
    height, width, step = (positive(size) for size in (y, x, z))
    plane = (height * 1e6, width * 1e6) if height is not None and width is not None else None
    return Facts(plane, None if step is None else step * 1e6)


def _metamorph(told: Any) -> Facts:
    factor = micrometres(str(told.get("CalibrationUnits", "")))
    height, width = positive(told.get("YCalibration")), positive(told.get("XCalibration"))
    if factor is None or height is None or width is None:
        return Facts()
    return Facts((height * factor, width * factor))
