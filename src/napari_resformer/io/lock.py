"""Keep two processes, or two jobs of one, from writing to the same place."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, SoftFileLock, Timeout

PATIENCE = 20.0
"""Seconds; a lock of :func:`in_turn` that is held longer was left by a process that was killed."""
_ATTEMPTS = 5


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
def in_turn(path: Path) -> Iterator[None]:
    """Hold a lock for a moment; others that want it meanwhile wait, on other machines, too.

    Parameters
    ----------
    path : Path
        A file that exists for nothing else; made with its folder, and removed when the block ends.

    Raises
    ------
    BlockingIOError
        If there is no end to others that hold it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = SoftFileLock(path, timeout=PATIENCE)
    for _ in range(_ATTEMPTS):
        before = _state(path)
        try:
            lock.acquire()
            break
        except Timeout:
            if before is not None and _state(path) == before:
                path.unlink(missing_ok=True)
    else:
        raise BlockingIOError(f"{path} is held by other jobs; try again")
    try:
        yield
    finally:
        lock.release()


def _state(path: Path) -> tuple[int, int] | None:
    """Return what tells a file from one that took its place."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns
