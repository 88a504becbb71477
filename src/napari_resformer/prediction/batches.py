"""What goes through the network at once: which tiles of which planes, and their pixels, read and normalised."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from napari_resformer.network.config import MIN_SIDE
from napari_resformer.prediction.plan import Plan
from napari_resformer.prediction.tiles import Tile
from napari_resformer.preprocessing.geometry import pad
from napari_resformer.preprocessing.normalise import SAMPLE_PIXELS, NoFinitePixelError, Scaling, blank, measure
from napari_resformer.preprocessing.resample import Read, ResampledPlane


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
    """Reads passes; keeps the statistics of the plane that it read last, since all tiles of a plane share them."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._indices = list(plan.image.plane_indices())
        self._known: tuple[int, Scaling] | None = None

    def read(self, one: Pass) -> Inputs:
        """Read a pass; in page-locked memory where the network runs on CUDA, so that it can be sent in the background."""
        pixels = np.stack([self._tile(plane, tile) for plane, tile in zip(one.planes, one.tiles, strict=True)])
        owned = torch.from_numpy(np.stack([tile.owned() for tile in one.tiles]))[:, None]
        x, _ = pad(torch.from_numpy(pixels), self._frame((pixels.shape[2], pixels.shape[3])))
        owned = functional.pad(owned, (0, x.shape[3] - owned.shape[3], 0, x.shape[2] - owned.shape[2]))
        x = x.contiguous(memory_format=torch.channels_last)
        if self._plan.device.name.startswith("cuda"):
            return Inputs(x.pin_memory(), owned.pin_memory())
        return Inputs(x, owned)

    def _frame(self, seen: tuple[int, int]) -> tuple[int, int]:
        """Return what to pad tiles to; along an axis on which the plane is cut there is no black beyond them."""
        whole = self._plan.grid.target
        framed = self._plan.card.frame(whole)
        height, width = (
            frame if side == all_of_it else MIN_SIDE for frame, side, all_of_it in zip(framed, seen, whole, strict=True)
        )
        return height, width

    def _tile(self, number: int, tile: Tile) -> NDArray[np.float32]:
        """Read a tile as (C, height, width), -1 to 1."""
        plan = self._plan
        plane = plan.image.plane(self._indices[number])
        full: Read = plane.read
        if plan.tiles_per_plane == 1 and prod(plane.shape) <= SAMPLE_PIXELS:
            whole = plane.read()  # once, for its statistics and for the network

            def full(rows: slice, columns: slice) -> NDArray[np.generic]:
                return whole[:, rows, columns]

        seen = ResampledPlane(full, plan.grid, plane.where)
        rows, columns = tile.rows.read, tile.columns.read
        if plan.card.input_mode == "resize":  # normalised, then resized: as in training
            scaling = self._scaling(number, ResampledPlane(full, plan.grid.unchanged(), plane.where))
            return plan.grid.read(lambda *part: scaling.apply(plan.channels.apply(full(*part))), rows, columns)
        scaling = self._scaling(number, seen)
        return scaling.apply(plan.channels.apply(seen.read(rows, columns)))

    def _scaling(self, number: int, plane: ResampledPlane) -> Scaling:
        if self._known is None or self._known[0] != number:
            self._known = number, self._measure(plane)
        return self._known[1]

    def _measure(self, plane: ResampledPlane) -> Scaling:
        plan = self._plan
        try:
            return measure(plane, plan.channels, plan.card.normalisation)
        except NoFinitePixelError:
            if plan.planes == 1:
                raise
            return blank(plan.channels)  # a frame that was dropped must not cost those before it
