"""What learns: the network, the moving average of its weights and its optimizer, in one process of a run."""

from __future__ import annotations

import math
from collections.abc import Generator
from functools import partial
from typing import Any

import torch
from torch.optim.swa_utils import AveragedModel

from napari_resformer.concurrency import prefetch
from napari_resformer.events import Progress
from napari_resformer.model.card import Card
from napari_resformer.model.file import Model, stored_weights
from napari_resformer.network import PreparedNetwork, ResFormer, start_from_trunk
from napari_resformer.training.checkpoint import LearnerState, State
from napari_resformer.training.distributed import ProcessGroup
from napari_resformer.training.loader import Batch, PlaneReader, epoch_batches, steps_per_epoch
from napari_resformer.training.losses import MultiTaskLoss, StepTally, class_weights, tally_step
from napari_resformer.training.optim import TrainStep, diverged, freeze, make_optimizer, make_schedule, update_ema
from napari_resformer.training.plan import TrainPlan
from napari_resformer.training.transfer import start_from
from napari_resformer.training.validation import HeldOut, Validator

_BATCHES_AHEAD = 2


class Learner:
    """The network of one process, with all that changes it and all that judges it.

    Parameters
    ----------
    group : ProcessGroup
        The processes that train together.
    plan : TrainPlan
        What to learn from, and how.
    start : Model, optional
        Whose weights to start from.

    Attributes
    ----------
    card : Card
        Of the model to be; it says which tensors of the model to start from were replaced.
    steps : int
        Training steps in an epoch.
    """

    def __init__(self, group: ProcessGroup, plan: TrainPlan, start: Model | None) -> None:
        settings = plan.settings
        self.group, self.plan = group, plan
        with torch.random.fork_rng([]):
            torch.manual_seed(settings.seed)
            network = ResFormer(plan.card.network)
        if start is None and plan.card.network.trunk:
            start_from_trunk(network)
        self.card = plan.card if start is None else _started(plan.card, start, start_from(start, plan.card, network))
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        frozen = freeze(network) if settings.freeze_encoder else ()
        self.network: Any = group.prepare(network)
        self.average = AveragedModel(
            self.network, multi_avg_fn=partial(update_ema, settings.ema_decay), use_buffers=True, device=group.device
        )
        self.steps = steps_per_epoch(len(plan.training.samples), settings.batch_size, group.size)
        module, optimizer = group.fabric.setup(self.network, make_optimizer(self.network, settings, group.device))
        weights = class_weights(plan.class_counts, settings.balance)
        criterion = MultiTaskLoss(settings.class_loss_weight, weights, settings.label_smoothing).to(group.device)
        schedule = make_schedule(optimizer, settings, self.steps, done=0)
        self._step = TrainStep(group, module, optimizer, schedule, criterion, settings.seed, frozen)
        self._reader = PlaneReader(plan.card.preprocessor)
        self._as_stored = ResFormer(plan.card.network).to(group.device).eval()
        self._validator = Validator(plan.validation, plan.card, settings, weights, group.device)

    def batches(self, epoch: int) -> Generator[Batch]:
        """Yield this process's share of the batches of an epoch; a thread makes the next ones meanwhile."""
        share = self.group.rank, self.group.size
        return prefetch(epoch_batches(self.plan.training, self._reader, self.plan.settings, epoch, share), waiting=_BATCHES_AHEAD)

    def learn(self, batch: Batch, epoch: int, step: int) -> StepTally:
        """Take a training step.

        Raises
        ------
        ValueError
            If the loss or the gradients became NaN or infinite.
        """
        batch = batch.to(self.group.device)
        parts, output = self._step.take(batch, epoch, step)
        if self.plan.settings.ema_decay:
            self.average.update_parameters(self.network)
        tally = tally_step(output, batch, parts)
        if not math.isfinite(tally.loss):
            raise diverged(epoch, step)
        return tally

    def validate(self) -> Generator[Progress, None, list[HeldOut]]:
        """Judge the validation samples, each process its share, with the weights as a model file would hold them."""
        self.group.share_statistics(self._judged)
        self._as_stored.load_state_dict(self.weights())
        judge = partial(self._validator.judge, PreparedNetwork(self._as_stored, self.group.device))
        return (yield from self.group.map(judge, self.plan.validation.samples, "validation image"))

    def weights(self) -> State:
        """Return a copy of the weights that are validated and kept, as a model file would hold them."""
        return stored_weights(self._judged)

    def state(self) -> LearnerState:
        """Return what a checkpoint keeps."""
        return LearnerState(
            network=self.network.state_dict(),
            average=self.average.state_dict(),
            optimizer=self._step.optimizer.state_dict(),
            precision=self.group.fabric.strategy.precision.state_dict(),
        )

    def load(self, state: LearnerState, epoch: int) -> None:
        """Go on from a checkpoint that was kept after ``epoch``."""
        self.network.load_state_dict(state.network)
        self.average.load_state_dict(state.average)
        self._step.optimizer.load_state_dict(state.optimizer)
        self.group.fabric.strategy.precision.load_state_dict(state.precision)
        self._step.scheduler = make_schedule(self._step.optimizer, self.plan.settings, self.steps, done=epoch * self.steps)

    @property
    def _judged(self) -> Any:
        """The network that is validated and kept."""
        return self.average.module if self.plan.settings.ema_decay else self.network


def _started(card: Card, start: Model, replaced: tuple[str, ...]) -> Card:
    """Note on the card what training started from."""
    told = {"name": start.card.name, "sha256": start.sha256, "replaced": list(replaced)}
    return card.model_copy(update={"training": card.training | {"start": told}})
