"""The prediction job: a generator of events, from a plan to a result."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from napari_resformer.events import Finished, PlaneDone, Progress
from napari_resformer.images.image import Image, PixelSize, Plane, from_array
from napari_resformer.images.normalise import Scaling, measure
from napari_resformer.model.file import Model
from napari_resformer.network import ResFormer, TileOutput, for_inference
from napari_resformer.network.frame import fit, pad, unfit
from napari_resformer.network.resformer import MIN_SIDE
from napari_resformer.prediction.plan import BLEND, Plan, make_plan
from napari_resformer.prediction.result import PredictResult, provenance
from napari_resformer.prediction.tiles import Slab, Tile, tile_rows

PredictEvent = Progress | PlaneDone | Finished[PredictResult]


def predict(
    model: Model,
    array: Any,
    *,
    axes: str | None = None,
    channels: Sequence[int | str] | None = None,
    pixel_size: PixelSize | None = None,
    device: str = "auto",
    tile: int | None = None,
    out: str | Path | None = None,
    overwrite: bool = False,
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
    pixel_size : (float, float), optional
        Micrometres in Y and X.
    device : str
        ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
    tile : int, optional
        Pixels on a side that one pass of the network owns.
    out : str or Path, optional
        A zarr store that the mask is written to, row of tiles by row of tiles, instead of memory.
    overwrite : bool
        Whether an existing store may be replaced.

    Returns
    -------
    PredictResult

    Raises
    ------
    ValueError, TypeError
        If the image does not fit the model, or its axes are ambiguous.
    FileExistsError
        If ``out`` exists and ``overwrite`` is False.
    """
    for event in iter_predict(
        model, array, axes=axes, channels=channels, pixel_size=pixel_size, device=device, tile=tile, out=out,
        overwrite=overwrite,
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
    pixel_size: PixelSize | None = None,
    device: str = "auto",
    tile: int | None = None,
    out: str | Path | None = None,
    overwrite: bool = False,
) -> Iterator[PredictEvent]:
    """Do the same as :func:`predict`, step by step; closing the generator cancels the job within one tile.

    Yields
    ------
    Progress
        After each tile.
    PlaneDone
        After each plane.
    Finished
        Last, with the :class:`~napari_resformer.prediction.result.PredictResult`.
    """
    if isinstance(array, Image):
        image = array
    else:
        image = from_array(array, axes, pixel_size=pixel_size)
    plan = make_plan(model.card, image, channels=channels, device=device, tile=tile)
    yield from run_plan(model, plan, out=out, overwrite=overwrite)


def run_plan(model: Model, plan: Plan, *, out: str | Path | None = None, overwrite: bool = False) -> Iterator[PredictEvent]:
    """Carry out a plan; see :func:`iter_predict`."""
    begin = time.perf_counter()
    image, card = plan.image, plan.card
    mask = _open_mask(plan, out, overwrite)
    network = for_inference(model.network, plan.device.name)
    scores = np.zeros((*image.loop_shape, len(card.image_classes)), np.float32)
    done = 0
    for index in image.plane_indices():
        plane = image.plane(index)
        scaling = measure(plane, plan.channels, card.normalisation)
        passes = _whole if card.input_mode == "resize" else _tiled
        features = FeatureMean()
        for finished, tiles in passes(network, plane, scaling, plan, features):
            if finished is not None:
                rows, classes = finished
                mask[image.mask_index(index, rows, slice(None))] = classes
            done += tiles
            yield Progress(done, plan.tiles, "tile")
        scores[index] = _scores(network, features)
        yield PlaneDone(index, tuple(map(float, scores[index])))
    yield Finished(
        PredictResult(
            mask, scores, card.image_classes, card.mask_classes,
            provenance(model, plan, scores, time.perf_counter() - begin),
        )
    )  # fmt: skip


class FeatureMean:
    """The mean class features of a plane over the cells that its tiles own."""

    def __init__(self) -> None:
        self._sum: torch.Tensor | None = None
        self._cells: torch.Tensor | None = None

    def add(self, output: TileOutput) -> None:
        """Add the tiles of a pass."""
        feature_sum, cells = output.feature_sum.double().cpu().sum(0), output.cells.double().cpu().sum(0)
        self._sum = feature_sum if self._sum is None else self._sum + feature_sum
        self._cells = cells if self._cells is None else self._cells + cells

    def mean(self) -> torch.Tensor:
        """Return (1, F)."""
        assert self._sum is not None, "a plane has at least one tile"
        assert self._cells is not None
        return (self._sum / self._cells)[None].float()


