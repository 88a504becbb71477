"""How Segment & Classify treats the viewer: stalls of the event loop, memory, and the way from Run to the layer.

    python dev/with_display.py python benchmarks/viewer.py [--model colon-biopsy] [--runs 7]

In the real viewer the dock is opened and a 2048 px plane is predicted, with the worker process still starting. Then planes of
256 and 2048 px are predicted again and again, in turn by the worker process and by a thread of napari's own process (which then
loads torch, and is what the plugin did before it had a worker): ratios of the time from Run to the layer come from one run.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from typing import Any

import napari
import numpy as np
from large_plane import plane
from stalls import Watch, resident, settle, wait, worker

from napari_resformer.engine.inline import InlineEngine

SIDES = (256, 2048)


def run(viewer: napari.Viewer, widget: Any, watch: Watch | None = None, what: str = "") -> float:
    """Press Run; return the seconds until the layer is there. The layer is removed, which is napari's own work."""
    begin = time.perf_counter()
    widget.run.native.click()
    wait(lambda: not widget.busy)
    seconds = time.perf_counter() - begin
    assert widget.message.startswith("Done"), widget.message
    settle(0.3)
    if watch is not None:
        watch.tell(what, begin)
    viewer.layers.remove(viewer.layers.selection.active)
    settle(0.3)
    return seconds


def main() -> None:
    """Print stalls, memory and ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="colon-biopsy")
    parser.add_argument("--runs", type=int, default=7)
    options = parser.parse_args()

    viewer = napari.Viewer()
    watch = Watch(viewer)
    whole = plane(max(SIDES), None)
    viewer.add_image(whole, name="plane", rgb=True)
    settle(2)
    begin = time.perf_counter()
    settle(2)
    watch.tell("idle viewer", begin)

    before = resident()
    begin = time.perf_counter()
    _, widget = viewer.window.add_plugin_dock_widget("napari-resformer", "Segment & Classify")
    print(f"opening the dock: {1e3 * (time.perf_counter() - begin):.0f} ms")
    widget.model.value, widget.device.value = options.model, "cpu"
    begin = time.perf_counter()
    widget.run.native.click()
    wait(lambda: not widget.busy)
    assert widget.message.startswith("Done"), widget.message
    watch.tell("first run, while the worker starts", begin)
    settle(1)
    print(f"napari's memory: {before:.0f} MB, {resident() - before:+.0f} MB after opening the dock and a first prediction "
          f"(goal 60); the worker has {resident(worker()):.0f} MB; torch in napari: {'torch' in sys.modules}")  # fmt: skip
    viewer.layers.remove(viewer.layers.selection.active)
    settle(1)
    for number in range(1, 4):
        run(viewer, widget, watch, f"run {number}, warm")

    widget.run.native.click()
    settle(0.5)
    begin = time.perf_counter()
    widget.run.native.click()
    wait(lambda: not widget.busy)
    print(f"cancelled within {time.perf_counter() - begin:.2f} s (goal 0.3)")
    settle(1)
    compare(viewer, widget, whole, options.runs)
    viewer.close()


def compare(viewer: napari.Viewer, widget: Any, whole: np.ndarray, runs: int) -> None:
    """Print the time from Run to the layer by the worker and by a thread, in turn."""
    engines = {"worker": widget._engine, "thread": InlineEngine()}
    for side in SIDES:
        viewer.layers.clear()
        viewer.add_image(np.ascontiguousarray(whole[:side, :side]), name="plane", rgb=True)
        settle(2)
        seconds: dict[str, list[float]] = {name: [] for name in engines}
        for number in range(runs + 1):
            for name, engine in engines.items():
                widget._engine = engine
                taken = run(viewer, widget)
                if number:  # the first one loads torch, or warms up
                    seconds[name].append(taken)
        ours, theirs = (statistics.median(seconds[name]) for name in ("worker", "thread"))
        print(f"{side} px, from Run to the layer: worker {ours:.3f} s, thread {theirs:.3f} s, ratio {ours / theirs:.2f}, "
              f"difference {1e3 * (ours - 1.05 * theirs):+.0f} ms beyond 1.05 times (limit 30)")  # fmt: skip
    widget._engine = engines["worker"]


if __name__ == "__main__":
    main()
