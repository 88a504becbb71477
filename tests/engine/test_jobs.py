"""Jobs run the same in a thread and in a worker process: events, cancelling, mailboxes, faults."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import jobs_for_tests as jobs
import numpy as np
import pytest
from hearing import Heard

from napari_resformer.engine.inline import InlineEngine, run_inline
from napari_resformer.engine.job import Engine, Inbox, Job
from napari_resformer.engine.process import ProcessEngine
from napari_resformer.events import Finished, Notice, Progress, StepDone


@pytest.fixture(params=["inline", "process"])
def engine(request: pytest.FixtureRequest, shared: ProcessEngine) -> Iterator[Engine]:
    if request.param == "process":
        yield shared
    else:
        engine = InlineEngine()
        yield engine
        engine.close()


def test_events_come_in_order_and_the_end_last(engine: Engine) -> None:
    heard = Heard(engine, Job.of(jobs.counting, 500))
    assert heard.result == 500
    assert heard.events == [*(Notice(str(number)) for number in range(500)), Finished(500)]
    assert heard.handle.done
    assert threading.current_thread() not in heard.threads


def test_keyword_arguments_arrive(engine: Engine) -> None:
    assert Heard(engine, Job(jobs.trivial, kwargs={"value": {"a": (1, None)}})).result == {"a": (1, None)}


def test_progress_is_thinned_out_but_for_the_last(engine: Engine) -> None:
    heard = Heard(engine, Job.of(jobs.progressing, 20_000)).ended()
    shown = [event for event in heard.events if isinstance(event, Progress)]
    steps = [(event.epoch, event.step) for event in heard.events if isinstance(event, StepDone)]
    assert 2 <= len(shown) < 1000
    assert shown[-1].done == 20_000
    assert {(1, 20_000), (2, 20_000)} <= set(steps)
    assert len(steps) < 1000


def test_a_cancelled_job_is_closed_soon(engine: Engine, tmp_path: Path) -> None:
    heard = Heard(engine, Job.of(jobs.endless, str(tmp_path / "closed"))).begun(3)
    heard.handle.cancel()
    heard.handle.cancel()
    heard.ended()  # how soon is measured by measure.py
    assert heard.ends == [True]
    assert (tmp_path / "closed").exists()
    heard.handle.cancel()  # of no effect any more


def test_a_result_that_is_made_is_told_in_spite_of_cancelling(engine: Engine) -> None:
    heard = Heard(engine, Job.of(jobs.stubborn, 0.5)).begun()
    heard.handle.cancel()
    assert heard.result == "done after all"


def test_two_jobs_run_at_once(engine: Engine, tmp_path: Path) -> None:
    first, second = str(tmp_path / "first"), str(tmp_path / "second")
    one, two = Heard(engine, Job.of(jobs.meeting, first, second)), Heard(engine, Job.of(jobs.meeting, second, first))
    assert one.result[0] == two.result[0]
    assert one.result[1] != two.result[1]


def test_a_mailbox_reaches_a_running_job(engine: Engine) -> None:
    inbox: Inbox[object] = Inbox()
    inbox.put("before")
    heard = Heard(engine, Job.of(jobs.listening, inbox))
    heard.until(lambda: Finished("before") in heard.events)
    inbox.put("during")
    heard.until(lambda: Finished("during") in heard.events)
    inbox.put({"array": np.ones((400, 400), np.uint8)})
    heard.until(lambda: Finished(160_000) in heard.events)
    inbox.put("end")
    heard.ended()
    assert heard.events[-1] == Notice("latest end")
    inbox.put("after")  # nobody hears it


def test_a_mailbox_gives_the_last_value_and_that_once() -> None:
    inbox: Inbox[int] = Inbox()
    assert inbox.latest() is None
    assert inbox.take(7) == 7
    inbox.put(1)
    inbox.put(2)
    assert inbox.latest() == 2
    assert inbox.take() == 2
    assert inbox.take() is None
    assert inbox.latest() == 2


@pytest.mark.parametrize(
    ("what", "kind", "words"),
    [
        ("value", "refused", "This cannot run: the axes YX do not fit 3 dimensions"),
        ("memory", "memory", "There was not enough memory. Choose the CPU"),
        ("disk", "disk", "The disk is full (No space left on device). Nothing was half-written. Make room"),
        ("import", "library", "A library is missing (No module named 'no_such_library'). Install"),
        ("unpicklable", "unexpected", "The job failed (UnpicklableError: this one). Nothing was changed. Check that"),
        ("exit", "stopped", "The job was stopped (SystemExit)"),
        ("interrupt", "stopped", "The job was stopped (KeyboardInterrupt)"),
        ("recursion", "unexpected", "The job failed (RecursionError: maximum recursion depth exceeded"),
        ("stop", "unexpected", "The job failed (RuntimeError: generator raised StopIteration)"),
        ("runtime", "unexpected", "The job failed (RuntimeError: shapes differ)"),
    ],
)
def test_any_exception_becomes_a_fault_in_words(engine: Engine, what: str, kind: str, words: str) -> None:
    heard = Heard(engine, Job.of(jobs.raising, what))
    fault = heard.fault
    assert heard.events[0] == Notice("begun")
    assert fault.kind == kind
    assert fault.text.startswith(words)
    assert "Traceback" in fault.traceback
    assert Heard(engine, Job.of(jobs.trivial)).result == 1


def test_a_job_that_is_no_generator_is_a_fault(engine: Engine) -> None:
    assert "not iterable" in Heard(engine, Job.of(jobs.no_generator)).fault.text


def test_a_listener_that_fails_does_not_end_the_job(engine: Engine) -> None:
    ended = threading.Event()

    def fail(event: object) -> None:
        raise RuntimeError("of the listener")

    engine.submit(Job.of(jobs.counting, 3), fail, lambda cancelled: ended.set())
    assert ended.wait(60)
    assert Heard(engine, Job.of(jobs.trivial)).result == 1


def test_a_closed_engine_takes_no_job() -> None:
    for engine in (InlineEngine(), ProcessEngine()):
        engine.close()
        engine.close()
        with pytest.raises(RuntimeError, match="closed"):
            engine.submit(Job.of(jobs.trivial), print, print)


def test_a_job_is_iterated_in_the_caller() -> None:
    events = run_inline(Job.of(jobs.raising, "value"))
    assert next(events) == Notice("begun")
    with pytest.raises(ValueError, match="do not fit"):
        next(events)


def test_closing_the_iteration_closes_the_job(tmp_path: Path) -> None:
    events = run_inline(Job.of(jobs.endless, str(tmp_path / "closed")))
    next(events)
    events.close()
    assert (tmp_path / "closed").exists()


def test_a_job_must_be_importable() -> None:
    def local() -> Iterator[int]:
        yield 1

    for function in (local, lambda: iter(())):
        with pytest.raises(ValueError, match="cannot be imported by another process; define it with def"):
            Job.of(function)
