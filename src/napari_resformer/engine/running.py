"""Running a job in this thread: its events are told, the progress among them not too often, and a fault is the last of them."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from typing import Any

from napari_resformer.engine.faults import Failed, describe
from napari_resformer.events import Finished, Progress, StepDone

_SHORTEST_PAUSE = 0.05  # seconds between two progress events; all other events are told
_logger = logging.getLogger(__name__)


class Unheard(BaseException):
    """Nobody listens any more. No ``Exception``, so that no job takes it for a fault of its own."""


def run(start: Callable[[], Iterator[Any]], stopped: Callable[[], bool], tell: Callable[[Any, bool], None]) -> bool:
    """Run a job to its end, and close it.

    Parameters
    ----------
    start : callable
        Makes the job's generator.
    stopped : callable
        Whether the job is cancelled; asked after each of its events.
    tell : callable
        Called with each event, and with whether it is the job's result. What it raises ends the job.

    Returns
    -------
    bool
        Whether the job was cancelled before it had a result.
    """
    job: Any = None
    finished = False
    try:
        if stopped():
            return True
        job = start()
        pace = _Pace()
        for event in job:
            last = isinstance(event, Finished)
            if stopped() and not last:  # what is done is done, and must be told
                return not finished
            if event is not None and not pace.passes_over(event):
                tell(event, last)
                finished |= last
    except Unheard:
        raise
    except BaseException as error:  # every fault of a job is told
        _logger.debug("the job failed", exc_info=True)
        if stopped():  # also an error of being stopped; nobody waits for it
            return not finished
        tell(Failed(describe(error)), False)
        return False
    finally:
        if job is not None:
            _close(job)
    return stopped() and not finished


class _Pace:
    """Which events are passed over, since each one that is told costs the GUI thread something."""

    def __init__(self) -> None:
        self._last = -_SHORTEST_PAUSE

    def passes_over(self, event: Any) -> bool:
        if not isinstance(event, Progress | StepDone):
            return False
        now = time.monotonic()
        done, total = (event.step, event.steps) if isinstance(event, StepDone) else (event.done, event.total)
        if done < total and now - self._last < _SHORTEST_PAUSE:
            return True
        self._last = now
        return False


def _close(job: Any) -> None:
    close = getattr(job, "close", None)
    if close is None:
        return
    try:
        close()
    except BaseException:  # the job is over, and there is nobody left to tell
        _logger.exception("a job failed while it was closed")
