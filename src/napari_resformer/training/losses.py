"""The two losses and their weighted sum (paper section 3.4): what is not annotated is left out."""

from __future__ import annotations

from typing import NamedTuple

import torch
from monai.losses import DiceCELoss
from torch import Tensor, nn
from torch.nn import functional

from napari_resformer.network import ResFormerOutput
from napari_resformer.training.loader import UNKNOWN_CLASS, Batch


class LossParts(NamedTuple):
    """The loss to minimise, and its two parts before weighting."""

    total: Tensor
    mask: Tensor
    image_class: Tensor


class MultiTaskLoss(nn.Module):
    """Dice + cross-entropy of the mask, plus weighted cross-entropy of the image class.

    Differs from the paper in the classification part: image classes exclude each other here and scores sum to 1, hence
    softmax cross-entropy and not the multi-label soft margin.

    Parameters
    ----------
    class_loss_weight : float
        Weight of the classification part.
    class_weights : Tensor
        (image classes,) weight of each image class.
    """

    class_weights: Tensor

    def __init__(self, class_loss_weight: float, class_weights: Tensor) -> None:
        super().__init__()
        self.class_loss_weight = class_loss_weight
        self.register_buffer("class_weights", class_weights, persistent=False)
        # Pooled over the batch: a crop without objects has no Dice of its own.
        self.mask_loss = DiceCELoss(softmax=True, to_onehot_y=True, include_background=False, batch=True)

    def forward(self, output: ResFormerOutput, batch: Batch) -> LossParts:
        """Return the loss of a batch; a part to which nothing is annotated is 0."""
        nothing = output.mask_logits.sum() * 0
        mask = nothing
        if batch.has_mask.any():
            logits = output.mask_logits[batch.has_mask]
            mask = self.mask_loss(logits, batch.masks[batch.has_mask].unsqueeze(1))
        image_class = nothing
        if output.class_logits.shape[1] and (batch.classes != UNKNOWN_CLASS).any():
            image_class = functional.cross_entropy(
                output.class_logits, batch.classes, weight=self.class_weights, ignore_index=UNKNOWN_CLASS
            )
        return LossParts(mask + self.class_loss_weight * image_class, mask, image_class)


def class_weights(counts: list[int], balance: float) -> Tensor:
    """Return loss weights that make up half of the imbalance left after drawing samples with ``balance``; mean 1."""
    drawn = torch.tensor(counts, dtype=torch.float32).clamp_min(1) ** (1 - balance)
    weights = drawn**-0.5
    return weights / weights.mean() if len(counts) else weights
