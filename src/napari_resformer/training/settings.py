"""Everything that decides what a training run does, as one frozen value that is stored with the run.

Each default, range and description is written here once: the command line, Python and the widget take them from here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from types import MappingProxyType
from typing import Annotated, Any, Literal, Self, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from napari_resformer.devices import NumberFormat
from napari_resformer.model.card import Card
from napari_resformer.network.config import PresetName

_RENAMED: Mapping[str, str] = MappingProxyType(
    {
        "batch": "batch_size",
        "size": "crop_size",
        "masked_share": "masked_fraction",
        "average_decay": "ema_decay",
        "surround": "padding",
        "colour": "rgb",
        "colour_jitter": "color_jitter",
    }
)
"""Settings by their names in version 0.1, which run folders and recipes of that version hold."""

_PADDINGS: Mapping[Any, str] = MappingProxyType({"blank": "constant", "mirror": "reflect"})

_KINDS = {"int": "a whole number", "float": "a number", "finite": "a finite number", "bool": "True or False", "string": "text"}

Fraction = Annotated[float, Field(ge=0, le=1)]


class TrainSettings(BaseModel):
    """Settings of a training run; two runs with equal settings on equal data give equal metrics.

    Mode and crop size follow the model to start from, or are chosen from the images, unless they are given. All settings are
    keywords with a default; :func:`describe_setting` tells the range and meaning of each. The names of version 0.1
    (``batch``, ``size``, ``surround``, ...) are still understood.

    Raises
    ------
    ValueError
        If a value is out of range, or two settings exclude each other. It is pydantic's; :func:`make_settings` says the same
        in one sentence.

    Examples
    --------
    >>> settings = TrainSettings(epochs=60, crop_size=192, padding="reflect")
    >>> settings.batch_size
    4
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False, use_attribute_docstrings=True)

    preset: PresetName = "pretrained"
    """A new network. pretrained knows ImageNet already and learns fast; tiny is smaller and starts from nothing; small and paper
    need a GPU."""

    epochs: Annotated[int, Field(ge=1, le=100_000)] = 40
    """How many times training goes through the images."""

    batch_size: Annotated[int, Field(ge=2, le=4096)] = 4
    """Crops in each training step, over all devices together. Smaller takes less memory."""

    crop_size: Annotated[int, Field(ge=32, le=4096)] = 128
    """Side of the training crops (native mode), or of the resized images (resize mode), in pixels."""

    mode: Literal["native", "resize"] = "native"
    """native: crops at the images' own resolution, for small objects. resize: each whole image is scaled to the crop size, for
    large ones."""

    seed: Annotated[int, Field(ge=0, le=2**63 - 1)] = 0
    """Seed of the initial weights, the order of the images, the augmentation and the split."""

    folds: tuple[str, ...] | None = None
    """Folds to train on; all but the validation folds when left out."""

    val_folds: tuple[str, ...] | None = None
    """Folds to validate on; when left out, a part of the training images, drawn by group and stratified by class."""

    lr: Annotated[float, Field(gt=0)] = 1.5e-3
    """Peak learning rate of AdamW."""

    trunk_lr_factor: Annotated[float, Field(gt=0, le=1)] = 0.12
    """Learning rate of a pretrained trunk, as a factor of lr; networks without a trunk are not affected."""

    weight_decay: Annotated[float, Field(ge=0)] = 1e-2
    """Weight decay of AdamW."""

    warmup: Annotated[float, Field(ge=0, lt=1)] = 0.05
    """Fraction of the steps over which the learning rate rises; it then falls by a polynomial of power 0.9."""

    # The paper has 0.25 with other losses; with these, 0.25 leaves classes unlearned that 1 tells apart, at a small cost in
    # Dice (docs/benchmarks.md).
    class_loss_weight: Annotated[float, Field(ge=0)] = 1.0
    """Weight of the classification loss relative to the segmentation loss."""

    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """Label smoothing of the image classes; 0 turns it off. It keeps scores from being overconfident where labels are noisy."""

    balance: Fraction = 0.5
    """How far rare image classes are oversampled: 0 not at all, 1 until all classes are drawn equally often."""

    masked_fraction: Annotated[float, Field(ge=0, lt=1)] = 0.5
    """Where few images have a mask, they are oversampled (at most 8 times) towards this fraction of the crops; 0: never."""

    ema_decay: Annotated[float, Field(ge=0, lt=1)] = 0.995
    """Decay per step of the exponential moving average (EMA) of the weights, which is validated and kept; 0 turns it off."""

    rotation: Annotated[float, Field(ge=0, le=180)] = 180.0
    """Largest rotation of the augmentation, in degrees."""

    zoom: tuple[float, float] = (0.8, 1.25)
    """Smallest and largest zoom of the augmentation; values near 1 are drawn most often."""

    padding: Literal["constant", "reflect"] = "constant"
    """What crops show beyond an image's border. constant: black, masked out for the class and background for the mask.
    reflect: the image's mirror image."""

    color_jitter: Fraction = 0.1
    """Strength of random changes of brightness, contrast and color; 0 turns them off."""

    stain_jitter: Fraction = 0.0
    """Fraction of the RGB crops whose stains are separated and mixed again. For stained tissue that varies between labs."""

    precision: Literal["auto"] | NumberFormat = "auto"
    """Number format of the network while training; auto takes bfloat16 where the hardware is fast at it."""

    mask_classes: tuple[str, ...] = ()
    """Names of the label values 1, 2 and so on; when left out, those of the model to start from, else class 1, class 2, and
    so on."""

    rgb: bool | None = None
    """Whether the model takes RGB images; when left out, the images decide."""

    patience: Annotated[int, Field(ge=0)] = 0
    """Stop after this many epochs without a better score; 0: never."""

    keep: Literal["best", "last"] = "best"
    """Which epoch becomes the model: the best on the validation images, or the last. Choose last where few validation
    images make the best one a matter of luck."""

    freeze_encoder: bool = False
    """Train only the decoder and the class head of the model to start from. Faster, and safer with very few images."""

    def following(self, start: Card | None) -> TrainSettings:
        """Return these settings with mode and crop size taken from the model to start from, where they were not set.

        Parameters
        ----------
        start : Card, optional
            Card of the model to start from; without one nothing changes.
        """
        if start is None:
            return self
        theirs = {"mode": start.input_mode, "crop_size": start.input_size}
        return self.model_copy(update={key: value for key, value in theirs.items() if key not in self.model_fields_set})

    @model_validator(mode="before")
    @classmethod
    def _understand_earlier_names(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        if twice := [old for old, new in _RENAMED.items() if old in given and new in given]:
            raise ValueError(f"{twice[0]} is the earlier name of {_RENAMED[twice[0]]}; give it once")
        named = {_RENAMED.get(key, key): value for key, value in given.items()}
        if "surround" in given and isinstance(given["surround"], str):
            named["padding"] = _PADDINGS.get(given["surround"], given["surround"])
        return named

    @model_validator(mode="after")
    def _patience_needs_a_best_epoch(self) -> Self:
        if self.keep == "last" and self.patience:
            raise ValueError("a run that keeps its last epoch cannot stop at its best one: leave patience at 0, or keep the best")
        return self

    @model_validator(mode="after")
    def _resized_planes_are_padded_with_a_constant(self) -> Self:
        if self.mode == "resize" and self.padding == "reflect":
            raise ValueError("resized planes are padded as in prediction: leave padding at constant, or use native mode")
        return self

    @model_validator(mode="after")
    def _zoom_is_a_range(self) -> Self:
        if not 0 < self.zoom[0] <= self.zoom[1]:
            raise ValueError(f"zoom is {self.zoom}; give two positive numbers, the smaller first")
        return self


@dataclass(frozen=True)
class SettingInfo:
    """What a door needs to know to offer a setting.

    Parameters
    ----------
    name : str
        The field of :class:`TrainSettings`.
    kind : type or typing construct
        What its values are.
    default : object
        Its default.
    minimum, maximum : float, optional
        Range of a number, both ends included; None where there is no such bound, or the bound itself is excluded.
    choices : tuple
        The values that there are to choose from; empty where any will do.
    help : str
        What it does, in plain words.
    """

    name: str
    kind: Any
    default: Any
    minimum: float | None
    maximum: float | None
    choices: tuple[Any, ...]
    help: str


def describe_setting(name: str) -> SettingInfo:
    """Describe a field of :class:`TrainSettings`."""
    field = TrainSettings.model_fields[name]
    bounds = {key: getattr(part, key) for part in field.metadata for key in ("ge", "le") if hasattr(part, key)}
    return SettingInfo(
        name,
        field.annotation,
        field.default,
        bounds.get("ge"),
        bounds.get("le"),
        _choices(field.annotation),
        " ".join((field.description or "").replace("``", "").split()),
    )


def make_settings(values: Mapping[str, Any], spell: Callable[[str], str] = str) -> TrainSettings:
    """Make settings of values that people gave.

    Parameters
    ----------
    values : mapping of str to object
        By the names of the fields.
    spell : callable
        Returns how a field is called where the values come from, for instance ``--batch`` for ``batch_size``.

    Raises
    ------
    ValueError
        If a value is not allowed; the message says which, and what is.
    """
    try:
        return TrainSettings.model_validate(dict(values))
    except ValidationError as error:
        faults = [_fault(dict(found), spell) for found in error.errors()]
        raise ValueError("; ".join(dict.fromkeys(faults))) from error


def _choices(kind: Any) -> tuple[Any, ...]:
    """Return the values of a Literal, or of a union of them."""
    if get_origin(kind) is Literal:
        return get_args(kind)
    parts = [_choices(part) for part in get_args(kind)]
    return tuple(value for part in parts for value in part) if parts and all(parts) else ()


def _fault(found: Mapping[str, Any], spell: Callable[[str], str]) -> str:
    """Put one of pydantic's faults into words."""
    context, where = found.get("ctx", {}), found["loc"]
    if not where:  # two settings exclude each other
        return str(context.get("error", found["msg"]))
    name = str(where[0])
    if found["type"] == "extra_forbidden":
        near = get_close_matches(name, TrainSettings.model_fields, 1)
        return f"there is no setting {spell(name)}" + (f"; do you mean {spell(near[0])}?" if near else "")
    if choices := describe_setting(name).choices:
        return f"{spell(name)} is {found['input']!r}; choose {', '.join(map(str, choices[:-1]))} or {choices[-1]}"
    limits = {"ge": "{} or more", "le": "{} or less", "gt": "more than {}", "lt": "less than {}"}
    wanted = [words.format(context[key]) for key, words in limits.items() if key in context]
    wanted += [words for kind, words in _KINDS.items() if found["type"].startswith(kind)]
    return f"{spell(name)} is {found['input']!r}; it must be {wanted[0]}" if wanted else f"{spell(name)}: {found['msg']}"
