"""The run folder: settings, checkpoints, metrics and curves of a run, each file written whole or not at all."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from napari_resformer.events import EpochDone
from napari_resformer.io.atomic import atomic_write
from napari_resformer.io.lock import locked
from napari_resformer.model.card import Card
from napari_resformer.training.checkpoint import Checkpoint, load_checkpoint
from napari_resformer.training.curves import draw_curves
from napari_resformer.training.plan import TrainPlan
from napari_resformer.training.settings import TrainSettings


@dataclass(frozen=True)
class RunFolder:
    """Where a run keeps its settings, checkpoints and metrics.

    Parameters
    ----------
    path : Path
        The folder; made if needed.
    replace : bool
        Whether an earlier run that is not resumed may give way; it does once the new one has an epoch that can be resumed.
    """

    path: Path
    replace: bool = False

    @property
    def settings(self) -> Path:
        """JSON of the settings, the split and the classes."""
        return self.path / "settings.json"

    @property
    def checkpoint(self) -> Path:
        """The last epoch's checkpoint."""
        return self.path / "last.pt"

    @property
    def new_checkpoint(self) -> Path:
        """The first epoch's checkpoint, as long as an earlier run is there."""
        return self.path / ".first.pt.part"

    @property
    def best(self) -> Path:
        """The model of the best epoch so far, ready to be used."""
        return self.path / "best.safetensors"

    @property
    def metrics(self) -> Path:
        """One line an epoch."""
        return self.path / "metrics.csv"

    @property
    def curves(self) -> Path:
        """The metrics as a picture."""
        return self.path / "curves.png"

    @property
    def card(self) -> Path:
        """The card of the finished model, as JSON."""
        return self.path / "card.json"

    @contextmanager
    def taken(self) -> Iterator[None]:
        """Keep others from training in this folder.

        Raises
        ------
        ValueError
            If somebody does.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        with ExitStack() as stack:
            try:
                stack.enter_context(locked(self.path / ".lock"))
            except BlockingIOError as error:
                raise ValueError(
                    f"another window or command is training in {self.path}; wait for its end, or choose another name"
                ) from error
            yield

    def open(self, plan: TrainPlan, start: str, *, resume: bool) -> bool:
        """Find out whether there is a run to go on with; store the settings of a new one, unless an earlier one is still there.

        Parameters
        ----------
        plan : TrainPlan
            What the run will do.
        start : str
            Which model it starts from; empty for none.
        resume : bool
            Whether an earlier run may be continued.

        Returns
        -------
        bool
            Whether there is a checkpoint to go on from.

        Raises
        ------
        FileExistsError
            If there is a run already that is neither resumed nor may be replaced.
        ValueError
            If its settings, data or start were others; the message names them.
        """
        for partial in self.path.glob(".*.part"):  # left by a process that was killed while it wrote
            partial.unlink(missing_ok=True)
        if resume and self.can_go_on(plan, start):
            return True
        if not self.checkpoint.exists():
            self._describe(plan, start)
        elif not self.replace:
            raise FileExistsError(
                f"{self.path} holds a run already; resume it (--resume), or choose another name or folder (--overwrite "
                "starts over)"
            )
        return False

    def can_go_on(self, plan: TrainPlan, start: str) -> bool:
        """Return whether there is a checkpoint of just this run; changes nothing.

        Raises
        ------
        ValueError
            If the checkpoint is of a run with other settings, data or start; the message names them.
        """
        if not self.checkpoint.exists():
            return False
        if changed := self._changes(_described(plan, start)):
            raise ValueError(
                f"the run in {self.path} was started with other settings: {', '.join(changed)}; use the same, or start a new run"
            )
        return True

    def begin(self, plan: TrainPlan, start: str) -> None:
        """Remove an earlier run's files and store the settings of a new one; other files stay."""
        for earlier in (self.checkpoint, self.settings, self.best, self.metrics, self.curves, self.card):
            earlier.unlink(missing_ok=True)
        self._describe(plan, start)

    def _describe(self, plan: TrainPlan, start: str) -> None:
        with atomic_write(self.settings) as file:
            file.write(json.dumps(_described(plan, start), indent=1, ensure_ascii=False).encode())

    def load(self) -> Checkpoint:
        """Read the last epoch's checkpoint."""
        return load_checkpoint(self.checkpoint)

    def record(self, history: Sequence[dict[str, Any]]) -> None:
        """Write metrics and curves."""
        if history:
            write_metrics(history, self.metrics)
            draw_curves(history, self.curves)

    def finish(self, card: Card) -> None:
        """Write the card of the finished model."""
        with atomic_write(self.card) as file:
            file.write(card.model_dump_json(indent=1).encode())

    def _changes(self, described: dict[str, Any]) -> list[str]:
        try:
            before = json.loads(self.settings.read_text(encoding="utf-8"))
            # through the class, so that a setting which is newer than the run has its default value there
            before["settings"] = TrainSettings.model_validate(before["settings"], strict=False).model_dump(mode="json")
        except (OSError, ValueError, KeyError, TypeError, ValidationError) as error:
            raise ValueError(f"{self.settings} cannot be read ({error}); start a new run in another folder") from error
        changed = sorted(_differences(before["settings"], described["settings"]))
        words = {"start": "the model to start from", "data": "the images, masks, classes, groups or folds"}
        if {"seed", "folds", "val_folds"} & set(changed):
            del words["data"]  # another draw of the same images; nobody has changed them
        return changed + [text for key, text in words.items() if before.get(key) != described[key]]


def _described(plan: TrainPlan, start: str) -> dict[str, Any]:
    """Return what two runs have in common if one can go on where the other stopped."""
    return {
        "settings": plan.settings.model_dump(mode="json"),
        "start": start,
        "data": plan.fingerprint,
        "model": plan.card.model_dump(mode="json", include={"network", "mask_classes", "image_classes", "channels"}),
        "training": [sample.name for sample in plan.training.samples],
        "validation": [sample.name for sample in plan.validation.samples],
    }


def history_row(done: EpochDone) -> dict[str, Any]:
    """Return an epoch's line of the metrics: training and validation side by side."""
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


def write_metrics(history: Sequence[dict[str, Any]], path: Path) -> None:
    """Write the history as CSV."""
    text = io.StringIO()
    writer = csv.DictWriter(text, history[-1].keys(), lineterminator="\n")  # earlier rows may be of an earlier version
    writer.writeheader()
    writer.writerows(history)
    with atomic_write(path) as file:
        file.write(text.getvalue().encode())


def _differences(before: Any, now: Any, place: str = "") -> Iterator[str]:
    if isinstance(before, dict) and isinstance(now, dict):
        for key in before.keys() | now.keys():
            yield from _differences(before.get(key), now.get(key), f"{place}.{key}" if place else key)
    elif before != now:
        yield place
