"""Metrics of a network on validation samples: predicted by the very code that predicts images, and measured on the way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from napari_resformer.devices import Device
from napari_resformer.events import TaskMetrics
from napari_resformer.images.image import Image, Plane
from napari_resformer.metrics import IGNORE, ImageTally, Overlap, overlap_of, pooled_dice
from napari_resformer.model.card import Card
from napari_resformer.network.inference import PreparedNetwork
from napari_resformer.prediction.outputs import labels
from napari_resformer.prediction.plan import Plan, make_plan
from napari_resformer.prediction.run import Run
from napari_resformer.prediction.stitch import Block
from napari_resformer.preprocessing.normalise import NoFinitePixelError, Scaling, blank
from napari_resformer.preprocessing.pipeline import Preprocessor
from napari_resformer.samples.sample import Sample, SampleSet
from napari_resformer.training.losses import mean, task_metrics
from napari_resformer.training.settings import TrainSettings

_SMOOTH = 1e-5  # as in the training loss, MONAI's

MAX_SIDE = 1024
"""Pixels that the network sees; of a larger native plane only the middle is validated, as training needs to compare epochs."""


@dataclass(frozen=True)
class HeldOut:
    """What a validation sample adds to the metrics of its epoch.

    Parameters
    ----------
    tally : ImageTally
        For the report; the same that :func:`~napari_resformer.evaluate` makes of the sample, or of its middle.
    soft : ndarray or None
        (2, background and mask classes): overlap of probabilities and truth, and the sum of both; None without a mask.
    cross_entropy : float
        Sum over the pixels.
    pixels : int
        How many of them count.
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
    """Judges a network on validation samples: figures as :func:`~napari_resformer.evaluate`, losses as in training.

    Parameters
    ----------
    samples : SampleSet
        For the numbers of the image classes.
    card : Card
        What the network is used by: channels, preprocessing and classes.
    settings : TrainSettings
        For the loss.
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
        self.settings = settings
        self.class_weights = class_weights.cpu().double()
        self.device = Device(str(device), "training runs on it")
        self._statistics: dict[str, Scaling] = {}

    def judge(self, network: PreparedNetwork, sample: Sample) -> HeldOut:
        """Judge one plane; of a native one larger than :data:`MAX_SIDE` the middle. No torch context is left open.

        Parameters
        ----------
        network : PreparedNetwork
            On the validator's device.
        sample : Sample
            One of the validation samples.
        """
        image, mask = judged_part(sample.plane(), sample.mask(), self.card.preprocessor)
        plan = self._plan(image, sample.name)
        sink = None if mask is None else _Judge(mask, len(self.card.mask_classes))
        run = Run(network, plan, sink)
        for _ in run.events():
            pass
        class_loss, weight = self._class_loss(run.class_logits[0], sample)
        tally = ImageTally(
            sample.name,
            None if sink is None else sink.overlap,
            self.samples.class_number(sample),
            run.scores.reshape(-1).astype(np.float64) if self.card.image_classes else None,
        )
        if sink is None:
            return HeldOut(tally, None, 0.0, 0, class_loss, weight)
        return HeldOut(tally, sink.soft, sink.cross_entropy, sink.pixels, class_loss, weight)

    def _plan(self, image: Image, name: str) -> Plan:
        """Plan the prediction; brightness statistics of a sample are taken once."""
        known = self._statistics.get(name)
        try:
            plan = make_plan(self.card, image, device=self.device, statistics=known)
            if known is None:
                first = (0,) * len(image.loop_shape)
                known = self._statistics[name] = plan.prepared(0, first).scaling
        except NoFinitePixelError:  # the middle of a plane may be empty
            known = self._statistics[name] = blank(self.card.preprocessor.rule(image))
            plan = make_plan(self.card, image, device=self.device, statistics=known)
        return replace(plan, statistics=known)

    def _class_loss(self, logits: NDArray[np.float64], sample: Sample) -> tuple[float | None, float]:
        """Return the loss of the image class, before weighting, and its weight."""
        number = self.samples.class_number(sample)
        if number is None or not logits.size:
            return None, 0.0
        weight = float(self.class_weights[number])
        weighted = functional.cross_entropy(
            torch.from_numpy(logits)[None],
            torch.tensor([number]),
            weight=self.class_weights,
            label_smoothing=self.settings.label_smoothing,
            reduction="sum",
        )
        return float(weighted) / weight, weight


def judged_part(plane: Plane, mask: NDArray[Any] | None, preprocessor: Preprocessor) -> tuple[Image, NDArray[Any] | None]:
    """Return what of a plane is validated, as an image of its own, and its mask.

    That is the whole plane, but for native planes that the network sees larger than :data:`MAX_SIDE` and than a crop of the
    training: of these it is the middle. To validate it is to evaluate that image.
    """
    alone = plane.alone()
    if preprocessor.resizes:
        return alone, mask
    most = max(MAX_SIDE, preprocessor.input_size)
    rows, columns = (
        _middle(source, source if target <= most else round(most * source / target))
        for source, target in zip(plane.shape, preprocessor.grid(alone).target, strict=True)
    )
    if (rows, columns) == (slice(0, plane.shape[0]), slice(0, plane.shape[1])):
        return alone, mask
    return replace(alone.part({"Y": rows, "X": columns}), start=()), None if mask is None else mask[rows, columns]


def _middle(length: int, kept: int) -> slice:
    start = (length - kept) // 2
    return slice(start, start + kept)


class _Judge:
    """Takes a plane's logits and measures them against its mask."""

    def __init__(self, mask: NDArray[Any], mask_classes: int) -> None:
        self._mask, self._classes = mask, mask_classes
        nothing = np.zeros(mask_classes, np.int64)
        self.overlap = Overlap(nothing, nothing, nothing)
        self.soft = np.zeros((2, mask_classes + 1))
        self.cross_entropy, self.pixels = 0.0, 0
        self._of_row: list[tuple[Overlap, NDArray[np.float64], float, int]] = []

    def write(self, _index: tuple[int, ...], block: Block) -> None:
        """Measure a part of the plane."""
        truth = self._mask[block.rows, block.columns]
        overlap = overlap_of(truth, labels(block.logits), self._classes)
        self._of_row.append((overlap, *_soft_overlap(block.logits, truth), int((truth != IGNORE).sum())))

    def restart_row(self) -> None:
        """Forget the row: it comes again."""
        self._of_row = []

    def end_row(self) -> None:
        """Count the row."""
        for overlap, soft, cross_entropy, pixels in self._of_row:
            self.overlap = self.overlap.plus(overlap)
            self.soft += soft
            self.cross_entropy += cross_entropy
            self.pixels += pixels
        self._of_row = []


