"""The prediction job: a generator of events, from a plan to a result."""

from __future__ import annotations

import copy
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from napari_resformer.concurrency import BackgroundWriter, prefetch
from napari_resformer.devices import is_out_of_memory
from napari_resformer.events import Finished, MaskOpened, PlaneDone, Progress
from napari_resformer.images.image import Image, PixelSize, from_array
from napari_resformer.model.file import Model
from napari_resformer.network import ClassHead, ResFormer, for_inference
from napari_resformer.prediction.batches import Inputs, Pass, Place, Reader, left, passes
from napari_resformer.prediction.compose import Answers, Composer
from napari_resformer.prediction.fingerprint import fingerprint
from napari_resformer.prediction.plan import LEAST_TILE, Plan, make_plan, with_tile
from napari_resformer.prediction.result import PredictResult, provenance
from napari_resformer.prediction.store import MaskStore, earlier_tile, open_store

PredictEvent = MaskOpened | Progress | PlaneDone | Finished[PredictResult]


def predict(
    model: Model,
    array: Any,
    *,
    axes: str | None = None,
    channels: Sequence[int | str] | None = None,
    pixel_size: float | PixelSize | None = None,
    device: str = "auto",
    tile: int | None = None,
    zoom: float | None = None,
    out: str | Path | None = None,
    overwrite: bool = False,
    resume: bool = False,
) -> PredictResult:
    """Segment and classify an image.

    Parameters
    ----------
    model : Model
        From :func:`~napari_resformer.load_model`.
    array : array-like or Image
        numpy, dask or zarr array of real numbers.
    axes : str, optional
        One letter a dimension: T, Z, P for loops, C for channels, Y, X. May be left out where the shape allows one
        answer only.
    channels : sequence of int or str, optional
        Channels of the image in the model's order.
    pixel_size : float or (float, float), optional
        Micrometres, or micrometres in Y and X. Where it is not the model's, the image is brought to the model's and the
        mask back; where one of them is unknown, they are taken to be equal.
    device : str
        ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
    tile : int, optional
        Pixels on a side that one pass of the network owns.
    zoom : float, optional
        How many times as large, on a side, the network is to see the image; overrides the pixel sizes. 0.5 where objects are
        twice as large, in pixels, as those that the model was trained on.
    out : str or Path, optional
        A zarr store that the mask is written to, tile by tile, instead of memory: ``.zarr`` makes an array, ``.ome.zarr``
        an OME-Zarr pyramid.
    overwrite : bool
        Whether an existing store may be replaced.
    resume : bool
        Whether to go on in an existing store where an earlier run of the same model, image and settings was cancelled or
        killed; it loses one row of tiles at most. A run that had ended gives its result again. Without a store the run
        starts from the beginning.

    Returns
    -------
    PredictResult

    Raises
    ------
    ValueError, TypeError
        If the image does not fit the model, its axes are ambiguous, or ``out`` was begun with something else.
    FileExistsError
        If ``out`` exists and neither ``overwrite`` nor ``resume`` is True.
    """
    for event in iter_predict(
        model, array, axes=axes, channels=channels, pixel_size=pixel_size, device=device, tile=tile, zoom=zoom, out=out,
        overwrite=overwrite, resume=resume,
    ):  # fmt: skip
        if isinstance(event, Finished):
            return event.result
    raise AssertionError("a prediction ends with its result")


def iter_predict(
    model: Model,
    array: Any,
    *,
    axes: str | None = None,
    channels: Sequence[int | str] | None = None,
    pixel_size: float | PixelSize | None = None,
    device: str = "auto",
    tile: int | None = None,
    zoom: float | None = None,
    out: str | Path | None = None,
    overwrite: bool = False,
    resume: bool = False,
) -> Iterator[PredictEvent]:
    """Do the same as :func:`predict`, step by step; closing the generator cancels the job within one tile.

    Yields
    ------
    MaskOpened
        First, where ``out`` is given.
    Progress
        After each tile.
    PlaneDone
        After each plane.
    Finished
        Last, with the :class:`~napari_resformer.prediction.result.PredictResult`.
    """
    size = (pixel_size, pixel_size) if isinstance(pixel_size, int | float | np.number) else pixel_size
    if not isinstance(array, Image):
        image = from_array(array, axes, pixel_size=size, needed_channels=0 if channels else model.card.needed_channels)
    else:
        image = replace(array, axes=axes or array.axes, pixel_size=size or array.pixel_size)
    plan = make_plan(model.card, image, channels=channels, device=device, tile=tile, zoom=zoom)
    yield from run_plan(model, plan, out=out, overwrite=overwrite, resume=resume)


