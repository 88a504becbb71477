"""The training job: a generator of events, from samples to a model."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, TypeVar

import torch
from torch.optim.swa_utils import AveragedModel

from napari_resformer.concurrency import prefetch
from napari_resformer.devices import choose_device, fast_precision
from napari_resformer.events import EpochDone, Finished, Notice, Progress, Snapshot, StepDone
from napari_resformer.metrics import Report, make_report
from napari_resformer.model.card import Card
from napari_resformer.model.file import Model, stored_weights
from napari_resformer.network import PreparedNetwork, ResFormer
from napari_resformer.samples.sample import SampleSet
from napari_resformer.samples.survey import Survey, look_at
from napari_resformer.training.check import judge
from napari_resformer.training.checkpoint import Checkpoint, State, save_checkpoint
from napari_resformer.training.distributed import Team
from napari_resformer.training.loader import PlaneReader, epoch_batches, steps_per_epoch
from napari_resformer.training.losses import MultiTaskLoss, class_weights, tally_step, training_metrics
from napari_resformer.training.optim import Optimiser, diverged, freeze, make_optimizer, make_schedule, running_average
from napari_resformer.training.plan import TrainPlan, considered, make_plan
from napari_resformer.training.run_folder import RunFolder, history_row
from napari_resformer.training.settings import TrainSettings
from napari_resformer.training.transfer import start_from
from napari_resformer.training.validation import HeldOut, Validator, held_out_metrics

TrainEvent = Progress | Notice | StepDone | EpochDone | Snapshot[Model] | Finished[Model]

_BATCHES_AHEAD = 2

ALIKE_SCORES = 0.005
"""Scores that are nearer to each other count as equal: validation samples are few."""

Item = TypeVar("Item")
Made = TypeVar("Made")


def train_samples(
    samples: SampleSet,
    settings: TrainSettings,
    run: RunFolder,
    *,
    name: str,
    device: str = "auto",
    resume: bool = False,
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
    run : RunFolder
        Where checkpoints and metrics go; made if needed.
    name : str
        Name of the model.
    device : str
        ``auto``, ``cpu``, ``cuda`` or ``mps``.
    resume : bool
        Go on from the run's last checkpoint, if there is one.
    start : Model, optional
        A model whose weights are what training starts from; heads and first layers that do not fit are replaced.
    survey : Survey, optional
        Of these samples, from an earlier pre-flight; then they are not looked at again and no notice is given.
    snapshots : bool
        Whether each epoch is followed by a :class:`Snapshot`.
    devices, nodes : int
        Devices on each node, and nodes; for the command line only, since each further process runs the whole program again.

    Yields
    ------
    Progress
        While the samples are looked at, and while a validation runs.
    Notice
        What was found in the samples, and what is resumed.
    StepDone, EpochDone, Snapshot
        After each step and epoch; closing the generator cancels the run at the next of them.
    Finished
        With the model of the best epoch. Of several processes, only the first yields events.

    Raises
    ------
    ValueError
        If the samples do not allow to train, a resumed run has other settings, somebody else is training in the folder, or
        the loss is no number any more.
    FileExistsError
        If the folder holds a run already and ``resume`` is False.
    OSError
        If a file cannot be written; the run can be resumed from its last checkpoint.
    """
    chosen = choose_device(device)
    precision = fast_precision(chosen.name) if settings.precision == "auto" else settings.precision
    settings = settings.following(start.card if start else None)
    if settings.batch < 2 * devices * nodes:
        raise ValueError(
            f"a batch of {settings.batch} cannot be shared by {devices * nodes} processes; each needs two crops: "
            f"give a batch of {2 * devices * nodes} or more"
        )
    samples = considered(samples, settings)
    team = Team.assemble(chosen.name, precision, devices=devices, nodes=nodes)
    with ExitStack() as held:
        yield from team.in_step(_train(team, samples, settings, run, held, name, resume, start, survey, snapshots))


def selection_score(report: Report) -> float:
    """Return what the best epoch is picked by: the mean of Dice and AUROC, as far as each is known.

    AUROC rather than balanced accuracy: where a validation class has a handful of images, one of them moves the
    accuracy by more than an epoch of training does.
    """
    image_class = report.image_class
    classified = None
    if image_class is not None:
        classified = image_class.balanced_accuracy if image_class.auroc is None else image_class.auroc
    values = [value for value in (report.mask_mean.dice, classified) if value is not None]
    return sum(values) / len(values) if values else 0.0


@dataclass
class _Progress:
    """How far a run is."""

    best: State
    epoch: int = 0
    best_epoch: int = 0  # whose weights are kept
    top_epoch: int = 0  # with the highest score
    best_score: float = -1.0
    history: list[dict[str, Any]] = field(default_factory=list)

    def has_ended(self, settings: TrainSettings) -> bool:
        stalled = bool(settings.patience and self.top_epoch) and self.epoch - self.top_epoch >= settings.patience
        return stalled or self.epoch >= settings.epochs


