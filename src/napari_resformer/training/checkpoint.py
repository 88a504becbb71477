"""Checkpoints of a run: what is needed to go on, written whole or not at all, loaded without unpickling code."""

from __future__ import annotations

import json
import pickle
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, cast

import torch
from pydantic import TypeAdapter
from torch import Tensor

from napari_resformer.io.atomic import atomic_write
from napari_resformer.metrics import Report

State = dict[str, Tensor]

_REPORT = TypeAdapter(Report)


@dataclass(frozen=True)
class LearnerState:
    """What learns, after an epoch.

    Parameters
    ----------
    network, average : dict of str to Tensor
        Weights, and their exponential moving average.
    optimizer : dict
        State of the optimizer.
    precision : dict
        State of the loss scaling, where the number format needs one.
    """

    network: State
    average: State
    optimizer: dict[str, Any]
    precision: dict[str, Any]


@dataclass(frozen=True)
class ProgressState:
    """How far a run is, and the epoch that is kept so far.

    Parameters
    ----------
    best : dict of str to Tensor
        Weights of the epoch that is kept so far, as a model file holds them.
    epoch : int
        Epochs done.
    best_epoch : int
        The epoch that is kept so far.
    top_epoch, best_score : int, float
        The epoch with the highest score so far, and that score.
    history : tuple of dict
        Metrics of each epoch.
    report : Report, optional
        What the validation found in the epoch that is kept; None where a checkpoint of version 0.1 does not tell.
    """

    best: State
    epoch: int = 0
    best_epoch: int = 0
    top_epoch: int = 0
    best_score: float = -1.0
    history: tuple[dict[str, Any], ...] = ()
    report: Report | None = None


@dataclass(frozen=True)
class Checkpoint:
    """The state of a run after an epoch."""

    learner: LearnerState
    progress: ProgressState


class _Sink:
    """A file for torch, which else hides why a write failed behind an error of its own."""

    def __init__(self, file: Any) -> None:
        self.file = file
        self.error: OSError | None = None

    def write(self, data: Any) -> int:
        try:
            return cast(int, self.file.write(data))
        except OSError as error:
            self.error = error
            raise

    def flush(self) -> None:
        self.file.flush()


def save_checkpoint(checkpoint: Checkpoint, path: Path) -> None:
    """Write a checkpoint; an earlier one stays until the new one is complete.

    Raises
    ------
    OSError
        If it cannot be written, for instance since the disk is full.
    """
    progress = vars(checkpoint.progress) | {"history": list(checkpoint.progress.history)}
    if checkpoint.progress.report is not None:
        progress["report"] = json.dumps(asdict(checkpoint.progress.report))
    with atomic_write(path) as file:
        sink = _Sink(file)
        try:
            torch.save({**vars(checkpoint.learner), **progress}, cast(Any, sink))
        except RuntimeError:
            if sink.error is not None:
                raise sink.error from None
            raise


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint of this version, or of 0.1.

    Raises
    ------
    ValueError
        If the file is no checkpoint.
    """
    try:
        stored = torch.load(path, map_location="cpu", weights_only=True)
        learner = LearnerState(**{field.name: stored.pop(field.name) for field in fields(LearnerState)})
        report = stored.pop("report", None)
        stored |= {"history": tuple(stored["history"]), "report": None if report is None else _REPORT.validate_json(report)}
        return Checkpoint(learner, ProgressState(**stored))
    except (RuntimeError, EOFError, TypeError, OSError, ValueError, KeyError, AttributeError, pickle.UnpicklingError) as error:
        raise ValueError(f"{path} is not a checkpoint of this version ({error}); remove it to start over") from error
