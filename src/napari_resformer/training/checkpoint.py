"""Checkpoints of a run: what is needed to go on, written whole or not at all, loaded without unpickling code."""

from __future__ import annotations

import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from napari_resformer.io.atomic import atomic_write

State = dict[str, Tensor]


@dataclass(frozen=True)
class Checkpoint:
    """The state of a run after an epoch.

    Parameters
    ----------
    epoch : int
        Epochs done.
    network, average : dict of str to Tensor
        Weights, and their exponential average.
    optimizer : dict
        State of the optimizer.
    precision : dict
        State of the loss scaling, where the number format needs one.
    best_epoch : int
        The epoch that is kept so far.
    top_epoch, best_score : int, float
        The epoch with the highest score so far, and that score.
    best : dict of str to Tensor
        Averaged weights of that epoch.
    history : list of dict
        Metrics of each epoch.
    """

    epoch: int
    network: State
    average: State
    optimizer: dict[str, Any]
    precision: dict[str, Any]
    best_epoch: int
    top_epoch: int
    best_score: float
    best: State
    history: list[dict[str, Any]]


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
    with atomic_write(path) as file:
        sink = _Sink(file)
        try:
            torch.save(dict(vars(checkpoint)), cast(Any, sink))
        except RuntimeError:
            if sink.error is not None:
                raise sink.error from None
            raise


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint.

    Raises
    ------
    ValueError
        If the file is no checkpoint.
    """
    try:
        return Checkpoint(**torch.load(path, map_location="cpu", weights_only=True))
    except (RuntimeError, EOFError, TypeError, OSError, ValueError, KeyError, pickle.UnpicklingError) as error:
        raise ValueError(f"{path} is no checkpoint of this version ({error}); remove it to start over") from error
