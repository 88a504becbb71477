"""The worker process: it runs jobs for the process that started it, and ends with it."""

from __future__ import annotations

import faulthandler
import json
import logging
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from multiprocessing.connection import Connection, Listener
from pathlib import Path
from typing import Any, NoReturn

from napari_resformer.engine.desk import Desk
from napari_resformer.engine.faults import Failed, describe
from napari_resformer.engine.link import EMPTY, HERE, Link, Parcel
from napari_resformer.engine.running import Unheard, run

_TIME_TO_CLOSE = 1.0  # seconds that jobs have to remove what is half-written, once the other process is gone
_GLANCE = 2.0  # seconds between two looks at the other process
_MOST_JOBS = 64
_NICE = 5  # has a third of the weight of the other process, where both want the same processor
_LONGEST_SOCKET = 90  # characters; systems allow 104 or 108


def main(hello: dict[str, Any]) -> NoReturn:
    """Say where to connect, wait for the connection, and do what is asked for until it ends.

    Parameters
    ----------
    hello : dict
        ``key``, of the connection; ``parent``, the other process.
    """
    faulthandler.enable()
    _give_way()
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
    lifeline, voice = _take_pipes()
    worker = Worker()
    threading.Thread(target=_watch, args=(lifeline, hello["parent"], worker.leave), name="resformer-watch", daemon=True).start()
    worker.work(Link(_accept(bytes.fromhex(hello["key"]), voice)))


def _give_way() -> None:
    """Let the process that started this one go first where processors are short: it has a user to answer."""
    with suppress(Exception):  # a system that does not allow it; a job can do without
        if sys.platform == "win32":
            import psutil

            psutil.Process().nice(psutil.BELOW_NORMAL_PRIORITY_CLASS)
        else:
            os.nice(_NICE)


def _take_pipes() -> tuple[int, int]:
    """Take stdin and stdout for ourselves; libraries get nothing to read, and stderr to print to.

    On Windows a thread that waits for stdin holds up each library that looks at it when it is loaded.
    """
    lifeline, voice = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    return lifeline, voice


def _accept(key: bytes, voice: int) -> Connection:
    if sys.platform == "win32":
        listener, folder = Listener(family="AF_PIPE", authkey=key), None
    else:  # a folder of our own: the one of multiprocessing stays behind when a process is killed
        folder = Path(tempfile.mkdtemp(prefix="resformer-"))
        if len(str(folder)) > _LONGEST_SOCKET:
            folder.rmdir()
            folder = Path(tempfile.mkdtemp(prefix="resformer-", dir="/tmp"))
        listener = Listener(str(folder / "s"), family="AF_UNIX", authkey=key)
    try:
        with os.fdopen(voice, "w", encoding="ascii") as out:
            out.write(f"{HERE}{json.dumps(listener.address)}\n")
        return listener.accept()
    finally:
        listener.close()
        if folder is not None:
            with suppress(OSError):
                folder.rmdir()


def _watch(lifeline: int, parent: int, leave: Callable[[], NoReturn]) -> NoReturn:
    """Leave when the other process is gone; also if a copy of it (a fork) holds the pipe open."""
    import psutil

    try:
        other = psutil.Process(parent)
    except psutil.NoSuchProcess:
        leave()
    except psutil.Error:
        other = None  # it may not be looked at; the pipe will do
    while not _ended(lifeline, _GLANCE) and (other is None or other.is_running()):
        pass
    leave()


def _ended(lifeline: int, seconds: float) -> bool:
    """Wait for the end of a pipe to which nothing is written; return whether it came."""
    if sys.platform == "win32":
        import _winapi
        import msvcrt

        until = time.monotonic() + seconds
        try:
            while time.monotonic() < until:  # a look does not hold up others, a thread that waits does
                _winapi.PeekNamedPipe(msvcrt.get_osfhandle(lifeline), 0)
                time.sleep(0.1)
        except OSError:
            return True
        return False
    import select

    return bool(select.select([lifeline], [], [], seconds)[0]) and not os.read(lifeline, 1)


class Worker:
    """Runs jobs in threads. The one that reads the connection never sends, so that it always answers."""

    def __init__(self) -> None:
        self._desks: dict[int, Desk] = {}
        self._leaving = threading.Lock()
        # A thread is used again: torch keeps what it has prepared by thread.
        self._threads = ThreadPoolExecutor(_MOST_JOBS, thread_name_prefix="resformer-job")

    def work(self, link: Link) -> NoReturn:
        """Do what is asked for until the connection ends."""
        self._link = link
        try:
            while True:
                (what, number, *rest), parcel = link.receive()
                if what == "run":
                    desk = self._desks[number] = Desk(number, self._send)
                    self._threads.submit(self._run, desk, parcel)
                elif (found := self._desks.get(number)) is None:
                    continue  # it has ended meanwhile
                elif what == "cancel":
                    found.stop()
                elif what == "told":
                    found.told(rest[0], parcel)
                elif what == "region":
                    found.answer(rest[0], rest[1], parcel)
        except EOFError:
            self.leave()

    def leave(self) -> NoReturn:
        """End this process; jobs may close first what they have open, if they are quick."""
        with self._leaving:
            until = time.monotonic() + _TIME_TO_CLOSE
            while self._desks and time.monotonic() < until:
                for desk in list(self._desks.values()):
                    desk.stop()
                time.sleep(0.02)
            os._exit(0)

    def _send(self, head: tuple[Any, ...], parcel: Parcel = EMPTY) -> None:
        try:
            self._link.send(head, parcel)
        except OSError as error:
            raise Unheard from error

    def _run(self, desk: Desk, parcel: Parcel) -> None:
        def start() -> Any:
            function, args, kwargs = desk.unpack(parcel)
            return function(*args, **kwargs)

        try:
            try:
                cancelled = run(start, desk.stopped, partial(self._tell, desk))
            except Unheard:
                raise
            except BaseException as error:  # not even its fault could be told; here nothing of the job is left
                logging.getLogger(__name__).exception("a fault could not be told")
                self._tell(desk, Failed(describe(error)), last=False)
                cancelled = False
            self._send(("ended", desk.number, cancelled))
        except Unheard:
            pass  # whoever reads the connection knows, too
        except BaseException:
            logging.getLogger(__name__).exception("the end of a job could not be told")
            os._exit(70)  # else it would be waited for
        finally:
            desk.stop()
            self._desks.pop(desk.number, None)

    def _tell(self, desk: Desk, event: Any, last: bool) -> None:
        self._send(("event", desk.number, last), desk.pack(event))
