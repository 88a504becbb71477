"""Jobs that the tests hand to a worker process, which imports them from here."""

from __future__ import annotations

import ctypes
import os
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from napari_resformer.engine.job import Inbox
from napari_resformer.events import Finished, Notice, Progress, StepDone


def trivial(value: Any = 1) -> Iterator[Any]:
    yield Finished(value)


def counting(count: int) -> Iterator[Any]:
    for number in range(count):
        yield Notice(str(number))
    yield Finished(count)


def where() -> Iterator[Any]:
    modules = {"torch", "scipy", "napari", "qtpy", "PyQt6", "PySide6", "magicgui"}
    yield Finished((os.getpid(), sorted(modules & set(sys.modules)), threading.current_thread().name))


def progressing(count: int) -> Iterator[Any]:
    for done in range(1, count + 1):
        yield Progress(done, count, "tile")
    for epoch in (1, 2):
        for step in range(1, count + 1):
            yield StepDone(epoch, 2, step, count, 0.5)
    yield Finished(None)


def endless(closed: str = "") -> Iterator[Any]:
    try:
        for number in range(10**9):
            time.sleep(0.01)
            yield Notice(str(number))
    finally:
        if closed:
            Path(closed).touch()


def stubborn(seconds: float) -> Iterator[Any]:
    """Not to be cancelled before it is over."""
    yield Notice("begun")
    time.sleep(seconds)
    yield Finished("done after all")


def meeting(mine: str, other: str) -> Iterator[Any]:
    """Two of these end only if they run at the same time."""
    Path(mine).touch()
    while not Path(other).exists():
        time.sleep(0.01)
        yield Progress(0, 2, "wait")
    yield Finished((os.getpid(), threading.get_ident()))


def listening(inbox: Inbox[Any]) -> Iterator[Any]:
    """Tell each thing that is taken out of the mailbox, until it is "end"."""
    yield Notice("begun")
    while True:
        value = inbox.take()
        if value is not None:
            if value == "end":
                break
            yield Finished(np.asarray(value["array"]).sum() if isinstance(value, dict) else value)
        time.sleep(0.002)
        yield Progress(0, 2, "wait")
    yield Notice(f"latest {inbox.latest()}")


def reading(array: Any, keys: list[Any]) -> Iterator[Any]:
    kind = type(array).__name__
    facts = (kind, array.shape, str(np.dtype(array.dtype)), getattr(array, "chunks", None))
    yield Finished((facts, [array[key] for key in keys], np.asarray(array)))


def read_times(array: Any, repeats: int) -> Iterator[Any]:
    """Seconds that reading a whole array takes, each time."""
    seconds = []
    for _ in range(repeats):
        begin = time.perf_counter()
        array[...]
        seconds.append(time.perf_counter() - begin)
    yield Finished(seconds)


def writable(array: Any) -> Iterator[Any]:
    part = array[:10]
    part[:] = 7
    yield Finished(part)


def failing_keys(array: Any, keys: list[Any]) -> Iterator[Any]:
    answers = []
    for key in keys:
        try:
            answers.append(f"read {array[key]!r}")
        except Exception as error:  # noqa: BLE001 - any may come
            answers.append(f"{type(error).__name__}: {error}")
    yield Finished(answers)


def keeping(array: Any, budget: int) -> Iterator[Any]:
    array.keep(budget)
    first = [array[number].copy() for number in (0, 1, 0, 1, 2, 3, 0)]
    array[0][:] = 99  # of a copy
    yield Finished((first, array[0]))


def by_region(array: Any, rows: int) -> Iterator[Any]:
    total = 0
    for first in range(0, len(array), rows):
        total += int(array[first : first + rows].sum(dtype=np.int64))
        yield Progress(first, len(array), "row")
    yield Finished(total)


def echo(*values: Any) -> Iterator[Any]:
    yield Finished(values)


def same(one: Any, other: dict[str, Any]) -> Iterator[Any]:
    yield Finished(one is other["a"])


def made(megabytes: float) -> Iterator[Any]:
    count = int(megabytes * 2**20)
    yield Finished({"values": np.arange(count, dtype=np.uint8), "strided": np.arange(20)[::2], "small": np.zeros(3)})


def flood(array: Any, times: int) -> Iterator[Any]:
    for number in range(times):
        part = array[...]
        yield (number, part)


def zarr_made(folder: str) -> Iterator[Any]:
    import zarr

    array = zarr.create_array(folder, shape=(20, 30), chunks=(10, 10), dtype="uint8")
    array[:] = 3
    yield Finished(array)


# ------------------------------------------------------------------------------------------------------------------ faults
class UnpicklableError(Exception):
    def __init__(self, first: str, second: str) -> None:
        super().__init__(first)
        self.lock = threading.Lock()


class Unreadable:
    """Pickled without complaint, and not to be read again."""

    def __reduce__(self) -> Any:
        return int, ("no number",)


def raising(kind: str) -> Iterator[Any]:
    yield Notice("begun")
    if kind == "value":
        raise ValueError("the axes YX do not fit\n  3 dimensions")
    if kind == "memory":
        np.empty(2**60, np.uint8)
    if kind == "disk":
        raise OSError(28, "No space left on device")
    if kind == "import":
        import no_such_library  # noqa: F401
    if kind == "unpicklable":
        raise UnpicklableError("this one", "cannot travel")
    if kind == "exit":
        sys.exit(3)
    if kind == "interrupt":
        raise KeyboardInterrupt
    if kind == "recursion":
        _deeper()
    if kind == "stop":
        raise StopIteration("odd")
    if kind == "runtime":
        raise RuntimeError("shapes differ")
    yield Finished(None)


def _deeper() -> None:
    _deeper()


def sending(kind: str) -> Iterator[Any]:
    yield Notice("begun")
    if kind == "unpicklable":
        yield Notice(threading.Lock())  # type: ignore[arg-type]
    if kind == "unreadable":
        yield Finished(Unreadable())
    if kind == "torch":
        import torch

        yield Finished(torch.zeros(3))
    time.sleep(0.05)
    yield Notice("must not arrive")


def crashing(kind: str) -> Iterator[Any]:
    yield Notice("begun")
    print("last words", file=sys.stderr, flush=True)
    if kind == "segfault":
        ctypes.string_at(0)
    if kind == "exit":
        os._exit(7)
    if kind == "abort":
        os.abort()


def printing() -> Iterator[Any]:
    print("to stdout" * 100_000)
    print("to stderr" * 100_000, file=sys.stderr)
    os.write(1, b"raw" * 100_000)
    yield Finished(sys.stdin.read())


def with_child() -> Iterator[Any]:
    """A child by fork keeps all that is open, the connection among it."""
    pid = os.fork()
    if not pid:
        time.sleep(60)
        os._exit(0)
    yield Finished(pid)
    time.sleep(60)
    yield Notice("never")


def no_generator() -> Iterator[Any]:
    return None  # type: ignore[return-value]
