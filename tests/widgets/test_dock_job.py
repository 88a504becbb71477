"""The bridge between an engine and Qt: events come on the GUI thread, once, and never after their dock is gone."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip("napari")

from qtpy.QtCore import QCoreApplication, QEvent, QObject

from napari_resformer.engine.faults import Failed
from napari_resformer.engine.inline import InlineEngine
from napari_resformer.engine.job import Job
from napari_resformer.events import Finished, Progress
from napari_resformer.widgets.base.job import DockJob

CLOSED: list[threading.Thread] = []


def counting(count: int) -> Iterator[Any]:
    try:
        for done in range(1, count + 1):
            yield Progress(done, count, "tile")
        yield Finished("answer")
    finally:
        CLOSED.append(threading.current_thread())


def failing() -> Iterator[Any]:
    yield Progress(1, 2, "tile")
    raise RuntimeError("shapes")


LET_GO = threading.Event()


def stubborn() -> Iterator[Any]:
    """Take its time over one piece of work, as a large tile does."""
    yield Progress(1, 2, "tile")
    LET_GO.wait(20)
    yield Progress(2, 2, "tile")


@pytest.fixture
def start() -> Iterator[Any]:
    CLOSED.clear()
    engine = InlineEngine()
    yield lambda parent, function, *arguments: DockJob(engine, Job.of(function, *arguments), parent)
    engine.close()


def test_events_arrive_on_the_gui_thread_in_their_order(qtbot: Any, start: Any) -> None:
    parent, events, threads = QObject(), [], set()
    job = start(parent, counting, 3)
    job.happened.connect(events.append)
    job.happened.connect(lambda _: threads.add(threading.current_thread()))
    with qtbot.waitSignal(job.ended) as ended:
        pass
    assert ended.args == [False]
    assert events[-1] == Finished("answer")
    assert threads == {threading.main_thread()}
    assert CLOSED[0] is not threading.main_thread()


def test_a_failure_is_an_event(qtbot: Any, start: Any) -> None:
    parent, events = QObject(), []
    job = start(parent, failing)
    job.happened.connect(events.append)
    with qtbot.waitSignal(job.ended):
        pass
    assert isinstance(events[-1], Failed)
    assert "shapes" in events[-1].fault.text


def test_a_cancelled_job_ends(qtbot: Any, start: Any) -> None:
    parent, events = QObject(), []
    job = start(parent, counting, 10**9)
    job.happened.connect(events.append)
    qtbot.waitUntil(lambda: bool(events))
    with qtbot.waitSignal(job.ended) as ended:
        job.cancel()
    assert ended.args == [True]
    assert len(CLOSED) == 1


def test_a_job_ends_with_its_parent_and_says_nothing_more(qtbot: Any, start: Any) -> None:
    parent, events = QObject(), []
    job = start(parent, counting, 10**9)
    job.happened.connect(events.append)
    qtbot.waitUntil(lambda: bool(events))
    parent.deleteLater()
    del job
    QCoreApplication.sendPostedEvents(parent, QEvent.Type.DeferredDelete.value)
    heard = len(events)
    qtbot.waitUntil(lambda: len(CLOSED) == 1)
    qtbot.wait(100)
    assert len(events) == heard


def test_a_discarded_job_says_nothing_more(qtbot: Any, start: Any) -> None:
    parent, events = QObject(), []
    job = start(parent, counting, 10**9)
    job.happened.connect(events.append)
    job.ended.connect(events.append)
    job.discard()
    qtbot.waitUntil(lambda: not parent.findChildren(DockJob))
    assert events == []


def test_a_job_begins_once_the_one_before_has_ended(qtbot: Any) -> None:
    LET_GO.clear()
    engine, parent, events, ends = InlineEngine(), QObject(), [], []
    first = DockJob(engine, Job.of(stubborn), parent)
    with qtbot.waitSignal(first.happened):
        pass
    first.discard()
    second = DockJob(engine, Job.of(counting, 3), parent, first)
    second.happened.connect(events.append)
    third = DockJob(engine, Job.of(counting, 3), parent, first)
    third.ended.connect(ends.append)
    third.cancel()
    qtbot.waitUntil(lambda: ends == [True])  # though it never began
    assert third.done
    qtbot.wait(100)
    assert events == []
    assert not first.done
    LET_GO.set()
    qtbot.waitUntil(lambda: bool(events) and events[-1] == Finished("answer"))
    assert first.done
    engine.close()
