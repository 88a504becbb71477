"""The adapter between a job and napari's worker."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip("napari")

from qtpy.QtCore import QCoreApplication, QEvent, QObject

from napari_resformer.events import Failed, Finished, PlaneDone, Progress, StepDone
from napari_resformer.widgets.base.worker import Job, adapted, in_words


def counting(count: int, closed: list[threading.Thread]) -> Iterator[Any]:
    try:
        for done in range(1, count + 1):
            yield Progress(done, count, "tile")
        yield PlaneDone((), (1.0,))
        yield Finished("answer")
    finally:
        closed.append(threading.current_thread())


def test_progress_is_thinned_out_and_all_else_kept() -> None:
    closed: list[threading.Thread] = []
    events = list(adapted(lambda: counting(10_000, closed)))
    shown = [event for event in events if isinstance(event, Progress)]
    assert 2 <= len(shown) < 100
    assert shown[0].done == 1
    assert shown[-1].done == 10_000
    assert events[-2:] == [PlaneDone((), (1.0,)), Finished("answer")]
    assert len(closed) == 1


def test_steps_are_thinned_out_but_for_the_last_of_an_epoch() -> None:
    steps = [StepDone(epoch, 2, step, 5000, 1.0) for epoch in (1, 2) for step in range(1, 5001)]
    shown = [(event.epoch, event.step) for event in adapted(lambda: (step for step in steps))]
    assert 3 <= len(shown) < 100
    assert {(1, 1), (1, 5000), (2, 5000)} <= set(shown)


def test_a_stopped_job_is_left_at_its_next_event() -> None:
    closed: list[threading.Thread] = []
    stopped = False
    events = adapted(lambda: counting(10, closed), lambda: stopped)
    assert next(events) == Progress(1, 10, "tile")
    stopped = True
    assert list(events) == [None]
    assert len(closed) == 1


@pytest.mark.parametrize("error", [RuntimeError("shapes"), MemoryError(), ValueError("bad"), StopIteration("odd")])
def test_any_exception_becomes_an_event(error: Exception) -> None:
    def job() -> Iterator[Any]:
        yield Progress(1, 2, "tile")
        raise error

    last = list(adapted(job))[-1]
    assert isinstance(last, Failed)
    assert last.error is error or isinstance(error, StopIteration)


def test_an_exception_before_the_first_event_becomes_an_event() -> None:
    def start() -> Iterator[Any]:
        raise RuntimeError("no model")

    (only,) = adapted(start)
    assert isinstance(only, Failed)


def test_a_cancelled_job_is_closed_in_its_own_thread(qtbot: Any) -> None:
    closed: list[threading.Thread] = []
    parent, events = QObject(), []
    job = Job(lambda: counting(10**9, closed), parent)
    job.happened.connect(events.append)
    qtbot.waitUntil(lambda: bool(events))
    with qtbot.waitSignal(job.ended) as ended:
        job.cancel()
    assert ended.args == [True]
    assert len(closed) == 1
    assert closed[0] is not threading.main_thread()


def test_a_job_ends_with_its_parent_and_says_nothing_more(qtbot: Any) -> None:
    closed: list[threading.Thread] = []
    parent, events = QObject(), []
    job = Job(lambda: counting(10**9, closed), parent)
    job.happened.connect(events.append)
    qtbot.waitUntil(lambda: bool(events))
    parent.deleteLater()
    del job
    QCoreApplication.sendPostedEvents(parent, QEvent.Type.DeferredDelete.value)
    heard = len(events)
    qtbot.waitUntil(lambda: len(closed) == 1)
    qtbot.wait(100)
    assert len(events) == heard
    assert closed[0] is not threading.main_thread()


def test_a_discarded_job_says_nothing_more(qtbot: Any) -> None:
    closed: list[threading.Thread] = []
    parent, events = QObject(), []
    job = Job(lambda: counting(10**9, closed), parent)
    job.happened.connect(events.append)
    job.ended.connect(events.append)
    job.discard()
    qtbot.waitUntil(lambda: len(closed) <= 1 and not job_is_alive(parent))
    assert events == []


def job_is_alive(parent: QObject) -> bool:
    return bool(parent.findChildren(Job))


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (MemoryError(), "smaller tile"),
        (RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"), "CPU as the device"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried 8 bytes"), "not enough memory"),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), "mat1 and mat2"),
        (ValueError("axes are ambiguous"), "This cannot run: axes are ambiguous"),
        (ImportError("No module named 'torch'"), "Install the plugin again"),
        (KeyError("x"), "KeyError"),
        (AssertionError(), "AssertionError"),
    ],
)
def test_errors_are_told_in_words(error: Exception, words: str) -> None:
    assert words in in_words(error)
