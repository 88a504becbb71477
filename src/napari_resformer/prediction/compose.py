"""From the network's logits to the mask: joined, brought to the image's pixels, counted and written."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_resformer.prediction.batches import Pass, Place
from napari_resformer.prediction.plan import Plan
from napari_resformer.prediction.store import MaskStore, State
from napari_resformer.prediction.tiles import Blender, Restorer


@dataclass(frozen=True)
class Answers:
    """What the network has said about the classes of the image so far; goes into the state of a run.

    Parameters
    ----------
    place : Place
        Where the run stands.
    tile : int
        Pixels on a side of its tiles.
    scores : ndarray
        (planes, classes).
    features, cells : ndarray
        Sums over the rows of the plane at ``place`` that are final.
    """

    place: Place
    tile: int
    scores: NDArray[np.float32]
    features: NDArray[np.float64]
    cells: NDArray[np.float64]


class Composer:
    """Makes the mask, pass by pass; used by one thread.

    A row of tiles counts when it is ended. Before, it can be begun again: its pixels are then written once more.

    Parameters
    ----------
    plan : Plan
        What is done.
    store : MaskStore
        Where the mask goes; tells how far an earlier run was.
    """

    def __init__(self, plan: Plan, store: MaskStore) -> None:
        self._plan = plan
        self._store = store
        self._back = plan.grid.back()
        self._indices = list(plan.image.plane_indices())
        self._classes = plan.card.network.mask_classes + 1
        self.pixels: NDArray[np.int64] = np.zeros(256, np.int64)
        """How many pixels of the rows that are final have each value."""
        self._of_row: NDArray[np.int64] = np.zeros(256, np.int64)
        self._new_plane()
        if (state := store.state) is not None:
            self.pixels = state.pixels
            self._blender.above, self._restorer.above = state.above

    def _new_plane(self) -> None:
        blend = self._plan.cut(self._plan.tile).blend
        self._blender = Blender(self._plan.grid.target, self._classes, blend)
        self._restorer = Restorer(self._back, self._classes)

    def add(self, one: Pass, logits: NDArray[np.float32]) -> None:
        """Add the logits (B, classes, height, width) of a pass."""
        before = one.planes[0]
        for plane, tile, values in zip(one.planes, one.tiles, logits, strict=True):
            if plane != before:  # whole planes
                self._new_plane()
            before = plane
            for patch in self._restorer.add(self._blender.add(tile, values)):
                self._of_row += np.bincount(patch.classes.reshape(-1), minlength=256)
                self._store.write(self._indices[plane], patch.rows, patch.columns, patch.classes)

    def restart_row(self) -> None:
        """Forget the passes since the last row was ended."""
        self._of_row = np.zeros(256, np.int64)
        self._blender.restart_row()
        self._restorer.restart_row()

    def end_row(self, then: Place, answers: Answers | None) -> None:
        """Go on with the next row or plane; save how far the run is, where answers are given."""
        self.pixels = self.pixels + self._of_row
        self._of_row = np.zeros(256, np.int64)
        if then.row == 0:
            self._new_plane()
        else:
            self._blender.end_row()
            self._restorer.end_row()
        if answers is not None:
            self._store.save(
                State(
                    answers.place.plane, answers.place.row, answers.tile, answers.scores, self.pixels,
                    answers.features, answers.cells, (self._blender.above, self._restorer.above),
                )
            )  # fmt: skip
