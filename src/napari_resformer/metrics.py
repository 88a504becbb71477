"""Dice, IoU, AUROC, accuracy and calibration on arrays, and the report that gathers them over images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_resformer.images.words import stack_words


@dataclass(frozen=True)
class MaskScore:
    """Overlap of a mask class with the truth.

    Parameters
    ----------
    dice, iou : float or None
        Mean over images where the truth or the prediction has the class (a false positive counts 0), 0 to 1; None
        where there is no such image.
    dice_pooled, iou_pooled : float or None
        The same over all pixels of all images at once.
    n : int
        Images that count.
    """

    dice: float | None
    iou: float | None
    dice_pooled: float | None
    iou_pooled: float | None
    n: int


@dataclass(frozen=True)
class ClassScore:
    """One image class against the rest; None where the images do not allow to tell."""

    auroc: float | None
    sensitivity: float | None
    specificity: float | None
    n: int


@dataclass(frozen=True)
class ClassReport:
    """Image classes over all images.

    Parameters
    ----------
    accuracy, balanced_accuracy : float
        Share of images with the right class; mean over the classes of their sensitivity. 0 to 1.
    auroc, sensitivity, specificity : float or None
        Means over the classes, each against the rest.
    ece : float
        Expected calibration error of the largest score over 10 bins, 0 to 1; 0 is best.
    nll : float
        Mean negative logarithm of the score of the right class, from 0 up; 0 is best.
    confusion : list of list of int
        Images by true class (row) and predicted class (column).
    classes : list of str
        Names of rows and columns.
    per_class : dict of str to ClassScore
        Each class against the rest.
    """

    accuracy: float
    balanced_accuracy: float
    auroc: float | None
    sensitivity: float | None
    specificity: float | None
    ece: float
    nll: float
    confusion: list[list[int]]
    classes: list[str]
    per_class: dict[str, ClassScore]


@dataclass(frozen=True)
class Report:
    """What an evaluation found.

    Parameters
    ----------
    n : int
        Images.
    mask : dict of str to MaskScore
        Each mask class, by its name.
    mask_mean : MaskScore
        Mean over the mask classes.
    image_class : ClassReport or None
        None where no image has a known class.
    mask_by_image_class : dict of str to MaskScore
        ``mask_mean`` among the images of each image class.
    intervals : dict
        How far the figures may be off, under the same keys; see
        :func:`~napari_resformer.evaluation.bootstrap.group_intervals`.
    notes : tuple of str
        What should be known of the images and masks, in sentences; not a part of ``report.json``.

    Examples
    --------
    >>> import napari_resformer as nr
    >>> report = nr.evaluate(model, "my-data", device="cpu")
    >>> 0 <= report.mask_mean.dice <= 1
    True
    >>> sorted(report.to_dict())
    ['class', 'intervals', 'mask', 'mask_by_image_class', 'mask_mean', 'n']
    """

    n: int
    mask: dict[str, MaskScore]
    mask_mean: MaskScore
    image_class: ClassReport | None
    mask_by_image_class: dict[str, MaskScore]
    intervals: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = field(default=(), compare=False)

    def to_dict(self) -> dict[str, Any]:
        """Return the report as JSON-serialisable values, under the keys of ``report.json``."""
        values = asdict(self)
        values["class"] = values.pop("image_class")
        del values["notes"]
        return values


IGNORE = 255
"""Label value of a true mask's pixel that says nothing: neither background nor a class. It counts nowhere."""


class Overlap(NamedTuple):
    """Pixels of each mask class: (mask classes,) that truth and prediction both have, that the truth has, that is predicted."""

    both: NDArray[np.int64]
    truth: NDArray[np.int64]
    predicted: NDArray[np.int64]

    def plus(self, other: Overlap) -> Overlap:
        """Return the counts of two parts of an image together."""
        return Overlap(*(mine + theirs for mine, theirs in zip(self, other, strict=True)))


