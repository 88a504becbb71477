"""Running jobs in this process: by iterating, or in threads behind the same face as the other engines."""

from __future__ import annotations

import logging
import threading
from collections.abc import Generator
from typing import Any

from napari_resformer.engine.job import Job, OnEnd, OnEvent
from napari_resformer.engine.running import run

_logger = logging.getLogger(__name__)


def run_inline(job: Job) -> Generator[Any]:
    """Yield a job's events as they come; what it raises is raised here.

    Parameters
    ----------
    job : Job
        What to run. It is closed when the generator is.
    """
    events = job.events()
    try:
        yield from events
    finally:
        close = getattr(events, "close", None)
        if close is not None:
            close()


class InlineEngine:
    """Runs each job in a thread of this process; see :class:`~napari_resformer.engine.job.Engine`."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._closed = False
        self._running: set[_InlineHandle] = set()

    def start(self) -> None:
        """Do nothing: a thread needs no start."""

    def submit(self, job: Job, on_event: OnEvent, on_end: OnEnd) -> _InlineHandle:
        """Run a job; return at once."""
        handle = _InlineHandle()
        with self._lock:
            if self._closed:
                raise RuntimeError("the engine is closed; make a new one")
            self._running.add(handle)
        threading.Thread(target=self._run, args=(job, handle, on_event, on_end), name="resformer-job", daemon=True).start()
        return handle

    def close(self) -> None:
        """Cancel all jobs; return at once."""
        with self._lock:
            self._closed = True
            running = list(self._running)
        for handle in running:
            handle.cancel()

    def _run(self, job: Job, handle: _InlineHandle, on_event: OnEvent, on_end: OnEnd) -> None:
        def tell(event: Any, last: bool) -> None:  # noqa: ARG001 - only a border between processes needs to know
            heard(on_event, event)

        cancelled = run(job.events, handle.stopped, tell)
        with self._lock:
            self._running.discard(handle)
        handle.end()
        heard(on_end, cancelled)


class _InlineHandle:
    def __init__(self) -> None:
        self._stop = threading.Event()
        self._done = False

    def cancel(self) -> None:
        """Ask the job to end; it does at its next event."""
        self._stop.set()

    @property
    def done(self) -> bool:
        """Whether its end was told."""
        return self._done

    def stopped(self) -> bool:
        """Whether it was asked to end."""
        return self._stop.is_set()

    def end(self) -> None:
        """Note that the job has ended."""
        self._done = True


def heard(callback: Any, value: Any) -> None:
    """Call a callback; its faults are its own."""
    try:
        callback(value)
    except Exception:  # a job goes on, whatever its listener does
        _logger.exception("a listener of a job failed")
