"""Between a job's generator and napari's worker: exceptions become events, and the job is always closed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from napari_resformer.events import Failed, Progress

_SHORTEST_PAUSE = 0.05  # seconds between two progress events; the others reach the GUI at once


def adapted(start: Callable[[], Iterator[Any]]) -> Iterator[Any]:
    """Yield a job's events; an exception ends as a :class:`~napari_resformer.events.Failed` event.

    napari's generator worker swallows a RuntimeError of the job, so that a widget would wait for ever, and does not
    close the generator when it quits.

    Parameters
    ----------
    start : callable
        Makes the job's generator; runs in the worker's thread, so that heavy imports may be in it.
    """
    import time

    job: Iterator[Any] | None = None
    last = 0.0
    try:
        job = start()
        for event in job:
            now = time.monotonic()
            if isinstance(event, Progress) and event.done < event.total and now - last < _SHORTEST_PAUSE:
                yield None  # the worker looks for a wish to quit at each yield
                continue
            last = now
            yield event
    except Exception as error:  # noqa: BLE001 - every fault of a job is to be told in the widget
        yield Failed(error)
    finally:
        if job is not None:
            job.close()  # type: ignore[attr-defined]


def in_words(error: BaseException) -> str:
    """Return what went wrong and what to do about it."""
    text = " ".join(str(error).split())
    if isinstance(error, MemoryError) or "out of memory" in text.casefold():
        return "Out of memory. Choose a smaller tile in the plugin's settings, or the CPU as the device."
    if isinstance(error, ValueError | TypeError | OSError):
        return text
    return f"The job failed ({type(error).__name__}): {text}"
