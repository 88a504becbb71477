"""What an engine says about a job, and what is left of its process."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

from napari_resformer.engine.job import Engine, Handle, Job

LONG = 60.0  # seconds until a test gives up; machines can be busy
HERE = str(Path(__file__).parent)


class Heard:
    """What an engine told about one job."""

    def __init__(self, engine: Engine, job: Job) -> None:
        self.events: list[Any] = []
        self.ends: list[bool] = []
        self.threads: set[threading.Thread] = set()
        self._news = threading.Condition()
        self.handle: Handle = engine.submit(job, self._event, self._end)

    def _event(self, event: Any) -> None:
        with self._news:
            assert not self.ends
            self.events.append(event)
            self.threads.add(threading.current_thread())
            self._news.notify_all()

    def _end(self, cancelled: bool) -> None:
        with self._news:
            self.ends.append(cancelled)
            self.threads.add(threading.current_thread())
            self._news.notify_all()

    def until(self, ready: Callable[[], bool], what: str = "news") -> None:
        with self._news:
            assert self._news.wait_for(ready, LONG), f"no {what}; events {self.events}, ends {self.ends}"

    def begun(self, count: int = 1) -> Heard:
        """Wait for so many events."""
        self.until(lambda: len(self.events) >= count)
        return self

    def ended(self) -> Heard:
        self.until(lambda: bool(self.ends), "end")
        return self

    @property
    def result(self) -> Any:
        """The result of a job that went well."""
        self.ended()
        event = self.events[-1]
        assert hasattr(event, "result"), event
        assert self.ends == [False]
        return event.result

    @property
    def fault(self) -> Any:
        """The fault of a job, which is its last event."""
        self.ended()
        assert hasattr(self.events[-1], "fault"), self.events
        assert self.ends == [False]
        return self.events[-1].fault


def wait_until(ready: Callable[[], bool], what: str) -> None:
    until = time.monotonic() + LONG
    while not ready():
        assert time.monotonic() < until, what
        time.sleep(0.01)


def is_gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE  # of another parent, which looks later
    except psutil.NoSuchProcess:
        return True
