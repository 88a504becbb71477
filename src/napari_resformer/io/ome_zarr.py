"""zarr arrays and OME-Zarr images, 0.4 and 0.5 and what came before; pixels are read when they are asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from napari_resformer.images.axes import AXES
from napari_resformer.images.units import micrometres
from napari_resformer.io.metadata import Found

_MARKS = ("zarr.json", ".zarray", ".zgroup")


def is_zarr(path: Path) -> bool:
    """Return whether a folder is a zarr array or group."""
    return path.is_dir() and any((path / mark).exists() for mark in _MARKS)


def read_zarr(path: Path) -> Found:
    """Describe an array, or the first image of an OME-Zarr group.

    Raises
    ------
    ValueError
        If the group holds no image.
    """
    import zarr

    node: Any = zarr.open(path, mode="r")
    if isinstance(node, zarr.Array):
        return Found((node,))
    told = node.attrs.get("ome", node.attrs)
    if not told.get("multiscales"):
        raise ValueError("the zarr group is no OME-Zarr image (no multiscales); give the path of an image or an array in it")
    image = told["multiscales"][0]
    # Before 0.4 an axis was its name alone, and before 0.3 the axes were always the same.
    axes = [axis if isinstance(axis, dict) else {"name": axis} for axis in image.get("axes", [])]
    letters = "".join(map(_letter, axes))
    levels = tuple(node[dataset["path"]] for dataset in image["datasets"])
    if not letters and levels[0].ndim == 5:
        letters = "TCZYX"
    usable = len(set(letters)) == len(letters) == levels[0].ndim
    scale = _scale(image["datasets"][0], image, levels[0].ndim)
    sizes: dict[str, float] = {}
    for letter, axis, step in zip(letters, axes, scale, strict=False):
        factor = micrometres(str(axis.get("unit", "")))
        if factor is not None and step > 0:
            sizes[letter] = step * factor
    names = tuple(str(channel.get("label", "")) for channel in (told.get("omero") or {}).get("channels") or [])
    return Found(
        levels, letters if usable else None,
        (sizes["Y"], sizes["X"]) if {"Y", "X"} <= sizes.keys() else None, sizes.get("Z"), names if all(names) else (),
    )  # fmt: skip


def _letter(axis: dict[str, Any]) -> str:
    kind, name = axis.get("type"), str(axis.get("name", "")).upper()
    if kind in ("time", "channel"):
        return "T" if kind == "time" else "C"
    return name if name in AXES and name else "P"


def _scale(dataset: dict[str, Any], image: dict[str, Any], ndim: int) -> list[float]:
    """Return the size of a pixel of the full resolution, an axis: the dataset's own, times that of the whole image."""
    scale = [1.0] * ndim
    for steps in (dataset.get("coordinateTransformations", []), image.get("coordinateTransformations", [])):
        for step in steps:
            if step.get("type") == "scale" and len(step.get("scale", ())) == ndim:
                scale = [before * float(after) for before, after in zip(scale, step["scale"], strict=True)]
    return scale
