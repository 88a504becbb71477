"""The fields of the widget Fine-tune, as magicgui widgets that are reached by name."""

from __future__ import annotations

from typing import Any

from magicgui.widgets import CheckBox, ComboBox, Container, LineEdit, PushButton, SpinBox

from napari_resformer.devices import DEVICES
from napari_resformer.network.config import PRESETS
from napari_resformer.widgets.base.fields import narrow

SCRATCH = "from scratch"
TRAIN, RESUME = "Train", "Resume"
VALUES_ARE_CLASSES, VALUES_ARE_OBJECTS = "mask classes", "object numbers"


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
        SpinBox(name="epochs", label="Epochs", value=30, min=1, max=100_000, tooltip="How often each image is learned from"),
        LineEdit(name="model_name", label="Model name", value="my-model", tooltip="What to call the new model in your library"),
        LineEdit(
            name="mask_names",
            label="Mask names",
            tooltip="What the label values 1, 2, ... mean, separated by commas.\n"
            "Empty: as in the model to start from, or class 1, class 2, ...",
        ),
        CheckBox(name="replace", text="Replace the model of this name", value=False, visible=False),
    ]
    narrow(fields)
    fields[3].native.setPlaceholderText("for instance cytoplasm, nucleus")
    return fields


def make_options(device: str) -> Container[Any]:
    """Return the fields that most people leave as they are."""
    options = Container[Any](
        name="more",
        widgets=[
            ComboBox(
                name="label_values",
                label="Labels are",
                choices=[VALUES_ARE_CLASSES, VALUES_ARE_OBJECTS],
                tooltip="mask classes: each label value is a class of its own.\n"
                "object numbers: each object has its number, and all are of one class.",
            ),
            ComboBox(
                name="preset", label="Network", choices=list(PRESETS),
                tooltip="Size of a network from scratch; tiny is made for a CPU",
            ),
            SpinBox(
                name="crop", label="Crop", value=128, min=32, max=4096, step=32,
                tooltip="Side, in pixels, of what is learned from at once; objects and some surroundings should fit in",
            ),
            SpinBox(name="batch", label="Batch", value=4, min=2, max=512, tooltip="Crops a step; fewer need less memory"),
            ComboBox(
                name="mode", label="Input", choices=["native", "resize"],
                tooltip="native: crops at the images' own pixels, for microscopy.\n"
                "resize: each plane is brought to the size of the crop, for objects that fill the image.",
            ),
            CheckBox(
                name="freeze_encoder", text="Keep the encoder as it is", value=False,
                tooltip="Only decoder and class head learn: faster, and safer with very few images",
            ),
            ComboBox(
                name="device", label="Device", choices=list(DEVICES), value=device,
                tooltip="Where the network runs. auto: the graphics card that PyTorch finds, else the CPU.",
            ),
        ],
    )  # fmt: skip
    options.margins = (0, 0, 0, 0)
    narrow(list(options))
    return options


def make_buttons() -> list[Any]:
    """Return ``run`` and ``start_anew``."""
    return [
        PushButton(name="run", text=TRAIN, tooltip="Train the model. Press again to cancel; what was learned is kept to resume."),
        PushButton(
            name="start_anew",
            text="Start anew",
            visible=False,
            tooltip="Forget the unfinished training and begin from the first epoch",
        ),
    ]


def name_fault(name: str) -> str:
    """Return why a text cannot be the name of a model; empty if it can."""
    if not name:
        return "the model has no name; type one"
    if name == SCRATCH or name.startswith(".") or name.endswith(".") or any(letter in name for letter in '/\\:*?"<>|'):
        return f'{name!r} cannot be the name of a model, which is also a file; leave out / \\ : * ? " < > | and dots at the ends'
    if len(name.encode()) > 200:
        return "the name of the model is too long; give at most 200 letters"
    return ""
