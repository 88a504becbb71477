"""The two losses and their weighted sum (paper section 3.4): what is not annotated is left out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from monai.losses import DiceLoss
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from napari_resformer.events import TaskMetrics
from napari_resformer.metrics import IGNORE, pooled_dice
from napari_resformer.network import ResFormerOutput
from napari_resformer.training.loader import FEW_OF_A_CLASS, UNKNOWN_CLASS, Batch


class LossParts(NamedTuple):
    """The loss to minimise, and its two parts before weighting."""

    total: Tensor
    mask: Tensor
    image_class: Tensor


class MultiTaskLoss(nn.Module):
    """Dice + cross-entropy of the mask, plus weighted cross-entropy of the image class.

    Pixels that are :data:`~napari_resformer.metrics.IGNORE` in the mask are left out of both parts of its loss.

    Differs from the paper in the classification part: image classes exclude each other here and scores sum to 1, hence
    softmax cross-entropy and not the multi-label soft margin.

    Parameters
    ----------
    class_loss_weight : float
        Weight of the classification part.
    class_weights : Tensor
        (image classes,) weight of each image class.
    label_smoothing : float
        Share of each image's class that is spread over all classes.
    """

    class_weights: Tensor

    def __init__(self, class_loss_weight: float, class_weights: Tensor, label_smoothing: float = 0.0) -> None:
        super().__init__()
        self.class_loss_weight = class_loss_weight
        self.label_smoothing = label_smoothing
        self.register_buffer("class_weights", class_weights, persistent=False)
        # Pooled over the batch: a crop without objects has no Dice of its own. With the background's Dice, since Dice of
        # the objects alone pulls to one side: a doubtful pixel raises it more as object than as background.
        self.dice = DiceLoss(include_background=True, batch=True)

    def forward(self, output: ResFormerOutput, batch: Batch) -> LossParts:
        """Return the loss of a batch; a part to which nothing is annotated is 0."""
        # Both heads take part, with nothing: processes that train together all expect a gradient for each weight.
        nothing = output.mask_logits.sum() * 0 + output.class_logits.sum() * 0
        mask = nothing
        if batch.has_mask.any():
            mask = self._mask_loss(output.mask_logits[batch.has_mask], batch.masks[batch.has_mask])
        image_class = nothing
        if output.class_logits.shape[1] and (batch.classes != UNKNOWN_CLASS).any():
            image_class = functional.cross_entropy(
                output.class_logits,
                batch.classes,
                weight=self.class_weights,
                ignore_index=UNKNOWN_CLASS,
                label_smoothing=self.label_smoothing,
            )
        return LossParts(mask + self.class_loss_weight * image_class + nothing, mask, image_class)

    def _mask_loss(self, logits: Tensor, masks: Tensor) -> Tensor:
        """Return Dice + cross-entropy over the pixels that say something; 0 where none does."""
        counted = masks != IGNORE
        some = counted[:, None].float()
        truth = torch.zeros_like(logits, dtype=torch.float32).scatter_(1, masks.where(counted, 0)[:, None], some)
        dice: Tensor = self.dice(logits.softmax(1) * some, truth)
        cross_entropy = functional.cross_entropy(logits, masks, ignore_index=IGNORE, reduction="sum")
        return dice + cross_entropy / counted.sum().clamp_min(1)


def class_weights(counts: list[int], balance: float) -> Tensor:
    """Return loss weights that make up half of the imbalance left after drawing samples with ``balance``; mean 1.

    A class of fewer than :data:`~napari_resformer.training.loader.FEW_OF_A_CLASS` samples weighs as one of so many.
    """
    drawn = torch.tensor(counts, dtype=torch.float32).clamp_min(FEW_OF_A_CLASS) ** (1 - balance)
    weights = drawn**-0.5
    return weights / weights.mean() if len(counts) else weights


@dataclass(frozen=True)
class StepTally:
    """What a step adds to the training metrics of its epoch, as plain numbers.

    Parameters
    ----------
    loss : float
        What was minimised.
    mask_loss, class_loss : float or None
        Its parts; None where nothing was annotated.
    overlap : ndarray or None
        (2, mask classes): pixels that both have, and the sum of what each has.
    right, known : int
        Crops with the right image class, and with a known one.
    """

    loss: float
    mask_loss: float | None
    class_loss: float | None
    overlap: NDArray[np.int64] | None
    right: int
    known: int


@torch.no_grad()
def tally_step(output: ResFormerOutput, batch: Batch, parts: LossParts) -> StepTally:
    """Take the training metrics from an output that was computed anyway."""
    overlap, right = None, 0
    if masked := bool(batch.has_mask.any()):
        bins = output.mask_logits.shape[1]
        masks = batch.masks[batch.has_mask]
        counted = masks != IGNORE
        found = output.mask_logits[batch.has_mask].argmax(1)[counted]
        joint = torch.bincount(masks[counted] * bins + found, minlength=bins**2).view(bins, bins)
        overlap = torch.stack([joint.diagonal()[1:], joint.sum(0)[1:] + joint.sum(1)[1:]]).cpu().numpy()
    labelled = batch.classes != UNKNOWN_CLASS
    known = int(labelled.sum()) if output.class_logits.shape[1] else 0
    if known:
        right = int((output.class_logits.argmax(1) == batch.classes)[labelled].sum())
    return StepTally(
        float(parts.total.detach()),
        float(parts.mask.detach()) if masked else None,
        float(parts.image_class.detach()) if known else None,
        overlap,
        right,
        known,
    )


def training_metrics(tallies: Sequence[StepTally], class_loss_weight: float) -> TaskMetrics:
    """Gather the steps of an epoch."""
    overlaps = [tally.overlap for tally in tallies if tally.overlap is not None]
    known = sum(tally.known for tally in tallies)
    return task_metrics(
        mean([tally.mask_loss for tally in tallies if tally.mask_loss is not None]),
        mean([tally.class_loss for tally in tallies if tally.class_loss is not None]),
        class_loss_weight,
        dice=pooled_dice(*np.sum(overlaps, axis=0)) if overlaps else None,
        accuracy=sum(tally.right for tally in tallies) / known if known else None,
    )


def task_metrics(
    mask_loss: float | None, class_loss: float | None, class_loss_weight: float, *, dice: float | None, accuracy: float | None
) -> TaskMetrics:
    """Return metrics whose loss is the weighted sum that is minimised."""
    loss = (mask_loss or 0.0) + class_loss_weight * (class_loss or 0.0)
    return TaskMetrics(loss, mask_loss, class_loss, dice, accuracy)


def mean(values: Sequence[float]) -> float | None:
    """Return the mean, None of nothing."""
    return sum(values) / len(values) if values else None
