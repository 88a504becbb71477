"""Keep two processes, or two jobs of one, from writing to the same place."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock that the system takes away when the process ends, however it does.

    Parameters
    ----------
    path : Path
        A file that is there for nothing else; made if needed, and left behind.

    Raises
    ------
    BlockingIOError
        If somebody else holds it.
    """
    with path.open("a") as file:
        try:
            _lock(file.fileno())
        except (BlockingIOError, PermissionError) as error:
            raise BlockingIOError(f"{path} is held by another job") from error
        except OSError:  # a file system without locks, as some clusters have: nobody is kept out
            logging.getLogger(__name__).debug("no lock on %s", path, exc_info=True)
        yield


def _lock(handle: int) -> None:
    try:
        import fcntl
    except ImportError:  # Windows
        import msvcrt

        msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
    else:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
