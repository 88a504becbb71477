"""A training session: from annotated layers or a data folder to a model file. Knows no Qt and no napari, and loads torch late.

Each job is a generator of events at module level. What goes in and what comes out can be pickled, and is of use where torch was
never loaded.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_resformer.events import EpochDone, Finished, Inbox, Notice, Progress, Snapshot, StepDone, TrainingStarted
from napari_resformer.io.atomic import atomic_write
from napari_resformer.metrics import Report
from napari_resformer.model import library
from napari_resformer.model.card import Card
from napari_resformer.model.file import SUFFIX, file_sha256, read_card
from napari_resformer.samples.pairs import LayerPair
from napari_resformer.samples.rules import MaskKind
from napari_resformer.samples.sample import SampleSet
from napari_resformer.training.annotations import Data, make_samples
from napari_resformer.training.history import epochs_written
from napari_resformer.training.plan import make_plan
from napari_resformer.training.preview import NoPreview, Preview, predict_preview
from napari_resformer.training.run_folder import ExistingRun, RunFolder, describe_run
from napari_resformer.training.settings import TrainSettings

if TYPE_CHECKING:
    from napari_resformer.model.file import Model

_FORBIDDEN = '/\\:*?"<>|'
_RESERVED = {"con", "prn", "aux", "nul", *(f"{port}{number}" for port in ("com", "lpt") for number in range(1, 10))}


@dataclass(frozen=True)
class TrainRequest:
    """What a session is asked for; see :func:`library_request` for a model in the user's library.

    Parameters
    ----------
    data : Path or tuple of LayerPair
        A data folder, or annotated layers.
    output : Path
        The model file to write.
    run_folder : Path
        Where the run is kept while it is not finished.
    settings : TrainSettings
        What to do.
    start : str, optional
        Name or path of the model to start from; None for a new network.
    device : str
        See :func:`~napari_resformer.devices.choose_device`.
    instance_labels : bool
        Whether each object has a label value of its own; then all objects are of one mask class.
    replace : bool
        Whether a model file that is there may be replaced.
    existing_run : {"refuse", "resume", "replace", "resume or replace"}
        What to do with a run that is there; see :data:`~napari_resformer.training.run_folder.ExistingRun`.
    tidy : bool
        Whether checkpoints are removed once the model is saved; settings, metrics and curves stay.
    devices, nodes : int
        See :func:`~napari_resformer.training.trainer.train_samples`.
    mask_kind, axes
        Of a data folder; see :func:`~napari_resformer.samples.folder.read_folder`.
    """

    data: Data
    output: Path
    run_folder: Path
    settings: TrainSettings
    start: str | None = None
    device: str = "auto"
    instance_labels: bool = False
    replace: bool = False
    existing_run: ExistingRun = "refuse"
    tidy: bool = False
    devices: int = 1
    nodes: int = 1
    mask_kind: MaskKind = "auto"
    axes: str | None = None

    @property
    def name(self) -> str:
        """Name of the model: the stem of its file."""
        return self.output.stem


@dataclass(frozen=True)
class SessionCheck:
    """What a look at a request found, in sentences.

    Parameters
    ----------
    facts, warnings, refusals : tuple of str
        As in :class:`~napari_resformer.training.check.Preflight`.
    resumable : int
        Epochs that an unfinished run with the same settings and data has done; 0 if there is none.
    """

    facts: tuple[str, ...]
    warnings: tuple[str, ...]
    refusals: tuple[str, ...]
    resumable: int = 0


@dataclass(frozen=True)
class Trained:
    """A model is in its file.

    Parameters
    ----------
    path : Path
        The file.
    card : Card
        Its card.
    report : Report, optional
        What the validation found in the epoch that was kept; None where nobody knows.
    """

    path: Path
    card: Card
    report: Report | None = field(default=None, repr=False)

    @property
    def name(self) -> str:
        """Name of the model: the stem of its file."""
        return self.path.stem


SessionEvent = Progress | Notice | TrainingStarted | StepDone | EpochDone | Preview | NoPreview | Finished[Trained]


# ---------------------------------------------------------------------------------------------------------------- requests
def library_request(
    data: Data,
    name: str,
    settings: TrainSettings,
    *,
    start: str | None = None,
    device: str = "auto",
    instance_labels: bool = False,
    replace: bool = False,
    start_over: bool = False,
) -> TrainRequest:
    """Ask for a model in the user's library; an unfinished run of the same name, settings and data is resumed.

    Parameters
    ----------
    name : str
        Of the model.
    start_over : bool
        Whether an unfinished run is not resumed.
    data, settings, start, device, instance_labels, replace
        As in :class:`TrainRequest`.

    Raises
    ------
    ValueError
        If the name cannot be that of a model.
    """
    if fault := name_fault(name):
        raise ValueError(fault)
    if any(entry.name == name and entry.origin == "bundled" for entry in library.list_models()):
        raise ValueError(f"{name} is the name of a model that comes with the plugin; choose another name")
    runs = library.user_folder().parent / "runs"
    return TrainRequest(
        data, model_path(name), runs / name, settings, start, device, instance_labels, replace,
        "replace" if start_over else "resume or replace", tidy=True,
    )  # fmt: skip


def model_path(name: str) -> Path:
    """Return where a model of this name lies in the user's library."""
    return library.user_folder() / f"{name}{SUFFIX}"