def overlap_of(true_mask: NDArray[Any], predicted_mask: NDArray[Any], mask_classes: int) -> Overlap:
    """Count the pixels of each mask class in two masks of the same shape, with values 0 to ``mask_classes``.

    Pixels that are :data:`IGNORE` in the true mask are left out.
    """
    bins = mask_classes + 1
    counted = true_mask != IGNORE
    truth, predicted = (true_mask, predicted_mask) if counted.all() else (true_mask[counted], predicted_mask[counted])
    joint = np.bincount(truth.ravel().astype(np.int64) * bins + predicted.ravel(), minlength=bins**2)
    joint = joint.reshape(bins, bins)
    return Overlap(joint.diagonal()[1:].copy(), joint.sum(1)[1:], joint.sum(0)[1:])


def dice(both: ArrayLike, sides: ArrayLike) -> NDArray[np.float64]:
    """Return Dice, 0 to 1, of pixels that both have over the sum of what each has; NaN where neither has any."""
    shared, total = np.asarray(both, np.float64), np.asarray(sides, np.float64)
    return np.divide(2 * shared, total, out=np.full(total.shape, np.nan), where=total > 0)


def pooled_dice(both: ArrayLike, sides: ArrayLike) -> float | None:
    """Return the mean of :func:`dice` over the mask classes that occur, from pixels pooled over images; None where none does."""
    known = dice(both, sides)
    return _mean(known[np.isfinite(known)])


@dataclass(frozen=True)
class ImageTally:
    """What one image contributes: pixel counts of each mask class, and its class with the scores."""

    name: str
    overlap: Overlap | None
    true_class: int | None
    scores: NDArray[np.float64] | None


def tally_image(
    name: str,
    *,
    mask_classes: int,
    true_mask: NDArray[Any] | None,
    predicted_mask: NDArray[Any] | None,
    true_class: int | None,
    scores: ArrayLike | None,
) -> ImageTally:
    """Reduce an image to what the report needs.

    Parameters
    ----------
    name : str
        The image's name.
    mask_classes : int
        Mask classes without the background.
    true_mask, predicted_mask : ndarray, optional
        Labels of the same shape; values above ``mask_classes`` are an error of the caller.
    true_class : int, optional
        Number of the image class.
    scores : array-like, optional
        (classes,) probabilities.
    """
    overlap = None
    if true_mask is not None and predicted_mask is not None:
        if true_mask.shape != predicted_mask.shape:
            raise ValueError(
                f"{name}: the true mask is {stack_words(true_mask.shape)}, the predicted one {stack_words(predicted_mask.shape)}"
            )
        overlap = overlap_of(true_mask, predicted_mask, mask_classes)
    known = None if scores is None else np.asarray(scores, np.float64)
    return ImageTally(name, overlap, true_class, known if known is not None and known.size else None)


def make_report(tallies: Sequence[ImageTally], mask_classes: Sequence[str], image_classes: Sequence[str]) -> Report:
    """Gather the tallies of all images into a report."""
    by_class: dict[str, list[ImageTally]] = {name: [] for name in image_classes}
    for tally in tallies:
        if tally.true_class is not None:
            by_class[image_classes[tally.true_class]].append(tally)
    mask = _mask_scores(tallies, mask_classes)
    classified = [tally for tally in tallies if tally.true_class is not None and tally.scores is not None]
    return Report(
        n=len(tallies),
        mask=mask,
        mask_mean=_mean_score(mask),
        image_class=_class_report(classified, image_classes) if classified else None,
        mask_by_image_class={
            name: _mean_score(_mask_scores(members, mask_classes)) for name, members in by_class.items() if members
        },
    )


def _mask_scores(tallies: Sequence[ImageTally], mask_classes: Sequence[str]) -> dict[str, MaskScore]:
    counted = [tally.overlap for tally in tallies if tally.overlap is not None]
    if not counted:
        return {name: MaskScore(None, None, None, None, 0) for name in mask_classes}
    both, truth, predicted = (np.stack(part).astype(np.float64) for part in zip(*counted, strict=True))  # (images, classes)
    scores = {}
    for number, name in enumerate(mask_classes):
        i, t, p = both[:, number], truth[:, number], predicted[:, number]
        present = t + p > 0
        scores[name] = MaskScore(
            dice=_mean(dice(i, t + p)[present]),
            iou=_mean(i[present] / (t + p - i)[present]),
            dice_pooled=pooled_dice([i.sum()], [t.sum() + p.sum()]),
            iou_pooled=_ratio(i.sum(), (t + p - i).sum()),
            n=int(present.sum()),
        )
    return scores


