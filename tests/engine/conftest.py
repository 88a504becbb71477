"""An engine with its worker process, and what it says about a job."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from napari_resformer.engine.job import Engine, Handle, Job
from napari_resformer.engine.process import ProcessEngine

LONG = 60.0  # seconds until a test gives up; machines can be busy
HERE = str(Path(__file__).parent)
if HERE not in sys.path:  # workers get the path as it is then
    sys.path.insert(0, HERE)


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


@pytest.fixture(autouse=True)
def user_folder() -> None:
    """Leave the user's folder alone: nothing here looks there, and the fixture of this name would load torch."""


@pytest.fixture(scope="module")
def shared() -> Iterator[ProcessEngine]:
    """One engine for all tests of a module that leave its worker alive."""
    engine = ProcessEngine()
    yield engine
    engine.close()


@pytest.fixture
def fresh() -> Iterator[Callable[..., ProcessEngine]]:
    """Make engines that are closed in the end; none may leave a process."""
    engines: list[ProcessEngine] = []

    def make(**options: Any) -> ProcessEngine:
        engines.append(ProcessEngine(**options))
        return engines[-1]

    yield make
    pids = [engine.pid for engine in engines]
    for engine in engines:
        engine.close()
    for pid in pids:
        if pid is not None:
            wait_until(lambda pid=pid: is_gone(pid), "the worker is still there")
