"""Running jobs in one warm worker process, so that this one stays light, quick and alive."""

from __future__ import annotations

import itertools
import logging
import threading
import time
import weakref
from typing import Any

from napari_resformer.engine.faults import Failed, Fault, describe, stopped_fault
from napari_resformer.engine.inline import heard
from napari_resformer.engine.job import Job, OnEnd, OnEvent
from napari_resformer.engine.link import Head, Parcel
from napari_resformer.engine.session import Session, later
from napari_resformer.engine.shelf import Shelf

_LOOK = 0.5  # seconds between two looks at a job that was cancelled
_logger = logging.getLogger(__name__)


class ProcessEngine:
    """Runs jobs in a worker process; see :class:`~napari_resformer.engine.job.Engine`.

    The process is started when it is needed, serves any number of jobs at once, and ends with this object or this process,
    however that one ends. When it dies, its jobs end with a :class:`~napari_resformer.engine.faults.Failed`, and the next job
    gets a new one.

    Parameters
    ----------
    idle_seconds : float
        After so long without a job the process is ended, which gives back all memory of the device.
    cancel_seconds : float
        If a job has not ended so long after it was cancelled, the process is killed.
    cancel_seconds_beside : float
        The same while other jobs run in it.
    """

    def __init__(self, *, idle_seconds: float = 600.0, cancel_seconds: float = 5.0, cancel_seconds_beside: float = 30.0) -> None:
        self._core = _Core(idle_seconds, cancel_seconds, cancel_seconds_beside)
        # The threads know the core only. At the exit of the interpreter each session sees to its process by itself.
        self._finalizer = weakref.finalize(self, self._core.close)
        self._finalizer.atexit = False

    def start(self) -> None:
        """Start the worker process if there is none; return at once."""
        self._core.start()

    def submit(self, job: Job, on_event: OnEvent, on_end: OnEnd) -> ProcessHandle:
        """Run a job; return at once.

        Arguments are taken as they are now, but for large arrays: those stay here, and the job reads them as they are then.
        """
        return self._core.submit(job, on_event, on_end)

    def close(self) -> None:
        """Cancel all jobs and end the process; return at once."""
        self._finalizer()

    @property
    def pid(self) -> int | None:
        """Process id of the worker; None where there is none."""
        return self._core.pid


class ProcessHandle:
    """A job in a worker process."""

    def __init__(self, core: _Core, record: _Record) -> None:
        self._core, self._record = core, record

    def cancel(self) -> None:
        """Ask the job to end; it does at its next event. Events may still come until it has ended."""
        self._core.cancel(self._record)

    @property
    def done(self) -> bool:
        """Whether it has ended."""
        return self._record.ended


class _Record:
    """A job and where it stands."""

    def __init__(self, number: int, on_event: OnEvent, on_end: OnEnd) -> None:
        self.number, self.on_event, self.on_end = number, on_event, on_end
        self.session: Session | None = None
        self.shelf = Shelf(self._say)
        self.cancelled_at: float | None = None
        self.has_result = self.has_failed = self.ended = False

    def _say(self, inbox: int, parcel: Parcel) -> None:
        if self.session is not None:
            self.session.post(("told", self.number, inbox), parcel)

    def tell(self, event: Any) -> None:
        if not self.has_failed:  # a fault is the last event
            self.has_failed = isinstance(event, Failed)
            heard(self.on_event, event)


