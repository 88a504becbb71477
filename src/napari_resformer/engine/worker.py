"""The worker process: ``python -m napari_resformer.engine.worker``, started by :mod:`napari_resformer.engine.process`.

It is told on stdin whom to trust, prints on stdout where it listens, and then runs jobs, each in a thread, until the process
that started it is gone, however that ended.
"""

from __future__ import annotations

import contextlib
import faulthandler
import itertools
import json
import os
import sys
import tempfile
import threading
from collections.abc import Callable
from functools import partial
from multiprocessing.connection import Connection, Listener
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_resformer.engine.faults import Failed, describe
from napari_resformer.engine.job import Inbox, Job
from napari_resformer.engine.running import Unheard, run
from napari_resformer.engine.transfer import Channel, Packed, ServedArray, pack, unpack

_LOOK = 0.05  # seconds between two looks whether a job that waits for pixels was cancelled


class _Cancelled(BaseException):
    """A job waits for pixels and was cancelled. No ``Exception``, so that no job takes it for a fault of its own."""


class _Answer:
    """A region that is waited for."""

    def __init__(self) -> None:
        self._there = threading.Event()
        self._packed: Packed | None = None
        self._fault = ""

    def give(self, packed: Packed | None, fault: str) -> None:
        self._packed, self._fault = packed, fault
        self._there.set()

    def wait(self, stopped: Callable[[], bool]) -> NDArray[Any]:
        while not self._there.wait(_LOOK):
            if stopped():
                raise _Cancelled
        if self._packed is None:
            raise OSError(self._fault)
        part: NDArray[Any] = unpack(self._packed, _no_reference)
        return part


class _RunningJob:
    """A job in its thread."""

    def __init__(self, number: int, link: _Link) -> None:
        self._number = number
        self._link = link
        self._arrays: dict[int, ServedArray] = {}
        self._inboxes: dict[int, Inbox[Any]] = {}
        self._stop = threading.Event()

    def cancel(self) -> None:
        self._stop.set()

    def find(self, reference: tuple[Any, ...]) -> Any:
        """Return what stands here for an array or a mailbox of the other process."""
        kind, number, *facts = reference
        if kind == "inbox":
            return self._inboxes.setdefault(number, Inbox())
        if number not in self._arrays:
            shape, dtype, chunks = facts
            self._arrays[number] = ServedArray(number, shape, dtype, chunks, self._read)
        return self._arrays[number]

    def tell(self, inbox: int, packed: Packed) -> None:
        """Put something into a mailbox; it is made in the job's thread, when that looks."""
        self._inboxes.setdefault(inbox, Inbox()).arrives(partial(unpack, packed, self.find))

    def run(self, packed: Packed) -> None:
        cancelled = False
        try:
            cancelled = run(lambda: self._made(packed).events(), self._stop.is_set, self._tell)
        except Unheard:
            return
        self._link.end(self._number, cancelled)

    def _made(self, packed: Packed) -> Job:
        job: Job = unpack(packed, self.find)
        return job

    def _tell(self, event: Any, last: bool) -> None:  # noqa: ARG002 - of the interface
        packed = pack(event)
        try:
            self._link.channel.send(("event", self._number), packed)
        except OSError:
            raise Unheard from None

    def _read(self, array: int, key: Any) -> NDArray[Any]:
        return self._link.read(self._number, array, key, self._stop.is_set)


class _Link:
    """The worker's side of the connection."""

    def __init__(self, connection: Connection) -> None:
        self.channel = Channel(connection)
        self._jobs: dict[int, _RunningJob] = {}
        self._answers: dict[int, _Answer] = {}
        self._numbers = itertools.count()

    def serve(self) -> None:
        """Do what is asked for, until nobody asks any more."""
        self.channel.send(("ready",))
        while True:
            message, packed = self.channel.receive()
            kind, number, *rest = (*message, None)[:3] if len(message) < 3 else message
            if kind == "run" and packed is not None:
                self._start(number, packed)
            elif kind == "cancel" and number in self._jobs:
                self._jobs[number].cancel()
            elif kind == "tell" and number in self._jobs and packed is not None:
                self._jobs[number].tell(rest[0], packed)
            elif kind == "region" and (answer := self._answers.pop(number, None)) is not None:
                answer.give(packed, str(rest[0]))
            elif kind == "close":
                return

    def read(self, job: int, array: int, key: Any, stopped: Callable[[], bool]) -> NDArray[Any]:
        """Ask for a region and wait for it."""
        number, answer = next(self._numbers), _Answer()
        self._answers[number] = answer
        try:
            self.channel.send(("read", job, number, array, _plain_key(key)))
            return answer.wait(stopped)
        finally:
            self._answers.pop(number, None)

    def end(self, number: int, cancelled: bool) -> None:
        """Tell that a job has ended."""
        self._jobs.pop(number, None)
        with contextlib.suppress(OSError):
            self.channel.send(("end", number, cancelled))

    def _start(self, number: int, packed: Packed) -> None:
        job = self._jobs[number] = _RunningJob(number, self)
        try:
            threading.Thread(target=job.run, args=(packed,), name=f"resformer-job-{number}", daemon=True).start()
        except RuntimeError as error:  # the system gives no more threads
            self.channel.send(("event", number), pack(Failed(describe(error))))
            self.end(number, False)


def _no_reference(reference: tuple[Any, ...]) -> Any:
    raise ValueError(f"there is no {reference} here")


def _plain_key(key: Any) -> Any:
    """Return a key without numpy's integers, as any array takes it."""
    if isinstance(key, tuple):
        return tuple(_plain_key(part) for part in key)
    return int(key) if isinstance(key, np.integer) else key


def _leave_with_the_parent() -> None:
    """End once stdin is at its end: the process that started this one is gone, in whatever way."""
    with contextlib.suppress(OSError, ValueError):
        while os.read(0, 4096):
            pass
    os._exit(0)


def _accepted(authkey: bytes) -> Connection:
    """Listen for the process that started this one, and for nobody else."""
    said = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what libraries print must not disturb
    folder = None if sys.platform == "win32" else Path(tempfile.mkdtemp(prefix="resformer-"))
    try:
        with Listener(None if folder is None else str(folder / "worker"), authkey=authkey) as listener:
            print(json.dumps({"address": listener.address}), file=said, flush=True)
            said.close()
            return listener.accept()
    finally:
        if folder is not None:
            with contextlib.suppress(OSError):
                folder.rmdir()


def main() -> None:
    """Run jobs until nobody asks any more."""
    faulthandler.enable()  # a crash leaves its traceback on stderr
    line = bytearray()
    while not line.endswith(b"\n"):
        if not (letter := os.read(0, 1)):
            return
        line += letter
    hello = json.loads(line)
    sys.path[:] = hello["path"]
    threading.Thread(target=_leave_with_the_parent, name="resformer-parent", daemon=True).start()
    link = _Link(_accepted(bytes.fromhex(hello["authkey"])))
    with contextlib.suppress(EOFError, OSError):
        link.serve()
    os._exit(0)  # jobs may be in the middle of something; files are written whole or not at all


if __name__ == "__main__":
    main()