def _mean_score(scores: Mapping[str, MaskScore]) -> MaskScore:
    def mean_of(field: str) -> float | None:
        return _mean([value for score in scores.values() if (value := getattr(score, field)) is not None])

    return MaskScore(
        mean_of("dice"), mean_of("iou"), mean_of("dice_pooled"), mean_of("iou_pooled"),
        max((score.n for score in scores.values()), default=0),
    )  # fmt: skip


def _class_report(tallies: Sequence[ImageTally], classes: Sequence[str]) -> ClassReport:
    truth = np.array([tally.true_class for tally in tallies])
    scores = np.stack([tally.scores for tally in tallies if tally.scores is not None])  # (images, classes)
    predicted = scores.argmax(1)
    confusion = np.zeros((len(classes), len(classes)), np.int64)
    np.add.at(confusion, (truth, predicted), 1)
    per_class = {}
    for number, name in enumerate(classes):
        positive = truth == number
        hits, misses = confusion[number, number], confusion[number].sum() - confusion[number, number]
        false_alarms = confusion[:, number].sum() - hits
        per_class[name] = ClassScore(
            auroc=auroc(positive, scores[:, number]),
            sensitivity=_ratio(hits, hits + misses),
            specificity=_ratio(len(truth) - hits - misses - false_alarms, len(truth) - hits - misses),
            n=int(positive.sum()),
        )
    means = {
        field: _mean([value for score in per_class.values() if (value := getattr(score, field)) is not None])
        for field in ("auroc", "sensitivity", "specificity")
    }
    return ClassReport(
        accuracy=float((predicted == truth).mean()),
        balanced_accuracy=means["sensitivity"] or 0.0,
        auroc=means["auroc"],
        sensitivity=means["sensitivity"],
        specificity=means["specificity"],
        ece=calibration_error(scores.max(1), predicted == truth),
        nll=float(-np.log(scores[np.arange(len(truth)), truth].clip(np.finfo(np.float32).tiny)).mean()),
        confusion=confusion.tolist(),
        classes=list(classes),
        per_class=per_class,
    )


def auroc(positive: NDArray[np.bool_], scores: NDArray[np.floating[Any]]) -> float | None:
    """Area under the receiver operating characteristic: how often a positive outscores a negative, ties half.

    Returns
    -------
    float or None
        0 to 1; None where either kind lacks.
    """
    positives, negatives = scores[positive], np.sort(scores[~positive])
    if not len(positives) or not len(negatives):
        return None
    if np.isnan(scores).any():
        return float("nan")
    # For each positive: how many negatives are below it, and how many are below or equal; the mean counts ties half.
    below = np.searchsorted(negatives, positives, "left").sum() + np.searchsorted(negatives, positives, "right").sum()
    return float(below / (2 * len(positives) * len(negatives)))


def calibration_error(confidence: NDArray[np.floating[Any]], right: NDArray[np.bool_], bins: int = 10) -> float:
    """Return the expected calibration error, 0 to 1: mean gap of confidence and accuracy (Guo et al. 2017, arXiv 1706.04599)."""
    place = np.minimum((confidence * bins).astype(int), bins - 1)
    gaps = [
        abs(confidence[place == number].mean() - right[place == number].mean()) * (place == number).mean()
        for number in np.unique(place)
    ]
    return float(sum(gaps))


def _mean(values: ArrayLike) -> float | None:
    values = np.asarray(values, np.float64)
    return float(values.mean()) if values.size else None


def _ratio(part: float, whole: float) -> float | None:
    return float(part / whole) if whole else None
