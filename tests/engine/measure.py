"""What the worker process costs: run it by hand on a machine that does nothing else; it prints one line a figure."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

import jobs_for_tests as jobs
import numpy as np

from napari_resformer.engine.job import Job
from napari_resformer.engine.launch import connect, kill, launch
from napari_resformer.engine.process import ProcessEngine


def run(engine: ProcessEngine, job: Job) -> tuple[float, Any]:
    ended, events = threading.Event(), []
    begin = time.perf_counter()
    engine.submit(job, events.append, lambda cancelled: ended.set())
    ended.wait()
    return time.perf_counter() - begin, events[-1].result


def cancelled(engine: ProcessEngine) -> float:
    begun, ended = threading.Event(), threading.Event()
    handle = engine.submit(Job.of(jobs.endless), lambda event: begun.set(), lambda cancelled: ended.set())
    begun.wait()
    begin = time.perf_counter()
    handle.cancel()
    ended.wait()
    return time.perf_counter() - begin


def say(what: str, seconds: list[float]) -> None:
    print(f"{what}: {1e3 * median(seconds):.2f} ms (fastest {1e3 * min(seconds):.2f}, slowest {1e3 * max(seconds):.2f})")


def timed(function: Callable[[], Any], repeats: int) -> list[float]:
    seconds = []
    for _ in range(repeats):
        begin = time.perf_counter()
        function()
        seconds.append(time.perf_counter() - begin)
    return seconds


def longest_gap(while_running: Callable[[], Any]) -> float:
    """Return the longest time for which a thread that always wants the interpreter does not get it."""
    stop, gaps = threading.Event(), [0.0]

    def want() -> None:
        last = time.perf_counter()
        while not stop.is_set():
            now = time.perf_counter()
            gaps[0] = max(gaps[0], now - last)
            last = now
            time.sleep(0)

    thread = threading.Thread(target=want)
    thread.start()
    while_running()
    stop.set()
    thread.join()
    return gaps[0]


def start() -> None:
    process = launch()
    connect(process).close()
    kill(process)
    with process:
        pass


def main() -> None:
    say("start of a worker until it is ready", timed(start, 7))
    print(f"longest pause of another thread meanwhile: {1e3 * longest_gap(start):.1f} ms")
    print(f"the same while nothing happens: {1e3 * longest_gap(lambda: time.sleep(0.5)):.1f} ms")
    engine = ProcessEngine()
    say("call of start()", [timed(engine.start, 1)[0]])
    run(engine, Job.of(jobs.trivial))
    say("a trivial job, warm", [run(engine, Job.of(jobs.trivial))[0] for _ in range(200)])
    say("cancelling a job that yields each 10 ms", [cancelled(engine) for _ in range(20)])
    image = np.random.default_rng(0).integers(0, 255, (2048, 2048, 3), np.uint8)
    say("reading 2048x2048x3 uint8 in one go", run(engine, Job.of(jobs.read_times, image, 20))[1])
    say("the same of every second column", run(engine, Job.of(jobs.read_times, np.repeat(image, 2, 1)[:, ::2], 20))[1])
    say("a copy in memory", timed(image.copy, 20))
    say("4 MB back", [run(engine, Job.of(jobs.made, 4))[0] for _ in range(20)])
    engine.close()


if __name__ == "__main__":
    main()
