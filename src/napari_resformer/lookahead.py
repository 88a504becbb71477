"""Making things beside the network: a thread, which does not outlive its job."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

Item = TypeVar("Item")


def made_ahead(items: Iterator[Item], *, waiting: int = 1) -> Generator[Item]:
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
    with ThreadPoolExecutor(1, thread_name_prefix="resformer-ahead") as pool:
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
