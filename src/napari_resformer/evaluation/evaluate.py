"""The evaluation job: predicts every sample as a user would, and reports."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from napari_resformer.evaluation.bootstrap import group_intervals
from napari_resformer.events import Finished, Progress
from napari_resformer.images.image import Image, Plane
from napari_resformer.metrics import ImageTally, Report, make_report, tally_image
from napari_resformer.model.card import Card
from napari_resformer.model.file import Model
from napari_resformer.prediction.job import predict
from napari_resformer.samples.folder import read_folder
from napari_resformer.samples.sample import Sample, SampleSet
from napari_resformer.samples.split import select_folds

EvaluateEvent = Progress | Finished[Report]


def evaluate(
    model: Model,
    data: str | Path,
    *,
    folds: Sequence[int | str] | None = None,
    instance_labels: bool = False,
    zoom: float | None = None,
    device: str = "auto",
) -> dict[str, Any]:
    """Measure a model on a data folder.

    Parameters
    ----------
    model : Model
        From :func:`~napari_resformer.load_model`.
    data : str or Path
        A data folder: ``images/``, ``masks/``, ``labels.csv``.
    folds : sequence of int or str, optional
        Folds of ``labels.csv`` to measure on; all when left out.
    instance_labels : bool
        Whether each object has a label value of its own; then all objects are of one mask class.
    zoom : float, optional
        As in :func:`~napari_resformer.predict`, for all images.
    device : str
        See :func:`~napari_resformer.devices.choose_device`.

    Returns
    -------
    dict
        The contents of ``report.json``; see :class:`~napari_resformer.metrics.Report` for the meaning of each figure, and
        :func:`~napari_resformer.evaluation.bootstrap.group_intervals` for ``intervals``.

    Raises
    ------
    ValueError
        If the folder has classes or mask values that the model does not know, or a file cannot be read.
    """
    samples = read_folder(data)
    if folds is not None:
        samples = select_folds(samples, [str(fold) for fold in folds])
    if instance_labels:
        samples = samples.with_instance_labels()
    for event in iter_evaluate(model, samples, zoom=zoom, device=device):
        if isinstance(event, Finished):
            return event.result.to_dict()
    raise AssertionError("an evaluation ends with its report")


def iter_evaluate(
    model: Model, samples: SampleSet, *, zoom: float | None = None, device: str = "auto"
) -> Iterator[EvaluateEvent]:
    """Do the same as :func:`evaluate` on samples, step by step; closing the generator cancels it."""
    card = model.card
    if card.image_classes and (unknown := sorted(set(samples.image_classes) - set(card.image_classes))):
        raise ValueError(
            f"{samples.name} has the image class {', '.join(unknown)}; {card.name} knows {', '.join(card.image_classes)}: "
            "rename the classes in labels.csv, or use another model"
        )
    if not samples.samples:
        raise ValueError(f"{samples.name} has no image to evaluate on")
    tallies = []
    for number, sample in enumerate(samples.samples, start=1):
        tallies.append(_tally(model, sample, zoom, device))
        yield Progress(number, len(samples.samples), "image")
    report = make_report(tallies, card.mask_classes, card.image_classes)
    groups = [sample.group for sample in samples.samples]
    yield Finished(replace(report, intervals=group_intervals(tallies, groups, card.mask_classes, card.image_classes)))


def _alone(plane: Plane) -> Image:
    """Return a plane as an image of its own, so that of a stack only this plane is predicted."""
    image = plane.image
    if not image.loop_axes:
        return image
    return Image(plane.read(), "CYX", image.name, image.pixel_size, image.channel_names, image.rgb)


def _tally(model: Model, sample: Sample, zoom: float | None, device: str) -> ImageTally:
    card: Card = model.card
    plane, mask = sample.plane(), sample.mask()
    alone = _alone(plane)
    result = predict(model, alone, zoom=zoom, device=device)
    if mask is not None and (top := int(mask.max())) > len(card.mask_classes):
        raise ValueError(
            f"the mask of {sample.name} holds the value {top}; {card.name} knows 1 to {len(card.mask_classes)} "
            f"({', '.join(card.mask_classes)})"
        )
    found = np.asarray(result.mask)
    found = found.reshape(plane.shape) if alone.rows_first else found.reshape(plane.shape[::-1]).T
    known = bool(card.image_classes) and sample.image_class is not None
    return tally_image(
        sample.name,
        mask_classes=len(card.mask_classes),
        true_mask=mask,
        predicted_mask=None if mask is None else found,
        true_class=card.image_classes.index(sample.image_class) if known and sample.image_class else None,
        scores=result.scores.reshape(-1) if card.image_classes else None,
    )
