"""Figures of a row over its test folds and seeds, with intervals over resampled groups, alone and against another row."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from cell import tallies_of
from numpy.typing import NDArray

from napari_resformer.evaluation.bootstrap import LEVEL, figures_of, resampled
from napari_resformer.metrics import ImageTally, make_report

Key = tuple[str, ...]
Part = tuple[int, str]
"""Seed and test fold."""

DICE: Key = ("mask_mean", "dice")
BALANCED: Key = ("class", "balanced_accuracy")
AUROC: Key = ("class", "auroc")
JUDGED = (DICE, BALANCED, AUROC)
"""What rows are compared by."""


@dataclass(frozen=True)
class Figure:
    """A value with its interval; None where it is not known."""

    value: float
    low: float
    high: float

    def text(self, *, signed: bool = False) -> str:
        """Return it as a cell of a table."""
        sign = "+" if signed else ""
        return f"{self.value:{sign}.3f} [{self.low:{sign}.3f}, {self.high:{sign}.3f}]"


class RowResults:
    """The files of a row on a set, by seed and fold.

    Parameters
    ----------
    files : mapping of (int, str) to dict
        Contents of the cells' files; their images differ between folds and are the same for all seeds.
    resamples : int
        Bootstrap samples of an interval.
    """

    def __init__(self, files: Mapping[Part, dict[str, Any]], resamples: int) -> None:
        self.files, self.resamples = dict(sorted(files.items())), resamples

    def only(self, parts: Sequence[Part]) -> RowResults:
        """Return the results of some seeds and folds."""
        return RowResults({part: self.files[part] for part in parts}, self.resamples)

    def mean(self, name: str) -> float | None:
        """Return the mean over the files of a number that each notes; None where one does not."""
        values = [file.get(name) for file in self.files.values()]
        known = [float(value) for value in values if value is not None]
        return float(np.mean(known)) if known and len(known) == len(values) else None

    @cached_property
    def _first(self) -> dict[str, Any]:
        return next(iter(self.files.values()))

    @cached_property
    def mask_classes(self) -> list[str]:
        """Names of the mask classes."""
        return list(self._first["mask_classes"])

    @cached_property
    def _pooled(self) -> tuple[list[list[ImageTally]], list[str]]:
        """Return the images of each seed, its test folds pooled, and the group of each.

        A class of one image in all has no accuracy that could be told from chance; its images do not count for the class.
        """
        by_seed: dict[int, list[tuple[ImageTally, str]]] = defaultdict(list)
        for (seed, _), file in self.files.items():
            groups = [image["group"] for image in file["images"]]
            by_seed[seed] += zip(tallies_of(file), groups, strict=True)
        seeds = [sorted(images, key=lambda one: one[0].name) for images in by_seed.values()]
        names = [[one.name for one, _ in images] for images in seeds]
        if any(other != names[0] for other in names):
            raise ValueError(f"{self._first['row']} on {self._first['data']}: the seeds were tested on different images")
        counts = Counter(one.true_class for one, _ in seeds[0])
        told = [[one if counts[one.true_class] > 1 else replace(one, true_class=None) for one, _ in images] for images in seeds]
        return told, [group for _, group in seeds[0]]

    def _figures(self, places: Sequence[int]) -> dict[Key, float]:
        """Return the mean over the seeds of each figure of some images."""
        seeds, _ = self._pooled
        found: dict[Key, list[float]] = defaultdict(list)
        for images in seeds:
            report = make_report([images[place] for place in places], self.mask_classes, self._first["image_classes"])
            for key, value in figures_of(report):
                found[key].append(value)
        return {key: float(np.mean(values)) for key, values in found.items() if len(values) == len(seeds)}

    @cached_property
    def values(self) -> dict[Key, float]:
        """Each figure over all images."""
        return self._figures(range(len(self._pooled[1])))

    @cached_property
    def drawn(self) -> dict[Key, NDArray[np.float64]]:
        """Each figure in each bootstrap sample, NaN where it is not known; samples are the same for the same images."""
        samples = [self._figures(places) for places in resampled(self._pooled[1], self.resamples)]
        return {key: np.array([sample.get(key, np.nan) for sample in samples]) for key in self.values}

    def figure(self, key: Key) -> Figure | None:
        """Return a figure with its interval; None where it is not known."""
        if key not in self.values:
            return None
        return Figure(self.values[key], *bounds(self.drawn[key]))

    def difference(self, other: RowResults, key: Key) -> tuple[float, NDArray[np.float64]] | None:
        """Return how far this row is above another one on the same images, and that in each bootstrap sample."""
        if key not in self.values or key not in other.values:
            return None
        return self.values[key] - other.values[key], self.drawn[key] - other.drawn[key]


def bounds(values: NDArray[np.float64]) -> tuple[float, float]:
    """Return the interval of bootstrap values."""
    low, high = np.nanpercentile(values, [50 * (1 - LEVEL), 50 * (1 + LEVEL)])
    return float(low), float(high)


def read_results(folder: Path, resamples: int) -> dict[str, dict[str, RowResults]]:
    """Return what a folder of results holds, by set and row."""
    files: dict[str, dict[str, dict[Part, dict[str, Any]]]] = defaultdict(lambda: defaultdict(dict))
    for path in sorted(folder.glob("*.json")):
        told = json.loads(path.read_text(encoding="utf-8"))
        files[told["data"]][told["row"]][told["seed"], told["fold"]] = told
    return {name: {row: RowResults(_whole(parts), resamples) for row, parts in rows.items()} for name, rows in files.items()}


def _whole(parts: dict[Part, dict[str, Any]]) -> dict[Part, dict[str, Any]]:
    """Leave out seeds that lack test folds which another seed has: means over seeds are those over the same images."""
    counts = Counter(seed for seed, _ in parts)
    return {part: told for part, told in parts.items() if counts[part[0]] == max(counts.values())}


class Comparison:
    """A row against the reference, on the seeds and folds that both have.

    Parameters
    ----------
    row, reference : RowResults
        On one set.
    """

    def __init__(self, row: RowResults, reference: RowResults) -> None:
        common = [part for part in row.files if part in reference.files]
        self.parts = len(common)
        self._row = row if len(common) == len(row.files) else row.only(common)
        self._reference = reference if len(common) == len(reference.files) else reference.only(common)

    def difference(self, key: Key) -> tuple[float, NDArray[np.float64]] | None:
        """Return the difference of a figure, and that in each bootstrap sample; None where nothing is common."""
        return self._row.difference(self._reference, key) if self.parts else None

    def figure(self, key: Key) -> Figure | None:
        """Return the difference with its interval."""
        found = self.difference(key)
        return None if found is None else Figure(found[0], *bounds(found[1]))


def over_sets(comparisons: Sequence[Comparison], key: Key) -> tuple[Figure, int] | None:
    """Return the mean difference over sets, each counting the same, and over how many; None where no set has it."""
    found = [one for comparison in comparisons if (one := comparison.difference(key)) is not None]
    if not found:
        return None
    value = float(np.mean([value for value, _ in found]))
    # Shuffled, each otherwise: the sets are drawn from independently of each other.
    mixed = [np.random.default_rng(number).permutation(drawn) for number, (_, drawn) in enumerate(found)]
    return Figure(value, *bounds(np.mean(mixed, axis=0))), len(found)
