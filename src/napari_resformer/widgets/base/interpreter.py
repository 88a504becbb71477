"""What Python shares between its threads, while jobs run: kept from holding up the viewer, and put back when the last is over."""

from __future__ import annotations

import gc
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

TURN = 0.00002
"""Seconds for which a thread may keep the interpreter while another waits for it; Python's own are 0.005.

A thread that waits begins to count anew whenever the interpreter changes hands or is given away, even if it is taken back
at once. Reading a checkpoint gives it away for each of its tensors, every 0.0001 s or so: the turn has to be shorter than that,
or the one who waits does so until the last tensor is read.
"""


class _WhileJobsRun:
    """Something that each job does when it begins, and that is undone when the last is over.

    Parameters
    ----------
    do : callable
        Does it; returns what undoes it. That of the first job is called in the end.
    """

    def __init__(self, do: Callable[[], Callable[[], None]]) -> None:
        self._do = do
        self._lock = threading.Lock()
        self._jobs = 0
        self._undo: Callable[[], None] = _nothing

    @contextmanager
    def __call__(self) -> Iterator[None]:
        """Count as a job."""
        with self._lock:
            undo = self._do()
            if not self._jobs:
                self._undo = undo
            self._jobs += 1
        try:
            yield
        finally:
            with self._lock:
                self._jobs -= 1
                if not self._jobs:
                    self._undo()


def _nothing() -> None:
    return


def _freeze() -> Callable[[], None]:
    gc.freeze()
    return gc.unfreeze


def _shorten() -> Callable[[], None]:
    before = sys.getswitchinterval()
    if before <= TURN:
        return _nothing
    sys.setswitchinterval(TURN)
    ours = sys.getswitchinterval()

    def undo() -> None:
        if sys.getswitchinterval() == ours:  # else somebody has set another one meanwhile, which is theirs
            sys.setswitchinterval(before)

    return undo


older_objects_left_alone = _WhileJobsRun(_freeze)
"""Let the collector of garbage look only at objects that are younger than the job.

With torch and what it brings along there are half a million objects. Now and then the collector looks at all of them, in
whichever thread makes the next one: a network that is built in a worker's thread then stops the event loop for 0.3 s. What
is older than the job is looked at again when the last such job is over; what is not in a circle is freed at once as ever.
"""
short_turns = _WhileJobsRun(_shorten)
"""Let the GUI's thread have the interpreter soon after it asks for it.

To draw or to answer a click it gives the interpreter away and asks for it again some ten times; each time it would wait for
one turn of the job's thread.
"""
