"""The jobs of the widget Fine-tune, for a worker thread; only there they load torch."""

from __future__ import annotations

import csv
import logging
import shutil
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_resformer.events import EpochDone, Finished, Progress, Snapshot
from napari_resformer.images.image import Image
from napari_resformer.widgets.base.interpreter import older_objects_left_alone
from napari_resformer.widgets.train.curves import EpochPoint
from napari_resformer.widgets.train.pairs import AnyChannel
from napari_resformer.widgets.train.preview import Preview, PreviewTarget, predict_preview
from napari_resformer.widgets.train.request import PairData, PlaneIndex, TrainRequest, check_name_is_free, model_path, run_folder

if TYPE_CHECKING:
    from napari_resformer.metrics import Report
    from napari_resformer.model.card import Card
    from napari_resformer.model.file import Model
    from napari_resformer.samples.sample import SampleSet
    from napari_resformer.samples.survey import Survey
    from napari_resformer.training.run_folder import RunFolder

_NUMBERED = 'if the label values only number objects, choose "object numbers" under More options'


@dataclass
class Watched:
    """What the user looks at: written on the GUI thread, read in the worker's after each epoch."""

    target: PreviewTarget | None = None


@dataclass(frozen=True)
class Outlook:
    """What a look at the request found, in words.

    Parameters
    ----------
    facts, warnings, refusals : tuple of str
        As :class:`~napari_resformer.training.check.Preflight`.
    resumable : int
        Epochs that an unfinished run of this name and these settings has done; 0 if there is none.
    """

    facts: tuple[str, ...]
    warnings: tuple[str, ...]
    refusals: tuple[str, ...]
    resumable: int = 0


@dataclass(frozen=True)
class Begun:
    """The training begins, or goes on: the epochs that were done before."""

    points: tuple[EpochPoint, ...] = ()


@dataclass(frozen=True)
class NoPreview:
    """A preview could not be made; the training goes on."""

    reason: str


@dataclass(frozen=True)
class Trained:
    """A training has ended well, and its model is in the library.

    Parameters
    ----------
    name : str
        In the library.
    path : Path
        The file.
    card : Card
        Its card.
    report : Report, optional
        Of the best epoch; None if that was in an earlier session.
    """

    name: str
    path: Path
    card: Card
    report: Report | None = field(repr=False)


# ---------------------------------------------------------------------------------------------------------------- samples
class PaintedPlanes:
    """The planes of a Labels layer as they were when the run began; a blank one takes no memory.

    Parameters
    ----------
    image : Image
        What the labels are of.
    labels : array-like
        Label values of ``image.mask_shape``.
    """

    def __init__(self, image: Image, labels: Any) -> None:
        self.shape = tuple(labels.shape)
        self.dtype = np.dtype(labels.dtype)
        self._image, self._labels = image, labels
        self._planes: dict[PlaneIndex, NDArray[Any]] = {}

    def copy(self, index: PlaneIndex) -> None:
        """Copy a plane from the layer."""
        plane = np.asarray(self._labels[self._image.mask_index(index, slice(None), slice(None))])
        if plane.any():
            small = plane.dtype.kind in "iu" and plane.min() >= 0 and plane.max() <= np.iinfo(np.uint8).max
            self._planes[index] = plane.astype(np.uint8 if small else plane.dtype)  # a copy in any case

    def sealed(self) -> PaintedPlanes:
        """Let go of the layer's data."""
        self._labels = None
        if self._planes:
            self.dtype = np.result_type(*self._planes.values())
        return self

    def __getitem__(self, place: tuple[int | slice, ...]) -> NDArray[Any]:
        index = tuple(part for part in place if not isinstance(part, slice))
        blank = np.broadcast_to(np.zeros((), self.dtype), self._image.plane_shape)
        return self._planes.get(index, blank)[tuple(part for part in place if isinstance(part, slice))]


