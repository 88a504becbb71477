"""Whatever happens to a worker process: its jobs end with one clear fault, and the next job gets a new one."""

from __future__ import annotations

import os
import random
import sys
import threading
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import jobs_for_tests as jobs
import numpy as np
import psutil
import pytest
from hearing import Heard, is_gone, wait_until

from napari_resformer.engine.faults import Failed, crash_fault
from napari_resformer.engine.job import Inbox, Job
from napari_resformer.engine.process import ProcessEngine
from napari_resformer.events import Notice

Make = Callable[..., ProcessEngine]


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (-9, "The worker process was killed, most often because memory ran out."),
        (-11, "The worker process crashed in a library (an invalid memory address)."),
        (0xC0000005, "The worker process crashed in a library (an invalid memory address)."),
        (0xC0000005 - 2**32, "The worker process crashed in a library (an invalid memory address)."),
        (0xC0000017, "The worker process ran out of memory."),
        (-4, "The worker process met an instruction that this processor does not have."),
        (1, "The worker process ended unasked (exit code 1)."),
        (0xC0001234, "The worker process ended unasked (exit code 0xc0001234)."),
        (None, "The worker process was lost."),
    ],
)
def test_a_death_in_words(code: int | None, words: str) -> None:
    fault = crash_fault(code, said=["one", "two"])
    assert fault.kind == "crashed"
    assert fault.what == words
    assert fault.text.endswith(".")
    assert len(fault.remedy) > 20
    assert fault.traceback == "one\ntwo"


def test_a_kill_at_any_moment_is_one_fault_and_the_next_job_works(fresh: Make) -> None:
    engine, dice = fresh(), random.Random(0)
    array = np.ones((2000, 2000), np.uint8)
    for turn in range(10):
        several = [Heard(engine, Job.of(jobs.flood, array, 10**6)), Heard(engine, Job.of(jobs.endless))]
        wait_until(lambda: engine.pid is not None, "no worker")
        if turn % 3:  # else perhaps while it starts
            several[0].begun()
        time.sleep(dice.random() * 0.2)
        psutil.Process(engine.pid).kill()
        for heard in several:
            fault = heard.fault
            assert fault.kind == "crashed"
            assert "killed" in fault.what
            assert sum(isinstance(event, Failed) for event in heard.events) == 1
    assert Heard(engine, Job.of(jobs.trivial)).result == 1


@pytest.mark.parametrize(("what", "words"), [("segfault", "invalid memory"), ("exit", "(exit code 7)"), ("abort", "given up")])
def test_a_crash_in_a_library_leaves_the_caller_alive(fresh: Make, what: str, words: str) -> None:
    engine = fresh()
    beside = Heard(engine, Job.of(jobs.endless)).begun()
    heard = Heard(engine, Job.of(jobs.crashing, what))
    fault = heard.fault
    assert heard.events[0] == Notice("begun")
    assert words in fault.what
    assert "last words" in fault.traceback
    if what == "segfault":
        assert "crashing" in fault.traceback  # Python's own stack, for a report
    assert beside.fault.kind == "crashed"
    assert Heard(engine, Job.of(jobs.trivial)).result == 1


@pytest.mark.parametrize(("what", "words"), [("unpicklable", "cannot pickle"), ("unreadable", "invalid literal for int")])
def test_an_event_that_cannot_travel_is_a_fault(shared: ProcessEngine, what: str, words: str) -> None:
    pid = Heard(shared, Job.of(jobs.where)).result[0]
    heard = Heard(shared, Job.of(jobs.sending, what))
    assert words in heard.fault.text
    assert heard.events[0] == Notice("begun")
    assert len(heard.events) == 2
    assert Heard(shared, Job.of(jobs.where)).result[0] == pid


@pytest.mark.skipif(find_spec("torch") is None, reason="needs torch, and must not import it")
def test_a_tensor_does_not_bring_torch_into_this_process(shared: ProcessEngine) -> None:
    before = "torch" in sys.modules
    assert "must not come into this process" in Heard(shared, Job.of(jobs.sending, "torch")).fault.text
    assert ("torch" in sys.modules) == before


def test_arguments_that_cannot_travel_are_a_fault(shared: ProcessEngine) -> None:
    heard = Heard(shared, Job.of(jobs.echo, threading.Lock()))
    assert "cannot pickle" in heard.fault.text
    assert threading.current_thread() not in heard.threads
    inbox: Inbox[Any] = Inbox()
    inbox.put(threading.Lock())
    assert "cannot pickle" in Heard(shared, Job.of(jobs.listening, inbox)).fault.text
    fault = Heard(shared, Job.of(jobs.echo, jobs.Unreadable())).fault
    assert "invalid literal" in fault.text


