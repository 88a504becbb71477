"""Samples to batches: the order of an epoch, and the crops of each batch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_resformer.preprocessing.normalise import Scaling
from napari_resformer.preprocessing.pipeline import Preprocessor
from napari_resformer.samples.sample import Sample, SampleSet
from napari_resformer.training.augment import view
from napari_resformer.training.settings import TrainSettings

UNKNOWN_CLASS = -1
FEW_OF_A_CLASS = 5
"""A class with fewer samples cannot be learned well; it counts as if it had so many, lest others be taken for it."""
MOST_OFTEN = 8
"""The few samples with a mask are drawn at most so many times as often as they come, lest they be learned by heart."""


@dataclass(frozen=True)
class Batch:
    """Crops and what is known of them.

    Parameters
    ----------
    images : Tensor
        (B, C, size, size), -1 to 1, channels last.
    masks : Tensor
        (B, size, size), int64; zeros where there is no mask, :data:`~napari_resformer.metrics.IGNORE` where it says nothing.
    has_mask : Tensor
        (B,), bool.
    classes : Tensor
        (B,), int64; :data:`UNKNOWN_CLASS` where unknown.
    valid : Tensor
        (B, 1, size, size), 1 inside the planes.
    """

    images: Tensor
    masks: Tensor
    has_mask: Tensor
    classes: Tensor
    valid: Tensor

    def to(self, device: torch.device) -> Batch:
        """Return the batch on a device."""
        return Batch(*(getattr(self, name).to(device, non_blocking=True) for name in self.__dataclass_fields__))


class PlaneReader:
    """Reads samples as the network sees them; pixels are read anew each time, statistics of a plane are taken once.

    Parameters
    ----------
    preprocessor : Preprocessor
        Of the model to be: what prediction will do to its planes.
    """

    def __init__(self, preprocessor: Preprocessor) -> None:
        self.preprocessor = preprocessor
        self._scalings: dict[str, Scaling] = {}

    def read(self, sample: Sample) -> tuple[NDArray[np.float32], NDArray[np.uint8] | None]:
        """Return a plane (C, H, W) in -1 to 1, and its mask (H, W), on the pixels that the network sees."""
        mask = sample.mask()
        plane = self.preprocessor.prepare(sample.plane(), scaling=self._scalings.get(sample.name), hold=True)
        self._scalings[sample.name] = plane.scaling
        return plane.read(), None if mask is None else plane.labels(mask).astype(np.uint8)


def epoch_order(samples: SampleSet, settings: TrainSettings, epoch: int) -> list[int]:
    """Return the sample numbers of an epoch, as many as there are samples.

    A class with n samples is drawn in proportion to ``n ** (1 - balance)``, but no sample more often than those of a class of
    :data:`FEW_OF_A_CLASS`. Within it, ``masked_fraction`` of those drawn have a mask, or more where more have one; else each
    sample is drawn equally often but for one. Samples of unknown class count as a class of their own.
    """
    generator = np.random.default_rng((settings.seed, epoch))
    names = np.array([sample.image_class or "" for sample in samples.samples])
    masked = np.array([sample.mask_source is not None for sample in samples.samples])
    _, kind, counts = np.unique(names, return_inverse=True, return_counts=True)
    weight = (np.maximum(counts, FEW_OF_A_CLASS).astype(float) ** -settings.balance)[kind]
    for number in range(len(counts)):
        mine = kind == number
        weight[mine] *= _emphasis(masked[mine], settings.masked_fraction)
    shuffled = generator.permutation(len(names))
    upto = np.cumsum(weight[shuffled] / weight.sum())
    marks = (np.arange(len(names)) + generator.random()) / len(names)
    drawn = shuffled[np.minimum(np.searchsorted(upto, marks), len(names) - 1)]
    return [int(number) for number in generator.permutation(drawn)]


def _emphasis(masked: NDArray[np.bool_], wanted: float) -> NDArray[np.float64]:
    """Return how many times as often as they come the samples of a class are drawn; 1 on average."""
    share = masked.mean()
    drawn = min(wanted, MOST_OFTEN * share)
    if not share < drawn:
        return np.ones(len(masked))
    return np.where(masked, drawn / share, (1 - drawn) / (1 - share))


def steps_per_epoch(samples: int, batch: int, processes: int = 1) -> int:
    """Return how many steps an epoch has; the last, smaller batch counts if each process gets two crops of it."""
    return max(samples // batch + (samples % batch >= 2 * processes), 1)


def epoch_batches(
    samples: SampleSet,
    reader: PlaneReader,
    settings: TrainSettings,
    epoch: int,
    share: tuple[int, int] = (0, 1),
) -> Iterator[Batch]:
    """Yield the batches of an epoch; what each holds depends on seed, epoch and place only.

    Parameters
    ----------
    samples, reader, settings
        What to draw from, and how.
    epoch : int
        From 1.
    share : (int, int)
        Number of this process and of all: each gets its own crops of every batch.
    """
    rank, processes = share
    order = epoch_order(samples, settings, epoch)
    while len(order) < 2 * processes:
        order = order * 2  # batch norm needs two crops to take statistics of
    places = range(len(order))
    for step in range(steps_per_epoch(len(samples.samples), settings.batch_size, processes)):
        chunk = places[step * settings.batch_size : (step + 1) * settings.batch_size][rank::processes]
        yield _collate([_crop(samples, samples.samples[order[place]], place, reader, settings, epoch) for place in chunk])


Crop = tuple[Tensor, Tensor | None, Tensor, int]


def _crop(
    samples: SampleSet,
    sample: Sample,
    place: int,
    reader: PlaneReader,
    settings: TrainSettings,
    epoch: int,
) -> Crop:
    generator = np.random.default_rng((settings.seed, epoch, place))
    image, mask = reader.read(sample)
    seen, labels, valid = view(generator, image, mask, settings)
    number = samples.class_number(sample)
    return seen, labels, valid, UNKNOWN_CLASS if number is None else number


def _collate(crops: Sequence[Crop]) -> Batch:
    images, masks, valid, classes = zip(*crops, strict=True)
    blank = torch.zeros(images[0].shape[1:], dtype=torch.long)
    return Batch(
        images=torch.stack(images).contiguous(memory_format=torch.channels_last),
        masks=torch.stack([blank if mask is None else mask for mask in masks]),
        has_mask=torch.tensor([mask is not None for mask in masks]),
        classes=torch.tensor(classes),
        valid=torch.stack(valid),
    )
