"""A model prepared once for a device, to predict many images; and what happens between a plan and a result."""

from __future__ import annotations

import time
from collections.abc import Generator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_resformer.devices import choose_device
from napari_resformer.events import Finished, MaskOpened, PlaneDone, Progress
from napari_resformer.images.image import Image, PixelSize, from_array
from napari_resformer.model.file import Model
from napari_resformer.prediction.fingerprint import fingerprint
from napari_resformer.prediction.outputs import check_outputs
from napari_resformer.prediction.plan import Plan, make_plan, with_tile
from napari_resformer.prediction.result import PredictResult, provenance
from napari_resformer.prediction.resume import OpenOutputs, begun_with, open_outputs
from napari_resformer.prediction.run import Run

PredictEvent = MaskOpened | Progress | PlaneDone | Finished[PredictResult]


class Predictor:
    """A model on a device, prepared once and used for many images.

    Parameters
    ----------
    model : Model
        From :func:`~napari_resformer.load_model`.
    device : str
        ``auto`` for the accelerator that is there, else the CPU; or ``cpu``, ``cuda``, ``cuda:N``, ``mps``.

    Attributes
    ----------
    model : Model
        As given.
    device : Device
        Where the network runs, and why.

    Raises
    ------
    ValueError
        If the device is unknown or not available.

    Examples
    --------
    >>> import numpy as np
    >>> import napari_resformer as nr
    >>> predictor = nr.Predictor(nr.load_model("nuclei"), device="cpu")
    >>> images = np.random.default_rng(0).integers(0, 255, (3, 64, 80, 3), dtype=np.uint8)
    >>> [predictor.predict(image, axes="YXC").mask.shape for image in images]
    [(64, 80), (64, 80), (64, 80)]
    """

    def __init__(self, model: Model, device: str = "auto") -> None:
        self.model = model
        self.device = choose_device(device)
        model.prepared(self.device.name)

    def predict(
        self,
        array: Any,
        *,
        axes: str | None = None,
        channels: Sequence[int | str] | None = None,
        pixel_size: float | PixelSize | None = None,
        tile: int | None = None,
        zoom: float | None = None,
        outputs: Sequence[str] = ("mask",),
        out: str | Path | None = None,
        overwrite: bool = False,
        resume: bool = False,
    ) -> PredictResult:
        """Segment and classify an image.

        Parameters
        ----------
        array : array-like, Image or Plan
            A numpy, dask or zarr array, an image with named axes, or a plan for this device that says all but where
            the outputs go.
        axes, channels, pixel_size, tile, zoom, outputs, out, overwrite, resume
            As for :func:`napari_resformer.predict`.

        Returns
        -------
        PredictResult

        Raises
        ------
        ValueError, TypeError, FileExistsError
            As :func:`napari_resformer.predict`; and if a plan is given together with an option that it settles, or for another
            device.
        """
        return result_of(
            self.iter(
                array, axes=axes, channels=channels, pixel_size=pixel_size, tile=tile, zoom=zoom, outputs=outputs, out=out,
                overwrite=overwrite, resume=resume,
            )
        )  # fmt: skip

    def iter(
        self,
        array: Any,
        *,
        axes: str | None = None,
        channels: Sequence[int | str] | None = None,
        pixel_size: float | PixelSize | None = None,
        tile: int | None = None,
        zoom: float | None = None,
        outputs: Sequence[str] = ("mask",),
        out: str | Path | None = None,
        overwrite: bool = False,
        resume: bool = False,
    ) -> Generator[PredictEvent]:
        """Do the same as :meth:`predict`, step by step; see :func:`napari_resformer.iter_predict` for the events."""
        if not isinstance(array, Plan):
            plan = self.plan(array, axes=axes, channels=channels, pixel_size=pixel_size, tile=tile, zoom=zoom)
        elif any(option is not None for option in (axes, channels, pixel_size, tile, zoom)):
            raise ValueError("a plan settles axes, channels, pixel_size, tile and zoom already; give them when it is made")
        elif (plan := array).device.name != self.device.name:
            raise ValueError(f"the plan is for {plan.device.name}, this Predictor is on {self.device.name}; make one for it")
        yield from run_plan(self.model, plan, outputs=outputs, out=out, overwrite=overwrite, resume=resume)

    def plan(
        self,
        array: Any,
        *,
        axes: str | None = None,
        channels: Sequence[int | str] | None = None,
        pixel_size: float | PixelSize | None = None,
        tile: int | None = None,
        zoom: float | None = None,
    ) -> Plan:
        """Return what a prediction would do; the parameters are those of :meth:`predict`."""
        size = (pixel_size, pixel_size) if isinstance(pixel_size, int | float | np.number) else pixel_size
        if isinstance(array, Image):
            image = replace(array, axes=axes or array.axes, pixel_size=size or array.pixel_size)
        else:
            needed = 0 if channels else self.model.card.needed_channels
            image = from_array(array, axes, pixel_size=size, needed_channels=needed)
        return make_plan(self.model.card, image, channels=channels, device=self.device, tile=tile, zoom=zoom)