def run_plan(
    model: Model, plan: Plan, *, out: str | Path | None = None, overwrite: bool = False, resume: bool = False
) -> Iterator[PredictEvent]:
    """Carry out a plan; see :func:`iter_predict`."""
    begin = time.perf_counter()
    if out is not None and resume:
        plan = with_tile(plan, earlier_tile(Path(out)))
    known = fingerprint(model, plan) if out is not None else {}
    with open_store(plan.image, out, known, tile=plan.tile, overwrite=overwrite, resume=resume) as store:
        if store.folder is not None:
            yield MaskOpened(store.levels, str(store.folder), store.state is not None)
        if store.finished is not None:
            result = _stored_result(store, plan)
        else:
            with BackgroundWriter() as writer:
                run = _Run(model, plan, store, writer)
                yield from run.events()
            said = provenance(model, plan, run.scores, time.perf_counter() - begin, tile=run.tile, store=store.folder)
            store.finish(said, run.pixels)
            result = _result(store, plan, run.scores, said, run.pixels)
    yield Finished(result)  # once the store is closed: who takes the result leaves the generator here


def _result(
    store: MaskStore, plan: Plan, scores: NDArray[np.float32], said: dict[str, Any], pixels: NDArray[np.int64]
) -> PredictResult:
    card, counts = plan.card, tuple(int(count) for count in pixels[: len(plan.card.mask_classes) + 1])
    return PredictResult(store.levels[0], scores, card.image_classes, card.mask_classes, said, counts, store.levels)


def _stored_result(store: MaskStore, plan: Plan) -> PredictResult:
    """Return what an earlier run said that had ended."""
    assert store.finished is not None
    said = store.finished["result"]
    scores = np.asarray(said["scores"], np.float32).reshape(*plan.image.loop_shape, len(plan.card.image_classes))
    return _result(store, plan, scores, said, np.asarray(store.finished["pixels"]))