class _Core:
    """What the threads know: the jobs and the session that they run in."""

    def __init__(self, idle_seconds: float, cancel_seconds: float, cancel_seconds_beside: float) -> None:
        self._idle_seconds, self._patience, self._patience_beside = idle_seconds, cancel_seconds, cancel_seconds_beside
        self._lock = threading.RLock()
        self._numbers = itertools.count()
        self._records: dict[int, _Record] = {}
        self._session: Session | None = None
        self._stuck: set[Session] = set()
        self._closed = False
        self._idle: threading.Timer | None = None

    @property
    def pid(self) -> int | None:
        session = self._session
        return None if session is None else session.pid

    def start(self) -> None:
        with self._lock:
            if not self._closed:
                self._ready()
                self._wait_for_work()

    def submit(self, job: Job, on_event: OnEvent, on_end: OnEnd) -> ProcessHandle:
        with self._lock:
            self._check_open()
            record = _Record(next(self._numbers), on_event, on_end)
        try:
            parcel = record.shelf.pack((job.function, job.args, dict(job.kwargs)))
        except Exception as error:  # what cannot be pickled raises what it likes
            _logger.debug("a job could not be sent", exc_info=True)
            later(0.0, self._refuse, record, describe(error))
            return ProcessHandle(self, record)
        with self._lock:
            self._check_open()
            self._work_came()
            record.session = self._ready()
            self._records[record.number] = record
            record.session.post(("run", record.number), parcel)
            try:
                record.shelf.connect()
            except Exception as error:
                _logger.debug("what is in a mailbox could not be sent", exc_info=True)
                later(0.0, self._refuse, record, describe(error))
        return ProcessHandle(self, record)

    def cancel(self, record: _Record) -> None:
        with self._lock:
            if record.ended or record.session is None or record.cancelled_at is not None:
                return
            record.cancelled_at = time.monotonic()
            record.session.post(("cancel", record.number))
        self._look_later(record)

    def close(self) -> None:
        with self._lock:
            self._closed = True
            self._work_came()
            session, self._session = self._session, None
        if session is not None:
            session.end()

    # ------------------------------------------------------------------------------------- called by threads of the session
    def on_message(self, head: Head, parcel: Parcel) -> None:
        what, number, fact = head
        with self._lock:
            record = self._records.get(number)
        if record is None:
            return
        if what == "ended":
            self._end(record, cancelled=fact)
            return
        try:
            event = record.shelf.unpack(parcel)
        except Exception as error:
            _logger.debug("an event of a job could not be read", exc_info=True)
            record.tell(Failed(describe(error)))
            self.cancel(record)
        else:
            record.has_result |= fact
            record.tell(event)

    def on_question(self, head: Head) -> tuple[Any, Parcel] | None:
        _, number, _, array, place = head
        with self._lock:
            record = self._records.get(number)
        if record is None or record.cancelled_at is not None:
            return None
        return record.shelf.region(array, place)

    def on_gone(self, session: Session, fault: Fault) -> None:
        with self._lock:
            if self._session is session:
                self._session = None
                self._work_came()
            left = [record for record in self._records.values() if record.session is session]
            if session in self._stuck:
                self._stuck.discard(session)
                fault = stopped_fault()
        for record in left:
            cancelled = (self._closed or record.cancelled_at is not None) and not record.has_result
            if not cancelled and not record.has_result:
                record.tell(Failed(fault))
            self._end(record, cancelled=cancelled)

    # ---------------------------------------------------------------------------------------------------------------- inside
    def _check_open(self) -> None:
        if self._closed:
            raise RuntimeError("the engine is closed; make a new one")

    def _ready(self) -> Session:
        if self._session is None or not self._session.usable:  # it may have died unasked a moment ago
            self._session = Session(self)
        return self._session

    def _end(self, record: _Record, *, cancelled: bool) -> None:
        with self._lock:
            if record.ended:
                return
            record.ended = True
            self._records.pop(record.number, None)
            self._wait_for_work()
        record.shelf.clear()
        heard(record.on_end, cancelled and not record.has_failed)

    def _refuse(self, record: _Record, fault: Fault) -> None:
        record.tell(Failed(fault))
        self.cancel(record)
        if record.session is None:  # else the worker knows it, and it ends there
            self._end(record, cancelled=False)

    def _work_came(self) -> None:
        if self._idle is not None:
            self._idle.cancel()
            self._idle = None

    def _wait_for_work(self) -> None:
        self._work_came()
        if self._session is not None and not self._records:
            self._idle = later(self._idle_seconds, self._rest, self._session)

    def _rest(self, session: Session) -> None:
        with self._lock:
            if self._session is not session or self._records:
                return
            self._session = None  # the next job does not wait for the end of this one
        session.end()

    def _look_later(self, record: _Record) -> None:
        later(_LOOK, self._look, record)

    def _look(self, record: _Record) -> None:
        """Kill a process whose job does not end."""
        with self._lock:
            session = record.session
            if record.ended or session is None or record.cancelled_at is None:
                return
            waited = time.monotonic() - record.cancelled_at
            mine = (other for other in self._records.values() if other.session is session)
            beside = any(other.cancelled_at is None for other in mine)
            stuck = waited >= (self._patience_beside if beside else self._patience)
            if stuck:
                self._stuck.add(session)
                if self._session is session:
                    self._session = None
        if stuck:
            session.kill()
        else:
            self._look_later(record)