def name_fault(name: str) -> str:
    """Return why a text cannot be the name of a model in the user's library; empty if it can."""
    if not name:
        return "the model has no name; type one"
    if not name.isprintable() or set(name) & set(_FORBIDDEN) or name != name.strip(". ") or name.casefold() in _RESERVED:
        return (
            f"{name!r} cannot be the name of a model, since it is also a file name; leave out {' '.join(_FORBIDDEN)} and dots or "
            "spaces at the ends"
        )
    if len(name.encode()) > 200:
        return "the name of the model is too long; give at most 200 letters"
    return ""


def check_output(request: TrainRequest) -> None:
    """Refuse to replace a model unasked; one that was made of the same unfinished run may be replaced.

    Raises
    ------
    FileExistsError
        If the model file is there already.
    """
    if request.output.exists() and not _may_replace(request):
        raise FileExistsError(f"there is already a model {request.name} ({request.output}); choose another name, or replace it")


# --------------------------------------------------------------------------------------------------------------------- jobs
def warm_up() -> Iterator[None]:
    """Load what a session needs, so that nobody waits for libraries once it is started."""
    import napari_resformer.prediction.predictor
    import napari_resformer.training.trainer  # noqa: F401

    yield None


def check_session(request: TrainRequest) -> Iterator[Progress | Finished[SessionCheck]]:
    """Look at all samples, and for an unfinished run with the same settings; nothing is copied or changed."""
    from napari_resformer.training.check import iter_preflight

    start = library.find_model(request.start) if request.start else None
    card = start.card if start else None
    samples = yield from _samples(request)
    for event in iter_preflight(samples, request.settings, start=card):
        if isinstance(event, Progress):
            yield event
            continue
        found, folder, resumable, notes = event.result, RunFolder(request.run_folder), 0, []
        if not found.refusals and folder.checkpoint.exists():
            try:
                plan = make_plan(samples, found.survey, request.settings, name=request.name, start=card)
                if folder.can_resume(describe_run(plan, file_sha256(start.path) if start else "")):
                    resumable = epochs_written(folder.metrics)
            except ValueError as error:
                notes.append(f"an unfinished training of this name cannot be resumed and will be replaced: {error}")
        yield Finished(SessionCheck(found.facts, (*found.warnings, *notes), found.refusals, resumable))