def _train(
    team: Team,
    samples: SampleSet,
    settings: TrainSettings,
    run: RunFolder,
    held: ExitStack,
    name: str,
    resume: bool,
    start: Model | None,
    survey: Survey | None,
    snapshots: bool,
) -> Iterator[TrainEvent]:
    """Do the run in one process of the team; all yield the same number of events. The folder is ``held`` against others."""
    if survey is None:
        facts = yield from _shared(team, samples.samples, look_at, "image checked")
        survey = Survey(tuple(facts))
        yield from judge(samples, survey, settings, start=start.card if start else None).notices()
    plan = make_plan(samples, survey, settings, name=name, start=start.card if start else None)
    origin = (start.sha256 or start.card.name) if start else ""
    team.first(lambda: held.enter_context(run.taken()))
    goes_on = team.first(partial(run.open, plan, origin, resume=resume))
    if resume and not goes_on:
        yield Notice(f"there is no checkpoint in {run.path} yet; the run starts from the beginning")

    trainer = _Trainer(team, plan, start)
    if goes_on:
        trainer.load(run.load())
        done = trainer.progress.epoch
        yield Notice(f"the run in {run.path} goes on after epoch {done} of {settings.epochs}")
        team.first(partial(trainer.write_progress, run, best=True))  # a kill may have come between two files
    while not trainer.progress.has_ended(settings):
        begin = time.perf_counter()
        trainer.progress.epoch += 1
        metrics = yield from trainer.steps()
        judged: list[HeldOut] = yield from trainer.validate()
        report = make_report([part.tally for part in judged], plan.card.mask_classes, plan.card.image_classes)
        done_event = trainer.note(
            EpochDone(
                epoch=trainer.progress.epoch,
                epochs=settings.epochs,
                training=metrics,
                held_out=held_out_metrics(judged, settings.class_loss_weight),
                validation=report,
                score=selection_score(report),
                best=False,
                seconds=time.perf_counter() - begin,
            )
        )
        is_new = not goes_on and done_event.epoch == 1
        team.first(partial(trainer.keep, run, done_event, partial(run.begin, plan, origin) if is_new else None))
        yield done_event
        if snapshots:
            yield Snapshot(done_event.epoch, done_event.best, trainer.snapshot())
    model = trainer.finish()
    team.first(partial(run.finish, model.card))
    yield Finished(model)


