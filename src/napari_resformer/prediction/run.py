"""Carries out a plan: tiles to the network, their logits joined and handed to a sink, class features summed up."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterator
from dataclasses import replace
from itertools import islice
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from napari_resformer.concurrency import BackgroundWriter, DirectWriter, prefetch
from napari_resformer.devices import is_out_of_memory
from napari_resformer.events import PlaneDone, Progress
from napari_resformer.network.inference import Answer, PreparedNetwork
from napari_resformer.prediction.batches import Inputs, Pass, Place, Reader, left, passes
from napari_resformer.prediction.plan import LEAST_TILE, Plan
from napari_resformer.prediction.resume import Record
from napari_resformer.prediction.stitch import Block, Stitcher, Strips


class Sink(Protocol):
    """Takes final logits in the pixels of the image, row of tiles by row of tiles; used by one thread."""

    def write(self, index: tuple[int, ...], block: Block) -> None:
        """Take a part of the plane at a position on the loop axes."""
        ...

    def restart_row(self) -> None:
        """Forget what came since the last row was ended: it comes again."""
        ...

    def end_row(self) -> None:
        """Count the row; it does not come again."""
        ...


class Keeper(Protocol):
    """Keeps how far a run is, so that it can be resumed."""

    @property
    def due(self) -> bool:
        """Whether it is time to save again."""
        ...

    def save(self, record: Record) -> None:
        """Save, with what the sink has counted; called by the sink's thread, after all that came before was written."""
        ...


class Run:
    """A plan being carried out.

    Parameters
    ----------
    network : PreparedNetwork
        On the plan's device.
    plan : Plan
        What to do.
    sink : Sink, optional
        Where the logits go; without one only the image class is of interest.
    record : Record, optional
        How far an earlier run was that this one goes on with.
    keeper : Keeper, optional
        Keeps how far this run is.
    """

    def __init__(
        self,
        network: PreparedNetwork,
        plan: Plan,
        sink: Sink | None = None,
        *,
        record: Record | None = None,
        keeper: Keeper | None = None,
    ) -> None:
        self._network, self._plan, self._keeper = network, plan, keeper
        self._joining = None if sink is None else _Joining(plan, sink, record)
        self._place, self.tile, self._batch = Place(), plan.tile, plan.batch
        self.class_logits = np.zeros((plan.planes, len(plan.card.image_classes)))
        """(planes, image classes), of the planes that are done."""
        self._features = FeatureMean()
        self.blank: set[int] = set() if record is None else set(record.blank)
        """Numbers of the planes that show nothing, of those that were read."""
        if record is not None:
            self._place, self.tile, self.class_logits = record.place, record.tile, record.class_logits.copy()
            self._features = FeatureMean(record.features, record.cells)
        self._indices = list(plan.image.plane_indices())
        self._total = plan.tiles
        self._done = self._total - left(plan, self._place, self.tile)
        if self._done < 0:  # the earlier run had made its tiles smaller
            self._done, self._total = 0, left(plan, self._place, self.tile)

    @property
    def scores(self) -> NDArray[np.float32]:
        """Scores (planes..., image classes); they sum to 1."""
        scores = _softmax(self.class_logits).astype(np.float32)
        return scores.reshape(*self._plan.image.loop_shape, scores.shape[1])

    def events(self) -> Generator[Progress | PlaneDone]:
        """Do all that is left; where memory is short, go on with smaller passes."""
        with BackgroundWriter() if self._has_many_passes() else DirectWriter() as writer:
            while True:
                try:
                    yield from self._from_here(writer)
                except (RuntimeError, MemoryError) as error:
                    if writer.failed or not is_out_of_memory(error) or not self._take_less():
                        raise
                else:
                    break
                if self._network.device.type == "cuda":
                    torch.cuda.empty_cache()
                self._features.restart_row()
                if self._joining is not None:
                    writer.do(self._joining.restart_row)
                self._total = self._done + left(self._plan, self._place, self.tile)
            writer.drain()

    def _has_many_passes(self) -> bool:
        return len(list(islice(passes(self._plan, self._place, self.tile, self._batch), 2))) > 1

    def _take_less(self) -> bool:
        """Plan smaller passes; return whether there are any."""
        smaller = min(self.tile, max(self._plan.grid.target)) // 2 // self._plan.card.network.stride
        smaller *= self._plan.card.network.stride
        if self._batch > 1:
            self._batch //= 2
        elif not self._plan.resizes and smaller >= LEAST_TILE:
            self.tile = smaller
        else:
            return False
        return True

    def _from_here(self, writer: BackgroundWriter | DirectWriter) -> Iterator[Progress | PlaneDone]:
        """Do what is left, as long as memory lasts.

        On an accelerator the next pass is sent before the answer of the last one is fetched, so that it never waits.
        """
        ahead = 0 if self._network.device.type == "cpu" else 1
        sent: deque[tuple[Pass, Answer]] = deque()
        read = self._read()
        if self._has_many_passes():
            read = prefetch(read)
        try:
            for one, inputs in read:
                sent.append((one, self._network.send(inputs.pixels, inputs.owned, one.tiles[0].origin, one.tiles[0].shape)))
                if len(sent) > ahead:
                    yield from self._fetch(*sent.popleft(), writer)
            while sent:
                yield from self._fetch(*sent.popleft(), writer)
        finally:
            read.close()

    def _read(self) -> Generator[tuple[Pass, Inputs]]:
        reader = Reader(self._plan, self.blank)
        for one in passes(self._plan, self._place, self.tile, self._batch):
            yield one, reader.read(one)

    def _fetch(self, one: Pass, answer: Answer, writer: BackgroundWriter | DirectWriter) -> Iterator[Progress | PlaneDone]:
        """Hand the logits to the writer, add up the class features, and yield what that makes known."""
        logits, features, cells = answer.fetch()
        if self._joining is not None:
            writer.do(self._joining.add, one, logits)
        finished: list[int] = []
        if one.then is not None and one.then.row == 0:
            for plane in dict.fromkeys(one.planes):
                mine = [place for place, other in enumerate(one.planes) if other == plane]
                self._features.add(features[mine].sum(0), cells[mine].sum(0))
                self._features.end_row()
                self.class_logits[plane] = self._network.classify(self._features.mean())
                self._features = FeatureMean()
                finished.append(plane)
        else:
            self._features.add(features.sum(0), cells.sum(0))
            if one.then is not None:
                self._features.end_row()
        self._done += len(one.tiles)
        if one.then is not None:
            self._place = one.then
            if self._joining is not None:
                writer.do(self._joining.end_row, one.then)
            if self._keeper is not None and self._keeper.due:
                writer.do(self._save, self._record())
        yield Progress(self._done, max(self._total, self._done), "tile")
        if finished:
            writer.drain()
        for plane in finished:
            yield PlaneDone(self._indices[plane], tuple(_softmax(self.class_logits[plane]).astype(np.float32).tolist()))

    def _record(self) -> Record:
        return Record(
            self._place, self.tile, self.class_logits.copy(), self._features.features, self._features.cells,
            blank=tuple(sorted(self.blank)),
        )  # fmt: skip

    def _save(self, record: Record) -> None:
        """Save how far the run is; called by the sink's thread, which alone knows the strips."""
        assert self._keeper is not None
        self._keeper.save(record if self._joining is None else replace(record, strips=self._joining.strips))