def train_session(request: TrainRequest, inbox: Inbox | None = None) -> Iterator[SessionEvent]:
    """Train, and save the model to its file.

    What is painted is copied first, plane by plane, so that painting on does not change what is learned.

    Parameters
    ----------
    request : TrainRequest
        What is wanted.
    inbox : Inbox, optional
        Holds the :class:`~napari_resformer.training.preview.PreviewTarget` that is to be predicted after each epoch.

    Yields
    ------
    Progress, Notice, TrainingStarted, StepDone, EpochDone
        How far it is; closing the generator cancels the session at the next of them, and it can be resumed.
    Preview, NoPreview
        After an epoch, where the inbox holds a target.
    Finished
        With a :class:`Trained`. Of several processes, only the first yields events.

    Raises
    ------
    FileExistsError
        If there is a model file that may not be replaced, or a run that is neither resumed nor replaced.
    ValueError
        If the samples cannot be trained on; see :func:`~napari_resformer.training.trainer.train_samples`.
    """
    from napari_resformer.training.trainer import train_samples

    check_output(request)
    start = library.load_model(request.start) if request.start else None
    samples = yield from _samples(request, copy=True)
    folder = RunFolder(request.run_folder)
    report: Report | None = None
    events = train_samples(
        samples, request.settings, folder, name=request.name, device=request.device, existing=request.existing_run,
        start=start, snapshots=inbox is not None, devices=request.devices, nodes=request.nodes,
    )  # fmt: skip
    with closing(events):  # type: ignore[type-var]
        for event in events:
            if isinstance(event, TrainingStarted):
                report = event.best
            elif isinstance(event, EpochDone) and (event.best or request.settings.keep == "last"):
                report = event.validation
            if isinstance(event, Snapshot):
                yield from _preview(event.model, inbox, event.epoch, request.device)
            elif isinstance(event, Finished):
                yield from _save(event.result, request, folder, report, inbox)
            else:
                yield event


def keep_best(request: TrainRequest) -> Iterator[Finished[Trained]]:
    """Save the best model that an unfinished run has so far; the run stays, and can still be resumed.

    Raises
    ------
    FileExistsError
        If there is a model file that may not be replaced.
    ValueError
        If the run has no epoch yet.
    """
    check_output(request)
    folder = RunFolder(request.run_folder)
    with folder.taken():
        if not folder.best.exists():
            raise ValueError(f"no epoch of {request.name} is finished yet, so there is no model to keep; train on")
        report = folder.load().progress.report if folder.checkpoint.exists() else None
        with folder.best.open("rb") as source, atomic_write(request.output) as target:
            shutil.copyfileobj(source, target)
        folder.note_kept(request.output)
    yield Finished(Trained(request.output, read_card(request.output), report))


def save_annotations(pairs: tuple[LayerPair, ...], path: Path) -> Iterator[Progress | Finished[Path]]:
    """Write what was annotated as a data folder; label values stay as they are. What is not finished does not stay."""
    from napari_resformer.samples.folder import IMAGES, MASKS
    from napari_resformer.samples.saving import save_folder

    new = [path / part for part in (IMAGES, MASKS) if not (path / part).exists()]
    complete = False
    try:
        samples = yield from make_samples(pairs, path.name, copy=True)
        for saved in save_folder(samples, path):
            complete = isinstance(saved, Finished)
            yield saved
    finally:
        if not complete:  # else the same folder could not be chosen again, once there is room on the disk
            for part in new:
                shutil.rmtree(part, ignore_errors=True)


# ---------------------------------------------------------------------------------------------------------------- the parts
def _samples(request: TrainRequest, *, copy: bool = False) -> Generator[Progress, None, SampleSet]:
    return make_samples(
        request.data, request.name, instance_labels=request.instance_labels, mask_kind=request.mask_kind, axes=request.axes,
        copy=copy,
    )  # fmt: skip


def _may_replace(request: TrainRequest) -> bool:
    return request.replace or RunFolder(request.run_folder).made(request.output)


def _save(
    model: Model, request: TrainRequest, folder: RunFolder, report: Report | None, inbox: Inbox | None
) -> Iterator[Preview | NoPreview | Finished[Trained]]:
    """Save the model, last of all: until then a session that is cancelled can be resumed."""
    best: Any = model.card.training.get("best_epoch")
    yield from _preview(model, inbox, best, request.device)
    path = model.save(request.output, overwrite=_may_replace(request))
    if request.tidy:
        folder.remove_checkpoints()
    yield Finished(Trained(path, model.card, report))


def _preview(model: Model, inbox: Inbox | None, epoch: int, device: str) -> Generator[Preview | NoPreview]:
    target = inbox.latest() if inbox is not None else None
    if target is None:
        return
    try:
        preview = predict_preview(model, target, epoch=epoch, device=device)
    except Exception as error:  # a picture to look at must not end a training
        logging.getLogger(__name__).debug("no preview", exc_info=True)
        yield NoPreview(" ".join(str(error).split()))
    else:
        yield preview
