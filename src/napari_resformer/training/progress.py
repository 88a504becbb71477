"""How far a run is, which epoch is kept, and the model that comes of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from napari_resformer.events import EpochDone
from napari_resformer.metrics import Report, make_report
from napari_resformer.model.card import Card
from napari_resformer.model.file import Model
from napari_resformer.network import ResFormer
from napari_resformer.training.checkpoint import ProgressState, State
from napari_resformer.training.history import history_row
from napari_resformer.training.losses import StepTally, training_metrics
from napari_resformer.training.plan import TrainPlan
from napari_resformer.training.validation import HeldOut, held_out_metrics

ALIKE_SCORES = 0.005
"""Scores that differ by less count as equal: validation samples are few."""


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


class RunProgress:
    """What a run has to show after each epoch.

    Parameters
    ----------
    plan : TrainPlan
        What the run does.
    card : Card
        Of the model to be.
    state : ProgressState
        Before the first epoch, or from a checkpoint.
    """

    def __init__(self, plan: TrainPlan, card: Card, state: ProgressState) -> None:
        self.plan, self.card, self.state = plan, card, state

    @property
    def has_ended(self) -> bool:
        """Whether all epochs are done, or the patience is over."""
        state, settings = self.state, self.plan.settings
        stalled = bool(settings.patience and state.top_epoch) and state.epoch - state.top_epoch >= settings.patience
        return stalled or state.epoch >= settings.epochs

    @property
    def kept_last(self) -> bool:
        """Whether the last epoch is the one that is kept so far."""
        return self.state.epoch == self.state.best_epoch

    def add(
        self, steps: Sequence[StepTally], held_out: Sequence[HeldOut], weights: Callable[[], State], seconds: float
    ) -> EpochDone:
        """Take in the next epoch.

        Of epochs whose scores are alike the later is the better one: its learning rate is lower and its average longer.

        Parameters
        ----------
        steps, held_out : sequence
            What its steps and its validation found, in all processes.
        weights : callable
            Returns the weights after the epoch.
        seconds : float
            How long it took.
        """
        state, settings, card = self.state, self.plan.settings, self.card
        report = make_report([part.tally for part in held_out], card.mask_classes, card.image_classes)
        score, epoch = selection_score(report), state.epoch + 1
        best = score > state.best_score - ALIKE_SCORES
        done = EpochDone(
            epoch=epoch,
            epochs=settings.epochs,
            training=training_metrics(steps, settings.class_loss_weight),
            held_out=held_out_metrics(held_out, settings.class_loss_weight),
            validation=report,
            score=score,
            best=best,
            seconds=seconds,
        )
        if score > state.best_score:
            state = replace(state, top_epoch=epoch, best_score=score)
        if best or settings.keep == "last":
            state = replace(state, best_epoch=epoch, best=weights(), report=report)
        self.state = replace(state, epoch=epoch, history=(*state.history, history_row(done)))
        return done

    def best_model(self) -> Model:
        """Return the model of the epoch that is kept so far."""
        return self._model(self.state.best, self.state.best_epoch)

    def latest_model(self, weights: State) -> Model:
        """Return the model as it stands after the last epoch."""
        return self._model(weights, self.state.epoch)

    def _model(self, weights: State, epoch: int) -> Model:
        history = self.state.history
        network = ResFormer(self.card.network)
        network.load_state_dict(weights)
        row: dict[str, Any] = next((row for row in history if row["epoch"] == epoch), {})
        training = self.card.training | {"best_epoch": epoch, "epochs_done": len(history)}
        metrics = {"validation": {key: value for key, value in row.items() if key not in {"best", "seconds"}}}
        return Model(self.card.model_copy(update={"training": training, "metrics": metrics}), network.eval())