class _Joining:
    """Joins the logits of passes and hands what is final to the sink; used by the sink's thread."""

    def __init__(self, plan: Plan, sink: Sink, record: Record | None) -> None:
        self._plan, self._sink = plan, sink
        self._indices = list(plan.image.plane_indices())
        self._new_plane()
        if record is not None and record.place.row:
            self._stitcher.strips = record.strips

    @property
    def strips(self) -> Strips:
        return self._stitcher.strips

    def _new_plane(self) -> None:
        plan = self._plan
        self._stitcher = Stitcher(plan.grid, plan.card.network.mask_classes + 1, plan.cut(plan.tile).blend)

    def add(self, one: Pass, logits: NDArray[np.float32]) -> None:
        """Add the logits (B, classes, height, width) of a pass."""
        before = one.planes[0]
        for plane, tile, values in zip(one.planes, one.tiles, logits, strict=True):
            if plane != before:  # whole planes
                self._new_plane()
            before = plane
            for block in self._stitcher.add(tile, values):
                self._sink.write(self._indices[plane], block)

    def restart_row(self) -> None:
        """Forget the passes since the last row was ended."""
        self._sink.restart_row()
        self._stitcher.restart_row()

    def end_row(self, then: Place) -> None:
        """Go on with the next row or plane."""
        self._sink.end_row()
        if then.row == 0:
            self._new_plane()
        else:
            self._stitcher.end_row()


class FeatureMean:
    """The mean class features of a plane over the cells that its tiles own, row of tiles by row of tiles.

    Parameters
    ----------
    features, cells : ndarray
        (F,) sums over the rows that are final; empty before the first.
    """

    def __init__(self, features: NDArray[np.float64] | None = None, cells: NDArray[np.float64] | None = None) -> None:
        self.features = np.zeros(0) if features is None else features
        self.cells = np.zeros(0) if cells is None else cells
        self._row: list[tuple[NDArray[np.float64], NDArray[np.float64]]] = []

    def add(self, features: NDArray[np.float64], cells: NDArray[np.float64]) -> None:
        """Add (F,) sums of some tiles."""
        self._row.append((features, cells))

    def restart_row(self) -> None:
        """Forget the tiles since the last row was ended."""
        self._row = []

    def end_row(self) -> None:
        """Count the tiles of a row."""
        before = [(self.features, self.cells)] if self.features.size else []
        self.features, self.cells = (np.sum(sums, axis=0) for sums in zip(*before, *self._row, strict=True))
        self._row = []

    def mean(self) -> NDArray[np.float64]:
        """Return (F,)."""
        return self.features / self.cells


def _softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return class logits (..., classes) as scores."""
    values = np.exp(logits - logits.max(-1, keepdims=True, initial=-np.inf))
    return values / values.sum(-1, keepdims=True)
