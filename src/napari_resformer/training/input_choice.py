"""How images come to the network where nobody said: whole or in crops, and at which size, by what is in them."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median
from typing import Literal

from napari_resformer.samples.survey import SampleFacts, Survey
from napari_resformer.training.settings import TrainSettings

FILLS = 0.15
"""A typical object at least so large, as a fraction of the image's side, is seen best with all of its image around it."""
FILLS_A_LARGE_IMAGE = 0.3
"""The same for images of more than :data:`LARGE` pixels, which lose detail when they are scaled to the network's size."""
LARGE = 1024
"""Pixels of the longer side from which an image is large."""

_STEP = 32
_WHOLE = (160, 192)  # least and largest size of a whole image: smaller is coarse, larger is slow on a CPU
_LARGE_WHOLE = 256
_CROPS = (128, 224)
_OBJECTS_ACROSS = 6  # typical objects on the side of a crop


@dataclass(frozen=True)
class InputChoice:
    """How images come to the network.

    Parameters
    ----------
    mode : {"native", "resize"}
        Crops at the images' own resolution, or whole images.
    size : int
        Side of the crops, or of the scaled images, in pixels.
    reason : str
        Why, in words; without a capital letter and a full stop.
    """

    mode: Literal["native", "resize"]
    size: int
    reason: str


def choose_input(facts: Survey, mode: Literal["native", "resize"] | None = None) -> InputChoice:
    """Choose mode and size by the size of the images and of the objects in them.

    Parameters
    ----------
    facts : Survey
        Of the images that are learned from.
    mode : {"native", "resize"}, optional
        Where the mode is settled, and only the size is to be chosen.
    """
    longer = median(max(fact.shape) for fact in facts.facts)
    painted = [fact for fact in facts.facts if fact.object_side]
    filled = median(_filled(fact) for fact in painted) if painted else None
    if mode is None:
        mode = _mode(longer, filled)
    if filled is None:
        reason = f"no objects are annotated, and the images are {longer:.0f} px long"
    else:
        reason = f"a typical object spans {100 * filled:.0f} % of its image"
    if mode == "resize":
        size = _LARGE_WHOLE if longer > LARGE else _rounded(longer, *_WHOLE)
    else:
        wanted = _OBJECTS_ACROSS * median(fact.object_side or 0 for fact in painted) if painted else _CROPS[1]
        shorter = median(min(fact.shape) for fact in facts.facts)
        size = min(_rounded(wanted, *_CROPS), _rounded(shorter, 2 * _STEP, _CROPS[1]))  # more would be padding
    return InputChoice(mode, size, reason)


def with_input(settings: TrainSettings, facts: Survey) -> tuple[TrainSettings, InputChoice | None]:
    """Return settings whose mode and crop size are chosen by the images where they were not given, and the choice.

    Parameters
    ----------
    settings : TrainSettings
        What was given, and what followed from the model to start from.
    facts : Survey
        Of the images that are learned from.
    """
    given = settings.model_fields_set
    if {"mode", "crop_size"} <= given:
        return settings, None
    # Only crops can be continued by their mirror image; who asks for that has settled the mode.
    settled = settings.mode if "mode" in given else "native" if settings.padding == "reflect" else None
    choice = choose_input(facts, settled)
    size = settings.crop_size if "crop_size" in given else choice.size
    return settings.model_copy(update={"mode": choice.mode, "crop_size": size}), choice


def _mode(longer: float, filled: float | None) -> Literal["native", "resize"]:
    if filled is None:
        return "resize" if longer <= LARGE else "native"
    return "resize" if filled >= (FILLS_A_LARGE_IMAGE if longer > LARGE else FILLS) else "native"


def _filled(fact: SampleFacts) -> float:
    return (fact.object_side or 0) / (fact.shape[0] * fact.shape[1]) ** 0.5


def _rounded(pixels: float, least: int, most: int) -> int:
    """Round to a multiple of the networks' stride, within bounds."""
    return int(min(max(round(pixels / _STEP) * _STEP, least), most))
