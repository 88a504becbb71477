"""Running jobs in one warm worker process, which is started like any program: no fork, and no second run of a user's script."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import queue
import secrets
import subprocess
import sys
import threading
import weakref
from collections import deque
from functools import partial
from multiprocessing.connection import Client
from pathlib import Path
from typing import Any

import napari_resformer
from napari_resformer.engine.faults import Failed, Fault, crash_fault, describe, start_fault, stopped_fault
from napari_resformer.engine.inline import heard
from napari_resformer.engine.job import Job, OnEnd, OnEvent
from napari_resformer.engine.transfer import Channel, Packed, References, pack, region, unpack

GRACE, GRACE_BESIDE_OTHERS = 5.0, 30.0
"""Seconds that a cancelled job has to end, before the worker is killed."""
IDLE_SECONDS = 600.0
_CLOSING = 0.5  # seconds that a worker has to end by itself
_LINES = 100  # of its stderr that are kept

_log = logging.getLogger(__name__)


class ProcessEngine:
    """Runs jobs in a worker process; see :class:`~napari_resformer.engine.job.Engine`.

    The worker starts with :meth:`start` or the first job, takes the next ones warm, and is replaced when it dies. It ends when
    the engine is closed or no longer referred to, when it has been idle for a while, and with this process, however that ends.

    Parameters
    ----------
    idle_seconds : float
        After so long without a job the worker ends, and gives its memory and that of the device back.
    """

    def __init__(self, idle_seconds: float = IDLE_SECONDS) -> None:
        self._workers = workers = _Workers(idle_seconds)
        weakref.finalize(self, workers.close)  # threads hold the workers, not the engine

    def start(self) -> None:
        """Start the worker, if there is none; return at once."""
        self._workers.current()

    def submit(self, job: Job, on_event: OnEvent, on_end: OnEnd) -> _Handle:
        """Run a job; return at once."""
        handle = _Handle(on_event, on_end)
        self._workers.submit(job, handle)
        return handle

    def close(self) -> None:
        """Cancel all jobs and end the worker."""
        self._workers.close()


class _Handle:
    """A job that was submitted."""

    def __init__(self, on_event: OnEvent, on_end: OnEnd) -> None:
        self._on_event, self._on_end = on_event, on_end
        self._lock = threading.Lock()
        self.references = References()
        self.cancelled = False
        self._worker: _Worker | None = None
        self._number = -1
        self._done = False
        self._finished: list[Any] = []

    @property
    def done(self) -> bool:
        """Whether its end was told."""
        return self._done

    def cancel(self) -> None:
        """Ask the job to end; it does at its next event."""
        self.cancelled = True
        if self._worker is not None and not self._done:
            self._worker.cancel(self._number)

    def given_to(self, worker: _Worker, number: int) -> None:
        self._worker, self._number = worker, number
        self._finished = [
            inbox.connect(partial(worker.tell, number, place, self.references))
            for place, inbox in enumerate(self.references.inboxes)
        ]

    def event(self, event: Any) -> None:
        if not self._done:
            heard(self._on_event, event)

    def end(self, cancelled: bool) -> None:
        with self._lock:
            if self._done:
                return
            self._done = True
        for disconnect in self._finished:
            disconnect()
        self.references = References()  # lets go of the arrays
        heard(self._on_end, cancelled)


class _Workers:
    """The worker that there is, and the next one."""

    def __init__(self, idle_seconds: float) -> None:
        self._idle_seconds = idle_seconds
        self._lock = threading.Lock()
        self._worker: _Worker | None = None
        self._closed = False

    def current(self) -> _Worker:
        """Return a worker that takes jobs; start one if there is none."""
        with self._lock:
            if self._closed:
                raise RuntimeError("the engine is closed; make a new one")
            if self._worker is None or self._worker.over:
                self._worker = _Worker(self._idle_seconds)
            return self._worker

    def submit(self, job: Job, handle: _Handle) -> None:
        try:
            packed = pack(job, handle.references)
        except Exception as error:  # noqa: BLE001 - arguments are anybody's; told as a fault of the job, in a thread as ever
            fault = describe(error)
            threading.Thread(target=_refuse, args=(handle, fault), name="resformer-engine", daemon=True).start()
            return
        while not self.current().take(packed, handle):  # it has just ended: the next one
            pass

    def close(self) -> None:
        with self._lock:
            self._closed = True
            worker = self._worker
        if worker is not None:
            worker.close()


def _refuse(handle: _Handle, fault: Fault) -> None:
    handle.event(Failed(fault))
    handle.end(False)


class _Worker:
    """One worker process, from its start to its end."""

    def __init__(self, idle_seconds: float) -> None:
        self._idle_seconds = idle_seconds
        self._lock = threading.Lock()
        self._jobs: dict[int, _Handle] = {}
        self._started = 0
        self._waiting: queue.SimpleQueue[tuple[tuple[Any, ...], Packed | None] | None] = queue.SimpleQueue()
        self._asked: queue.SimpleQueue[tuple[int, int, int, Any] | None] = queue.SimpleQueue()
        self._process: subprocess.Popen[bytes] | None = None
        self._channel: Channel | None = None
        self._stderr: deque[str] = deque(maxlen=_LINES)
        self._closing = False
        self._fault: Fault | None = None  # why it was killed, where that is known here
        self._timer: threading.Timer | None = None
        self.over = False
        """Whether it takes no more jobs."""
        threading.Thread(target=self._live, name="resformer-engine", daemon=True).start()

    # ----------------------------------------------------------------------------------------------------- from outside
    def take(self, packed: Packed, handle: _Handle) -> bool:
        """Take a job; return False where it cannot any more."""
        with self._lock:
            if self.over:
                return False
            number, self._started = self._started, self._started + 1
            self._jobs[number] = handle
            self._rest(False)
            self._waiting.put((("run", number), packed))
        handle.given_to(self, number)
        if handle.cancelled:
            self.cancel(number)
        return True

    def cancel(self, number: int) -> None:
        """Ask a job to end, and see to it."""
        self._waiting.put((("cancel", number), None))
        self._later(GRACE, self._insist, number)

    def tell(self, number: int, inbox: int, references: References, value: Any) -> None:
        """Send something to a mailbox of a job."""
        with contextlib.suppress(Exception):  # what cannot be sent is not heard; the job goes on
            self._waiting.put((("tell", number, inbox), pack(value, references)))

    def close(self) -> None:
        """End the process: asked first, then killed."""
        with self._lock:
            self._closing = self.over = True
            process, channel = self._process, self._channel
            self._rest(False)
        if process is None:
            return  # the thread that starts it sees that it is not wanted
        if channel is not None:
            threading.Thread(target=_ask_to_close, args=(channel,), name="resformer-engine", daemon=True).start()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_CLOSING)
                return
        process.kill()

    # ------------------------------------------------------------------------------------------------------- its threads
    def _live(self) -> None:
        """Start the process, hear it out, and tell its end."""
        fault: Fault | None = None
        try:
            self._start()
        except Exception as error:  # noqa: BLE001 - told to whoever waits for the worker
            fault = start_fault(error)
        if self._channel is not None:
            for target in (self._send, self._serve):
                threading.Thread(target=target, name="resformer-engine", daemon=True).start()
            with contextlib.suppress(EOFError, OSError):
                while True:
                    self._hear(*self._channel.receive())
        self._end(fault)

    def _start(self) -> None:
        flags = 0
        if sys.platform == "win32":
            flags = subprocess.CREATE_NEW_PROCESS_GROUP | subprocess.CREATE_NO_WINDOW
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "napari_resformer.engine.worker"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            creationflags=flags, start_new_session=sys.platform != "win32",  # Ctrl-C in a terminal is for napari
            env=os.environ | {"PYTHONPATH": _python_path()},
        )  # fmt: skip
        with self._lock:
            self._process = process
            if self._closing:
                process.kill()
        threading.Thread(target=self._drain, args=(process,), name="resformer-engine", daemon=True).start()
        assert process.stdin is not None
        assert process.stdout is not None
        key = secrets.token_bytes(32)
        hello = {"authkey": key.hex(), "path": [path for path in sys.path if path]}
        with contextlib.suppress(OSError):  # it has died already, which its stdout tells as well
            process.stdin.write(json.dumps(hello).encode() + b"\n")
            process.stdin.flush()
        line = process.stdout.readline()
        if not line:
            return
        self._channel = Channel(Client(json.loads(line)["address"], authkey=key))
        with self._lock:
            self._rest(not self._jobs)

    def _drain(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stderr is not None
        with process.stderr:
            for line in process.stderr:
                self._stderr.append(line.decode(errors="replace").rstrip())
                _log.debug("worker: %s", self._stderr[-1])

    def _send(self) -> None:
        assert self._channel is not None
        with contextlib.suppress(OSError):
            while (message := self._waiting.get()) is not None:
                self._channel.send(*message)

    def _serve(self) -> None:
        """Read regions of the jobs' arrays; one at a time, since an array of somebody's may not bear more."""
        assert self._channel is not None
        with contextlib.suppress(OSError):
            while (asked := self._asked.get()) is not None:
                job, number, array, key = asked
                try:
                    packed, said = pack(region(self._jobs[job].references.arrays[array], key)), ""
                except Exception as error:  # noqa: BLE001 - the array is somebody's; the job is told
                    packed, said = None, f"the image could not be read: {type(error).__name__}: {error}"
                self._channel.send(("region", number, said), packed)
                del packed

    def _hear(self, message: tuple[Any, ...], packed: Packed | None) -> None:
        kind, *rest = message
        if kind == "read":
            self._asked.put(tuple(rest))  # type: ignore[arg-type]
        elif kind == "event" and packed is not None:
            handle = self._jobs.get(rest[0])
            if handle is not None:
                arrays = handle.references.arrays
                try:
                    event = unpack(packed, lambda reference: arrays[reference[1]])
                except Exception as error:  # noqa: BLE001 - an event of a job's own
                    event = Failed(describe(error))
                handle.event(event)
        elif kind == "end":
            with self._lock:
                handle = self._jobs.pop(rest[0], None)
                self._rest(not self._jobs)
            if handle is not None:
                handle.end(bool(rest[1]))

    def _end(self, fault: Fault | None) -> None:
        """Tell all jobs that the process is gone."""
        with self._lock:
            self.over = True
            self._rest(False)
            jobs, self._jobs = self._jobs, {}
        self._waiting.put(None)
        self._asked.put(None)
        if self._process is not None:
            code = _exit_code(self._process)
            fault = fault or self._fault or crash_fault(code, said=tuple(self._stderr), starting=self._channel is None)
        if self._channel is not None:
            self._channel.close()
        for handle in jobs.values():
            if not handle.cancelled and not self._closing:
                handle.event(Failed(fault or crash_fault(None, starting=True)))
            handle.end(handle.cancelled or self._closing)

    # --------------------------------------------------------------------------------------------------------- its timers
    def _insist(self, number: int) -> None:
        """Kill the process where a cancelled job did not end; later, if others run beside it."""
        with self._lock:
            if number not in self._jobs:
                return
            others = any(not handle.cancelled for handle in self._jobs.values())
        if others:
            self._later(GRACE_BESIDE_OTHERS - GRACE, self._kill_for, number)
        else:
            self._kill_for(number)

    def _kill_for(self, number: int) -> None:
        with self._lock:
            if number in self._jobs and self._process is not None:
                self._fault = stopped_fault()
                self._process.kill()

    def _rest(self, idle: bool) -> None:
        """Begin to count idle time, or stop; within the lock."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._later(self._idle_seconds, self._tire) if idle and not self.over else None

    def _tire(self) -> None:
        with self._lock:
            if self._jobs or self.over:
                return
            self.over = True
        self.close()

    def _later(self, seconds: float, function: Any, *arguments: Any) -> threading.Timer:
        timer = threading.Timer(seconds, function, arguments)
        timer.daemon = True
        timer.name = "resformer-engine"
        timer.start()
        return timer


def _python_path() -> str:
    """Return where the worker finds this package, before it is told the whole path: it may have been put there at run time."""
    home = Path(napari_resformer.__file__).parents[1]
    return os.pathsep.join([str(home), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]).rstrip(os.pathsep)


def _ask_to_close(channel: Channel) -> None:
    with contextlib.suppress(OSError):
        channel.send(("close",))


def _exit_code(process: subprocess.Popen[bytes]) -> int | None:
    """Return how a process ended whose connection did."""
    try:
        process.wait(2)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            with contextlib.suppress(OSError):
                stream.close()
    return process.returncode
