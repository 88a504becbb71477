"""How long a training will take, from the steps and epochs that were measured; nothing is said before there are enough."""

from __future__ import annotations

from statistics import median

from napari_resformer.events import EpochDone, StepDone

_WARM_UP = 2  # first steps, which load libraries and fill caches, and tell nothing
_ENOUGH = 5  # measured steps


class Stopwatch:
    """Measures a training by its events; times are those of one clock, in seconds."""

    def __init__(self) -> None:
        self._steps: list[float] = []  # seconds of each measured step
        self._epochs: list[float] = []  # seconds of each whole epoch
        self._validations: list[float] = []  # seconds from an epoch's last step to its end
        self._in_epochs = 0  # steps of the whole epochs, that of the warm-up left out
        self._last: tuple[StepDone, float] | None = None
        self._first_epoch = 0
        self._done = self._wanted = 0

    def step(self, event: StepDone, now: float) -> None:
        """Note a step; some in between may have been left out."""
        if self._last is None:
            self._first_epoch = event.epoch
        else:
            last, then = self._last
            taken = event.step - last.step
            warm = event.epoch > self._first_epoch or last.step >= _WARM_UP
            if event.epoch == last.epoch and taken > 0 and warm:
                self._steps += [(now - then) / taken] * taken
        self._last, self._wanted = (event, now), event.epochs

    def epoch(self, event: EpochDone, now: float) -> None:
        """Note the end of an epoch."""
        self._epochs.append(event.seconds)
        if self._last is not None:
            last, then = self._last
            self._validations.append(now - then)
            self._in_epochs += last.steps if event.epoch > self._first_epoch else 0
        self._done, self._wanted = event.epoch, event.epochs

    @property
    def epoch_seconds(self) -> float | None:
        """Seconds that an epoch takes, with its validation; None until that was measured."""
        if len(self._epochs) > 1 and self._in_epochs + len(self._steps) >= _ENOUGH:
            return median(self._epochs[1:])  # the first holds the warm-up
        return self._by_steps() if self._validations else None

    @property
    def remaining(self) -> float | None:
        """Seconds to the end, None until enough was measured; without validation until one was measured."""
        each = self.epoch_seconds or self._by_steps()
        if each is None or self._last is None:
            return None
        last, validation = self._last[0], median(self._validations or [0.0])
        begun = last.step / last.steps if last.epoch > self._done else 0.0
        return max((self._wanted - self._done) * each - begun * (each - validation), 0.0)

    def words(self) -> str:
        """Return what to say of it; empty while too little was measured."""
        remaining, each = self.remaining, self.epoch_seconds
        if remaining is None:
            return ""
        if each is None:
            return f"About {duration(remaining)} left, plus the time for validation."
        return f"About {duration(remaining)} left; each epoch takes {duration(each)}."

    def _by_steps(self) -> float | None:
        if len(self._steps) < _ENOUGH or self._last is None:
            return None
        return median(self._steps) * self._last[0].steps + median(self._validations or [0.0])


def cost_words(epochs: int, each: float) -> str:
    """Return what to say of a training whose epochs were measured before."""
    return f"{epochs} epochs take about {duration(epochs * each)} ({duration(each)} each, as measured)."


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