def make_samples(pairs: Sequence[PairData], name: str, *, copy: bool, objects: bool = False) -> Iterator[Progress | SampleSet]:
    """Make the samples; yield them last.

    Parameters
    ----------
    pairs : sequence of PairData
        What was annotated.
    name : str
        What to call the samples.
    objects : bool
        See :class:`TrainRequest`.
    copy : bool
        Whether to copy what is painted in memory, so that painting on does not change what is being learned.

    Raises
    ------
    ValueError
        If a pair does not fit.
    """
    from napari_resformer.samples.pairs import LayerPair, samples_from_pairs

    layer_pairs = []
    for number, pair in enumerate(pairs, start=1):
        labels = pair.labels
        if copy and labels is not None and _is_in_memory(labels):
            painted = PaintedPlanes(pair.image, labels)
            for index in pair.image.plane_indices():
                painted.copy(index)
                yield Progress(number, len(pairs), "layer copied")
            labels = painted.sealed()
        layer_pairs.append(LayerPair(pair.image, labels, pair.classes))
    samples = samples_from_pairs(layer_pairs, name)
    yield samples.with_instance_labels() if objects else samples


def _is_in_memory(labels: Any) -> bool:
    """Whether labels are an array that can be painted in; those on disk are read as they are."""
    return isinstance(labels, np.ndarray | AnyChannel)


# ------------------------------------------------------------------------------------------------------------------- jobs
def warm_up_training() -> Iterator[Any]:
    """Load what a training needs, so that nobody waits for libraries once Run is pressed."""
    import napari_resformer.prediction.job
    import napari_resformer.training.trainer  # noqa: F401

    yield None


def outlook_job(request: TrainRequest) -> Iterator[Progress | Finished[Outlook]]:
    """Look at all samples, and for an unfinished run of the same name and settings."""
    _, outlook, _ = yield from _look(request, copy=False)
    yield Finished(outlook)


def save_job(pairs: Sequence[PairData], path: Path) -> Iterator[Progress | Finished[Path]]:
    """Write what was annotated as a data folder; label values stay as they are. A part of it does not stay."""
    from napari_resformer.samples.folder import IMAGES, MASKS
    from napari_resformer.samples.saving import save_folder

    new = [path / part for part in (IMAGES, MASKS) if not (path / part).exists()]
    complete = False
    try:
        for event in make_samples(pairs, path.name, copy=True):
            if isinstance(event, Progress):
                yield event
                continue
            for saved in save_folder(event, path):
                complete = isinstance(saved, Finished)
                yield saved
    finally:
        if not complete:  # else the same folder could not be chosen again, once there is room on the disk
            for part in new:
                shutil.rmtree(part, ignore_errors=True)


def train_job(request: TrainRequest, watched: Watched) -> Iterator[Any]:
    """Train, predict a preview after each epoch, and put the model into the user's library.

    Yields
    ------
    Progress, Begun, StepDone, EpochDone
        How far it is.
    Preview, NoPreview
        After an epoch, if somebody looks.
    Finished
        With a :class:`Trained`.

    Raises
    ------
    FileExistsError
        If there is a model of this name that may not be replaced.
    ValueError
        If the samples do not allow to train.
    """
    import napari_resformer.training.trainer  # noqa: F401 - libraries first, so that the collector leaves them alone

    with older_objects_left_alone():
        yield from _train(request, watched)


def _train(request: TrainRequest, watched: Watched) -> Iterator[Any]:
    from napari_resformer.training.run_folder import RunFolder

    check_name_is_free(request)
    samples, outlook, survey = yield from _look(request, copy=True)
    if outlook.refusals:
        raise ValueError("; ".join(outlook.refusals))
    run = RunFolder(run_folder(request.name), replace=True)
    yield from _run(request, run, samples, survey, watched, resume=bool(outlook.resumable) and not request.anew)


def _run(
    request: TrainRequest, run: RunFolder, samples: SampleSet, survey: Survey, watched: Watched, *, resume: bool
) -> Iterator[Any]:
    from napari_resformer.model.library import load_model
    from napari_resformer.training.trainer import train_samples

    yield Begun(tuple(_earlier_points(run.metrics)) if resume else ())
    events = train_samples(
        samples,
        request.settings,
        run,
        name=request.name,
        device=request.device,
        resume=resume,
        start=load_model(request.base) if request.base else None,
        survey=survey,
        snapshots=True,
    )
    report: Report | None = None
    try:
        for event in events:
            if isinstance(event, Snapshot):
                yield from _previews(event.model, watched, event.epoch, request.device)
            elif isinstance(event, Finished):
                yield from _finish(event.result, request, run, samples, report, watched)
            else:
                if isinstance(event, EpochDone) and event.best:
                    report = event.validation
                yield event
    finally:
        events.close()  # type: ignore[attr-defined]


