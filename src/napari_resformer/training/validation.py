"""Metrics of a network on validation samples, one plane a pass."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from napari_resformer.events import TaskMetrics
from napari_resformer.metrics import ImageTally, tally_image
from napari_resformer.model.card import Card
from napari_resformer.network import ResFormer
from napari_resformer.preprocessing.geometry import fit, fitted_shape, pad, unfit
from napari_resformer.samples.sample import Sample, SampleSet
from napari_resformer.training.loader import PlaneReader
from napari_resformer.training.losses import mean, pooled_dice, task_metrics
from napari_resformer.training.settings import TrainSettings

_SMOOTH = 1e-5  # as in the training loss, MONAI's

MAX_SIDE = 1024
"""Pixels; of a larger plane the middle (native mode) or fewer pixels are validated: training only needs to compare epochs."""


@dataclass(frozen=True)
class HeldOut:
    """What a validation sample adds to the metrics of its epoch.

    Parameters
    ----------
    tally : ImageTally
        For the report.
    soft : ndarray or None
        (2, background and mask classes): overlap of probabilities and truth, and the sum of both; None without a mask.
    cross_entropy : float
        Mean over the pixels.
    pixels : int
        How many those are.
    class_loss : float or None
        Cross-entropy of the image class as in training, but for the weight; None where unknown.
    class_weight : float
        Weight of the image class.
    """

    tally: ImageTally
    soft: NDArray[np.float64] | None
    cross_entropy: float
    pixels: int
    class_loss: float | None
    class_weight: float


class Validator:
    """Judges a network on validation samples as training would: same frame, same losses.

    Parameters
    ----------
    samples : SampleSet
        For the numbers of the image classes.
    card : Card
        Channels and normalisation.
    settings : TrainSettings
        Mode and size.
    class_weights : Tensor
        Weight of each image class in the loss.
    device : torch.device
        Where the network is.
    """

    def __init__(
        self, samples: SampleSet, card: Card, settings: TrainSettings, class_weights: Tensor, device: torch.device
    ) -> None:
        self.samples = samples
        self.card = card
        self.reader = PlaneReader(card.channels, card.normalisation)
        self.settings = settings
        self.class_weights = class_weights.cpu().double()
        self.device = device

    def judge(self, network: ResFormer, sample: Sample) -> HeldOut:
        """Judge one plane; of one larger than :data:`MAX_SIDE` its middle or fewer pixels. No torch context is left open."""
        image, mask = self.reader.read(sample)
        if self.settings.mode == "native":
            most = max(MAX_SIDE, self.settings.crop_size)  # no smaller than a crop, else it would be framed as a small plane
            image, mask = _middle(image, most), None if mask is None else _middle(mask[np.newaxis], most)[0]
        shape = image.shape[1:]
        if max(shape) > MAX_SIDE and self.settings.mode == "resize":
            shape = fitted_shape(shape, MAX_SIDE)  # type: ignore[arg-type]
            mask = None if mask is None else _thinned(mask, shape)  # type: ignore[arg-type]
        number = self.samples.class_number(sample)
        soft, cross_entropy, class_loss, weight = None, 0.0, None, 0.0
        with torch.inference_mode():
            logits, class_logits = self._forward(network, image, shape)  # type: ignore[arg-type]
            predicted = logits.argmax(0).to(torch.uint8).cpu().numpy()
            if mask is not None:
                soft, cross_entropy = _soft_overlap(logits, torch.from_numpy(mask).long().to(self.device))
            class_logits = class_logits.cpu().double()
            if number is not None and len(class_logits):
                weight = float(self.class_weights[number])
                weighted = functional.cross_entropy(
                    class_logits[None],
                    torch.tensor([number]),
                    weight=self.class_weights,
                    label_smoothing=self.settings.label_smoothing,
                    reduction="sum",
                )
                class_loss = float(weighted) / weight
            scores = torch.softmax(class_logits, 0).numpy()
        tally = tally_image(
            sample.name,
            mask_classes=network.config.mask_classes,
            true_mask=mask,
            predicted_mask=predicted if mask is not None else None,
            true_class=number,
            scores=scores,
        )
        return HeldOut(tally, soft, cross_entropy, predicted.size if mask is not None else 0, class_loss, weight)

    def _forward(self, network: ResFormer, image: NDArray[np.float32], shape: tuple[int, int]) -> tuple[Tensor, Tensor]:
        height, width = image.shape[1:]
        x = torch.from_numpy(np.ascontiguousarray(image))[None].to(self.device)
        if self.settings.mode == "resize":
            output = network(*fit(x, self.settings.crop_size))
            logits = unfit(output.mask_logits, (height, width), self.settings.crop_size, to=shape)
        else:
            output = network(*pad(x, self.card.frame((height, width))))
            logits = output.mask_logits[..., :height, :width]
        return logits[0], output.class_logits[0]


def held_out_metrics(parts: Sequence[HeldOut], class_loss_weight: float) -> TaskMetrics:
    """Gather the validation samples; the mask loss is that of all of them as one batch."""
    masked = [part for part in parts if part.soft is not None]
    known = [part for part in parts if part.class_loss is not None and part.tally.scores is not None]
    mask_loss = dice = None
    if masked:
        overlap, sides = np.sum([part.soft for part in masked if part.soft is not None], axis=0)
        pixels = sum(part.pixels for part in masked)
        cross_entropy = sum(part.cross_entropy * part.pixels for part in masked) / pixels
        mask_loss = float(1 - np.mean((2 * overlap + _SMOOTH) / (sides + _SMOOTH))) + cross_entropy
        hard = np.sum([(part.tally.overlap[0], part.tally.overlap[1] + part.tally.overlap[2])
                       for part in masked if part.tally.overlap is not None], axis=0)  # fmt: skip
        dice = pooled_dice(hard)
    weights = sum(part.class_weight for part in known)
    class_loss = sum(part.class_weight * (part.class_loss or 0.0) for part in known) / weights if weights else None
    right = [int(np.argmax(part.tally.scores)) == part.tally.true_class for part in known if part.tally.scores is not None]
    return task_metrics(mask_loss, class_loss, class_loss_weight, dice=dice, accuracy=mean(right))


def _soft_overlap(logits: Tensor, mask: Tensor) -> tuple[NDArray[np.float64], float]:
    probabilities = torch.softmax(logits.float(), 0)
    truth = functional.one_hot(mask, len(logits)).movedim(-1, 0)
    both = (probabilities * truth).sum((1, 2))
    sides = probabilities.sum((1, 2)) + truth.sum((1, 2))
    cross_entropy = functional.cross_entropy(logits.float()[None], mask[None])
    return torch.stack([both, sides]).cpu().double().numpy(), float(cross_entropy)


def _thinned(mask: NDArray[Any], shape: tuple[int, int]) -> NDArray[Any]:
    rows, columns = (((np.arange(few) + 0.5) * many / few).astype(int) for few, many in zip(shape, mask.shape, strict=True))
    return mask[np.ix_(rows, columns)]


def _middle(plane: NDArray[Any], most: int) -> NDArray[Any]:
    top, left = (max(side - most, 0) // 2 for side in plane.shape[1:])
    return plane[:, top : top + most, left : left + most]
