"""What the viewer benchmarks share: the stalls of an event loop, apart from what napari itself draws, and the memory.

A timer of 2 ms in the real viewer notes each gap between two of its ticks; a gap is a stall. What napari needs for adding,
refreshing and drawing a layer is not counted; it is printed apart, with the repainting of its window that brings a canvas
drawn anew onto the screen. All other repainting counts, though most of it is for napari's own sign of activity: without a
graphics card that is work for the processor.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

# The library of models is a temporary one, also for the worker process.
os.environ["XDG_DATA_HOME"] = tempfile.mkdtemp(prefix="resformer-library-")

import napari
import numpy as np
import psutil
from qtpy.QtCore import QEvent, Qt, QTimer
from qtpy.QtWidgets import QApplication

from napari_resformer.widgets.predict import run as predict_run
from napari_resformer.widgets.results import scores
from napari_resformer.widgets.train import curves, preview, summary

TICK = 2  # milliseconds
LIMIT = 50  # milliseconds
MEGABYTE = 1 << 20


@dataclass(frozen=True)
class Span:
    """Work of napari's own: when it began and ended, and for how long the GUI thread was on a processor, in seconds."""

    begin: float
    end: float
    work: float


class Heart:
    """Notes when the event loop ticks, and for how long the GUI thread was on a processor until then."""

    def __init__(self) -> None:
        self.beats: list[tuple[float, float]] = []
        self._timer = QTimer()
        self._timer.setTimerType(Qt.TimerType.PreciseTimer)
        self._timer.timeout.connect(lambda: self.beats.append((time.perf_counter(), time.thread_time())))
        self._timer.start(TICK)

    def worst(self, begin: float, end: float) -> float:
        """Return the longest gap between ticks, in ms, that began between two times."""
        return self.worst_apart_from((), begin, end)[0]

    def worst_apart_from(self, spans: Sequence[Span], begin: float, end: float) -> tuple[float, float]:
        """Return the longest gap, and the most work of the GUI thread in one, in ms, both without what napari did meanwhile.

        On a machine that others use too, a gap may be the others' turn on the processor; the work tells that apart.
        """
        gaps = np.diff([beat for beat in self.beats if begin <= beat[0] <= end], axis=0) * 1e3
        if not len(gaps):
            return 0.0, 0.0
        starts = np.array([beat[0] for beat in self.beats if begin <= beat[0] <= end])
        for span in spans:
            place = int(np.searchsorted(starts, span.begin)) - 1
            if 0 <= place < len(gaps):
                gaps[place] -= 1e3 * (span.end - span.begin), 1e3 * span.work
        longest, most = gaps.max(axis=0)
        return float(longest), float(most)


def wait(until: Callable[[], bool], limit: float = 600.0) -> None:
    """Let the event loop run."""
    end = time.perf_counter() + limit
    while not until():
        QApplication.processEvents()
        time.sleep(0.0002)
        if time.perf_counter() > end:
            raise TimeoutError("the widget did not finish")


def settle(seconds: float = 1.0) -> None:
    """Let the event loop run for a while."""
    end = time.perf_counter() + seconds
    wait(lambda: time.perf_counter() > end)


class Timed:
    """Stands in for a function, and notes when and for how long it runs.

    Parameters
    ----------
    owner : module or class
        Whose function it is.
    name : str
        The function.
    """

    def __init__(self, owner: Any, name: str) -> None:
        self.spans: list[Span] = []
        real = getattr(owner, name)

        def timed(*arguments: Any, **named: Any) -> Any:
            begin, worked = time.perf_counter(), time.thread_time()
            try:
                return real(*arguments, **named)
            finally:
                self.spans.append(Span(begin, time.perf_counter(), time.thread_time() - worked))

        setattr(owner, name, timed)


class Repainting:
    """Notes when napari's window is repainted."""

    def __init__(self, viewer: napari.Viewer) -> None:
        self.spans: list[Span] = []
        window = type(viewer.window._qt_window)
        handle = window.event

        def timed(window: Any, event: QEvent) -> bool:
            if event.type() != QEvent.Type.UpdateRequest:
                return bool(handle(window, event))
            begin, worked = time.perf_counter(), time.thread_time()
            try:
                return bool(handle(window, event))
            finally:
                self.spans.append(Span(begin, time.perf_counter(), time.thread_time() - worked))

        window.event = timed


class Drawing:
    """Notes when napari draws its canvas."""

    def __init__(self, viewer: napari.Viewer) -> None:
        self.spans: list[Span] = []
        self._begin = (0.0, 0.0)
        draw = viewer.window._qt_viewer.canvas._scene_canvas.events.draw
        draw.connect(self._begun, position="first")
        draw.connect(self._done, position="last")

    def _begun(self, _: Any) -> None:
        self._begin = time.perf_counter(), time.thread_time()

    def _done(self, _: Any) -> None:
        self.spans.append(Span(self._begin[0], time.perf_counter(), time.thread_time() - self._begin[1]))


class Watch:
    """Tells the stalls of a part of the benchmark, apart from napari's own work."""

    def __init__(self, viewer: napari.Viewer) -> None:
        self._heart = Heart()
        self.adding = [Timed(preview.PreviewLayer, "show"), Timed(predict_run, "show_result")]
        self._drawing = Drawing(viewer)
        self._repainting = Repainting(viewer)
        self._ours = [Timed(owner, "paintEvent") for owner in (curves.Curves, scores.ScoreBars, summary.ConfusionTable)]

    def tell(self, what: str, begin: float, goal: int | None = LIMIT) -> None:
        end = time.perf_counter()

        def of(parts: Sequence[Any]) -> list[Span]:
            return [span for part in parts for span in part.spans if begin <= span.begin <= end]

        drawn = of([self._drawing])
        repainted = of([self._repainting])
        refreshing = [span for span in repainted if any(span.begin <= draw.begin <= span.end for draw in drawn)]
        besides = [span for span in repainted if span not in refreshing]
        napari = outermost([*of(self.adding), *drawn, *refreshing])
        longest, work = self._heart.worst_apart_from(napari, begin, end)
        print(
            f"{what}: {end - begin:.1f} s, longest stall {longest:.0f} ms{f' (goal {goal})' if goal else ''}, in it the GUI "
            f"thread worked for at most {work:.0f} ms; napari's longest adding, refreshing or drawing {longest_of(napari):.0f} "
            f"ms, longest repainting besides {longest_of(besides):.0f} ms, the plugin's own painting "
            f"{longest_of(of(self._ours)):.0f} ms",
            flush=True,
        )


def outermost(spans: Sequence[Span]) -> list[Span]:
    """Return the spans that lie in no other: the canvas is drawn while the window is repainted."""
    kept: list[Span] = []
    for span in sorted(spans, key=lambda span: (span.begin, -span.end)):
        if not kept or span.begin >= kept[-1].end:
            kept.append(span)
    return kept


def longest_of(spans: Sequence[Span]) -> float:
    """Return the length of the longest span, in ms."""
    return 1e3 * max((span.end - span.begin for span in spans), default=0)


def resident(process: psutil.Process | None = None) -> float:
    """Return the resident memory of this process, or of another, in MB."""
    return float((process or psutil.Process()).memory_info().rss) / MEGABYTE


def worker() -> psutil.Process | None:
    """Return the worker process of this napari."""
    children = psutil.Process().children()
    return next((one for one in children if any("napari_resformer.engine.worker" in part for part in one.cmdline())), None)
