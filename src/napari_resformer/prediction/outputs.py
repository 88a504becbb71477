"""What a prediction can be asked for, and where it goes: memory, a zarr array or an OME-Zarr pyramid."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil, prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_resformer.images.image import Image
from napari_resformer.io.ome_zarr_writer import OME_SUFFIX, SUFFIX, create_array, create_pyramid
from napari_resformer.model.card import Card
from napari_resformer.prediction.plan import Plan
from napari_resformer.prediction.stitch import Block

LABELS = 256
"""Values that a mask of uint8 can have."""


def labels(logits: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Return the class with the largest logit (classes, rows, columns) of each pixel; of equal ones the first."""
    found = np.zeros(logits.shape[1:], np.uint8)
    highest = logits[0].copy()
    for value, values in enumerate(logits[1:], start=1):  # several times as fast as argmax along the first axis
        found[values > highest] = value
        np.maximum(highest, values, out=highest)
    return found


def softmax(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return logits (classes, rows, columns) as probabilities that sum to 1 at each pixel."""
    values = np.exp(logits - logits.max(0))
    values /= values.sum(0)
    return values


@dataclass(frozen=True)
class Kind:
    """An output by name.

    Parameters
    ----------
    name : str
        What it is asked for by.
    dtype : str
        Of its values.
    per_class : bool
        Whether it has an axis of the background and the mask classes, which comes first.
    values : callable
        Takes logits (classes, rows, columns) and returns values (rows, columns), or (classes, rows, columns).
    """

    name: str
    dtype: str
    per_class: bool
    values: Callable[[NDArray[np.float32]], NDArray[Any]]


KINDS = {
    "mask": Kind("mask", "uint8", per_class=False, values=labels),
    "probabilities": Kind("probabilities", "float32", per_class=True, values=softmax),
}
"""The outputs that there are; the order is that of their files."""
NOT_YET = ("objects", "heatmap")
"""Outputs that have a name already."""


def check_outputs(wanted: Sequence[str]) -> tuple[str, ...]:
    """Return the names of outputs, each once and in the order of :data:`KINDS`.

    Parameters
    ----------
    wanted : sequence of str
        Names; scores are always there, and may be all that is wanted.

    Raises
    ------
    ValueError
        If a name is unknown, or the output is not available yet.
    """
    names = (wanted,) if isinstance(wanted, str) else tuple(wanted)
    for name in names:
        if name in NOT_YET:
            raise ValueError(f"the output {name!r} is not yet available; choose {' or '.join(KINDS)}")
        if name not in KINDS:
            raise ValueError(f"there is no output {name!r}; choose {' or '.join(KINDS)}")
    return tuple(name for name in KINDS if name in names)


def class_names(card: Card) -> tuple[str, ...]:
    """Return the names along the class axis of an output."""
    return ("background", *card.mask_classes)


def output_bytes(plan: Plan, names: Sequence[str]) -> int:
    """Return how many bytes the outputs of a plan have."""
    classes = len(class_names(plan.card))
    values = sum(np.dtype(KINDS[name].dtype).itemsize * (classes if KINDS[name].per_class else 1) for name in names)
    return prod(plan.image.mask_shape) * values


def places(out: str | Path, names: Sequence[str]) -> dict[str, Path]:
    """Return the store of each output: the first is ``out``, further ones lie beside it and are named after it.

    ``cells.zarr`` is joined by ``cells_probabilities.zarr``, and so is ``cells_mask.zarr``.

    Raises
    ------
    ValueError
        If ``out`` is not named as a zarr store, or there is no output to write.
    """
    folder = Path(out)
    if folder.suffix != SUFFIX:
        raise ValueError(f"out is {folder.name}; outputs are written to a zarr store, name it so: {folder.stem}{SUFFIX}")
    if not names:
        raise ValueError(f"out is {folder.name}, but no output was asked for that could be written to it; leave one out")
    suffix = OME_SUFFIX if folder.name.endswith(OME_SUFFIX) else SUFFIX
    stem = folder.name.removesuffix(suffix).removesuffix(f"_{names[0]}")
    return {name: folder if name == names[0] else folder.with_name(f"{stem}_{name}{suffix}") for name in names}


@dataclass(frozen=True)
class Target:
    """The arrays that an output is written to.

    Parameters
    ----------
    kind : Kind
        The output.
    image : Image
        What it is an output of.
    axes : str
        One letter an axis of the arrays; C is the class axis.
    levels : tuple of array
        The full resolution, and then half of the one before, where it is a pyramid.
    """

    kind: Kind
    image: Image
    axes: str
    levels: tuple[Any, ...]

    @property
    def array(self) -> Any:
        """The full resolution with the class axis, if there is one, first."""
        place = self.axes.find("C")
        if place <= 0:
            return self.levels[0]
        import dask.array as da

        return da.moveaxis(da.from_array(self.levels[0], chunks=self.levels[0].chunks), place, 0)

    def write(self, index: tuple[int, ...], rows: slice, columns: slice, values: NDArray[Any]) -> None:
        """Write a part of a plane, (rows, columns) or (classes, rows, columns), into all levels."""
        for level, array in enumerate(self.levels):
            step = 2**level
            part = values[..., -rows.start % step :: step, -columns.start % step :: step]
            if part.size:
                top, left = ceil(rows.start / step), ceil(columns.start / step)
                place: dict[str, int | slice] = dict(zip(self.image.loop_axes, index, strict=True))
                place |= {"C": slice(None), "Y": slice(top, top + part.shape[-2]), "X": slice(left, left + part.shape[-1])}
                array[tuple(place[axis] for axis in self.axes)] = part if self.image.rows_first else part.swapaxes(-1, -2)


def memory_target(kind: Kind, image: Image, card: Card) -> Target:
    """Return an output that stays in memory."""
    axes, shape = _layout(kind, image, card)
    return Target(kind, image, axes, (np.zeros(shape, kind.dtype),))


def stored_target(kind: Kind, image: Image, card: Card, folder: Path, chunk: int, attributes: dict[str, Any]) -> Target:
    """Make the store of an output.

    Parameters
    ----------
    kind, image, card
        What it is, and of what.
    folder : Path
        Ends in ``.zarr`` for an array, in ``.ome.zarr`` for an OME-Zarr pyramid.
    chunk : int
        Pixels on a side that are final at once.
    attributes : dict
        Attributes of the store.
    """
    axes, shape = _layout(kind, image, card, ome=folder.name.endswith(OME_SUFFIX))
    if not folder.name.endswith(OME_SUFFIX):
        levels = create_array(folder, shape, axes, kind.dtype, chunk=chunk, attributes=attributes)
    else:
        names = class_names(card) if kind.per_class else ()
        levels = create_pyramid(
            folder, image, shape, axes, kind.dtype, chunk=chunk, attributes=attributes, channel_names=names
        )  # fmt: skip
    return Target(kind, image, axes, levels)


def reopened_target(kind: Kind, image: Image, card: Card, folder: Path, levels: tuple[Any, ...]) -> Target:
    """Return an output whose store was made by an earlier run."""
    return Target(kind, image, _layout(kind, image, card, ome=folder.name.endswith(OME_SUFFIX))[0], levels)


def _layout(kind: Kind, image: Image, card: Card, *, ome: bool = False) -> tuple[str, tuple[int, ...]]:
    """Return axes and shape; OME-Zarr wants time before channels, else the class axis is the first."""
    axes = image.mask_axes
    if kind.per_class:
        place = 1 if ome and axes.startswith("T") else 0
        axes = f"{axes[:place]}C{axes[place:]}"
    return axes, tuple(len(class_names(card)) if axis == "C" else image.size(axis) for axis in axes)


class Outputs:
    """Takes final logits block by block and writes what was asked for; counts the pixels of each mask value.

    A row of tiles counts when it is ended. Before, it can be begun again: its pixels are then written once more.

    Parameters
    ----------
    targets : mapping of str to Target
        By the outputs' names.
    """

    def __init__(self, targets: Mapping[str, Target]) -> None:
        self.targets = dict(targets)
        self.pixels: NDArray[np.int64] = np.zeros(LABELS, np.int64)
        """How many pixels of the rows that are final have each value."""
        self._of_row: NDArray[np.int64] = np.zeros(LABELS, np.int64)

    def write(self, index: tuple[int, ...], block: Block) -> None:
        """Write a part of the plane at a position on the loop axes."""
        for name, target in self.targets.items():
            values = target.kind.values(block.logits)
            target.write(index, block.rows, block.columns, values)
            if name == "mask":
                self._of_row += np.bincount(values.reshape(-1), minlength=LABELS)

    def restart_row(self) -> None:
        """Forget the counts since the last row was ended."""
        self._of_row = np.zeros(LABELS, np.int64)

    def end_row(self) -> None:
        """Count the row."""
        self.pixels = self.pixels + self._of_row
        self.restart_row()
