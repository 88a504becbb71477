"""The metrics of each epoch: a line of ``metrics.csv``, and what the curves show."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from napari_resformer.events import EpochDone
from napari_resformer.io.atomic import atomic_write

Value = float | None
"""None where an epoch does not know it."""


@dataclass(frozen=True)
class EpochPoint:
    """What curves show of one epoch; Dice and accuracy 0 to 1.

    Parameters
    ----------
    epoch : int
        From 1.
    loss, dice, accuracy : (float or None, float or None)
        In training, and in validation.
    best : bool
        Whether it was the best epoch so far.
    """

    epoch: int
    loss: tuple[Value, Value]
    dice: tuple[Value, Value]
    accuracy: tuple[Value, Value]
    best: bool = False

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> EpochPoint:
        """Take from an epoch's row what curves show."""
        return cls(
            row["epoch"],
            (row.get("train_loss"), row.get("loss")),
            (row.get("train_dice"), row.get("dice_pooled")),
            (row.get("train_accuracy"), row.get("accuracy")),
            bool(row.get("best")),
        )


def history_row(done: EpochDone) -> dict[str, Any]:
    """Return an epoch's row of the metrics: training and validation side by side."""
    report = done.validation
    classes = report.image_class
    return {
        "epoch": done.epoch,
        "train_loss": done.training.loss,
        "train_mask_loss": done.training.mask_loss,
        "train_class_loss": done.training.class_loss,
        "train_dice": done.training.dice,
        "train_accuracy": done.training.accuracy,
        "loss": done.held_out.loss,
        "mask_loss": done.held_out.mask_loss,
        "class_loss": done.held_out.class_loss,
        "dice": report.mask_mean.dice,
        "dice_pooled": done.held_out.dice,
        **{f"dice {name}": score.dice for name, score in report.mask.items()},
        "accuracy": classes.accuracy if classes else None,
        "balanced_accuracy": classes.balanced_accuracy if classes else None,
        "auroc": classes.auroc if classes else None,
        "score": done.score,
        "best": done.best,
        "seconds": round(done.seconds, 2),
    }


def write_metrics(history: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Write the history as CSV."""
    text = io.StringIO()
    writer = csv.DictWriter(text, history[-1].keys(), lineterminator="\n")  # earlier rows may be of an earlier version
    writer.writeheader()
    writer.writerows(history)
    with atomic_write(path) as file:
        file.write(text.getvalue().encode())


def epochs_written(path: Path) -> int:
    """Return how many epochs a file of metrics tells of; 0 where there is none."""
    if not path.exists():
        return 0
    with path.open(newline="", encoding="utf-8") as file:
        return max((int(row["epoch"]) for row in csv.DictReader(file)), default=0)
