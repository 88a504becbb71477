"""Masks as their files store them, before anyone has decided what the values mean."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

MANY_COLOURS = 64
_COUNTED_DIRECTLY = 1 << 16
_LOOKED_AT = 400
"""Values of a mask whose pieces are counted; more say nothing new."""
_MIDDLE = 1024
"""Pixels; of a larger plane the pieces in its middle are counted."""


@dataclass(frozen=True)
class StoredMask:
    """The values of a mask file.

    Parameters
    ----------
    name : str
        The file's name, for messages.
    values : ndarray
        (planes..., Y, X) of whole numbers, floats or bool as they are stored; of an image with a palette the indices. In colour
        (planes..., Y, X, 3).
    colour : bool
        Whether the last axis are red, green and blue that differ somewhere.
    alpha : ndarray, optional
        (planes..., Y, X) opacity, 0 to the type's largest value, where it is not the same everywhere.
    lossy : bool
        Whether the format changes values, as JPEG does.
    indexed : bool
        Whether viewers show other values or colours than those stored.
    ignores : bool
        Whether the file says that its largest value means ignored.
    notes : tuple of str
        What the file holds beside, and what was damaged and ignored.
    """

    name: str
    values: NDArray[Any] = field(repr=False)
    colour: bool = False
    alpha: NDArray[Any] | None = field(default=None, repr=False)
    lossy: bool = False
    indexed: bool = False
    ignores: bool = False
    notes: tuple[str, ...] = ()

    @property
    def loops(self) -> tuple[int, ...]:
        """Sizes of the axes before Y and X."""
        return self.values.shape[: -3 if self.colour else -2]

    def plane(self, place: tuple[int, ...]) -> StoredMask:
        """Return one plane of a stack."""
        return replace(self, values=self.values[place], alpha=None if self.alpha is None else self.alpha[place])


@dataclass(frozen=True)
class Evidence:
    """What a mask file holds, in so few words that those of a whole folder can be kept.

    Parameters
    ----------
    name : str
        The file's name.
    shape : tuple of int
        (planes..., Y, X).
    dtype : numpy.dtype
        Of the values.
    fault : str
        Why the file cannot be a mask whatever its values mean; else empty.
    counts : mapping of int to int
        Pixels of each value; for an image in colour of each colour as 0xRRGGBB, and empty where there are too many of them.
    fractions : bool
        Whether some values are not whole numbers.
    colour, lossy, indexed, ignores : bool
        As in :class:`StoredMask`.
    opacity : {"all", "hard", "soft"}
        Opaque everywhere, opaque or transparent, or something in between.
    beneath : mapping of int to int
        The counts of the opaque pixels alone.
    pieces : float, optional
        Share of the values (but 0) that are one connected piece each, 0 to 1; None where nobody has looked.
    edge : float
        Share of the pixels at the plane's edge that are not 0.
    notes : tuple of str
        As in :class:`StoredMask`.
    """

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    fault: str = ""
    counts: Mapping[int, int] = field(default_factory=dict)
    fractions: bool = False
    colour: bool = False
    lossy: bool = False
    indexed: bool = False
    ignores: bool = False
    opacity: str = "all"
    beneath: Mapping[int, int] = field(default_factory=dict)
    pieces: float | None = None
    edge: float = 0.0
    notes: tuple[str, ...] = ()

    @cached_property
    def values(self) -> tuple[int, ...]:
        """The values that occur, background left out, in order."""
        return tuple(sorted(value for value in self.counts if value))

    @property
    def top(self) -> int:
        """The largest value."""
        return max(self.counts, default=0)

    @property
    def bits(self) -> int:
        """Bits a value, 8 for bool."""
        return self.dtype.itemsize * 8


def look(mask: StoredMask, *, pieces: bool = True) -> Evidence:
    """Note what a mask holds; ``pieces`` are counted where they may be needed."""
    values, name = mask.values, mask.name
    shape = values.shape[:-1] if mask.colour else values.shape
    told: dict[str, Any] = {"name": name, "shape": shape, "dtype": values.dtype, "colour": mask.colour, "lossy": mask.lossy}
    told |= {"indexed": mask.indexed, "ignores": mask.ignores, "notes": mask.notes}
    if values.dtype.kind == "f":
        finite = np.isfinite(values)
        if not finite.all():
            what = "infinite values" if np.isinf(values).any() else "NaN"
            return Evidence(**told, fault=(
                f"the mask {name} holds {what}; label values are whole numbers and 0 is the background: save it as whole "
                "numbers, with 255 in 8 bits for pixels to leave out"
            ))  # fmt: skip
        told["fractions"] = bool((np.rint(values) != values).any())
    elif values.dtype.kind not in "bui":
        return Evidence(**told, fault=f"the mask {name} is of type {values.dtype}; label values are whole numbers: save it anew")
    if values.size and values.dtype.kind in "fi" and (low := values.min()) < 0:
        return Evidence(**told, fault=(
            f"the mask {name} holds negative values (down to {low:g}); label values start at 0, the background: write 255 in 8 "
            "bits for pixels to leave out"
        ))  # fmt: skip
    if values.dtype.kind == "f" and values.size and values.max() > 2**53:
        return Evidence(
            **told, fault=f"the mask {name} holds values up to {values.max():g}; label values are small whole numbers"
        )
    numbers = as_numbers(mask)
    told["counts"] = counts = count_values(numbers)
    if mask.colour and len(counts) > MANY_COLOURS:
        told["counts"] = {}
    if mask.alpha is not None:
        opaque = mask.alpha > 0
        told["opacity"] = "soft" if ((mask.alpha > 0) & (mask.alpha < opaque_value(mask.alpha))).any() else "hard"
        told["beneath"] = {} if mask.colour and len(counts) > MANY_COLOURS else count_values(numbers[opaque])
    planes = numbers.reshape(-1, *shape[-2:])
    told["pieces"] = _single_pieces(planes) if pieces and not mask.colour else None
    return Evidence(**told, edge=_painted_edge(planes))


def opaque_value(alpha: NDArray[Any]) -> Any:
    """Return the value of an opaque pixel."""
    return np.iinfo(alpha.dtype).max if alpha.dtype.kind in "ui" else True if alpha.dtype == bool else 1.0


def as_numbers(mask: StoredMask) -> NDArray[Any]:
    """Return whole numbers (planes..., Y, X): values, rounded where they are floats, or colours as 0xRRGGBB."""
    values = mask.values
    if mask.colour:
        if values.dtype.itemsize > 1 and values.dtype.kind in "ui":
            values = values >> (8 * (values.dtype.itemsize - 1))
        red, green, blue = (values[..., place].astype(np.int64) for place in range(3))
        return (red << 16) | (green << 8) | blue
    if values.dtype == bool:
        return values.view(np.uint8)
    return np.rint(values).astype(np.int64) if values.dtype.kind == "f" else values


def count_values(numbers: NDArray[Any]) -> dict[int, int]:
    """Return how often each value occurs."""
    if not numbers.size:
        return {}
    if int(numbers.max()) < _COUNTED_DIRECTLY:
        counts = np.bincount(numbers.ravel())  # without sorting the pixels
        return {int(value): int(counts[value]) for value in np.flatnonzero(counts)}
    values, counts = np.unique(numbers, return_counts=True)
    return dict(zip(values.tolist(), counts.tolist(), strict=True))


def _single_pieces(planes: NDArray[Any]) -> float | None:
    """Return the share of the values that are one connected piece, of planes with several; None where there are none."""
    from scipy import ndimage

    single = looked = 0
    for plane in planes:
        if looked > _LOOKED_AT:
            break
        plane = plane[tuple(slice(max(side - _MIDDLE, 0) // 2, (side + _MIDDLE) // 2) for side in plane.shape)]
        values = np.array([value for value in count_values(plane) if value][:_LOOKED_AT], plane.dtype)
        if values.size < 2:  # whether a single value is an object or a class nobody can tell
            continue
        places = np.minimum(np.searchsorted(values, plane), values.size - 1)
        numbers = np.where(values[places] == plane, places + 1, 0)
        for number, box in enumerate(ndimage.find_objects(numbers), start=1):
            single += ndimage.label(numbers[box] == number, np.ones((3, 3)))[1] == 1
            looked += 1
    return single / looked if looked else None


def _painted_edge(planes: NDArray[Any]) -> float:
    sides = [planes[:, 0], planes[:, -1], planes[:, :, 0], planes[:, :, -1]]
    return float(np.mean(np.concatenate([side.ravel() for side in sides]) > 0)) if planes.size else 0.0
