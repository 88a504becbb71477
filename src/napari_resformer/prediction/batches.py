"""What goes through the network at once: which tiles of which planes, and their pixels, read and normalised."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from napari_resformer.prediction.plan import Plan
from napari_resformer.prediction.tiles import Tile
from napari_resformer.preprocessing.geometry import padded
from napari_resformer.preprocessing.normalise import NoFinitePixelError, blank
from napari_resformer.preprocessing.pipeline import PreparedPlane


@dataclass(frozen=True)
class Place:
    """Where a run stands: number of the plane, and its first row, as the network sees it, that is not final."""

    plane: int = 0
    row: int = 0


@dataclass(frozen=True)
class Pass:
    """Tiles that go through the network together: neighbours in a row of one plane, or one whole plane each.

    Parameters
    ----------
    planes : tuple of int
        Number of each tile's plane.
    tiles : tuple of Tile
        Equal in shape and in the phase of their attention windows.
    then : Place, optional
        Where the run stands after it, if it ends a row.
    """

    planes: tuple[int, ...]
    tiles: tuple[Tile, ...]
    then: Place | None


def passes(plan: Plan, place: Place, tile: int, batch: int) -> Iterator[Pass]:
    """Yield all that is left to do from a place on, with tiles of a size and at most so many at once."""
    cut, shape = plan.cut(tile), plan.grid.target
    plane, row = place.plane, place.row
    while plane < plan.planes:
        if row == 0 and cut.count(shape) == 1:
            together = range(plane, min(plane + batch, plan.planes))
            (only,) = next(cut.rows(shape))
            plane = together.stop
            yield Pass(tuple(together), (only,) * len(together), Place(plane))
            continue
        for tiles in cut.rows(shape, row):
            span = tiles[0].rows
            row = row + tile if span.stop < shape[0] else 0
            following = Place(plane, row) if row else Place(plane + 1)
            groups = list(_groups(tiles, plan.card.network.grid, batch))
            for number, group in enumerate(groups, start=1):
                yield Pass((plane,) * len(group), tuple(group), following if number == len(groups) else None)
        plane, row = plane + 1, 0


def left(plan: Plan, place: Place, tile: int) -> int:
    """Return how many tiles are left to do from a place on."""
    cut, shape = plan.cut(tile), plan.grid.target
    if place.plane >= plan.planes:
        return 0
    return cut.count(shape, place.row) + (plan.planes - place.plane - 1) * cut.count(shape)


def _groups(row: list[Tile], grid: int, batch: int) -> Iterator[list[Tile]]:
    """Yield runs of neighbouring tiles that can share a pass: equal in shape and in the phase of their windows."""
    group: list[Tile] = []
    for tile in row:
        fits = group and tile.shape == group[0].shape and (tile.origin[1] - group[0].origin[1]) % grid == 0
        if group and (not fits or len(group) == batch):
            yield group
            group = []
        group.append(tile)
    yield group


@dataclass(frozen=True)
class Inputs:
    """What the network takes for a pass: pixels (B, C, H, W), and (B, 1, H, W) which of them each tile owns."""

    pixels: torch.Tensor
    owned: torch.Tensor


class Reader:
    """Reads passes; keeps the plane that it read last, since all tiles of a plane share its statistics.

    Parameters
    ----------
    plan : Plan
        What is read.
    blank : set of int
        Takes the numbers of planes that show nothing: all their pixels have one value, or none is finite.
    """

    def __init__(self, plan: Plan, blank: set[int]) -> None:
        self._plan, self._blank = plan, blank
        self._indices = list(plan.image.plane_indices())
        self._last: tuple[int, PreparedPlane] | None = None

    def read(self, one: Pass) -> Inputs:
        """Read a pass; in page-locked memory where the network runs on CUDA, so that it can be sent in the background."""
        plan, seen = self._plan, one.tiles[0].shape
        parts = [self._tile(plane, tile) for plane, tile in zip(one.planes, one.tiles, strict=True)]
        pixels = padded(parts, plan.card.preprocessor.frame(seen, plan.grid.target))
        owned = np.zeros((len(parts), 1, *pixels.shape[2:]), np.float32)
        for place, tile in enumerate(one.tiles):
            owned[place, 0, : seen[0], : seen[1]] = tile.owned()
        inputs = Inputs(torch.from_numpy(pixels), torch.from_numpy(owned))
        if plan.device.name.startswith("cuda"):
            return Inputs(inputs.pixels.pin_memory(), inputs.owned.pin_memory())
        return inputs

    def _tile(self, number: int, tile: Tile) -> NDArray[np.float32]:
        """Read a tile as (C, height, width), -1 to 1."""
        if self._last is None or self._last[0] != number:
            self._last = number, self._prepared(number)
        return self._last[1].read(tile.rows.read, tile.columns.read)

    def _prepared(self, number: int) -> PreparedPlane:
        plan, index = self._plan, self._indices[number]
        plane = plan.prepared(number, index)
        try:
            if plane.scaling.constant:
                self._blank.add(number)
        except NoFinitePixelError:
            if plan.planes == 1:
                raise
            self._blank.add(number)
            return plan.prepared(number, index, blank(plan.channels))  # a frame that was dropped must not cost those before it
        return plane
