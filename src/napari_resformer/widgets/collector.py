"""Python's garbage collector while a long job runs: it holds up all threads, the longer the more is loaded."""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_lock = threading.Lock()
_jobs = 0


@contextmanager
def older_objects_left_alone() -> Iterator[None]:
    """Let the collector look only at objects that are younger than this.

    With torch and what it brings along there are half a million objects. Now and then the collector looks at all of them, in
    whichever thread makes the next one: a network that is built in a worker's thread then stops the event loop for 0.3 s. What
    is older than the job is looked at again when the last such job is over; what is not in a circle is freed at once as ever.
    """
    global _jobs  # noqa: PLW0603 - there is one collector for all threads
    with _lock:
        if not _jobs:
            gc.freeze()
        _jobs += 1
    try:
        yield
    finally:
        with _lock:
            _jobs -= 1
            if not _jobs:
                gc.unfreeze()
