"""The run folder: settings, checkpoints, metrics and curves of a run, each file written whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from napari_resformer.io.atomic import atomic_write
from napari_resformer.io.lock import locked
from napari_resformer.model.card import Card
from napari_resformer.model.file import Model, file_sha256
from napari_resformer.samples.words import named
from napari_resformer.training.curves import draw_curves
from napari_resformer.training.history import write_metrics
from napari_resformer.training.plan import TrainPlan
from napari_resformer.training.settings import TrainSettings

if TYPE_CHECKING:  # checkpoints need torch; whoever only asks what is in a folder does not
    from napari_resformer.training.checkpoint import Checkpoint

ExistingRun = Literal["refuse", "resume", "replace", "resume or replace"]
"""What to do where a folder holds a run already.

``refuse`` raises; ``resume`` goes on with it, or raises where its settings or data were others; ``replace`` starts over; ``resume
or replace`` goes on where it can, and else starts over. A run that is replaced stays until the new one has an epoch.
"""

Description = Mapping[str, Any]
"""What two runs have in common if one can go on where the other stopped; see :func:`describe_run`."""


@dataclass(frozen=True)
class RunFolder:
    """Where a run keeps its settings, checkpoints and metrics.

    Parameters
    ----------
    path : Path
        The folder; made if needed.
    """

    path: Path

    @property
    def settings(self) -> Path:
        """JSON of the settings, the split and the classes."""
        return self.path / "settings.json"

    @property
    def checkpoint(self) -> Path:
        """The last epoch's checkpoint."""
        return self.path / "last.pt"

    @property
    def best(self) -> Path:
        """The model of the best epoch so far, ready to be used."""
        return self.path / "best.safetensors"

    @property
    def metrics(self) -> Path:
        """One line for each epoch."""
        return self.path / "metrics.csv"

    @property
    def curves(self) -> Path:
        """The metrics as a picture."""
        return self.path / "curves.png"

    @property
    def card(self) -> Path:
        """The card of the finished model, as JSON."""
        return self.path / "card.json"

    @property
    def _first_checkpoint(self) -> Path:
        """The first epoch's checkpoint, for as long as an earlier run is still there."""
        return self.path / ".first.pt.part"

    @property
    def _kept(self) -> Path:
        """The SHA-256 of a model file that was made of the unfinished run."""
        return self.path / "kept.txt"

    @property
    def started(self) -> datetime:
        """When the run was started, in local time."""
        try:
            return datetime.fromisoformat(json.loads(self.settings.read_text(encoding="utf-8"))["started"])
        except (OSError, ValueError, KeyError, TypeError):  # a run of version 0.1 does not tell
            return datetime.fromtimestamp(self.settings.stat().st_mtime, UTC).astimezone()

    def as_started(self, settings: TrainSettings) -> TrainSettings:
        """Return settings in which everything that was not given is as in the run that is here; defaults may have changed since.

        Without a run to resume, or with one that cannot be read, nothing changes.
        """
        if not self.checkpoint.exists():
            return settings
        try:
            before = self._stored_settings(json.loads(self.settings.read_text(encoding="utf-8")))
        except (OSError, ValueError, KeyError, TypeError):
            return settings
        return settings.model_copy(
            update={name: getattr(before, name) for name in TrainSettings.model_fields if name not in settings.model_fields_set}
        )

    @contextmanager
    def taken(self) -> Iterator[None]:
        """Keep others from training in this folder.

        Raises
        ------
        ValueError
            If somebody is.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        with ExitStack() as stack:
            try:
                stack.enter_context(locked(self.path / ".lock"))
            except BlockingIOError as error:
                raise ValueError(
                    f"another window or command is training in {self.path}; wait until it has finished, or choose another name"
                ) from error
            yield

    def open(self, description: Description, existing: ExistingRun) -> bool:
        """Find out whether there is a run to resume; store the settings of a new one, unless an earlier one is still there.

        Parameters
        ----------
        description : mapping
            Of the run that is to be done; see :func:`describe_run`.
        existing : {"refuse", "resume", "replace", "resume or replace"}
            What to do with a run that is there; see :data:`ExistingRun`.

        Returns
        -------
        bool
            Whether there is a checkpoint to resume from.

        Raises
        ------
        FileExistsError
            If there is a run already that is neither resumed nor replaced.
        ValueError
            If it was to be resumed, and its settings, data or start were others; the message names them.
        """
        for partial in self.path.glob(".*.part"):  # left by a process that was killed while it wrote
            partial.unlink(missing_ok=True)
        if not self.checkpoint.exists():
            self._describe(description)
            return False
        if existing == "refuse":
            raise FileExistsError(
                f"{self.path} already holds a run; resume it (--resume), start over (--overwrite), or choose another folder"
            )
        if existing == "replace":
            return False
        try:
            return self.can_resume(description)
        except ValueError:
            if existing == "resume":
                raise
            return False

    def can_resume(self, description: Description) -> bool:
        """Return whether there is a checkpoint of just this run; changes nothing.

        Raises
        ------
        ValueError
            If the checkpoint is of a run with other settings, data or start; the message names them.
        """
        if not self.checkpoint.exists():
            return False
        if changed := self._changes(description):
            raise ValueError(
                f"the run in {self.path} was started with other settings: {', '.join(changed)}; use the same, or start a new run"
            )
        return True

    def keep(self, checkpoint: Checkpoint, description: Description, best: Model | None) -> None:
        """Write what an epoch has brought. With the first epoch of a run, an earlier run goes.

        Parameters
        ----------
        checkpoint : Checkpoint
            After the epoch.
        description : mapping
            Of the run.
        best : Model, optional
            The model, where the epoch is the one that is kept so far.
        """
        from napari_resformer.training.checkpoint import save_checkpoint

        if checkpoint.progress.epoch > 1:
            save_checkpoint(checkpoint, self.checkpoint)
        else:
            save_checkpoint(checkpoint, self._first_checkpoint)  # there may be no room for it
            for earlier in (self.checkpoint, self.settings, self.best, self.metrics, self.curves, self.card, self._kept):
                earlier.unlink(missing_ok=True)
            self._describe(description)
            self._first_checkpoint.replace(self.checkpoint)
        self.record(best, checkpoint.progress.history)

    def record(self, best: Model | None, history: Sequence[Mapping[str, Any]]) -> None:
        """Write what people look at: the best model, if it is a new one, metrics and curves."""
        if best is not None:
            best.save(self.best, overwrite=True)
        write_metrics(history, self.metrics)
        draw_curves(history, self.curves)

    def load(self) -> Checkpoint:
        """Read the last epoch's checkpoint."""
        from napari_resformer.training.checkpoint import load_checkpoint

        return load_checkpoint(self.checkpoint)

    def finish(self, card: Card) -> None:
        """Write the card of the finished model."""
        with atomic_write(self.card) as file:
            file.write(card.model_dump_json(indent=1).encode())

    def remove_checkpoints(self) -> None:
        """Remove what is only needed to resume; settings, metrics and curves stay."""
        for checkpoint in (self.checkpoint, self.best, self._kept):
            checkpoint.unlink(missing_ok=True)

    def note_kept(self, model: Path) -> None:
        """Note that a model file was made of this unfinished run, which may replace it later."""
        with atomic_write(self._kept) as file:
            file.write(file_sha256(model).encode())

    def made(self, model: Path) -> bool:
        """Return whether a model file is one that :meth:`note_kept` has noted, unchanged since."""
        return self._kept.exists() and model.is_file() and self._kept.read_text("utf-8") == file_sha256(model)

    def _describe(self, description: Description) -> None:
        started = {"started": datetime.now(UTC).astimezone().isoformat(timespec="seconds")}
        with atomic_write(self.settings) as file:
            file.write(json.dumps({**started, **description}, indent=1, ensure_ascii=False).encode())

    @staticmethod
    def _stored_settings(description: Description) -> TrainSettings:
        """Read settings through their class, which knows earlier names, and the default of a setting newer than the run."""
        return TrainSettings.model_validate(description["settings"], strict=False)

    def _changes(self, description: Description) -> list[str]:
        try:
            before = json.loads(self.settings.read_text(encoding="utf-8"))
            before["settings"] = self._stored_settings(before).model_dump(mode="json")
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{self.settings} cannot be read ({error}); start a new run in another folder") from error
        changed = sorted(_differences(before["settings"], description["settings"]))
        words = {"start": "the model to start from", "data": "the images, masks, classes, groups or folds"}
        # What was there in both; runs of the first release know no contents.
        others = [
            name for name, content in before.get("contents", {}).items() if description["contents"].get(name, content) != content
        ]
        if {"seed", "folds", "val_folds"} & set(changed):
            del words["data"]  # another draw of the same images; nobody has changed them
        if others:
            words.pop("data", None)
            changed.append(f"the image or mask of {named(others)}")
        return changed + [text for key, text in words.items() if before.get(key) != description[key]]


def describe_run(plan: TrainPlan, start: str) -> Description:
    """Return what two runs have in common if one can go on where the other stopped, as JSON values.

    Parameters
    ----------
    plan : TrainPlan
        What the run will do.
    start : str
        Which model it starts from: its SHA-256, or its name; empty for none.
    """
    return {
        "settings": plan.settings.model_dump(mode="json"),
        "start": start,
        "data": plan.fingerprint,
        "contents": plan.contents,
        "model": plan.card.model_dump(mode="json", include={"network", "mask_classes", "image_classes", "channels"}),
        "training": [sample.name for sample in plan.training.samples],
        "validation": [sample.name for sample in plan.validation.samples],
    }


def _differences(before: Any, now: Any, place: str = "") -> Iterator[str]:
    if isinstance(before, dict) and isinstance(now, dict):
        for key in before.keys() | now.keys():
            yield from _differences(before.get(key), now.get(key), f"{place}.{key}" if place else key)
    elif before != now:
        yield place
