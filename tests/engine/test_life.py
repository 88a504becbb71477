"""A worker process lives as long as it is needed, and no longer than who needs it; its caller stays as it was."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import jobs_for_tests as jobs
import psutil
import pytest
from hearing import HERE, LONG, Heard, is_gone, wait_until

from napari_resformer.engine.job import Job
from napari_resformer.engine.process import ProcessEngine

Make = Callable[..., ProcessEngine]

SCRIPT = f"""
import sys, threading, time, os
sys.path.insert(0, {HERE!r})
print("top level", flush=True)
import jobs_for_tests as jobs
from napari_resformer.engine.job import Job
from napari_resformer.engine.process import ProcessEngine
engine, ended, results = ProcessEngine(), threading.Event(), []
engine.submit(Job.of(jobs.where), results.append, lambda cancelled: ended.set())
assert ended.wait({LONG})
print("worker", results[0].result[0], flush=True)
"""


def script(end: str, tmp_path: Path, *options: str) -> tuple[subprocess.Popen[str], int]:
    """Run a script without a main guard that uses an engine; return it and its worker."""
    path = tmp_path / "script.py"
    path.write_text(SCRIPT + end)
    process = subprocess.Popen([sys.executable, *options, str(path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "top level\n"
    words = process.stdout.readline().split()
    assert words[0] == "worker"
    return process, int(words[1])


def finish(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    with process:
        return process.stdout.read()


@pytest.mark.parametrize(
    "end",
    ["", "raise SystemExit(3)", "1 / 0", "os._exit(0)", "engine.close()", "import signal; os.kill(os.getpid(), signal.SIGTERM)",
     "engine.submit(Job.of(jobs.endless), print, print); time.sleep(0.5)", "import ctypes; ctypes.string_at(0)"],
)  # fmt: skip
def test_a_script_without_a_guard_runs_once_and_leaves_no_worker(end: str, tmp_path: Path) -> None:
    process, worker = script(end, tmp_path)
    rest = finish(process)
    assert "top level" not in rest
    wait_until(lambda: is_gone(worker), "the worker outlives its caller")


def test_an_ordinary_exit_waits_for_the_worker(tmp_path: Path) -> None:
    process, worker = script("engine.submit(Job.of(jobs.stubborn, 600.0), lambda e: None, print); time.sleep(0.5)", tmp_path)
    finish(process)
    assert is_gone(worker)


@pytest.mark.parametrize("busy", [False, True])
def test_a_killed_caller_leaves_no_worker(busy: bool, tmp_path: Path) -> None:
    more = "engine.submit(Job.of(jobs.stubborn, 600.0), lambda event: print('begun', flush=True), print);" if busy else ""
    process, worker = script(more + "time.sleep(600)", tmp_path)
    if busy:
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
    process.kill()
    finish(process)
    begin = time.monotonic()
    wait_until(lambda: is_gone(worker), "the worker outlives its caller")
    assert time.monotonic() - begin < 10  # 1 s and less on a machine with nothing else to do


def test_a_script_with_errors_for_warnings(tmp_path: Path) -> None:
    process, worker = script(
        "engine.close(); time.sleep(0.2); del engine; import gc; gc.collect()", tmp_path, "-W", "error", "-X", "dev"
    )
    finish(process)
    assert process.returncode == 0
    assert is_gone(worker)


@pytest.mark.skipif(sys.platform == "win32", reason="Ctrl-C is a signal to a group")
def test_ctrl_c_in_the_terminal_does_not_reach_the_worker(fresh: Make) -> None:
    engine = fresh()
    pid = Heard(engine, Job.of(jobs.where)).result[0]
    assert os.getpgid(pid) != os.getpgid(0)


def test_the_worker_gives_way_to_its_caller(fresh: Make) -> None:
    worker = psutil.Process(Heard(fresh(), Job.of(jobs.where)).result[0])
    if sys.platform == "win32":
        assert worker.nice() == psutil.BELOW_NORMAL_PRIORITY_CLASS
    else:
        assert worker.nice() == min(psutil.Process().nice() + 5, 19)
        assert os.getsid(worker.pid) == os.getsid(0)  # Linux may share processors out among sessions, whatever is nice in them


def test_the_caller_stays_as_it_was(fresh: Make) -> None:
    code = f"""