def test_a_job_that_does_not_end_is_killed(fresh: Make) -> None:
    engine = fresh(cancel_seconds=0.5)
    heard = Heard(engine, Job.of(jobs.stubborn, 600.0)).begun()
    pid = engine.pid
    heard.handle.cancel()
    heard.ended()
    assert heard.ends == [True]
    assert heard.events == [Notice("begun")]
    assert pid is not None
    wait_until(lambda: is_gone(pid), "the worker is still there")
    assert Heard(engine, Job.of(jobs.trivial)).result == 1


def test_other_jobs_have_longer_and_are_told_why(fresh: Make) -> None:
    engine = fresh(cancel_seconds=0.1, cancel_seconds_beside=2.5)
    beside = Heard(engine, Job.of(jobs.endless)).begun()
    heard = Heard(engine, Job.of(jobs.stubborn, 600.0)).begun()
    begin = time.monotonic()
    heard.handle.cancel()
    heard.ended()
    assert time.monotonic() - begin > 2.4
    assert heard.ends == [True]
    assert beside.fault.kind == "stopped"
    assert "another one beside it" in beside.fault.text


def test_a_worker_that_cannot_be_started_is_a_fault(fresh: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = fresh()
    with monkeypatch.context() as patch:
        patch.setattr(sys, "executable", "/no/python/here")
        fault = Heard(engine, Job.of(jobs.trivial)).fault
        assert fault.what.startswith("The worker process could not be started ([Errno 2]")
        assert "Install the plugin again" in fault.remedy
        patch.setattr(sys, "executable", "")
        assert "could not be started" in Heard(engine, Job.of(jobs.trivial)).fault.what
    with monkeypatch.context() as patch:
        patch.setattr("napari_resformer.engine.launch._BOOT", "import sys; print('oh no', file=sys.stderr); sys.exit(5)")
        fault = Heard(engine, Job.of(jobs.trivial)).fault
        assert fault.what == "The worker process ended unasked (exit code 5) while it started: oh no."
        assert "oh no" in fault.traceback
    with monkeypatch.context() as patch:
        patch.setattr("napari_resformer.engine.launch._BOOT", "import ctypes; ctypes.string_at(0)")
        assert "invalid memory" in Heard(engine, Job.of(jobs.trivial)).fault.what
    assert Heard(engine, Job.of(jobs.trivial)).result == 1


def test_noise_on_stdout_disturbs_nothing(fresh: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    from napari_resformer.engine import launch

    monkeypatch.setattr(launch, "_BOOT", "print('hello from a start-up script'); " + launch._BOOT)
    assert Heard(fresh(), Job.of(jobs.printing)).result == ""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
def test_a_child_of_a_dead_worker_holds_up_nobody(fresh: Make) -> None:
    engine = fresh()
    heard = Heard(engine, Job.of(jobs.with_child)).begun()
    child = heard.events[0].result
    assert engine.pid is not None
    try:
        psutil.Process(engine.pid).kill()
        heard.ended()
    finally:
        psutil.Process(child).kill()


def test_a_start_that_is_cancelled_or_closed_ends_its_job(fresh: Make) -> None:
    for act in (lambda engine, heard: heard.handle.cancel(), lambda engine, heard: engine.close()):
        engine = fresh()
        heard = Heard(engine, Job.of(jobs.endless))
        act(engine, heard)
        heard.ended()
        assert heard.ends == [True]
        assert not any(isinstance(event, Failed) for event in heard.events)


def test_a_result_that_does_not_fit_into_memory(fresh: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = fresh()
    assert Heard(engine, Job.of(jobs.trivial)).result == 1

    def no_memory(size: Any) -> bytearray:
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr("napari_resformer.engine.link.bytearray", no_memory, raising=False)
        assert Heard(engine, Job.of(jobs.made, 1)).fault.kind == "memory"
    assert Heard(engine, Job.of(jobs.trivial)).result == 1


def test_closing_cancels_what_runs_and_lets_it_clean_up(fresh: Make, tmp_path: Path) -> None:
    engine = fresh()
    heard = Heard(engine, Job.of(jobs.endless, str(tmp_path / "closed"))).begun()
    begin = time.monotonic()
    engine.close()
    assert time.monotonic() - begin < 1.5
    heard.ended()
    assert heard.ends == [True]
    assert (tmp_path / "closed").exists()
