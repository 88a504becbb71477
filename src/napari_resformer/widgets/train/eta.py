"""What epochs cost in time, from the steps that were measured."""

from __future__ import annotations

from napari_resformer.events import EpochDone, StepDone

_FIRST = 2  # steps that load libraries and warm up caches, and tell nothing


class Stopwatch:
    """Measures a run by its events."""

    def __init__(self) -> None:
        self._last: tuple[int, int, float] | None = None  # epoch, step and when
        self._first_epoch: int | None = None
        self._spans: list[float] = []
        self._whole: list[float] = []
        self._steps = 0
        self._done = 0.0  # epochs, with the part of the present one
        self._epochs = 1

    def step(self, event: StepDone, now: float) -> None:
        """Note a step; ``now`` in seconds. Steps may have been left out in between."""
        if self._last is not None:
            epoch, step, then = self._last
            if epoch == event.epoch and event.step > step >= (_FIRST if self._first_epoch in (None, epoch) else 1):
                self._spans.append((now - then) / (event.step - step))
        if self._first_epoch is None:
            self._first_epoch = event.epoch
        self._last = event.epoch, event.step, now
        self._steps, self._epochs = event.steps, event.epochs
        self._done = event.epoch - 1 + event.step / event.steps

    def epoch(self, event: EpochDone) -> None:
        """Note an epoch, with its validation."""
        self._whole.append(event.seconds)
        self._done, self._epochs = float(event.epoch), event.epochs

    @property
    def epoch_seconds(self) -> float | None:
        """Seconds an epoch, None until it can be told."""
        if len(self._whole) > 1:  # the first one holds the warm-up
            later = sorted(self._whole[1:])
            return later[len(later) // 2]
        if self._spans:
            spans = sorted(self._spans)
            return spans[len(spans) // 2] * self._steps
        return self._whole[0] if self._whole else None

    @property
    def remaining(self) -> float | None:
        """Seconds to the end, None until it can be told."""
        each = self.epoch_seconds
        return None if each is None else max(self._epochs - self._done, 0.0) * each


def duration(seconds: float) -> str:
    """Return a time in words, as exact as it is known."""
    if seconds < 1:
        return "less than a second"
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} min"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min" if hours < 10 else f"{hours} h"