class _Trainer:
    """Network, average, optimizer and progress of one process."""

    def __init__(self, team: Team, plan: TrainPlan, start: Model | None) -> None:
        settings = plan.settings
        self.team, self.plan = team, plan
        with torch.random.fork_rng([]):
            torch.manual_seed(settings.seed)
            network = ResFormer(plan.card.network)
        self.card = plan.card
        if start is not None:
            changed = start_from(start, plan.card, network)
            told = {"name": start.card.name, "sha256": start.sha256, "replaced": list(changed)}
            self.card = plan.card.model_copy(update={"training": plan.card.training | {"start": told}})
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        frozen = freeze(network) if settings.freeze_encoder else ()
        self.network: Any = team.prepare(network)
        self.progress = _Progress(best=stored_weights(network))
        self.average = AveragedModel(
            self.network, multi_avg_fn=partial(running_average, settings.average_decay), use_buffers=True, device=team.device
        )
        self.steps_an_epoch = steps_per_epoch(len(plan.training.samples), settings.batch, team.size)
        module, optimizer = team.fabric.setup(self.network, make_optimizer(self.network, settings, team.device))
        weights = class_weights(plan.class_counts, settings.balance)
        criterion = MultiTaskLoss(settings.class_loss_weight, weights, settings.label_smoothing).to(team.device)
        schedule = make_schedule(optimizer, settings, self.steps_an_epoch, done=0)
        self.optimiser = Optimiser(team, module, optimizer, schedule, criterion, settings.seed, frozen, team.scales)
        self.reader = PlaneReader(plan.card.preprocessor)
        self.as_stored = ResFormer(plan.card.network).to(team.device).eval()
        self.validator = Validator(plan.validation, plan.card, settings, weights, team.device)

    @property
    def judged(self) -> Any:
        """The network that is validated and kept."""
        return self.average.module if self.plan.settings.average_decay else self.network

    def load(self, checkpoint: Checkpoint) -> None:
        """Go on from a checkpoint."""
        self.network.load_state_dict(checkpoint.network)
        self.average.load_state_dict(checkpoint.average)
        self.optimiser.optimizer.load_state_dict(checkpoint.optimizer)
        self.team.fabric.strategy.precision.load_state_dict(checkpoint.precision)
        self.optimiser.scheduler = make_schedule(
            self.optimiser.optimizer, self.plan.settings, self.steps_an_epoch, done=checkpoint.epoch * self.steps_an_epoch
        )
        self.progress = _Progress(
            checkpoint.best,
            checkpoint.epoch,
            checkpoint.best_epoch,
            checkpoint.top_epoch,
            checkpoint.best_score,
            checkpoint.history,
        )

    def steps(self) -> Generator[TrainEvent, None, Any]:
        """Take the steps of an epoch; return its training metrics."""
        settings, epoch, team = self.plan.settings, self.progress.epoch, self.team
        tallies = []
        batches = prefetch(
            epoch_batches(self.plan.training, self.reader, settings, epoch, (team.rank, team.size)), waiting=_BATCHES_AHEAD
        )
        try:
            for step, batch in enumerate(batches, start=1):
                batch = batch.to(team.device)
                parts, output = self.optimiser.step(batch, epoch, step)
                if settings.average_decay:
                    self.average.update_parameters(self.network)
                tallies.append(tally_step(output, batch, parts))
                loss = float(parts.total.detach())
                if not math.isfinite(loss):
                    raise diverged(epoch, step)
                yield StepDone(epoch, settings.epochs, step, self.steps_an_epoch, loss)
        finally:
            batches.close()
        return training_metrics(team.gather(tallies), settings.class_loss_weight)

    def validate(self) -> Generator[TrainEvent, None, list[HeldOut]]:
        """Judge the validation samples, each process its share, with the weights as a model file would hold them."""
        self.team.align(self.judged)
        self.as_stored.load_state_dict(stored_weights(self.judged))
        measure = partial(self.validator.judge, PreparedNetwork(self.as_stored, self.team.device))
        return (yield from _shared(self.team, self.plan.validation.samples, measure, "validation image"))

    def note(self, done: EpochDone) -> EpochDone:
        """Take an epoch into the progress; return it with the word on whether it is the best.

        Of epochs whose scores are alike the later is the better one: its learning rate is lower and its average longer.
        """
        progress = self.progress
        best = done.score > progress.best_score - ALIKE_SCORES
        if done.score > progress.best_score:
            progress.top_epoch, progress.best_score = done.epoch, done.score
        if best or self.plan.settings.keep == "last":
            progress.best_epoch, progress.best = done.epoch, stored_weights(self.judged)
        done = replace(done, best=best)
        progress.history.append(history_row(done))
        return done

    def keep(self, run: RunFolder, done: EpochDone, begin: Callable[[], None] | None) -> None:
        """Write the checkpoint, metrics and curves of an epoch; an earlier run goes once the checkpoint is on the disk."""
        progress = self.progress
        save_checkpoint(
            Checkpoint(
                epoch=done.epoch,
                network=self.network.state_dict(),
                average=self.average.state_dict(),
                optimizer=self.optimiser.optimizer.state_dict(),
                precision=self.team.fabric.strategy.precision.state_dict(),
                best_epoch=progress.best_epoch,
                top_epoch=progress.top_epoch,
                best_score=progress.best_score,
                best=progress.best,
                history=progress.history,
            ),
            run.new_checkpoint if begin else run.checkpoint,
        )
        if begin:
            begin()
            run.new_checkpoint.replace(run.checkpoint)
        self.write_progress(run, best=progress.best_epoch == done.epoch)

    def write_progress(self, run: RunFolder, *, best: bool) -> None:
        """Write what is made from a checkpoint: the best model, metrics and curves."""
        if best:
            self.finish().save(run.best, overwrite=True)
        run.record(self.progress.history)

    def snapshot(self) -> Model:
        """Return the model as it stands."""
        return _model(self.card, stored_weights(self.judged), self.progress.epoch, self.progress.history)

    def finish(self) -> Model:
        """Return the model of the best epoch."""
        return _model(self.card, self.progress.best, self.progress.best_epoch, self.progress.history)


def _shared(
    team: Team, items: Sequence[Item], function: Callable[[Item], Made], unit: str
) -> Generator[TrainEvent, None, list[Made]]:
    """Do something to each item, shared out among the processes; return all results in the items' order."""
    made = []
    for place, item in enumerate(team.share_out(items), start=1):
        if item is not None:
            made.append(function(item))
        yield Progress(min(place * team.size, len(items)), len(items), unit)
    return team.gather(made)


def _model(card: Card, weights: State, epoch: int, history: Sequence[dict[str, Any]]) -> Model:
    network = ResFormer(card.network)
    network.load_state_dict(weights)
    row = next((row for row in history if row["epoch"] == epoch), {})
    training = card.training | {"best_epoch": epoch, "epochs_done": len(history)}
    metrics = {"validation": {key: value for key, value in row.items() if key not in {"best", "seconds"}}}
    return Model(card.model_copy(update={"training": training, "metrics": metrics}), network.eval())
