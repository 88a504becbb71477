"""The training job: a generator of events, from samples to a model."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator
from contextlib import closing

from napari_resformer.devices import choose_device, fast_precision
from napari_resformer.events import (
    EpochDone,
    Finished,
    Notice,
    Progress,
    Snapshot,
    StepDone,
    TrainingStarted,
)
from napari_resformer.model.file import Model
from napari_resformer.samples.sample import SampleSet
from napari_resformer.samples.survey import Survey, look_at
from napari_resformer.training.check import judge
from napari_resformer.training.checkpoint import Checkpoint, ProgressState
from napari_resformer.training.distributed import ProcessGroup
from napari_resformer.training.learner import Learner
from napari_resformer.training.plan import TrainPlan, considered, make_plan
from napari_resformer.training.progress import RunProgress
from napari_resformer.training.run_folder import ExistingRun, RunFolder, describe_run
from napari_resformer.training.settings import TrainSettings

TrainEvent = Progress | Notice | TrainingStarted | StepDone | EpochDone | Snapshot[Model] | Finished[Model]


def train_samples(
    samples: SampleSet,
    settings: TrainSettings,
    folder: RunFolder,
    *,
    name: str,
    device: str = "auto",
    existing: ExistingRun = "refuse",
    start: Model | None = None,
    survey: Survey | None = None,
    snapshots: bool = False,
    devices: int = 1,
    nodes: int = 1,
) -> Iterator[TrainEvent]:
    """Train a network on samples, step by step.

    Parameters
    ----------
    samples : SampleSet
        Training and validation samples together.
    settings : TrainSettings
        What to do.
    folder : RunFolder
        Where checkpoints and metrics go; made if needed.
    name : str
        Name of the model.
    device : str
        ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
    existing : {"refuse", "resume", "replace", "resume or replace"}
        What to do where the folder holds a run already; see :data:`~napari_resformer.training.run_folder.ExistingRun`.
    start : Model, optional
        A model whose weights training starts from; heads and first layers that do not fit are replaced.
    survey : Survey, optional
        Of these samples, from an earlier pre-flight check; then they are not looked at again and no notice is given.
    snapshots : bool
        Whether each epoch is followed by a :class:`~napari_resformer.events.Snapshot`.
    devices, nodes : int
        Devices on each node, and nodes; for the command line only, since each further process runs the whole program again.

    Yields
    ------
    Progress
        While the samples are looked at, and while a validation runs.
    Notice
        What was found in the samples, and what is resumed.
    TrainingStarted
        Before the first step, with the epochs that a resumed run has behind it.
    StepDone, EpochDone, Snapshot
        After each step and epoch; closing the generator cancels the run at the next of them.
    Finished
        With the model of the best epoch. Of several processes, only the first yields events.

    Raises
    ------
    ValueError
        If these samples cannot be trained on, a run cannot be resumed, somebody else is training in the folder, or the loss
        became NaN or infinite.
    FileExistsError
        If the folder holds a run already and ``existing`` is ``refuse``.
    OSError
        If a file cannot be written; the run can be resumed from its last checkpoint.
    """
    chosen = choose_device(device)
    precision = fast_precision(chosen.name) if settings.precision == "auto" else settings.precision
    if existing == "resume":
        settings = folder.as_started(settings)
    settings = settings.following(start.card if start else None)
    if settings.batch_size < 2 * devices * nodes:
        raise ValueError(
            f"a batch of {settings.batch_size} cannot be shared by {devices * nodes} processes, which need two crops each: "
            f"give a batch size of {2 * devices * nodes} or more"
        )
    group = ProcessGroup.launch(chosen.name, precision, devices=devices, nodes=nodes)
    yield from group.in_step(_train(group, samples, settings, folder, name, existing, start, survey, snapshots))


def _train(
    group: ProcessGroup,
    samples: SampleSet,
    settings: TrainSettings,
    folder: RunFolder,
    name: str,
    existing: ExistingRun,
    start: Model | None,
    survey: Survey | None,
    snapshots: bool,
) -> Iterator[TrainEvent]:
    """Train in one process of the group; all yield the same number of events."""
    plan = yield from _prepare(group, considered(samples, settings), settings, name, start, survey)
    run = describe_run(plan, (start.sha256 or start.card.name) if start else "")
    with group.entered_by_first(folder.taken()):
        resumes = group.first(lambda: folder.open(run, existing))
        learner = Learner(group, plan, start)
        progress = RunProgress(plan, learner.card, ProgressState(learner.weights()))
        if resumes:
            checkpoint = folder.load()
            learner.load(checkpoint.learner, checkpoint.progress.epoch)
            progress.state = checkpoint.progress
            # A kill may have come between two files.
            group.first(lambda: folder.record(progress.best_model(), progress.state.history))
            yield Notice(
                f"resuming the run in {folder.path}, started on {folder.started:%Y-%m-%d at %H:%M}, after epoch "
                f"{progress.state.epoch} of {settings.epochs}"
            )
        elif existing == "resume":
            yield Notice(f"there is no checkpoint in {folder.path} yet; starting from the beginning")
        yield TrainingStarted(progress.state.history, progress.state.report)

        while not progress.has_ended:
            begin, epoch, steps = time.perf_counter(), progress.state.epoch + 1, []
            with closing(learner.batches(epoch)) as batches:
                for number, batch in enumerate(batches, start=1):
                    steps.append(learner.learn(batch, epoch, number))
                    yield StepDone(epoch, settings.epochs, number, learner.steps, steps[-1].loss)
            steps = group.gather(steps)
            held_out = yield from learner.validate()
            done = progress.add(steps, held_out, learner.weights, time.perf_counter() - begin)
            group.first(
                lambda: folder.keep(
                    Checkpoint(learner.state(), progress.state), run, progress.best_model() if progress.kept_last else None
                )
            )
            yield done
            if snapshots:
                yield Snapshot(epoch, done.best, progress.latest_model(learner.weights()))

        model = progress.best_model()
        group.first(lambda: folder.finish(model.card))
    yield Finished(model)


def _prepare(
    group: ProcessGroup, samples: SampleSet, settings: TrainSettings, name: str, start: Model | None, survey: Survey | None
) -> Generator[TrainEvent, None, TrainPlan]:
    """Look at the samples, say what was found, and plan the run, or refuse it."""
    card = start.card if start else None
    if survey is None:
        facts = yield from group.map(look_at, samples.samples, "checking image")
        survey = Survey(tuple(facts))
        yield from judge(samples, survey, settings, start=card).notices()
    return make_plan(samples, survey, settings, name=name, start=card)
