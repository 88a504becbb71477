"""A job in a worker process: what it asks its caller for, and what it is told."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from typing import Any

from numpy.typing import NDArray

from napari_resformer.engine.arrays import Place, ServedArray
from napari_resformer.engine.job import Inbox
from napari_resformer.engine.link import Parcel
from napari_resformer.engine.transfer import Name, array_from, on_disk, open_on_disk, pack, unpack

Send = Callable[..., None]


class Stopped(Exception):  # noqa: N818 - it is no error
    """The job was cancelled while it waited for an array of its caller."""


class Desk:
    """One job on the side of the worker.

    Parameters
    ----------
    number : int
        Of the job.
    send : callable
        Sends a head and a parcel to the caller.
    """

    def __init__(self, number: int, send: Send) -> None:
        self.number = number
        self._send = send
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._inboxes: dict[int, Inbox[Any]] = {}
        self._arrays: dict[int, Any] = {}  # arrays of the caller, by their number
        self._numbers: dict[int, int] = {}  # and their numbers by id
        self._questions = itertools.count()
        self._waiting: dict[int, _Question] = {}

    def stopped(self) -> bool:
        """Whether the job is to end."""
        return self._stop.is_set()

    def stop(self) -> None:
        """Have the job end; who waits for an array waits no longer."""
        with self._lock:
            self._stop.set()
            waiting, self._waiting = self._waiting, {}
        for question in waiting.values():
            question.done.set()

    def told(self, number: int, parcel: Parcel) -> None:
        """Put something into a mailbox of the job; it is made where it is looked at, since that may import modules."""
        self._inbox(number).arrives(lambda: self.unpack(parcel))

    def answer(self, question: int, facts: Any, parcel: Parcel) -> None:
        """Hand a region to the thread that waits for it; facts in words say why there is none."""
        with self._lock:
            waiting = self._waiting.pop(question, None)
        if waiting is not None:
            waiting.facts, waiting.parcel = facts, parcel
            waiting.done.set()

    def pack(self, value: Any) -> Parcel:
        """Return a value as bytes; arrays of the caller by name."""
        return pack(value, self._name)

    def unpack(self, parcel: Parcel) -> Any:
        """Return a value that the caller sends."""
        return unpack(parcel, self._find)

    def _inbox(self, number: int) -> Inbox[Any]:
        with self._lock:
            return self._inboxes.setdefault(number, Inbox())

    def _name(self, value: Any) -> Name | None:
        number = self._numbers.get(id(value))
        if number is not None:
            return ("array", number)
        if isinstance(value, ServedArray | Inbox):
            return None  # of another job: pickling it says so
        place = on_disk(value)
        return None if place is None else ("zarr", *place)

    def _find(self, name: Name) -> Any:
        what, number, *rest = name
        if what == "inbox":
            return self._inbox(number)
        if number in self._arrays:
            return self._arrays[number]  # given more than once
        if what == "zarr":
            array = open_on_disk(*rest)
        else:
            array = ServedArray(lambda place: self._ask(number, place), *rest)
        with self._lock:
            array = self._arrays.setdefault(number, array)
            self._numbers[id(array)] = number
        return array

    def _ask(self, number: int, place: Place) -> NDArray[Any]:
        question = _Question()
        with self._lock:
            if self._stop.is_set():
                raise Stopped("the job was cancelled")
            mine = next(self._questions)
            self._waiting[mine] = question
        self._send(("ask", self.number, mine, number, place))
        question.done.wait()
        if question.facts is None:
            raise Stopped("the job was cancelled")
        if isinstance(question.facts, str):
            raise OSError(question.facts)
        dtype, shape, order = question.facts
        return array_from(question.parcel.buffers[0], shape, dtype, order)


class _Question:
    """A region that is waited for."""

    def __init__(self) -> None:
        self.done = threading.Event()
        self.facts: Any = None
        self.parcel = Parcel()
