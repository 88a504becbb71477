"""The typed events that a running job yields; the same for the command line, a widget or a test."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, Protocol, TypeVar

from napari_resformer.metrics import Report

Result = TypeVar("Result", covariant=True)


@dataclass(frozen=True)
class Progress:
    """How far a job is: ``done`` of ``total`` units (for instance tiles)."""

    done: int
    total: int
    unit: str


@dataclass(frozen=True)
class MaskOpened:
    """The store that a mask grows in is there.

    Parameters
    ----------
    levels : tuple of array
        The mask, and then at half the resolution of the one before, where it is a pyramid.
    folder : str
        Where it lies.
    resumed : bool
        Whether a part was there already.
    """

    levels: tuple[Any, ...]
    folder: str
    resumed: bool


@dataclass(frozen=True)
class PlaneDone:
    """A plane's mask and scores are final; ``index`` is its position on the loop axes."""

    index: tuple[int, ...]
    scores: tuple[float, ...]


@dataclass(frozen=True)
class TrainingStarted:
    """The training starts, or goes on.

    Parameters
    ----------
    history : tuple of mapping
        The epochs that a resumed run has behind it, as in ``metrics.csv``; empty for a new run.
    best : Report or None
        What the validation found in the best of these epochs; None where nobody knows.
    """

    history: tuple[Mapping[str, Any], ...] = ()
    best: Report | None = field(default=None, repr=False)


@dataclass(frozen=True)
class StepDone:
    """A training step is done; epochs and steps count from 1."""

    epoch: int
    epochs: int
    step: int
    steps: int
    loss: float


@dataclass(frozen=True)
class Notice:
    """Something that the user should know before the job goes on, in words."""

    text: str
    kind: Literal["fact", "warning"] = "fact"


@dataclass(frozen=True)
class TaskMetrics:
    """Loss and scores of a pass over samples.

    Parameters
    ----------
    loss : float
        What training minimises.
    mask_loss, class_loss : float or None
        Its two parts, before weighting; None where nothing was annotated.
    dice : float or None
        Dice over all pixels of the pass, mean over the mask classes that occur, 0 to 1.
    accuracy : float or None
        Share of samples with the right image class, 0 to 1.
    """

    loss: float
    mask_loss: float | None
    class_loss: float | None
    dice: float | None
    accuracy: float | None


@dataclass(frozen=True)
class EpochDone:
    """A training epoch is done and validated.

    Parameters
    ----------
    epoch, epochs : int
        Epoch, from 1, and how many there will be.
    training : TaskMetrics
        Of the augmented crops of the epoch, as the steps met them: while the weights still changed.
    held_out : TaskMetrics
        The same of the validation planes, with the averaged weights.
    validation : Report
        All metrics of the validation planes.
    score : float
        What the best epoch is picked by.
    best : bool
        Whether this is the best epoch so far.
    seconds : float
        Wall time of the epoch.
    """

    epoch: int
    epochs: int
    training: TaskMetrics
    held_out: TaskMetrics
    validation: Report
    score: float
    best: bool
    seconds: float

    @property
    def loss(self) -> float:
        """Mean training loss."""
        return self.training.loss


@dataclass(frozen=True)
class Snapshot(Generic[Result]):
    """The model as it stands after an epoch: an independent copy of the averaged weights, for a live preview."""

    epoch: int
    best: bool
    model: Result


@dataclass(frozen=True)
class Finished(Generic[Result]):
    """The last event of a job that went well."""

    result: Result


@dataclass(frozen=True)
class Failed:
    """A job ended by an exception; only the adapter between job and worker makes this event."""

    error: BaseException


class Inbox(Protocol):
    """Where a running job looks for what has changed outside, for instance which plane to preview."""

    def latest(self) -> Any | None:
        """Return what was put in last; None where nothing is wanted."""
