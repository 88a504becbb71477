"""How far the figures of a report may be off: percentile intervals over resampled groups."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from napari_resformer.metrics import ImageTally, Report, make_report

LEVEL = 0.95
RESAMPLES = 1000
_SEED = 0
_MASK = ("dice", "iou", "dice_pooled", "iou_pooled")
_CLASS = ("accuracy", "balanced_accuracy", "auroc", "sensitivity", "specificity")

Figures = dict[tuple[str, ...], float]


def group_intervals(
    tallies: Sequence[ImageTally],
    groups: Sequence[str],
    mask_classes: Sequence[str],
    image_classes: Sequence[str],
    *,
    resamples: int = RESAMPLES,
) -> dict[str, Any]:
    """Return bootstrap intervals of a report's figures, always the same for the same images.

    Whole groups are drawn with replacement, as many as there are: images of one case resemble each other, and say less
    than as many images of different cases.

    Parameters
    ----------
    tallies : sequence of ImageTally
        One an image.
    groups : sequence of str
        Group of each image.
    mask_classes, image_classes : sequence of str
        As for the report.
    resamples : int
        How often to draw.

    Returns
    -------
    dict
        ``level``, ``resamples``, ``groups``, and under ``mask``, ``mask_mean`` and ``class`` the keys of the report with
        [low, high] for each figure. Without at least two groups there is no interval.
    """
    names = set(groups)
    intervals: dict[str, Any] = {"level": LEVEL, "resamples": resamples, "groups": len(names)}
    if len(names) < 2:
        return intervals
    drawn: dict[tuple[str, ...], list[float]] = defaultdict(list)
    for chosen in resampled(groups, resamples):
        for key, value in figures_of(make_report([tallies[place] for place in chosen], mask_classes, image_classes)):
            drawn[key].append(value)
    tails = 50 * (1 - LEVEL), 50 * (1 + LEVEL)
    for key, values in drawn.items():
        holder = intervals
        for part in key[:-1]:
            holder = holder.setdefault(part, {})
        holder[key[-1]] = [float(bound) for bound in np.percentile(values, tails)]
    return intervals


def resampled(groups: Sequence[str], resamples: int = RESAMPLES) -> Iterator[list[int]]:
    """Yield which images make up each bootstrap sample, as places in ``groups``; always the same for the same groups.

    Whole groups are drawn with replacement, as many as there are. Figures of two models on the same images are compared by
    their difference in each sample.

    Parameters
    ----------
    groups : sequence of str
        Group of each image.
    resamples : int
        How often to draw.
    """
    members: dict[str, list[int]] = defaultdict(list)
    for place, group in enumerate(groups):
        members[group].append(place)
    names = sorted(members)
    generator = np.random.default_rng(_SEED)
    for _ in range(resamples):
        yield [place for number in generator.integers(len(names), size=len(names)) for place in members[names[number]]]


def figures_of(report: Report) -> Iterator[tuple[tuple[str, ...], float]]:
    """Yield the place and the value of each figure that is known."""
    scores = {("mask", name): score for name, score in report.mask.items()} | {("mask_mean",): report.mask_mean}
    for place, score in scores.items():
        for name in _MASK:
            if (value := getattr(score, name)) is not None:
                yield (*place, name), value
    if report.image_class is not None:
        for name in _CLASS:
            if (value := getattr(report.image_class, name)) is not None:
                yield ("class", name), value
