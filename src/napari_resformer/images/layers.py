"""A napari Image layer to an image with named axes, by duck typing: nothing here imports napari."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from napari_resformer.images.axes import AXES
from napari_resformer.images.image import Image, from_array
from napari_resformer.images.units import is_time, micrometres

_WORDS = {
    "time": "T", "frame": "T", "frames": "T", "timepoint": "T", "depth": "Z", "slice": "Z", "slices": "Z",
    "channel": "C", "channels": "C", "ch": "C", "wavelength": "C", "row": "Y", "rows": "Y", "column": "X", "columns": "X",
    "height": "Y", "width": "X", "position": "P", "scene": "P", "stage": "P", "sample": "P",
}  # fmt: skip


def from_layer(layer: Any, axes: str | None = None, needed_channels: int = 0) -> Image:
    """Name the axes of a layer's data; of a multiscale layer, of its full resolution, with the others as a pyramid.

    Parameters
    ----------
    layer : napari.layers.Image
        What to read; only its attributes are used.
    axes : str, optional
        One letter a dimension. When left out, the layer's axis labels, its units, its rgb flag and its shape are
        asked.
    needed_channels : int
        Channels that a model cannot do without, asked last; 0 where nobody said.

    Raises
    ------
    TypeError, ValueError
        As :func:`~napari_resformer.images.image.from_array`.
    """
    levels = tuple(layer.data) if layer.multiscale else (layer.data,)
    named = axes or axes_from_labels(layer) or axes_from_units(layer)
    image = from_array(levels[0], named, name=layer.name, rgb=bool(layer.rgb), pyramid=levels, needed_channels=needed_channels)
    sizes = _sizes(layer, image)
    return replace(image, pixel_size=(sizes["Y"], sizes["X"]) if {"Y", "X"} <= sizes.keys() else None, z_step=sizes.get("Z"))


def axes_from_labels(layer: Any) -> str | None:
    """Return the axes that a layer's labels name, or None where they do not name all.

    A label is a letter of the axes or a word such as ``time`` or ``channel``. napari's own default labels are
    numbers, and name nothing.
    """
    letters = [_letter(str(label)) for label in layer.axis_labels]
    if None in letters or len(set(letters)) < len(letters) or not {"Y", "X"} <= set(letters):
        return None
    return "".join(letter for letter in letters if letter) + ("C" if layer.rgb else "")


def axes_from_units(layer: Any) -> str | None:
    """Return the axes of a stack that its units name, or None where they do not name each axis before the plane.

    A unit of time is T, and a length with a step of its own is Z. A length of one a step says nothing: napari gives all
    axes, channels among them, the unit that is given for the layer.
    """
    letters = ""
    for unit, scale in zip(layer.units[:-2], layer.scale[:-2], strict=True):
        letters += "T" if is_time(str(unit)) else "Z" if micrometres(str(unit)) is not None and abs(scale) != 1 else "?"
    if not letters or "?" in letters or len(set(letters)) < len(letters):
        return None
    return letters + "YX" + ("C" if layer.rgb else "")


def _letter(label: str) -> str | None:
    label = label.strip().casefold()
    if len(label) == 1 and label.upper() in AXES:
        return label.upper()
    return _WORDS.get(label)


def _sizes(layer: Any, image: Image) -> dict[str, float]:
    """Return micrometres a step along each axis whose unit is a length."""
    axes = image.axes[: layer.ndim]
    sizes = {}
    for axis, scale, unit in zip(axes, layer.scale, layer.units, strict=True):
        factor = micrometres(str(unit))
        if factor is not None and scale:
            sizes[axis] = abs(float(scale)) * factor
    return sizes
