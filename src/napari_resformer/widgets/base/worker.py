"""Between a job's generator and napari's worker: exceptions become events, and the job is always closed."""

from __future__ import annotations

import errno
import logging
import time
from collections.abc import Callable, Generator, Iterator
from typing import Any

from napari.qt.threading import GeneratorWorker, create_worker
from qtpy.QtCore import QObject, Signal, Slot  # type: ignore[attr-defined]

from napari_resformer.devices import is_out_of_memory
from napari_resformer.events import Failed, Finished, Progress, StepDone
from napari_resformer.widgets.base.interpreter import older_objects_left_alone, short_turns

_SHORTEST_PAUSE = 0.05  # seconds between two progress events that reach the GUI; all other events reach it
_REFUSALS = (ValueError, TypeError, OSError)
_MORE_MEMORY = (
    "Choose the CPU as the device, or a smaller tile in Preferences > Plugin Preferences > ResFormer, or close other programs; "
    "then press Run again."
)
_OTHERWISE = "Check that axes and model fit the image, or try another device."


class Job(QObject):
    """A job in a worker thread; lives on the GUI thread, and with its parent at the most.

    Parameters
    ----------
    start : callable
        Makes the generator of events; called in the worker's thread, so that heavy imports may be in it.
    parent : QObject
        When it is deleted, the job is cancelled and says nothing more.

    Attributes
    ----------
    happened : Signal
        Each event of the job, on the GUI thread. A fault comes as :class:`~napari_resformer.events.Failed`.
    ended : Signal
        Once, last; True when the job was cancelled.
    """

    happened = Signal(object)
    ended = Signal(bool)

    def __init__(self, start: Callable[[], Iterator[Any]], parent: QObject) -> None:
        super().__init__(parent)
        self._aborted = False
        self._silent = False
        self._worker = create_worker(resformer_job, start, _worker_class=_ClosingWorker, _start_thread=False)
        # Slots of a QObject: they are called on its thread, and no more once it is deleted.
        self._worker.yielded.connect(self._on_event)
        self._worker.aborted.connect(self._on_aborted)
        self._worker.finished.connect(self._on_finished)
        self.destroyed.connect(self._worker.quit)
        self._worker.start()

    def cancel(self) -> None:
        """Ask the job to end; it does at its next event, and closes its generator."""
        self._worker.quit()

    def discard(self) -> None:
        """Cancel, and let no further event out."""
        self._silent = True
        self.cancel()

    @Slot(object)
    def _on_event(self, event: Any) -> None:
        if event is not None and not self._silent:
            self.happened.emit(event)

    @Slot()
    def _on_aborted(self) -> None:
        self._aborted = True

    @Slot()
    def _on_finished(self) -> None:
        if not self._silent:
            self.ended.emit(self._aborted)
        self.deleteLater()


class _ClosingWorker(GeneratorWorker):  # type: ignore[misc, type-arg]
    """napari's worker, which closes the job in its own thread however it ends."""

    def __init__(self, function: Callable[[Generator[Any]], Iterator[Any]], start: Callable[[], Iterator[Any]]) -> None:
        self._events = adapted(start, lambda: self.abort_requested)
        super().__init__(function, self._events)

    def work(self) -> Any:
        """Run the job, then close it: napari does not close a generator that it quits."""
        with short_turns(), older_objects_left_alone():
            try:
                return super().work()
            finally:
                self._events.close()


def resformer_job(events: Generator[Any]) -> Iterator[Any]:
    """Yield the events; napari names a running worker by its function, for instance when the window is closed."""
    yield from events


def adapted(start: Callable[[], Iterator[Any]], stopped: Callable[[], bool] = lambda: False) -> Generator[Any]:
    """Yield a job's events, the progress among them not too often; an exception ends as a ``Failed`` event.

    napari's generator worker swallows a RuntimeError of the job (out of memory and wrong shapes among them), so that
    a widget would wait for ever.

    Parameters
    ----------
    start : callable
        Makes the job's generator.
    stopped : callable
        Whether the job is cancelled; asked after each of its events.

    Yields
    ------
    object or None
        An event; None once the job is cancelled, since the worker quits at a yield.
    """
    job: Any = None
    last = -_SHORTEST_PAUSE
    try:
        job = start()
        for event in job:
            if stopped() and not isinstance(event, Finished):  # what is done is done, and must be told
                yield None
                return
            if isinstance(event, Progress | StepDone):
                now, done, total = time.monotonic(), *_how_far(event)
                if done < total and now - last < _SHORTEST_PAUSE:
                    continue  # each event that is sent costs the GUI thread something
                last = now
            yield event
    except Exception as error:  # every fault of a job is told in the widget
        logging.getLogger(__name__).debug("the job failed", exc_info=True)
        yield Failed(error)
    finally:
        if job is not None:
            _close(job)


def _how_far(event: Progress | StepDone) -> tuple[int, int]:
    return (event.done, event.total) if isinstance(event, Progress) else (event.step, event.steps)


def _close(job: Any) -> None:
    try:
        job.close()
    except Exception:  # the job is over, and there is nobody left to tell
        logging.getLogger(__name__).exception("a job failed while it was closed")


def in_words(error: BaseException, *, memory: str = _MORE_MEMORY, otherwise: str = _OTHERWISE) -> str:
    """Return what went wrong and what to do about it.

    Parameters
    ----------
    error : BaseException
        What the job raised.
    memory, otherwise : str
        What to do where there was not enough memory, and where nobody foresaw the fault; a sentence each.
    """
    text = " ".join(str(error).split())
    if is_out_of_memory(error):
        return f"There was not enough memory. {memory}"
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"The disk is full ({error.strerror}). Nothing was half-written: make room, then press the same button again."
    if isinstance(error, ImportError):
        return f"A library is missing ({text}). Install the plugin again: pip install 'napari-resformer[all]'."
    if isinstance(error, _REFUSALS) and text:
        return f"This cannot run: {text}"
    detail = f"{type(error).__name__}: {text}" if text else type(error).__name__
    return f"The job failed ({detail}). Nothing was changed. {otherwise} If it fails again, please report it with these words."
