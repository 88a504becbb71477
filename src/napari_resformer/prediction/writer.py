"""Writing beside the network: a thread, which does not outlive its job."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Any, Self

_WAITING = 2  # pieces of work that may wait for the writer, so that memory stays bounded


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