import sys, gc, threading, signal
sys.path.insert(0, {HERE!r})
def state():
    return sys.getswitchinterval(), gc.isenabled(), gc.get_threshold(), gc.get_freeze_count(), signal.getsignal(signal.SIGINT)
before = state()
import jobs_for_tests as jobs
from napari_resformer.engine.job import Job
from napari_resformer.engine.process import ProcessEngine
engine, ended, results = ProcessEngine(), threading.Event(), []
engine.submit(Job.of(jobs.where), results.append, lambda cancelled: ended.set())
assert ended.wait({LONG})
assert before == state()
print(results[0].result[1], sorted({{"torch", "napari", "qtpy", "zarr", "dask", "scipy"}} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[] []\n"  # neither here nor in the worker is there torch, scipy, napari or Qt


def test_starting_returns_at_once_and_once_is_enough(fresh: Make) -> None:
    engine = fresh()
    begin = time.monotonic()
    engine.start()
    engine.start()
    assert time.monotonic() - begin < 1.5
    wait_until(lambda: engine.pid is not None, "no worker")
    pid = engine.pid
    assert Heard(engine, Job.of(jobs.where)).result[0] == pid
    assert Heard(engine, Job.of(jobs.where)).result[0] == pid


def test_threads_are_used_again(shared: ProcessEngine) -> None:
    names = {Heard(shared, Job.of(jobs.where)).result[2] for _ in range(5)}
    assert len(names) <= 2


def test_an_idle_worker_is_given_back(fresh: Make) -> None:
    engine = fresh(idle_seconds=0.3)
    pid = Heard(engine, Job.of(jobs.where)).result[0]
    wait_until(lambda: is_gone(pid), "the worker is still there")
    wait_until(lambda: engine.pid is None, "the engine still has it")
    busy = Heard(engine, Job.of(jobs.endless)).begun()
    again = engine.pid
    assert again != pid
    time.sleep(1.0)
    assert engine.pid == again  # not while a job runs
    busy.handle.cancel()
    busy.ended()
    wait_until(lambda: engine.pid is None, "the engine still has it")
    engine.start()
    wait_until(lambda: engine.pid is not None, "no worker")
    wait_until(lambda: engine.pid is None, "started, and never used")


def test_an_engine_that_nobody_has_any_more_ends_its_worker() -> None:
    engine = ProcessEngine()
    heard = Heard(engine, Job.of(jobs.endless)).begun()
    pid = engine.pid
    assert pid is not None
    del engine
    gc.collect()
    heard.ended()
    assert heard.ends == [True]
    wait_until(lambda: is_gone(pid), "the worker is still there")


def test_closing_leaves_no_process_and_no_thread() -> None:
    before = set(threading.enumerate())
    engine = ProcessEngine()
    pid = Heard(engine, Job.of(jobs.where)).result[0]
    engine.close()
    wait_until(lambda: is_gone(pid), "the worker is still there")
    wait_until(lambda: not {thread.name for thread in set(threading.enumerate()) - before}, "a thread is still there")
    assert not [child for child in psutil.Process().children() if child.pid == pid]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
def test_a_fork_of_the_caller_leaves_the_worker_alone(tmp_path: Path) -> None:
    process, worker = script(
        "pid = os.fork()\nif not pid: sys.exit()\nos.waitpid(pid, 0)\nprint('here', flush=True)\ntime.sleep(600)", tmp_path
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "here\n"
    time.sleep(0.3)
    assert not is_gone(worker)
    process.kill()
    finish(process)
    wait_until(lambda: is_gone(worker), "the worker outlives its caller")
