"""The fields of the widget Fine-tune, as magicgui widgets that are reached by name."""

from __future__ import annotations

import textwrap
from typing import Any

from magicgui.widgets import CheckBox, ComboBox, Container, LineEdit, PushButton, SpinBox
from qtpy.QtWidgets import QLabel, QWidget
from superqt import QCollapsible

from napari_resformer.devices import DEVICES
from napari_resformer.training.session import name_fault
from napari_resformer.training.settings import describe_setting
from napari_resformer.widgets.base.fields import narrow

SCRATCH = "from scratch"
TRAIN, RESUME = "Train", "Resume"
AUTOMATIC = "automatic"
"""What is shown where mode or size follow the model to start from, or the images."""
CLASS_LABELS, INSTANCE_LABELS = "mask classes", "instance labels"


def setting_field(setting: str, name: str, label: str, **options: Any) -> Any:
    """Return a field for a setting of :class:`~napari_resformer.training.settings.TrainSettings`.

    Default, range, choices and tooltip are those of the setting.

    Parameters
    ----------
    setting : str
        Which one.
    name, label : str
        How scripts and people call the field.
    options
        More for the field.
    """
    info = describe_setting(setting)
    common = {"name": name, "value": info.default, "tooltip": textwrap.fill(info.help, 80), **options}
    if info.kind is bool:
        return CheckBox(text=label, **common)
    if info.choices:
        return ComboBox(label=label, **{"choices": list(info.choices), **common})
    assert info.minimum is not None
    assert info.maximum is not None
    return SpinBox(label=label, **{"min": int(info.minimum), "max": int(info.maximum), **common})


def make_fields(models: Any) -> list[Any]:
    """Return the fields below the table of pairs, ``run`` left out.

    Parameters
    ----------
    models : callable
        Takes a field and returns the names of the models to start from.
    """
    fields = [
        ComboBox(
            name="model",
            label="Start from",
            choices=models,
            nullable=False,
            tooltip="A model that already knows something needs fewer images than one from scratch.",
        ),
        setting_field("epochs", "epochs", "Epochs"),
        LineEdit(name="model_name", label="Model name", value="my-model", tooltip="Name of the new model in your library"),
        LineEdit(
            name="mask_names",
            label="Mask names",
            tooltip=textwrap.fill(f"Separated by commas. {describe_setting('mask_classes').help}", 80),
        ),
        CheckBox(name="replace", text="Replace the model of this name", value=False, visible=False),
    ]
    narrow(fields)
    fields[3].native.setPlaceholderText("cytoplasm, nucleus")
    return fields


def make_options(device: str) -> Container[Any]:
    """Return the fields that most people leave as they are."""
    options = Container[Any](
        name="more",
        widgets=[
            ComboBox(
                name="label_values",
                label="Labels are",
                choices=[CLASS_LABELS, INSTANCE_LABELS],
                tooltip="mask classes: each label value is a class.\n"
                "instance labels: each object has its own value, and all objects belong to one class.",
            ),
            setting_field("preset", "preset", "Network"),
            setting_field("mode", "mode", "Input", choices=[AUTOMATIC, *describe_setting("mode").choices], value=AUTOMATIC),
            setting_field("crop_size", "crop", "Size", min=0, step=32, value=0),
            setting_field("batch_size", "batch", "Batch size"),
            setting_field("freeze_encoder", "freeze_encoder", "Freeze the encoder"),
            ComboBox(
                name="device", label="Device", choices=list(DEVICES), value=device,
                tooltip="Where the network runs. auto uses a GPU if PyTorch finds one, and the CPU otherwise.",
            ),
        ],
    )  # fmt: skip
    options.margins = (0, 0, 0, 0)
    options.crop.native.setSpecialValueText(AUTOMATIC)  # shown for the least value, 0
    narrow(list(options))
    return options


def make_buttons() -> list[Any]:
    """Return ``run``, ``start_anew`` and ``keep_best``."""
    return [
        PushButton(
            name="run", text=TRAIN, tooltip="Train the model. Press again to cancel; finished epochs are kept and can be resumed."
        ),
        PushButton(
            name="start_anew", text="Start over", visible=False,
            tooltip="Discard the unfinished training and start from the first epoch",
        ),
        PushButton(
            name="keep_best", text="Keep the best model so far", visible=False,
            tooltip="Save the model of the best finished epoch in your library; the training can still be resumed",
        ),
    ]  # fmt: skip


def hide_labels(row: QWidget) -> None:
    """Hide the label of a row, so that its field takes the whole width."""
    for label in row.findChildren(QLabel):
        label.hide()


def fold(folded: QCollapsible, options: QWidget) -> None:
    """Put options into a collapsible, without margins and without an animation."""
    folded.addWidget(options)
    folded.setDuration(0)
    for part in (folded, folded.content()):
        layout = part.layout()
        assert layout is not None
        layout.setContentsMargins(0, 0, 0, 0)


def name_trouble(name: str) -> str:
    """Return why a text cannot be the name of a model; empty if it can."""
    return f"{SCRATCH!r} cannot be the name of a model; choose another" if name == SCRATCH else name_fault(name)