def _finish(
    model: Model, request: TrainRequest, run: RunFolder, samples: SampleSet, report: Report | None, watched: Watched
) -> Iterator[Any]:
    """Put the model into the library; of the run, settings and metrics stay, checkpoints go."""
    best = model.card.training.get("best_epoch")
    yield from _previews(model, watched, best if isinstance(best, int) else 0, request.device)
    if report is None:  # the best epoch was before the run was resumed
        try:
            report = yield from _measured(model, samples, request.device)
        except Exception:  # figures to look at must not cost the model
            logging.getLogger(__name__).debug("no figures", exc_info=True)
    path = model.save(model_path(request.name), overwrite=request.replace)  # last: until here a cancelled run can be resumed
    for checkpoint in (run.checkpoint, run.best):
        checkpoint.unlink(missing_ok=True)
    yield Finished(Trained(request.name, path, model.card, report))


def _measured(model: Model, samples: SampleSet, device: str) -> Generator[Progress, None, Report | None]:
    from napari_resformer.evaluation.evaluate import iter_evaluate

    names = model.card.training.get("validation_names")
    held_out = [sample for sample in samples.samples if isinstance(names, list) and sample.name in names]
    for event in iter_evaluate(model, samples.subset(held_out), device=device):
        if isinstance(event, Finished):
            return event.result
        yield event
    return None


def _look(request: TrainRequest, *, copy: bool) -> Generator[Progress, None, tuple[SampleSet, Outlook, Survey]]:
    """Make the samples, look at each, and compare with an unfinished run of the same name."""
    from napari_resformer.model.file import file_sha256
    from napari_resformer.model.library import find_model
    from napari_resformer.training.check import MANY_VALUES, iter_preflight
    from napari_resformer.training.plan import make_plan
    from napari_resformer.training.run_folder import RunFolder

    base = find_model(request.base) if request.base else None
    samples: Any = None
    for event in make_samples(request.pairs, request.name, copy=copy, objects=request.objects):
        if isinstance(event, Progress):
            yield event
        else:
            samples = event
    found: Any = None
    for checked in iter_preflight(samples, request.settings, start=base.card if base else None):
        if isinstance(checked, Finished):
            found = checked.result
        else:
            yield checked
    warnings, refusals, done = list(found.warnings), list(found.refusals), 0
    if not request.objects and len(found.survey.mask_values) > MANY_VALUES:
        (refusals or warnings).append(_NUMBERED)
    run = RunFolder(run_folder(request.name))
    if not found.refusals and run.checkpoint.exists():
        try:
            plan = make_plan(samples, found.survey, request.settings, name=request.name, start=base.card if base else None)
            run.can_go_on(plan, file_sha256(base.path) if base else "")
            done = max((point.epoch for point in _earlier_points(run.metrics)), default=0)
        except ValueError as error:
            warnings.append(f"an unfinished training of this name cannot go on, and gives way to the new one: {error}")
    return samples, Outlook(found.facts, tuple(warnings), tuple(refusals), done), found.survey


def _earlier_points(metrics: Path) -> Iterator[EpochPoint]:
    """Read the epochs that a run has done."""

    def number(text: str | None) -> float | None:
        return float(text) if text else None

    if not metrics.exists():
        return
    with metrics.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            yield EpochPoint(
                int(row["epoch"]),
                (number(row.get("train_loss")), number(row.get("loss"))),
                (number(row.get("train_dice")), number(row.get("dice_pooled"))),
                (number(row.get("train_accuracy")), number(row.get("accuracy"))),
                row.get("best") == "True",
            )


def _previews(model: Model, watched: Watched, epoch: int, device: str) -> Iterator[Preview | NoPreview]:
    target = watched.target
    if target is None:
        return
    try:
        preview = predict_preview(model, target, epoch=epoch, device=device)
    except Exception as error:  # a picture to look at must not end a training
        logging.getLogger(__name__).debug("no preview", exc_info=True)
        yield NoPreview(" ".join(str(error).split()))
    else:
        yield preview
