"""One cell of the table: a row on a data set, with a seed and a test fold; and the file that it is kept in."""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from budgets import Budget, settings_of
from floors import FrozenTrunk, color_features, commonest_class, regression_scores, trunk_features
from learning import inference_ms, learn, prepared
from rows import ROWS, Row
from torch import nn

from napari_resformer.io.atomic import atomic_write
from napari_resformer.metrics import ImageTally, Overlap, dice, overlap_of
from napari_resformer.samples.sample import SampleSet
from napari_resformer.samples.survey import Survey
from napari_resformer.training.losses import class_weights
from napari_resformer.training.plan import TrainPlan, make_plan
from napari_resformer.training.validation import Validator

PACKAGES = ("napari-resformer", "torch", "monai", "numpy")


@dataclass(frozen=True)
class Cell:
    """Which cell of the table."""

    data: str
    row: str
    seed: int
    fold: str

    def path(self, results: Path) -> Path:
        """Return where the cell is kept."""
        return results / f"{self.data}_{self.row}_seed{self.seed}_fold{self.fold}.json"


def cells_of(data: str, budget: Budget, rows: Sequence[str], seeds: Sequence[int] | None = None) -> Iterator[Cell]:
    """Yield the cells of a set; where no seeds are given, those of its budget."""
    for seed in seeds or budget.seeds:
        for fold in budget.folds:
            for row in rows:
                yield Cell(data, row, seed, fold)


def run_cell(cell: Cell, budget: Budget, samples: SampleSet, survey: Survey, *, most: int | None = None) -> dict[str, Any]:
    """Train and test a cell; return what its file holds.

    Parameters
    ----------
    cell : Cell
        Which.
    budget : Budget
        Of its set.
    samples : SampleSet
        The whole set.
    survey : Survey
        Of the set.
    most : int, optional
        Take this many images of each part only, to try the program out.
    """
    row = ROWS[cell.row]
    settings = settings_of(budget, row.preset, cell.seed, cell.fold)
    plan = make_plan(_first(samples, cell.fold, most), survey, settings, name=cell.row)
    before = peak_mb(reset=True)
    found = _network_cell(row, plan, cell.seed) if row.kind == "network" else _floor_cell(row, plan)
    after = peak_mb()
    images = [_image(tally, plan) for tally in found.pop("tallies")]
    return {
        **asdict(cell), "words": row.words, "budget": {**budget.as_json(), "most": most},
        "mask_classes": plan.card.mask_classes, "image_classes": plan.card.image_classes,
        "training_images": len(plan.training.samples), "settings": plan.settings.model_dump(mode="json"),
        "versions": {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}},
        "threads": torch.get_num_threads(), "memory_mb": None if before is None or after is None else after - before,
        **found, "images": images,
    }  # fmt: skip