def held_out_metrics(parts: Sequence[HeldOut], class_loss_weight: float) -> TaskMetrics:
    """Gather the validation samples; the mask loss is that of all of them as one batch."""
    masked = [part for part in parts if part.soft is not None]
    known = [part for part in parts if part.class_loss is not None and part.tally.scores is not None]
    mask_loss = dice = None
    if masked:
        overlap, sides = np.sum([part.soft for part in masked if part.soft is not None], axis=0)
        cross_entropy = sum(part.cross_entropy for part in masked) / max(sum(part.pixels for part in masked), 1)
        mask_loss = float(1 - np.mean((2 * overlap + _SMOOTH) / (sides + _SMOOTH))) + cross_entropy
        counts = [part.tally.overlap for part in masked if part.tally.overlap is not None]
        dice = pooled_dice(
            np.sum([one.both for one in counts], axis=0), np.sum([one.truth + one.predicted for one in counts], axis=0)
        )
    weights = sum(part.class_weight for part in known)
    class_loss = sum(part.class_weight * (part.class_loss or 0.0) for part in known) / weights if weights else None
    right = [int(np.argmax(part.tally.scores)) == part.tally.true_class for part in known if part.tally.scores is not None]
    return task_metrics(mask_loss, class_loss, class_loss_weight, dice=dice, accuracy=mean(right))


def _soft_overlap(logits: NDArray[np.float32], truth: NDArray[Any]) -> tuple[NDArray[np.float64], float]:
    """Return (2, classes) overlap of probabilities and truth and the sum of both, and the sum of the cross-entropy.

    Pixels that are ignored in the truth are left out.
    """
    classes = len(logits)
    told = torch.from_numpy(np.ascontiguousarray(truth, np.int64))
    counted = told != IGNORE
    log_probabilities = torch.log_softmax(torch.from_numpy(logits), 0)
    log_probabilities = log_probabilities.flatten(1) if bool(counted.all()) else log_probabilities[:, counted]
    flat = told[counted]
    of_truth = log_probabilities.gather(0, flat[None])[0]
    both = torch.bincount(flat, of_truth.exp(), minlength=classes)
    sides = log_probabilities.exp().sum(1) + torch.bincount(flat, minlength=classes)
    return torch.stack([both, sides]).double().numpy(), -float(of_truth.sum(dtype=torch.float64))
