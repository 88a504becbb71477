"""A job of an engine, as Qt sees it: its events arrive on the GUI thread, and it ends with its parent."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

from qtpy.QtCore import QCoreApplication, QObject, QTimer, Signal, Slot  # type: ignore[attr-defined]

from napari_resformer.engine.job import Engine, Handle, Job

_LOOK = 20  # milliseconds between two looks whether the job before has ended


class GuiThread(QObject):
    """Calls functions on the GUI thread, asked from any thread; one an application, which it lives as long as.

    An engine's thread must not send signals of an object that the GUI thread may be deleting at that moment.
    """

    _asked = Signal(object)

    def __init__(self, application: QCoreApplication) -> None:
        super().__init__(application)
        self._asked.connect(self._call)

    @classmethod
    def get(cls) -> GuiThread:
        """Return that of the application."""
        application = QCoreApplication.instance()
        assert application is not None, "a dock widget is there, and so is its application"
        found = application.findChild(cls)
        return cls(application) if found is None else found  # type: ignore[redundant-expr]

    def call(self, function: Callable[[], None]) -> None:
        """Have a function called once the GUI thread gets to it."""
        with suppress(RuntimeError):  # the application has ended
            self._asked.emit(function)

    @Slot(object)
    def _call(self, function: Callable[[], None]) -> None:
        function()


class DockJob(QObject):
    """A running job; lives on the GUI thread, and no longer than its parent.

    Parameters
    ----------
    engine : Engine
        Where the job runs.
    job : Job
        What is run.
    parent : QObject
        When it is deleted, the job is cancelled and says nothing more.
    after : DockJob, optional
        A job that was cancelled and is not waited for; this one begins when that has ended.

    Attributes
    ----------
    happened : Signal
        Each event of the job, on the GUI thread. A failure comes as :class:`~napari_resformer.engine.faults.Failed`.
    ended : Signal
        Once, last; True when the job was cancelled.
    """

    happened = Signal(object)
    ended = Signal(bool)

    def __init__(self, engine: Engine, job: Job, parent: QObject, after: DockJob | None = None) -> None:
        super().__init__(parent)
        self._silent = self._unwanted = False
        self._engine, self._work, self._after = engine, job, after
        self._handle: Handle | None = None
        self._begin()

    def _begin(self) -> None:
        if self._unwanted:
            self._on_end(True)
            return
        if self._after is not None and not self._after.done:
            QTimer.singleShot(_LOOK, self._begin_if_there)
            return
        gui = GuiThread.get()
        self._handle = handle = self._engine.submit(
            self._work,
            lambda event: gui.call(partial(self._on_event, event)),
            lambda cancelled: gui.call(partial(self._on_end, cancelled)),
        )
        self.destroyed.connect(lambda *_: handle.cancel())

    def _begin_if_there(self) -> None:
        with suppress(RuntimeError):  # deleted meanwhile
            self._begin()

    @property
    def done(self) -> bool:
        """Whether the job has ended, in the worker too, or was cancelled before it began."""
        return self._unwanted if self._handle is None else self._handle.done

    def cancel(self) -> None:
        """Ask the job to end; it does at its next event."""
        self._unwanted = True
        if self._handle is not None:
            self._handle.cancel()

    def discard(self) -> None:
        """Cancel, and let no further event out."""
        self._silent = True
        self.cancel()

    def _on_event(self, event: Any) -> None:
        if not self._silent:
            with suppress(RuntimeError):  # deleted meanwhile
                self.happened.emit(event)

    def _on_end(self, cancelled: bool) -> None:
        with suppress(RuntimeError):
            if not self._silent:
                self.ended.emit(cancelled)
            self.deleteLater()