def _first(samples: SampleSet, fold: str, most: int | None) -> SampleSet:
    if most is None:
        return samples
    parts = [[one for one in samples.samples if (one.fold == fold) is held] for held in (False, True)]
    return samples.subset([one for part in parts for one in part[:: max(len(part) // most, 1)][:most]])


def _network_cell(row: Row, plan: TrainPlan, seed: int) -> dict[str, Any]:
    network = row.network(plan.card.network, seed)
    learned = learn(network, plan, mask=row.mask)
    parameters = sum(parameter.numel() for parameter in learned.network.parameters())
    return {
        "parameters": parameters, "training_minutes": learned.seconds / 60, "losses": learned.losses,
        "inference_ms": inference_ms(learned.network, len(plan.card.channels)),
        "tallies": judged(learned.network, row, plan),
    }  # fmt: skip


def judged(network: nn.Module, row: Row, plan: TrainPlan) -> list[ImageTally]:
    """Judge the test images as the package judges its validation images, on their own pixels.

    Parameters
    ----------
    network : Module
        After its training.
    row : Row
        Says which answers count.
    plan : TrainPlan
        Its validation samples are the test images.
    """
    card = plan.card if row.image_class else plan.card.model_copy(update={"image_classes": ()})
    weights = class_weights(plan.class_counts, plan.settings.balance)
    validator = Validator(plan.validation, card, plan.settings, weights, torch.device("cpu"))
    runner: Any = prepared(network)
    tallies = []
    for sample in plan.validation.samples:
        tally = validator.judge(runner, sample).tally
        tallies.append(tally if row.mask else ImageTally(tally.name, None, tally.true_class, tally.scores))
    return tallies


def _floor_cell(row: Row, plan: TrainPlan) -> dict[str, Any]:
    begin, test = time.process_time(), plan.validation
    if row.kind == "all-foreground":
        value = commonest_class(plan.training.samples)
        tallies = []
        for sample in test.samples:
            mask = sample.mask()
            told = None if mask is None else overlap_of(mask, np.full(mask.shape, value), len(plan.card.mask_classes))
            tallies.append(ImageTally(sample.name, told, test.class_number(sample), None))
        return {"parameters": 0, "training_minutes": 0.0, "inference_ms": None, "tallies": tallies}
    trunk = FrozenTrunk(plan.card.network) if row.kind == "frozen" else None
    features = [
        color_features(part) if trunk is None else trunk_features(trunk, plan.card.preprocessor, part)
        for part in (plan.training, test)
    ]
    scores = regression_scores(plan.training, test, *features)
    tallies = [
        ImageTally(sample.name, None, test.class_number(sample), mine) for sample, mine in zip(test.samples, scores, strict=True)
    ]
    size = (features[0].shape[1] + 1) * len(plan.card.image_classes)
    size += sum(parameter.numel() for parameter in trunk.parameters()) if trunk else 0
    return {
        "parameters": size, "training_minutes": (time.process_time() - begin) / 60,
        "inference_ms": inference_ms(trunk, len(plan.card.channels)) if trunk else None, "tallies": tallies,
    }  # fmt: skip


def _image(tally: ImageTally, plan: TrainPlan) -> dict[str, Any]:
    """Return what the file says of an image."""
    (sample,) = (one for one in plan.validation.samples if one.name == tally.name)
    told: dict[str, Any] = {"name": tally.name, "group": sample.group, "true_class": sample.image_class}
    told["scores"] = None if tally.scores is None else [float(score) for score in tally.scores]
    told["overlap"] = None if tally.overlap is None else [part.tolist() for part in tally.overlap]
    told["dice"] = None
    if tally.overlap is not None:
        values = dice(tally.overlap.both, tally.overlap.truth + tally.overlap.predicted)
        told["dice"] = [float(value) if np.isfinite(value) else None for value in values]
    return told


def tallies_of(told: dict[str, Any]) -> list[ImageTally]:
    """Return the images of a cell's file, for the package's reports."""
    classes = told["image_classes"]
    return [
        ImageTally(
            image["name"],
            None if image["overlap"] is None else Overlap(*(np.asarray(part, np.int64) for part in image["overlap"])),
            None if image["true_class"] is None else classes.index(image["true_class"]),
            None if image["scores"] is None else np.asarray(image["scores"]),
        )
        for image in told["images"]
    ]


def write(path: Path, told: dict[str, Any]) -> None:
    """Write a cell's file, whole or not at all."""
    with atomic_write(path) as file:
        file.write(json.dumps(told, indent=1).encode())


def peak_mb(*, reset: bool = False) -> float | None:
    """Return the most memory that this process has held, in MB; None where the system does not say.

    Parameters
    ----------
    reset : bool
        Return instead what it holds now, and forget the peak where the system allows that. A process of its own for each cell
        keeps the peak meaningful where it does not.
    """
    try:
        if reset:
            Path("/proc/self/clear_refs").write_text("5")
        lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
        return int(lines["VmRSS" if reset else "VmHWM"].split()[0]) / 1024
    except (OSError, KeyError):
        return None
