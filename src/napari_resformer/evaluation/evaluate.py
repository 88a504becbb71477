"""The evaluation job: predicts every sample as a user would, and reports."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from napari_resformer.evaluation.bootstrap import group_intervals
from napari_resformer.events import Finished, Notice, Progress
from napari_resformer.images.image import Plane
from napari_resformer.metrics import IGNORE, ImageTally, Report, make_report, tally_image
from napari_resformer.model.card import Card
from napari_resformer.model.file import Model
from napari_resformer.prediction.plan import gathered_notes
from napari_resformer.prediction.predictor import Predictor
from napari_resformer.samples.content import Content, content_of
from napari_resformer.samples.folder import read_folder
from napari_resformer.samples.learned import learned_among
from napari_resformer.samples.rules import MaskKind
from napari_resformer.samples.sample import Sample, SampleSet
from napari_resformer.samples.split import select_folds
from napari_resformer.samples.words import counted, named

EvaluateEvent = Progress | Notice | Finished[Report]


def evaluate(
    model: Model,
    data: str | Path | SampleSet,
    *,
    folds: Sequence[int | str] | None = None,
    instance_labels: bool = False,
    mask_kind: MaskKind = "auto",
    axes: str | None = None,
    zoom: float | None = None,
    device: str = "auto",
) -> Report:
    """Measure a model on annotated images.

    Parameters
    ----------
    model : Model
        From :func:`~napari_resformer.load_model`.
    data : str, Path or SampleSet
        A data folder (``images/``, ``masks/``, ``labels.csv``), or its samples.
    folds : sequence of int or str, optional
        Folds of ``labels.csv`` to measure on; all when left out.
    instance_labels : bool
        Whether each object has a label value of its own; then all objects are of one mask class.
    mask_kind : {"auto", "classes", "instances", "binary"}
        What the values of the masks of a folder stand for; "auto" decides by what they hold and says so.
    axes : str, optional
        Axes of the image files of a folder, for instance ``"CYX"``, where they do not say.
    zoom : float, optional
        As in :func:`~napari_resformer.predict`, for all images.
    device : str
        ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.

    Returns
    -------
    Report
        Dice, IoU, accuracy and more, 0 to 1; ``report.to_dict()`` is what ``report.json`` holds. ``report.notes`` says what
        should be known of the images and masks.

    Raises
    ------
    ValueError
        If the folder has classes or mask values that the model does not know, or a file cannot be read.

    Warns
    -----
    UserWarning
        Of what is odd, for instance masks that fit no image, or images that the model was trained on.

    Examples
    --------
    >>> import napari_resformer as nr
    >>> report = nr.evaluate(model, "my-data", device="cpu")  # images/, masks/ and labels.csv
    >>> report.n, list(report.mask), report.image_class.classes
    (4, ['nucleus'], ['brightfield', 'fluorescence', 'histology'])
    """
    notes: list[str] = []
    for event in iter_evaluate(
        model, data, folds=folds, instance_labels=instance_labels, mask_kind=mask_kind, axes=axes, zoom=zoom, device=device
    ):
        if isinstance(event, Notice):
            notes.append(event.text)
            if event.kind == "warning":
                warnings.warn(event.text, stacklevel=2)
        if isinstance(event, Finished):
            return replace(event.result, notes=tuple(notes))
    raise AssertionError("an evaluation ends with its report")


def iter_evaluate(
    model: Model,
    data: str | Path | SampleSet,
    *,
    folds: Sequence[int | str] | None = None,
    instance_labels: bool = False,
    mask_kind: MaskKind = "auto",
    axes: str | None = None,
    zoom: float | None = None,
    device: str = "auto",
) -> Iterator[EvaluateEvent]:
    """Do the same as :func:`evaluate`, step by step; closing the generator cancels it.

    Parameters and errors are those of :func:`evaluate`.

    Yields
    ------
    Progress
        After each image.
    Notice
        What should be known of the images, once for all that it is true of.
    Finished
        Last, with the :class:`~napari_resformer.Report`.

    Examples
    --------
    >>> import napari_resformer as nr
    >>> [event.done for event in nr.iter_evaluate(model, "my-data") if isinstance(event, nr.events.Progress)]
    [1, 2, 3, 4]
    """
    card = model.card
    if isinstance(data, SampleSet):
        samples = data.with_instance_labels() if instance_labels else data
    else:
        samples = read_folder(data, mask_kind="instances" if instance_labels else mask_kind, axes=axes)
    if folds is not None:
        samples = select_folds(samples, [str(fold) for fold in folds])
    if card.image_classes and (unknown := sorted(name for name in set(samples.image_classes) if card.find_class(name) is None)):
        raise ValueError(
            f"{samples.name} has the image class {', '.join(unknown)}; {card.name} knows {', '.join(card.image_classes)}: "
            "rename the classes in labels.csv, or use another model"
        )
    if not samples.samples:
        raise ValueError(f"{samples.name} has no image to evaluate on")
    yield from (Notice(text) for text in samples.facts)
    yield from (Notice(text, "warning") for text in samples.notes)
    without = [sample.name for sample in samples.samples if sample.mask_source is None]
    if 0 < len(without) < len(samples.samples):
        yield Notice(f"{counted(len(without), 'image')} without a mask, for instance {without[0]}")
    predictor = Predictor(model, device)
    tallies: list[ImageTally] = []
    notes: dict[str, list[str]] = {}
    contents: list[tuple[str, Content]] = []
    for number, sample in enumerate(samples.samples, start=1):
        plane = sample.plane()
        contents.append((sample.name, content_of(plane)))
        tally, told = _tally(predictor, sample, plane, zoom)
        tallies.append(tally)
        for note in told:
            notes.setdefault(note, []).append(sample.name)
        yield Progress(number, len(samples.samples), "image")
    for note in gathered_notes(notes):
        yield Notice(note)
    if known := learned_among(card, contents):
        yield Notice(
            f"{card.name} was trained on {len(known)} of these {len(contents)} images ({named(known)}), so the figures look "
            "better than the model is; measure it on images that are new to it",
            "warning",
        )
    report = make_report(tallies, card.mask_classes, card.image_classes)
    groups = [sample.group for sample in samples.samples]
    yield Finished(replace(report, intervals=group_intervals(tallies, groups, card.mask_classes, card.image_classes)))


def _tally(predictor: Predictor, sample: Sample, plane: Plane, zoom: float | None) -> tuple[ImageTally, tuple[str, ...]]:
    """Return what a sample adds to the report, and the notes on its prediction."""
    card: Card = predictor.model.card
    mask = sample.mask()
    plan = predictor.plan(plane.alone(), zoom=zoom)
    result = predictor.predict(plan)
    if mask is not None and (top := int(np.where(mask == IGNORE, 0, mask).max())) > len(card.mask_classes):
        raise ValueError(
            f"the mask of {sample.name} holds the value {top}; {card.name} knows 1 to {len(card.mask_classes)} "
            f"({', '.join(card.mask_classes)}): renumber the masks, give --instance-labels where each value is an object, or "
            "use another model"
        )
    found = np.asarray(result.mask)
    found = found.reshape(plane.shape) if plane.image.rows_first else found.reshape(plane.shape[::-1]).T
    known = bool(card.image_classes) and sample.image_class is not None
    tally = tally_image(
        sample.name,
        mask_classes=len(card.mask_classes),
        true_mask=mask,
        predicted_mask=None if mask is None else found,
        true_class=card.find_class(sample.image_class) if known and sample.image_class else None,
        scores=result.scores.reshape(-1) if card.image_classes else None,
    )
    return tally, plan.notes
