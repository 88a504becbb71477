"""What runs, and what runs it: a job, a mailbox into it, and what all engines have in common."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import reduce
from typing import Any, Generic, ParamSpec, Protocol, TypeVar

Parameters = ParamSpec("Parameters")
Value = TypeVar("Value")

OnEvent = Callable[[Any], None]
OnEnd = Callable[[bool], None]


@dataclass(frozen=True)
class Job:
    """A function that makes a generator of events, and its arguments.

    Parameters
    ----------
    function : callable
        Lies in a module, under its own name: another process imports it from there.
    args, kwargs : tuple, mapping
        What it is called with.

    Raises
    ------
    ValueError
        If the function cannot be imported.
    """

    function: Callable[..., Iterator[Any]]
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        module, name = getattr(self.function, "__module__", None), getattr(self.function, "__qualname__", "")
        try:
            found: Any = reduce(getattr, name.split("."), sys.modules[str(module)])
        except (KeyError, AttributeError):
            found = None
        if module == "__main__" or found is not self.function:
            raise ValueError(
                f"the job {name or self.function!r} of {module} cannot be imported by another process; "
                "define it with def at the top of a module that is no script"
            )

    @classmethod
    def of(cls, function: Callable[Parameters, Iterator[Any]], /, *args: Parameters.args, **kwargs: Parameters.kwargs) -> Job:
        """Return a job from a call, whose arguments are checked by the type checker."""
        return cls(function, args, kwargs)

    def events(self) -> Iterator[Any]:
        """Call the function."""
        return self.function(*self.args, **self.kwargs)


class Inbox(Generic[Value]):
    """A mailbox with which the caller tells a running job something; given to the job as an argument.

    The last value wins. In another process there is a twin of it, and what is put in here arrives there; not the other way round.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._value: Callable[[], Value] | None = None
        self._fresh = False
        self._listeners: list[Callable[[Value], None]] = []

    def put(self, value: Value) -> None:
        """Say something; what was said before is forgotten."""
        with self._lock:
            self._value, self._fresh = lambda: value, True
            for listener in self._listeners:  # within the lock, so that the order is the same everywhere; they only queue it
                listener(value)

    def latest(self, default: Value | None = None) -> Value | None:
        """Return what was said last; ``default`` before anything was."""
        with self._lock:
            value = self._value
        return default if value is None else value()

    def take(self, default: Value | None = None) -> Value | None:
        """Return what was said last, and return it once only."""
        with self._lock:
            value, fresh, self._fresh = self._value, self._fresh, False
        return value() if fresh and value is not None else default

    def arrives(self, value: Callable[[], Value]) -> None:
        """For an engine: put what is made when it is looked at, in the thread that looks."""
        with self._lock:
            self._value, self._fresh = _once(value), True

    def connect(self, listener: Callable[[Value], None]) -> Callable[[], None]:
        """For an engine: hear what was said last and all that will be; return what ends that."""
        with self._lock:
            self._listeners.append(listener)
            if self._value is not None:
                listener(self._value())
        return lambda: self._disconnect(listener)

    def _disconnect(self, listener: Callable[[Value], None]) -> None:
        with self._lock:
            if listener in self._listeners:
                self._listeners.remove(listener)


def _once(make: Callable[[], Value]) -> Callable[[], Value]:
    lock = threading.Lock()
    made: list[Value] = []

    def get() -> Value:
        with lock:
            if not made:
                made.append(make())
            return made[0]

    return get


class Handle(Protocol):
    """A job that was handed to an engine."""

    def cancel(self) -> None:
        """Ask the job to end; it does at its next event. Events may still come until it has ended."""

    @property
    def done(self) -> bool:
        """Whether its end was told."""


class Engine(Protocol):
    """Where jobs run."""

    def start(self) -> None:
        """Get ready for jobs; return at once."""

    def submit(self, job: Job, on_event: OnEvent, on_end: OnEnd) -> Handle:
        """Run a job; return at once.

        Parameters
        ----------
        job : Job
            What to run.
        on_event : callable
            Called with each event, in a thread of the engine; must not block. A fault comes as a
            :class:`~napari_resformer.engine.faults.Failed`.
        on_end : callable
            Called once and last, whatever happened; with whether the job was cancelled.

        Raises
        ------
        RuntimeError
            If the engine is closed.
        """

    def close(self) -> None:
        """Cancel all jobs and give everything back; return soon."""
