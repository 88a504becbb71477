"""Reading and writing beside the network: one thread reads the next tile, one writes the last; none outlives its job."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Any, Self, TypeVar

Item = TypeVar("Item")
Value = TypeVar("Value")

_WAITING = 2  # pieces of work that may wait for the writer, so that memory stays bounded


def prefetch(items: Iterable[Item], read: Callable[[Item], Value]) -> Generator[tuple[Item, Value]]:
    """Yield each item with what ``read`` makes of it; the next one is read in a thread meanwhile.

    What ``read`` raises is raised here. Closing the generator waits for the read that is going on.
    """
    pool = ThreadPoolExecutor(1, thread_name_prefix="resformer-reader")
    waiting: deque[tuple[Item, Future[Value]]] = deque()
    try:
        for item in items:
            waiting.append((item, pool.submit(read, item)))
            if len(waiting) > 1:
                one, future = waiting.popleft()
                yield one, future.result()
        while waiting:
            one, future = waiting.popleft()
            yield one, future.result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


class Writer:
    """Does work in one thread, in the order given; a failure is raised at the next call, and nothing is done after it."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="resformer-writer")
        self._waiting: deque[Future[Any]] = deque()
        self.failed = False
        """Whether a piece of work raised."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)

    def do(self, work: Callable[..., Any], *arguments: Any) -> None:
        """Add a piece of work; wait while too many are waiting."""
        self._settle(_WAITING)
        self._waiting.append(self._pool.submit(self._run, work, *arguments))

    def drain(self) -> None:
        """Wait until all work is done."""
        self._settle(0)

    def _run(self, work: Callable[..., Any], *arguments: Any) -> None:
        if self.failed:
            return
        try:
            work(*arguments)
        except BaseException:
            self.failed = True
            raise

    def _settle(self, most: int) -> None:
        while len(self._waiting) > most:
            self._waiting.popleft().result()
