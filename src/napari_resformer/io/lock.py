"""Keep two processes, or two jobs of one, from writing to the same place."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock that the system takes away when the process ends, however it ends.

    Parameters
    ----------
    path : Path
        A file that exists for nothing else; made if needed, and left behind.

    Raises
    ------
    BlockingIOError
        If another job holds it.
    """
    # A generator may be closed in another thread than the one that started it: the lock must not belong to a thread.
    lock = FileLock(path, blocking=False, thread_local=False)
    try:
        lock.acquire()
    except Timeout as error:
        raise BlockingIOError(f"{path} is held by another job") from error
    except (NotImplementedError, OSError):  # a file system without locks, as some clusters have: nobody is kept out
        logging.getLogger(__name__).debug("no lock on %s", path, exc_info=True)
    try:
        yield
    finally:
        lock.release()


@contextmanager
def in_turn(path: Path, patience: float = 60) -> Iterator[None]:
    """Hold the lock for a moment; others that want it meanwhile wait.

    Parameters
    ----------
    path : Path
        A file that exists for nothing else; made with its folder if needed, and left behind.
    patience : float
        Seconds to wait at most.

    Raises
    ------
    BlockingIOError
        If another job holds it for longer.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path, timeout=patience)
    try:
        lock.acquire()
    except Timeout as error:
        raise BlockingIOError(f"{path} has been held by another job for {patience:g} seconds; try again") from error
    except (NotImplementedError, OSError):
        logging.getLogger(__name__).debug("no lock on %s", path, exc_info=True)
    try:
        yield
    finally:
        lock.release()
