"""Starting a worker process, connecting to it, and ending it."""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
import threading
from collections import deque
from contextlib import suppress
from multiprocessing.connection import Client, Connection
from typing import IO, Any

from napari_resformer.engine.link import HERE

_LINES = 100  # of the worker's stderr, for a report
_LONGEST_LINE = 2000

# The path comes first: this package, too, may have been put on it at run time only. Not by -m, which would look before.
_BOOT = (
    "import json, sys; line = sys.stdin.readline() or sys.exit(); hello = json.loads(line); sys.path[:] = hello['path']; "
    "from napari_resformer.engine.worker import main; main(hello)"
)


def launch() -> subprocess.Popen[str]:
    """Start a worker process, apart from the terminal: Ctrl-C there is not meant for it.

    Not by multiprocessing, whose spawn runs a user's script again and whose fork copies the locks of a program with threads.
    And not in a session of its own: Linux shares the processors out among sessions first, so that the worker could not give way
    to this process (see :func:`~napari_resformer.engine.worker.main`).

    Raises
    ------
    OSError
        If Python cannot be started.
    """
    if not sys.executable:
        raise FileNotFoundError("this program does not say where its Python is")
    apart: dict[str, Any]
    if sys.platform == "win32":
        apart = {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP | subprocess.CREATE_NO_WINDOW}
    else:
        apart = {"process_group": 0}
    return subprocess.Popen(
        [sys.executable, "-P", "-c", _BOOT],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        errors="replace",
        **apart,
    )


def connect(process: subprocess.Popen[str]) -> Connection:
    """Tell a new worker who we are, and connect to it.

    Raises
    ------
    EOFError
        If the process ends instead.
    """
    assert process.stdin is not None
    assert process.stdout is not None
    key = secrets.token_bytes(32)
    path = [os.path.abspath(entry) for entry in sys.path]  # noqa: PTH100 - an empty one is this folder
    try:
        process.stdin.write(json.dumps({"key": key.hex(), "path": path, "parent": os.getpid()}) + "\n")
        process.stdin.flush()
        with process.stdout:
            for line in process.stdout:  # to its end at the latest, so that a dead process is not waited for
                if line.startswith(HERE):
                    address = json.loads(line.removeprefix(HERE))
                    return Client(address, authkey=key)  # type: ignore[no-any-return, return-value]
    except (OSError, ValueError) as error:
        raise EOFError(str(error)) from error
    raise EOFError("the worker process ended while it started")


class Tail:
    """Reads what a process prints to stderr, so that it never waits to print, and keeps the last lines."""

    def __init__(self, stream: IO[str]) -> None:
        self._lines: deque[str] = deque(maxlen=_LINES)
        self._thread = threading.Thread(target=self._read, args=(stream,), name="resformer-stderr", daemon=True)
        self._thread.start()

    def lines(self, wait: float = 0.0) -> list[str]:
        """Return the last lines.

        Parameters
        ----------
        wait : float
            Seconds to wait for the end of the stream; a child of the process may hold it open.
        """
        self._thread.join(wait)
        return list(self._lines)

    def _read(self, stream: IO[str]) -> None:
        with stream, suppress(OSError, ValueError):
            for line in iter(lambda: stream.readline(_LONGEST_LINE), ""):
                self._lines.append(line.rstrip())


def kill(process: subprocess.Popen[str]) -> None:
    """End a worker process that is still there, with its own children; no questions asked."""
    if process.poll() is not None:
        return
    if sys.platform == "win32":
        import psutil

        with suppress(psutil.Error):
            for child in psutil.Process(process.pid).children(recursive=True):
                with suppress(psutil.Error):
                    child.kill()
    else:
        with suppress(OSError):
            os.killpg(process.pid, signal.SIGKILL)  # it leads a group of its own
    with suppress(OSError):
        process.kill()
