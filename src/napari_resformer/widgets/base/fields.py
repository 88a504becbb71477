"""The fields of the widget, as magicgui widgets that are reached by name, and what they offer."""

from __future__ import annotations

import re
import textwrap
from typing import Any

from magicgui.widgets import ComboBox, LineEdit, PushButton
from napari.layers import Image
from qtpy.QtWidgets import QComboBox, QHBoxLayout, QLabel, QLineEdit, QWidget

from napari_resformer.devices import DEVICES
from napari_resformer.images.axes import axes_choices
from napari_resformer.images.layers import from_layer
from napari_resformer.model.card import Card

RUN, CANCEL, CANCELLING = "Run", "Cancel", "Cancelling …"


def make_fields(layers: Any, models: Any, regions: Any, device: str) -> list[Any]:
    """Return the fields ``image``, ``model``, ``axes``, ``channels``, ``region``, ``zoom``, ``device`` and ``run``.

    Parameters
    ----------
    layers, models, regions : callable
        Take a field and return what it offers.
    device : str
        What is chosen at first.
    """
    fields = [
        ComboBox(name="image", label="Image", choices=layers, nullable=False, tooltip="The image layer to segment and classify"),
        ComboBox(name="model", label="Model", choices=models, nullable=False),
        LineEdit(
            name="axes",
            label="Axes",
            tooltip="One letter per dimension: T time, Z depth, C channels, Y and X; P for any other, such as positions.\n"
            "Taken from the layer where it says enough. Clear the field to take them from the layer again.",
        ),
        LineEdit(
            name="channels",
            label="Channels",
            tooltip="Channels of the image in the model's order, by number and with commas between them: 0 is the first one.\n"
            "Empty: those that the model needs, where the image has no others.",
        ),
        ComboBox(
            name="region",
            label="Region",
            choices=regions,
            nullable=False,
            tooltip="Which part of the layer to segment. Brightness and scores are then measured on that part alone.",
        ),
        LineEdit(
            name="zoom",
            label="Zoom",
            tooltip="Scales the image for the network. Use 0.5 if your objects are twice as large, in pixels, as those that\n"
            "the model was trained on. Leave it empty to go by the pixel sizes, if image and model state them.",
        ),
        ComboBox(
            name="device",
            label="Device",
            choices=list(DEVICES),
            value=device,
            tooltip="Where the network runs. auto uses a GPU if PyTorch finds one, and the CPU otherwise.",
        ),
        PushButton(name="run", text=RUN, tooltip="Segment and classify the image. Press again to cancel."),
    ]
    narrow(fields)
    return fields


def narrow(fields: list[Any]) -> None:
    """Let fields be narrow: a long name must not decide how narrow the dock can be."""
    for field in fields:
        if isinstance(field.native, QComboBox):
            field.native.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
            field.native.setMinimumContentsLength(6)


def align_labels(*forms: QWidget) -> None:
    """Make the labels left of the fields of these forms equally wide."""
    layouts = [form.layout() for form in forms]
    rows = [layout.itemAt(place).widget() for layout in layouts for place in range(layout.count())]  # type: ignore[union-attr]
    fields = [row for row in rows if row is not None and isinstance(row.layout(), QHBoxLayout)]  # a label and its field
    kinds = (QComboBox, QLineEdit)  # compared with None: an empty list of choices is false
    labels = [row.findChild(QLabel) for row in fields if any(row.findChild(kind) is not None for kind in kinds)]
    width = max(label.sizeHint().width() for label in labels)
    for label in labels:
        label.setFixedWidth(width)


def typed_zoom(text: str) -> float | None:
    """Return the zoom that was typed; None where the field is empty.

    Raises
    ------
    ValueError
        If it is no number.
    """
    if not text.strip():
        return None
    try:
        return float(text.strip().rstrip("×x").replace(",", "."))
    except ValueError:
        raise ValueError(
            f"zoom {text.strip()!r} is not a number; give, for instance, 0.5 if your objects are twice as large, in pixels, as "
            "those that the model was trained on, or leave it empty"
        ) from None


def typed_channels(text: str) -> tuple[str, ...] | None:
    """Return the channels that were typed, with commas, semicolons or spaces between them; None where the field is empty."""
    return tuple(part for part in re.split(r"[,;\s]+", text) if part) or None


def image_layers(layers: Any) -> list[Image]:
    """Return the image layers, the topmost first."""
    return [layer for layer in reversed(list(layers)) if isinstance(layer, Image)]


def others_selected(selection: Any, field: ComboBox) -> tuple[str, ...]:
    """Return in words that images are selected in the layer list that the field does not show."""
    others = [layer for layer in selection if layer in field.choices and layer is not field.value]
    if not others or field.value is None:
        return ()
    return (f"{len(others) + 1} images are selected; only {field.value.name} will be processed",)


def guessed_axes(layer: Any, needed_channels: int) -> str:
    """Return the axes that a layer tells, or it and the model allow to conclude; empty where they are ambiguous."""
    try:
        return from_layer(layer, None, needed_channels).axes
    except (TypeError, ValueError):
        return ""


def axes_hint(layer: Any, needed_channels: int = 0) -> str:
    """Return what to show in the empty field of axes."""
    if guess := guessed_axes(layer, needed_channels):
        return f"{guess}, from the layer"
    data = layer.data[0] if layer.multiscale else layer.data
    choices = axes_choices(tuple(data.shape), rgb=bool(layer.rgb))
    return "for instance " + " or ".join(choices[:2]) if choices else "one letter per dimension"


def model_tooltip(card: Card | None) -> str:
    """Return what a model looks for, in words."""
    if card is None:
        return "The trained model to use"
    lines = [card.summary, f"Mask: {', '.join(card.mask_classes)}"]
    if card.image_classes:
        lines.append(f"Image classes: {', '.join(card.image_classes)}")
    if card.limits:
        lines.append(textwrap.fill(f"Limits: {card.limits}", 80))
    return "\n".join(line for line in lines if line)
