"""How long the viewer's event loop stands still while the widget works, and what adding the result costs.

    python dev/with_display.py python benchmarks/viewer.py [--side 4096] [--model colon-biopsy] [--runs 3]

A timer of 2 ms in the real viewer notes each gap between two of its ticks; a gap is a stall of the event loop. The first
run, which may meet libraries that are still being loaded, is reported apart.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import napari
import numpy as np
from large_plane import plane
from qtpy.QtCore import Qt, QTimer
from qtpy.QtWidgets import QApplication

from napari_resformer.widgets import segment_classify

TICK = 2  # milliseconds


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


def main() -> None:
    """Print stalls and ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, default=4096)
    parser.add_argument("--model", default="colon-biopsy")
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()

    viewer = napari.Viewer()
    heart, adding = Heart(), Timed(segment_classify, "show_result")
    viewer.add_image(plane(options.side, None), name="plane", rgb=True)
    settle(2)
    begin = time.perf_counter()
    settle(2)
    print(f"idle viewer: longest stall {heart.worst(begin, time.perf_counter()):.0f} ms")

    begin = time.perf_counter()
    _, widget = viewer.window.add_plugin_dock_widget("napari-resformer", "Segment & Classify")
    opened = time.perf_counter()
    widget.model.value = options.model
    settle(8)  # the widget loads torch in its worker meanwhile
    print(f"opening the widget {1e3 * (opened - begin):.0f} ms; loading libraries in the worker: "
          f"longest stall {heart.worst(opened + 0.05, time.perf_counter()):.0f} ms (goal 300)")  # fmt: skip

    data = None
    add_result, add_plain = [], []
    for number in range(options.runs + 1):
        begin = time.perf_counter()
        widget.run.native.click()
        pressed = time.perf_counter()
        wait(lambda: not widget.busy)
        added, done = adding.spans[-1].begin, adding.spans[-1].end
        predicting = heart.worst(pressed, added)
        label = "first run" if number == 0 else f"run {number}"
        print(f"{label}: press {1e3 * (pressed - begin):.0f} ms, predicting {added - pressed:.1f} s, "
              f"longest stall {predicting:.0f} ms (limit 50 once warm), adding the result {done - added:.2f} s")  # fmt: skip
        result = next(layer for layer in viewer.layers if layer.name.startswith("plane ·"))
        data = np.array(result.data)
        if number:
            add_result.append(done - added)
        settle(1)
        viewer.layers.remove(result)
        settle(1)
        if number:
            begin = time.perf_counter()
            plain = viewer.add_labels(data)
            add_plain.append(time.perf_counter() - begin)
            settle(1)
            viewer.layers.remove(plain)
            settle(1)
    ours, theirs = statistics.median(add_result), statistics.median(add_plain)
    print(
        f"adding the result {ours:.2f} s, viewer.add_labels of the same array {theirs:.2f} s: ratio {ours / theirs:.2f} (limit 1)"
    )
    widget.run.native.click()
    settle(0.5)
    begin = time.perf_counter()
    widget.run.native.click()
    wait(lambda: not widget.busy)
    print(f"cancelled within {time.perf_counter() - begin:.2f} s")
    viewer.close()


if __name__ == "__main__":
    main()
