"""From stored values to label values, by a rule that can be read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from napari_resformer.metrics import IGNORE
from napari_resformer.samples.stored import StoredMask, as_numbers, opaque_value

MaskKind = Literal["auto", "classes", "instances", "binary"]
"""What values stand for: decided by what the masks hold, mask classes, single objects, or everything but background."""

MAX_CLASS = 254


@dataclass(frozen=True)
class MaskRule:
    """How stored values become label values.

    Parameters
    ----------
    kind : {"auto", "classes", "instances", "binary"}
        What values stand for; with "auto" nobody has decided yet.
    ignore : int, optional
        The stored value of pixels that say nothing.
    cut : float
        Of a binary mask: what is above is the one mask class. Where opacity is the mask, a share of full opacity.
    colours : tuple of (int, int)
        Colours as 0xRRGGBB and their label values; all other colours are background. A gray value counts as its colour.
    opacity : {"unused", "background", "mask"}
        What transparent pixels are: like all others, background, or all that is not the one mask class.
    decided : bool
        Whether the rule is final; else each mask is judged alone.
    """

    kind: MaskKind = "auto"
    ignore: int | None = None
    cut: float = 0.0
    colours: tuple[tuple[int, int], ...] = ()
    opacity: Literal["unused", "background", "mask"] = "background"
    decided: bool = False

    def labels(self, stored: StoredMask) -> NDArray[Any]:
        """Return label values, in 8 bits where they fit: 0 is background, :data:`~napari_resformer.metrics.IGNORE` is left out.

        Parameters
        ----------
        stored : StoredMask
            (planes..., Y, X).
        """
        if self.opacity == "mask" and stored.alpha is not None:
            return (stored.alpha > self.cut * opaque_value(stored.alpha)).astype(np.uint8)
        binary = self.kind == "binary"
        numbers = stored.values if binary and stored.values.dtype.kind == "f" else as_numbers(stored)
        if self.colours:
            numbers = _by_colour(numbers if stored.colour else numbers * 0x010101, self.colours)
        if self.opacity == "background" and stored.alpha is not None:
            numbers = np.where(stored.alpha > 0, numbers, 0)
        if binary or self.kind == "instances":
            labels = (numbers > self.cut).astype(np.uint8)
        else:
            labels = _in_few_bits(numbers, self.ignore)
        if self.ignore is not None:
            labels[numbers == self.ignore] = IGNORE
        return labels


UNDECIDED = MaskRule()


def _by_colour(numbers: NDArray[Any], colours: tuple[tuple[int, int], ...]) -> NDArray[Any]:
    labels = np.zeros(numbers.shape, np.uint16)
    for colour, value in colours:
        labels[numbers == colour] = value
    return labels


def _in_few_bits(numbers: NDArray[Any], ignore: int | None) -> NDArray[Any]:
    """Return a copy, in 8 bits where no class needs more; what is to be left out needs none."""
    classes = numbers if ignore is None else np.where(numbers == ignore, 0, numbers)
    return classes.astype(np.uint8 if not classes.size or classes.max() <= MAX_CLASS else classes.dtype)
