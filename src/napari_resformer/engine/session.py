"""One worker process from its start to its end, as its caller sees it."""

from __future__ import annotations

import atexit
import logging
import os
import subprocess
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue
from typing import Any, Protocol

from napari_resformer.engine.faults import Fault, crash_fault, describe, start_fault
from napari_resformer.engine.launch import Tail, connect, kill, launch
from napari_resformer.engine.link import EMPTY, Head, Link, Parcel

_TIME_TO_START = 120.0  # seconds; a network drive can be slow
_TIME_TO_END = 2.0  # seconds from the question to the kill
_TIME_TO_DRAIN = 1.0  # seconds for the last messages of a process that is dead
_logger = logging.getLogger(__name__)


class Owner(Protocol):
    """Whom a session tells what happens; called in threads of the session."""

    def on_message(self, head: Head, parcel: Parcel) -> None:
        """Take a message; must not block."""

    def on_question(self, head: Head) -> tuple[Any, Parcel] | None:
        """Answer a question, which may take long; None if nobody waits for it any more."""

    def on_gone(self, session: Session, fault: Fault) -> None:
        """Learn that the process has ended, and why; called once and last."""


class Session:
    """Starts a worker process and talks to it.

    Messages that are posted before it is ready wait; their order stays. Questions are answered one after the other, by a thread
    that does nothing else: reading a region of an image may take long, and must neither hold up events nor the viewer.
    """

    def __init__(self, owner: Owner) -> None:
        self._owner = owner
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._process: subprocess.Popen[str] | None = None
        self._link: Link | None = None
        self._ending = self._over = False
        self._error: BaseException | None = None
        self._messages: SimpleQueue[tuple[Head, Parcel] | None] = SimpleQueue()
        self._questions: SimpleQueue[Head | None] = SimpleQueue()
        _thread(self._live, "worker")

    @property
    def pid(self) -> int | None:
        """Process id; None while there is none."""
        process = self._process
        return None if process is None else process.pid

    @property
    def usable(self) -> bool:
        """Whether a job may be given to it."""
        process = self._process
        return not self._ending and not self._over and (process is None or process.poll() is None)

    def post(self, head: Head, parcel: Parcel = EMPTY) -> None:
        """Send a message soon; return at once."""
        self._messages.put((head, parcel))

    def end(self) -> None:
        """Ask the process to end, and kill it if it does not; return at once."""
        with self._lock:
            self._ending = True
            process = self._process
        if process is not None:
            self._ask_to_end(process)
            later(_TIME_TO_END, self.kill)

    def kill(self) -> None:
        """Kill the process; return at once."""
        with self._lock:
            self._ending = True
            process = self._process
        if process is not None and os.getpid() == self._pid:  # a fork of this process has no say
            kill(process)

    def _live(self) -> None:
        starting = True
        tail: Tail | None = None
        late = later(_TIME_TO_START, self.kill)
        try:
            process = launch()
            tail = Tail(process.stderr)  # type: ignore[arg-type]
            atexit.register(self._at_exit)
            with self._lock:
                self._process = process
                ending = self._ending
            if ending:
                self._ask_to_end(process)
            link = self._link = Link(connect(process))
            starting = False
            late.cancel()
            _thread(self._await_end, "wait")
            _thread(self._send, "send")
            _thread(self._answer, "serve")
            while True:
                head, parcel = link.receive()
                if head[0] == "ask":
                    self._questions.put(head)
                else:
                    self._owner.on_message(head, parcel)
        except EOFError:
            pass  # it is gone
        except BaseException as error:  # for instance no memory for a result: what comes next cannot be understood
            _logger.debug("the worker is given up", exc_info=True)
            self._error = error
        finally:
            self._over = True
            late.cancel()
            fault = self._bury(tail, starting=starting)
            self._owner.on_gone(self, fault)

    def _bury(self, tail: Tail | None, *, starting: bool) -> Fault:
        """Make sure that the process is dead and everything closed; return why it ended."""
        if self._link is not None:
            self._link.shutdown()
        self._messages.put(None)
        self._questions.put(None)
        process, code = self._process, None
        if process is not None:
            if self._error is None:
                with suppress(subprocess.TimeoutExpired):
                    code = process.wait(_TIME_TO_END)
            kill(process)
            process.wait()
            self._ask_to_end(process)
            if process.stdout is not None:
                process.stdout.close()
            atexit.unregister(self._at_exit)
        if self._link is not None:
            self._link.close()
        said = tail.lines(_TIME_TO_DRAIN) if tail is not None else []
        if said:
            _logger.debug("the last lines of the worker:\n%s", "\n".join(said))
        if self._error is not None:
            return start_fault(self._error) if starting else describe(self._error)
        return crash_fault(code, said=said, starting=starting)

    def _await_end(self) -> None:
        """Let nobody wait for a process that is dead, even if a child of it has kept the connection open."""
        assert self._process is not None
        assert self._link is not None
        self._process.wait()
        time.sleep(_TIME_TO_DRAIN)
        self._link.shutdown()

    def _send(self) -> None:
        assert self._link is not None
        for message in iter(self._messages.get, None):
            try:
                self._link.send(*message)
            except OSError:
                return  # it is gone, and the one who reads knows
            except Exception:  # memory
                _logger.exception("a message to the worker could not be sent")
                self.kill()

    def _answer(self) -> None:
        assert self._link is not None
        for head in iter(self._questions.get, None):
            _, job, question, *_ = head
            try:
                answer = self._owner.on_question(head)
            except BaseException as error:  # whatever reading an image may raise is the job's affair
                _logger.debug("a region could not be read", exc_info=True)
                words = " ".join(str(error).split()) or type(error).__name__
                answer = f"the image could not be read ({type(error).__name__}: {words})", EMPTY
            if answer is None:
                continue
            try:
                self._link.send(("region", job, question, answer[0]), answer[1])
            except OSError:
                return
            except Exception:
                _logger.exception("a region could not be sent")
                self.kill()
            del answer

    def _ask_to_end(self, process: subprocess.Popen[str]) -> None:
        with suppress(OSError, ValueError):
            if process.stdin is not None:
                process.stdin.close()  # the end of its stdin tells it that it is no longer needed

    def _at_exit(self) -> None:
        """Leave no process behind; no thread can be started any more."""
        process = self._process
        if process is None or os.getpid() != self._pid:
            return
        self._ask_to_end(process)
        with suppress(subprocess.TimeoutExpired):
            process.wait(_TIME_TO_END)
        kill(process)
        process.wait()


def later(seconds: float, function: Callable[..., None], *args: Any) -> threading.Timer:
    """Call a function later, in a thread of its own; not at all where the interpreter is about to end."""
    timer = threading.Timer(seconds, function, args)
    timer.daemon = True
    with suppress(RuntimeError):
        timer.start()
    return timer


def _thread(target: Any, name: str) -> None:
    threading.Thread(target=target, name=f"resformer-{name}", daemon=True).start()
