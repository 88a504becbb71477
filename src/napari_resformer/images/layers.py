"""A napari Image layer to an image with named axes, by duck typing: nothing here imports napari."""

from __future__ import annotations

from typing import Any

from napari_resformer.images.axes import AXES
from napari_resformer.images.image import Image, PixelSize, from_array
from napari_resformer.images.units import micrometres

_WORDS = {
    "time": "T", "frame": "T", "depth": "Z", "slice": "Z", "channel": "C", "channels": "C", "row": "Y", "column": "X",
    "height": "Y", "width": "X", "position": "P", "scene": "P", "stage": "P", "sample": "P",
}  # fmt: skip


def from_layer(layer: Any, axes: str | None = None) -> Image:
    """Name the axes of a layer's data; of a multiscale layer, of its full resolution.

    Parameters
    ----------
    layer : napari.layers.Image
        What to read; only its attributes are used.
    axes : str, optional
        One letter a dimension. When left out, the layer's axis labels, its rgb flag and its shape are asked, in
        that order.

    Raises
    ------
    TypeError, ValueError
        As :func:`~napari_resformer.images.image.from_array`.
    """
    data = layer.data[0] if layer.multiscale else layer.data
    named = axes or axes_from_labels(layer)
    return from_array(data, named, name=layer.name, pixel_size=_pixel_size(layer), rgb=bool(layer.rgb))


def axes_from_labels(layer: Any) -> str | None:
    """Return the axes that a layer's labels name, or None where they do not name all.

    A label is a letter of the axes or a word such as ``time`` or ``channel``. napari's own default labels are
    numbers, and name nothing.
    """
    letters = [_letter(str(label)) for label in layer.axis_labels]
    if None in letters or len(set(letters)) < len(letters) or not {"Y", "X"} <= set(letters):
        return None
    return "".join(letter for letter in letters if letter) + ("C" if layer.rgb else "")


def _letter(label: str) -> str | None:
    label = label.strip().casefold()
    if len(label) == 1 and label.upper() in AXES:
        return label.upper()
    return _WORDS.get(label)


def _pixel_size(layer: Any) -> PixelSize | None:
    """Return micrometres in Y and X where the units of the layer's last two dimensions are lengths."""
    sizes = []
    for scale, unit in zip(layer.scale[-2:], layer.units[-2:], strict=True):
        factor = micrometres(str(unit))
        if factor is None:
            return None
        sizes.append(abs(float(scale)) * factor)
    return sizes[0], sizes[1]