Rows = tuple[slice, NDArray[np.uint8]]


def _tiled(
    network: ResFormer, plane: Plane, scaling: Scaling, plan: Plan, features: FeatureMean
) -> Iterator[tuple[Rows | None, int]]:
    """Run a plane tile by tile; yield after each pass the rows that became final, and how many tiles it took."""
    slab = Slab(plane.shape, plan.card.network.mask_classes + 1, min(BLEND, plan.halo))
    for row in tile_rows(plane.shape, plan.tile, plan.halo):
        groups = list(_groups(row, plan))
        for number, group in enumerate(groups, start=1):
            output, logits = _run_tiles(network, plane, scaling, plan, group)
            features.add(output)
            for tile, tile_logits in zip(group, logits, strict=True):
                slab.add(tile, tile_logits)
            yield (slab.finish_row(row[0].rows) if number == len(groups) else None), len(group)


def _groups(row: list[Tile], plan: Plan) -> Iterator[list[Tile]]:
    """Yield runs of neighbouring tiles that can share a pass: equal in shape and in the phase of their windows."""
    group: list[Tile] = []
    for tile in row:
        fits = group and tile.shape == group[0].shape and (tile.origin[1] - group[0].origin[1]) % plan.card.network.grid == 0
        if group and (not fits or len(group) == plan.batch):
            yield group
            group = []
        group.append(tile)
    yield group


def _run_tiles(
    network: ResFormer, plane: Plane, scaling: Scaling, plan: Plan, tiles: Sequence[Tile]
) -> tuple[TileOutput, NDArray[np.float32]]:
    pixels = np.stack([
        scaling.apply(plan.channels.apply(plane.read(tile.rows.read, tile.columns.read))) for tile in tiles
    ])  # fmt: skip
    owned = torch.from_numpy(np.stack([tile.owned() for tile in tiles]))[:, None]
    height, width = tiles[0].shape
    with torch.inference_mode():
        x, _ = pad(torch.from_numpy(pixels), (MIN_SIDE, MIN_SIDE))
        owned = functional.pad(owned, (0, x.shape[3] - width, 0, x.shape[2] - height))
        x = x.to(plan.device.name).contiguous(memory_format=torch.channels_last)
        output = network.forward_tile(x, owned.to(x.device), tiles[0].origin)
        logits = output.mask_logits[..., :height, :width].float().cpu().numpy()
    return output, logits


def _whole(
    network: ResFormer, plane: Plane, scaling: Scaling, plan: Plan, features: FeatureMean
) -> Iterator[tuple[Rows | None, int]]:
    """Run a plane in one pass at the training size."""
    pixels = scaling.apply(plan.channels.apply(plane.read()))
    with torch.inference_mode():
        x, valid = fit(torch.from_numpy(pixels)[None], plan.card.input_size)
        x = x.to(plan.device.name).contiguous(memory_format=torch.channels_last)
        output = network.forward_tile(x, valid.to(x.device))
        features.add(output)
        logits = unfit(output.mask_logits.float().cpu(), plane.shape, plan.card.input_size)
        classes = logits[0].argmax(0).to(torch.uint8).numpy()
    yield (slice(0, plane.shape[0]), classes), 1


def _scores(network: ResFormer, features: FeatureMean) -> NDArray[np.float32]:
    with torch.inference_mode():
        device = next(network.parameters()).device
        logits = network.classify(features.mean().to(device))[0]
        return torch.softmax(logits.double().cpu(), 0).float().numpy()


def _open_mask(plan: Plan, out: str | Path | None, overwrite: bool) -> Any:
    shape = plan.image.mask_shape
    if out is None:
        return np.zeros(shape, np.uint8)
    import zarr

    path = Path(out)
    if path.suffix != ".zarr":
        raise ValueError(f"out is {path.name}; a mask is written to a zarr store, name it so: {path.stem}.zarr")
    if path.exists() and not overwrite:
        raise FileExistsError(f"{path} exists; choose another name or allow to overwrite it")
    axes = plan.image.mask_axes
    chunks = tuple(min(plan.tile, size) if axis in "YX" else 1 for axis, size in zip(axes, shape, strict=True))
    return zarr.create_array(path, shape=shape, chunks=chunks, dtype="uint8", overwrite=overwrite)
