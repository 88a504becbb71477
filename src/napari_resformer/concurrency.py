"""Threads that work beside the network: one reads ahead, one writes behind. Neither outlives its job."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Any, Self, TypeVar

import torch

Item = TypeVar("Item")

_WAITING = 2  # pieces of work that may wait for the writer, so that memory stays bounded


def prefetch(items: Iterator[Item], *, waiting: int = 1) -> Generator[Item]:
    """Yield what an iterator yields; a thread makes the next ones meanwhile.

    The thread has one core. With more, each of its operations would leave threads behind that wait by spinning, on the cores
    that the network needs.

    Parameters
    ----------
    items : iterator
        Its own code runs in the thread. What it raises is raised here.
    waiting : int
        How many may be made before they are asked for.

    Yields
    ------
    object
        Each item. Closing the generator waits for the one that is being made.
    """
    end = object()
    with ThreadPoolExecutor(1, thread_name_prefix="resformer-prefetch") as pool:
        ours = torch.get_num_threads()
        pool.submit(torch.get_num_threads).result()  # a thread takes the number it begins with when it is first asked
        pool.submit(torch.set_num_threads, 1).result()
        torch.set_num_threads(ours)  # the number is a thread's own, but the last one set is also what new threads begin with
        made = deque(pool.submit(next, items, end) for _ in range(waiting))
        try:
            while (item := made.popleft().result()) is not end:
                made.append(pool.submit(next, items, end))
                yield item  # type: ignore[misc]
        finally:
            for future in made:
                future.cancel()


class BackgroundWriter:
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


class DirectWriter:
    """Does work at once, in the thread that asks for it; takes the place of :class:`BackgroundWriter` where there is little."""

    def __init__(self) -> None:
        self.failed = False
        """Whether a piece of work raised."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        pass

    def do(self, work: Callable[..., Any], *arguments: Any) -> None:
        """Do a piece of work."""
        try:
            work(*arguments)
        except BaseException:
            self.failed = True
            raise

    def drain(self) -> None:
        """Do nothing: all work is done."""
