"""The jobs that the widget starts in a worker thread; only there they load torch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_resformer.events import Finished, MaskOpened, PlaneDone, Progress
from napari_resformer.images.image import Image, from_array
from napari_resformer.widgets.result_layer import Earlier, LabelsData, labels_data

if TYPE_CHECKING:
    from napari_resformer.prediction.plan import Plan

_WARM_UP_SIDE = 64


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
    """

    image: Image
    model: str
    device: str
    tile: int

    def plan(self) -> Plan:
        """Plan the prediction; reads a sample of the pixels."""
        from napari_resformer.model.library import find_model
        from napari_resformer.prediction.plan import make_plan

        return make_plan(find_model(self.model).card, self.image, device=self.device, tile=self.tile)


def warm_up(model: str, device: str) -> Iterator[Any]:
    """Predict an empty image, so that nobody waits for libraries, nor for the device, once Run is pressed.

    PyTorch alone loads a thousand modules in its first prediction, which stalls the GUI several times for up to 0.2 s.
    """
    from napari_resformer.model.library import find_model

    channels = len(find_model(model).card.channels)
    image = from_array(np.zeros((channels, _WARM_UP_SIDE, _WARM_UP_SIDE), np.uint8), "CYX")
    yield from predict_job(Request(image, model, device, _WARM_UP_SIDE))


def plan_job(request: Request) -> Iterator[Finished[Plan]]:
    """Plan."""
    yield Finished(request.plan())


def predict_job(
    request: Request, earlier: Sequence[Earlier] = ()
) -> Iterator[MaskOpened | Progress | PlaneDone | Finished[LabelsData]]:
    """Plan, load the model, predict, and prepare the Labels layer."""
    from napari_resformer.model.library import load_model
    from napari_resformer.prediction.job import run_plan

    plan = request.plan()
    events = run_plan(load_model(request.model), plan)
    try:
        for event in events:
            if isinstance(event, Finished):
                yield Finished(labels_data(event.result, request.image, request.model, earlier))
            else:
                yield event
    finally:
        events.close()  # type: ignore[attr-defined]
