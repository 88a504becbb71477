"""What the training benchmarks share: a run without ceremony, and figures over images with group-bootstrap intervals."""

from __future__ import annotations

import csv
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")  # as the command line does; read when torch starts

import numpy as np

import napari_resformer as nr
from napari_resformer.events import EpochDone, Finished
from napari_resformer.model.file import Model
from napari_resformer.samples.sample import SampleSet
from napari_resformer.training.run_folder import RunFolder
from napari_resformer.training.settings import TrainSettings
from napari_resformer.training.trainer import train_samples

RESAMPLES = 2000


@dataclass(frozen=True)
class Row:
    """What a model said of an image that it was not trained on; Dice is None where neither side has the class."""

    name: str
    group: str
    dice: dict[str, float | None]
    true_class: str | None
    predicted: str | None


def trained(samples: SampleSet, settings: TrainSettings, *, start: Model | None = None, device: str = "auto") -> Model:
    """Train, and return the model as its file would hold it; one line an epoch on stderr."""
    with tempfile.TemporaryDirectory() as folder:
        begin = time.perf_counter()
        for event in train_samples(samples, settings, RunFolder(Path(folder)), name="benchmark", start=start, device=device):
            if isinstance(event, EpochDone):
                print(
                    f"\r{time.perf_counter() - begin:5.0f} s  epoch {event.epoch}/{event.epochs}  loss {event.loss:.3f}  "
                    f"score {event.score:.4f}  ", end="", file=sys.stderr,
                )  # fmt: skip
            if isinstance(event, Finished):
                print(file=sys.stderr)
                return nr.load_model(event.result.save(Path(folder) / "m.safetensors"))
    raise AssertionError("a training run ends with its model")


def judge(model: Model, samples: SampleSet, *, device: str = "auto") -> list[Row]:
    """Predict each sample as a user would."""
    rows = []
    for sample in samples.samples:
        plane, truth = sample.plane(), sample.mask()
        result = nr.predict(model, plane.image, device=device)
        dice: dict[str, float | None] = {}
        if truth is not None:
            found = np.asarray(result.mask).reshape(truth.shape)
            for value, name in enumerate(model.card.mask_classes, start=1):
                dice[name] = overlap(truth == value, found == value)
            dice["foreground"] = overlap(truth > 0, found > 0)
        scores = result.scores.reshape(-1)
        predicted = model.card.image_classes[int(scores.argmax())] if scores.size else None
        rows.append(Row(sample.name, sample.group, dice, sample.image_class, predicted))
    return rows


def overlap(one: np.ndarray, other: np.ndarray) -> float | None:
    """Return Dice, None where both are empty."""
    sides = int(one.sum()) + int(other.sum())
    return 2 * int((one & other).sum()) / sides if sides else None


def mean_dice(rows: Sequence[Row], name: str) -> float | None:
    """Return the mean over the images where truth or prediction has the class."""
    values = [row.dice[name] for row in rows if row.dice.get(name) is not None]
    return float(np.mean(values)) if values else None


def accuracy(rows: Sequence[Row]) -> float | None:
    """Return the share of images with the right class."""
    known = [row for row in rows if row.true_class is not None]
    return float(np.mean([row.true_class == row.predicted for row in known])) if known else None


def balanced_accuracy(rows: Sequence[Row], least: int = 1) -> float | None:
    """Return the mean over the classes of at least so many images of the share that was found."""
    found: dict[str, list[bool]] = {}
    for row in rows:
        if row.true_class is not None:
            found.setdefault(row.true_class, []).append(row.true_class == row.predicted)
    shares = [np.mean(right) for right in found.values() if len(right) >= least]
    return float(np.mean(shares)) if shares else None


def interval(rows: Sequence[Row], figure: Callable[[Sequence[Row]], float | None]) -> tuple[float, float] | None:
    """Return the 95 % interval of a figure over resampled groups."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(row.group, []).append(row)
    names, generator = sorted(groups), np.random.default_rng(0)
    drawn = []
    for _ in range(RESAMPLES):
        chosen = [row for number in generator.integers(len(names), size=len(names)) for row in groups[names[number]]]
        if (value := figure(chosen)) is not None:
            drawn.append(value)
    return (float(np.percentile(drawn, 2.5)), float(np.percentile(drawn, 97.5))) if drawn else None


def line(text: str, rows: Sequence[Row], figure: Callable[[Sequence[Row]], float | None]) -> str:
    """Return a figure with its interval, as a line of a table."""
    value, bounds = figure(rows), interval(rows, figure)
    if value is None or bounds is None:
        return f"{text:<34} none"
    return f"{text:<34} {value:.4f}  [{bounds[0]:.4f}, {bounds[1]:.4f}]"


def metrics_rows(model: Path) -> list[dict[str, str]]:
    """Return what the run of a model file noted after each epoch; nothing before the first."""
    path = RunFolder(model.with_suffix(".run")).metrics
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))
