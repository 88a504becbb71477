"""Settings of a training as options: default, range and help are those of ``TrainSettings``."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from typing import Any, get_args

from napari_resformer.cli.usage import UsageError, comma_list
from napari_resformer.samples.rules import MaskKind
from napari_resformer.training.settings import SettingInfo, TrainSettings, describe_setting, make_settings

SPELLINGS = {"batch_size": "--batch", "crop_size": "--size"}
"""Options that are not called as their setting is."""

MAIN = (
    "preset", "epochs", "patience", "seed", "folds", "val_folds", "mask_classes", "mode", "crop_size", "batch_size", "lr",
    "freeze_encoder",
)  # fmt: skip
FURTHER = tuple(name for name in TrainSettings.model_fields if name not in MAIN)
"""What most people leave as it is."""

_CHOSEN = {"mode", "crop_size"}
"""Settings that follow the model to start from, or the images."""


def spell(name: str) -> str:
    """Return the option of a setting."""
    return SPELLINGS.get(name, f"--{name.replace('_', '-')}")


def add_settings(parser: Any, names: Sequence[str]) -> None:
    """Add options for settings to a parser or to a group of one; what is not given is left out of the namespace's values.

    Parameters
    ----------
    parser : ArgumentParser or argument group
        Where the options go; their values are None where they are not given.
    names : sequence of str
        Fields of :class:`~napari_resformer.training.settings.TrainSettings`.
    """
    for name in names:
        info = describe_setting(name)
        common: dict[str, Any] = {"dest": name, "default": None, "help": _help(info)}
        if bool in (info.kind, *getattr(info.kind, "__args__", ())):
            action = "store_true" if info.kind is bool else argparse.BooleanOptionalAction
            parser.add_argument(spell(name), action=action, **common)
        elif info.choices:
            parser.add_argument(spell(name), choices=info.choices, **common)
        else:
            kind, metavar = _KINDS[info.kind]
            parser.add_argument(spell(name), type=kind, metavar=metavar, **common)


def add_data_options(parser: Any) -> None:
    """Add the options that say how a data folder is read."""
    parser.add_argument("--axes", metavar="AXES", help="axes of the images, for instance CYX, if the files do not name them")
    parser.add_argument(
        "--mask-kind",
        choices=get_args(MaskKind),
        default="auto",
        help="what the mask values mean (default: auto, which looks at the masks)",
    )
    parser.add_argument(
        "--instance-labels",
        action="store_true",
        help="each object has its own label value, and all objects belong to one mask class",
    )
    parser.add_argument("--object-numbers", dest="instance_labels", action="store_true", help=argparse.SUPPRESS)  # of version 0.1


def mask_kind(options: argparse.Namespace) -> MaskKind:
    """Return what was said of the masks.

    Raises
    ------
    UsageError
        If two options say different things.
    """
    told: MaskKind = options.mask_kind
    if options.instance_labels and told not in ("auto", "instances"):
        raise UsageError(f"--instance-labels and --mask-kind {told} contradict each other; give one")
    return "instances" if options.instance_labels else told


def given_settings(options: argparse.Namespace) -> TrainSettings:
    """Return the settings that were given; what was not follows the model to start from, or its default.

    Raises
    ------
    ValueError
        If a value is not allowed.
    """
    given = {key: value for key, value in vars(options).items() if key in TrainSettings.model_fields and value is not None}
    return make_settings(given, spell)


def _number_pair(text: str) -> tuple[float, float]:
    """Parse ``A,B``."""
    low, high = map(float, text.split(","))
    return low, high


_number_pair.__name__ = "pair of numbers"  # what argparse calls it in an error

_KINDS: dict[Any, tuple[Callable[[str], Any], str]] = {
    int: (int, "N"),
    float: (float, "X"),
    tuple[str, ...]: (comma_list, "A,B"),
    tuple[str, ...] | None: (comma_list, "A,B"),
    tuple[float, float]: (_number_pair, "LOW,HIGH"),
}


def _help(info: SettingInfo) -> str:
    text = info.help[:1].lower() + info.help[1:].removesuffix(".").replace("%", "%%")
    if info.default is None or info.default is False or info.default == ():
        return text
    if info.name in _CHOSEN:
        return f"{text} (default: that of --from, or chosen from the images)"
    default = ",".join(map(str, info.default)) if isinstance(info.default, tuple) else info.default
    return f"{text} (default: {default})"
