"""The jobs of Segment & Classify, for the worker process: only there they load torch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_resformer.events import Finished, MaskOpened, PlaneDone, Progress
from napari_resformer.images.image import Image, from_array
from napari_resformer.images.pyramid import part_at_level, suitable_level
from napari_resformer.widgets.predict.output_path import store_path
from napari_resformer.widgets.predict.region import Region
from napari_resformer.widgets.results.contents import Asked, Earlier, Growing, LabelsData, growing, labels_data

if TYPE_CHECKING:
    from napari_resformer.model.file import Model
    from napari_resformer.prediction.plan import Plan

_WARM_UP_SIDE = 64

JobEvent = Growing | Progress | PlaneDone | Finished[LabelsData]


@dataclass(frozen=True)
class Request:
    """What is asked for, taken from the widget's fields on the GUI thread.

    Parameters
    ----------
    image : Image
        The layer's data with its axes.
    model : str
        Name in the library.
    device : str
        See :func:`~napari_resformer.devices.choose_device`.
    tile : int
        Pixels on a side that one pass of the network owns.
    region : Region
        The part of the image.
    source : str, optional
        The file that the image was read from.
    folder : str
        Where large masks go that have no place beside their image; may be empty.
    zoom : float, optional
        How many times as large the network is to see the image; None to follow the pixel sizes.
    channels : tuple of str, optional
        Channels of the image in the model's order; None for those that it needs.
    """

    image: Image
    model: str
    device: str
    tile: int
    region: Region = field(default_factory=Region)
    source: str | None = None
    folder: str = ""
    zoom: float | None = None
    channels: tuple[str, ...] | None = None

    @property
    def asked(self) -> Asked:
        """What the result answers to."""
        return Asked(self.model, self.region.name, self.image.axes, self.zoom, ",".join(self.channels) if self.channels else None)

    def plan(self) -> Plan:
        """Plan the prediction; reads a sample of the pixels."""
        from napari_resformer.model.library import find_model
        from napari_resformer.prediction.plan import make_plan

        card, image = find_model(self.model).card, self.image
        if self.region.ranges:
            follows = card.input_mode == "native" and self.zoom is None
            image = part_at_level(suitable_level(image, card.pixel_size if follows else None), self.region.ranges)
        return make_plan(card, image, channels=self.channels, device=self.device, tile=self.tile, zoom=self.zoom)

    def store(self, model: Model, plan: Plan) -> Path | None:
        """Return where the mask is written to; None where it is small enough for memory."""
        from napari_resformer.prediction.fingerprint import fingerprint
        from napari_resformer.prediction.plan import LARGE_MASK

        if prod(plan.image.mask_shape) <= LARGE_MASK:
            return None
        return store_path(self.source, self.folder, self.image.name, self.model, fingerprint(model, plan))


def remove_stores(folders: tuple[str, ...]) -> Iterator[Finished[None]]:
    """Remove the stores of results that newer ones have replaced; they would stay beside them as ``-2``, ``-3``, and so on."""
    from napari_resformer.prediction.resume import remove_ended

    for folder in folders:
        remove_ended(Path(folder))
    yield Finished(None)


def warm_up(model: str, device: str) -> Iterator[Any]:
    """Predict an empty image, so that nobody waits for libraries, nor for the device, once Run is pressed.

    PyTorch alone loads a thousand modules in its first prediction, which stalls the GUI several times for up to 0.2 s.
    """
    from napari_resformer.model.library import find_model

    channels = len(find_model(model).card.channels)
    image = from_array(np.zeros((channels, _WARM_UP_SIDE, _WARM_UP_SIDE), np.uint8), "CYX")
    yield from predict_job(Request(image, model, device, _WARM_UP_SIDE))


def plan_job(request: Request) -> Iterator[Finished[tuple[str, ...]]]:
    """Plan, in words."""
    from napari_resformer.model.library import load_model
    from napari_resformer.prediction.plan import LARGE_MASK

    plan = request.plan()
    lines = list(plan.lines())
    if request.region.name:
        lines.insert(1, f"Only a part of the image ({request.region.name}): brightness and scores are measured on this part")
    if prod(plan.image.mask_shape) > LARGE_MASK:
        place = request.store(load_model(request.model), plan)
        assert place is not None
        what = "Run continues where an earlier run stopped, in" if place.exists() else "it is written to"
        lines.append(f"The mask is large: {what} {place}, where you can watch it grow")
    yield Finished(tuple(lines))


def predict_job(request: Request, earlier: Sequence[Earlier] = ()) -> Iterator[JobEvent]:
    """Plan, load the model, predict, and prepare the Labels layer."""
    from napari_resformer.model.library import load_model
    from napari_resformer.prediction.predictor import run_plan

    plan, model = request.plan(), load_model(request.model)
    out = request.store(model, plan)
    events = run_plan(model, plan) if out is None else run_plan(model, plan, out=out, resume=True)
    try:
        for event in events:
            if isinstance(event, Finished):
                yield Finished(labels_data(event.result, plan.image, request.asked, earlier))
            elif isinstance(event, MaskOpened):
                yield growing(event, plan.image, request.asked, len(plan.card.mask_classes))
            else:
                yield event
    finally:
        events.close()  # type: ignore[attr-defined]