def result_of(events: Generator[PredictEvent]) -> PredictResult:
    """Carry a prediction out and return its result."""
    for event in events:
        if isinstance(event, Finished):
            return event.result
    raise AssertionError("a prediction ends with its result")


def run_plan(
    model: Model,
    plan: Plan,
    *,
    outputs: Sequence[str] = ("mask",),
    out: str | Path | None = None,
    overwrite: bool = False,
    resume: bool = False,
) -> Generator[PredictEvent]:
    """Carry out a plan; see :func:`napari_resformer.iter_predict`."""
    begin = time.perf_counter()
    names = check_outputs(outputs)
    if out is not None and resume:
        plan = with_tile(plan, (begun_with(Path(out)) or {}).get("tile"))
    known = fingerprint(model, plan, names) if out is not None else {}
    with open_outputs(plan, names, out, known, overwrite=overwrite, resume=resume) as opened:
        if opened.folder is not None and "mask" in opened.outputs.targets:
            begun = opened.ended is not None or (opened.record is not None and opened.record.is_begun)
            yield MaskOpened(opened.outputs.targets["mask"].levels, str(opened.folder), begun)
        if opened.ended is not None:
            result = _earlier_result(opened, plan)
        else:
            sink = opened.outputs if names else None
            run = Run(model.prepared(plan.device.name), plan, sink, record=opened.record, keeper=opened)
            yield from run.events()
            seconds = time.perf_counter() - begin
            told = provenance(
                model, plan, run.scores, seconds, outputs=names, tile=run.tile, store=opened.folder, blank=sorted(run.blank)
            )
            opened.finish(told)
            result = _result(opened, plan, run.scores, told, opened.outputs.pixels)
    yield Finished(result)  # once the stores are closed: who takes the result leaves the generator here


def _result(
    opened: OpenOutputs, plan: Plan, scores: NDArray[np.float32], told: dict[str, Any], pixels: NDArray[np.int64]
) -> PredictResult:
    card, targets = plan.card, opened.outputs.targets
    mask, probabilities = targets.get("mask"), targets.get("probabilities")
    return PredictResult(
        mask=None if mask is None else mask.array,
        scores=scores,
        classes=card.image_classes,
        mask_classes=card.mask_classes,
        provenance=told,
        pixels=() if mask is None else tuple(pixels[: len(card.mask_classes) + 1].tolist()),
        levels=() if mask is None else mask.levels,
        probabilities=None if probabilities is None else probabilities.array,
    )


def _earlier_result(opened: OpenOutputs, plan: Plan) -> PredictResult:
    """Return what an earlier run said that had ended."""
    assert opened.ended is not None
    told = opened.ended["result"]
    scores = np.asarray(told["scores"], np.float32).reshape(*plan.image.loop_shape, len(plan.card.image_classes))
    return _result(opened, plan, scores, told, np.asarray(opened.ended["pixels"]))