class _Run:
    """A run in progress: where it stands, and what the network has said so far."""

    def __init__(self, model: Model, plan: Plan, store: MaskStore, writer: BackgroundWriter) -> None:
        state = store.state
        self._plan, self._store, self._writer = plan, store, writer
        self._composer = Composer(plan, store)
        self._network = for_inference(model.network, plan.device.name)
        # A plane's class is a few products of small matrices: on the CPU it waits for nothing that an accelerator has in hand.
        self._head = copy.deepcopy(model.network.head).eval().to("cpu", torch.float32)
        self._place, self.tile, self._batch = Place(), plan.tile, plan.batch
        self._scores = np.zeros((plan.planes, len(plan.card.image_classes)), np.float32)
        self._features = FeatureMean()
        self._indices = list(plan.image.plane_indices())
        if state is not None:
            self._place, self.tile, self._scores = Place(state.plane, state.row), state.tile, state.scores
            self._features = FeatureMean(state.features, state.cells)
        self._total = plan.tiles
        self._done = self._total - left(plan, self._place, self.tile)
        if self._done < 0:  # the earlier run had made its tiles smaller
            self._done, self._total = 0, left(plan, self._place, self.tile)

    @property
    def scores(self) -> NDArray[np.float32]:
        """Scores (planes..., classes)."""
        return self._scores.reshape(*self._plan.image.loop_shape, self._scores.shape[1])

    @property
    def pixels(self) -> NDArray[np.int64]:
        """How many pixels of the mask have each value, once all is written."""
        return self._composer.pixels

    def events(self) -> Iterator[Progress | PlaneDone]:
        """Do all that is left; where memory is short, go on with smaller passes."""
        while True:
            try:
                yield from self._from_here()
            except (RuntimeError, MemoryError) as error:
                if self._writer.failed or not is_out_of_memory(error) or not self._take_less():
                    raise
            else:
                break
            if self._plan.device.name.startswith("cuda"):
                torch.cuda.empty_cache()
            self._features.restart_row()
            self._writer.do(self._composer.restart_row)
            self._total = self._done + left(self._plan, self._place, self.tile)
        self._writer.drain()

    def _take_less(self) -> bool:
        """Plan smaller passes; return whether there are any."""
        smaller = min(self.tile, max(self._plan.grid.target)) // 2 // self._plan.card.network.stride
        smaller *= self._plan.card.network.stride
        if self._batch > 1:
            self._batch //= 2
        elif self._plan.card.input_mode == "native" and smaller >= LEAST_TILE:
            self.tile = smaller
        else:
            return False
        return True

    def _from_here(self) -> Iterator[Progress | PlaneDone]:
        """Do what is left, as long as memory lasts.

        On an accelerator the next pass is sent before the answer of the last one is fetched, so that it never waits.
        """
        ahead = 0 if self._plan.device.name == "cpu" else 1
        sent: deque[tuple[Pass, _Answer]] = deque()
        reader = Reader(self._plan)
        read = prefetch((one, reader.read(one)) for one in passes(self._plan, self._place, self.tile, self._batch))
        try:
            for one, inputs in read:
                sent.append((one, _send(self._network, self._plan, one, inputs)))
                if len(sent) > ahead:
                    yield from self._fetch(*sent.popleft())
            while sent:
                yield from self._fetch(*sent.popleft())
        finally:
            read.close()

    def _fetch(self, one: Pass, answer: _Answer) -> Iterator[Progress | PlaneDone]:
        """Hand the logits to the writer, add up the class features, and yield what that makes known."""
        logits, features, cells = answer.fetch()
        self._writer.do(self._composer.add, one, logits)
        finished: list[int] = []
        if one.then is not None and one.then.row == 0:
            for plane in dict.fromkeys(one.planes):
                mine = [place for place, other in enumerate(one.planes) if other == plane]
                self._features.add(features[mine].sum(0), cells[mine].sum(0))
                self._features.end_row()
                self._scores[plane] = _scores(self._head, self._features)
                self._features = FeatureMean()
                finished.append(plane)
        else:
            self._features.add(features.sum(0), cells.sum(0))
            if one.then is not None:
                self._features.end_row()
        self._done += len(one.tiles)
        if one.then is not None:
            self._place = one.then
            self._writer.do(self._composer.end_row, one.then, self._answers() if self._store.due else None)
        yield Progress(self._done, max(self._total, self._done), "tile")
        if finished:
            self._writer.drain()
        for plane in finished:
            yield PlaneDone(self._indices[plane], tuple(map(float, self._scores[plane])))

    def _answers(self) -> Answers:
        return Answers(self._place, self.tile, self._scores.copy(), self._features.features, self._features.cells)


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

    def mean(self) -> torch.Tensor:
        """Return (1, F)."""
        return torch.from_numpy(self.features / self.cells)[None].float()


@dataclass(frozen=True)
class _Answer:
    """What the network says about a pass; on CUDA still on its way."""

    logits: torch.Tensor
    features: torch.Tensor
    cells: torch.Tensor
    arrived: torch.cuda.Event | None = None

    def fetch(self) -> tuple[NDArray[np.float32], NDArray[np.float64], NDArray[np.float64]]:
        """Wait for it: logits (B, classes, H, W), and (B, F) sums of features and of cells."""
        if self.arrived is not None:
            self.arrived.synchronize()
        return self.logits.numpy(), self.features.double().numpy(), self.cells.double().numpy()


def _send(network: ResFormer, plan: Plan, one: Pass, inputs: Inputs) -> _Answer:
    """Run the network; on CUDA return at once, with the answer on its way into page-locked memory."""
    height, width = one.tiles[0].shape
    with torch.inference_mode():
        x = inputs.pixels.to(plan.device.name, non_blocking=True)
        owned = inputs.owned.to(plan.device.name, non_blocking=True)
        output = network.forward_tile(x, owned, one.tiles[0].origin)
        logits = output.mask_logits[..., :height, :width].float()
        if x.device.type != "cuda":
            return _Answer(logits.cpu(), output.feature_sum.cpu(), output.cells.cpu())
        arrived = torch.cuda.Event()
        answer = _Answer(_to_host(logits), _to_host(output.feature_sum), _to_host(output.cells), arrived)
        arrived.record(torch.cuda.current_stream(x.device))  # alone it records on the first device, whichever was chosen
        return answer


def _to_host(part: torch.Tensor) -> torch.Tensor:
    target = torch.empty(part.shape, dtype=part.dtype, pin_memory=True)
    return target.copy_(part, non_blocking=True)


def _scores(head: ClassHead, features: FeatureMean) -> NDArray[np.float32]:
    with torch.inference_mode():
        return torch.softmax(head(features.mean())[0].double(), 0).float().numpy()
