"""How long it takes from Run to the Labels layer, once warm, in this version and in another one.

    git worktree add ../before e138136
    python dev/with_display.py python benchmarks/run_to_labels.py --against ../before [--turns 2] [--runs 5]

The versions run in turn, each time in a process of its own: a real viewer, Segment & Classify, planes of 256 and 2048 px. The
first run of each plane is not counted. The other version must have the model, too; commit e138136 is the last one whose jobs
ran in a thread of napari's process.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

SIDES = (256, 2048)
HERE = Path(__file__).resolve().parent


def wait(until: Callable[[], bool]) -> None:
    """Run Qt's own event loop, as napari does, until something is so."""
    from qtpy.QtCore import QEventLoop, QTimer

    loop, timer = QEventLoop(), QTimer()
    timer.timeout.connect(lambda: loop.quit() if until() else None)
    timer.start(5)
    loop.exec()
    timer.stop()


def settle(seconds: float) -> None:
    end = time.perf_counter() + seconds
    wait(lambda: time.perf_counter() > end)


def measure(model: str, runs: int) -> None:
    """Print the seconds of each run, and what the mask is, of the version that is on the path."""
    import napari
    import numpy as np
    from large_plane import plane

    import napari_resformer

    viewer = napari.Viewer()
    _, widget = viewer.window.add_plugin_dock_widget("napari-resformer", "Segment & Classify")
    whole = plane(max(SIDES), None)
    found: dict[str, Any] = {"from": str(Path(napari_resformer.__file__).parents[2]), "seconds": {}, "mask": {}}
    for side in SIDES:
        viewer.layers.clear()
        viewer.add_image(np.ascontiguousarray(whole[:side, :side]), name="plane", rgb=True)
        widget.model.value, widget.device.value = model, "cpu"
        settle(3)
        seconds = []
        for _ in range(runs + 1):
            begin = time.perf_counter()
            widget.run.native.click()
            wait(lambda: not widget.busy)
            seconds.append(time.perf_counter() - begin)
            assert widget.message.startswith("Done"), widget.message
            (layer,) = [layer for layer in viewer.layers if "·" in layer.name]
            mask = np.asarray(layer.data).astype(np.uint8)
            settle(0.3)
            viewer.layers.remove(layer)
            settle(0.5)
        found["seconds"][side] = seconds[1:]
        found["mask"][side] = hashlib.sha256(mask.tobytes()).hexdigest()[:8], round(float((mask > 0).mean()), 4)
    print("found", json.dumps(found))
    viewer.close()


def main() -> None:
    """Measure both versions in turn, and print medians and ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--against", type=Path, metavar="CHECKOUT")
    parser.add_argument("--model", default="colon-biopsy")
    parser.add_argument("--turns", type=int, default=2)
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    if options.against is None:
        measure(options.model, options.runs)
        return
    checkouts = {"before": options.against.resolve(), "now": HERE.parent}
    seconds: dict[tuple[str, int], list[float]] = {(name, side): [] for name in checkouts for side in SIDES}
    for _ in range(options.turns):
        for name, checkout in checkouts.items():
            command = [sys.executable, __file__, "--model", options.model, "--runs", str(options.runs)]
            text = subprocess.run(
                command, env={**os.environ, "PYTHONPATH": str(checkout / "src")}, stdout=subprocess.PIPE, text=True, check=True
            )
            found = json.loads(text.stdout.split("found ", 1)[1])
            assert Path(found["from"]) == checkout, found
            for side in SIDES:
                seconds[name, side] += found["seconds"][str(side)]
            print(f"{name}: {json.dumps(found['seconds'])}; masks {json.dumps(found['mask'])}", flush=True)
    for side in SIDES:
        now, before = (statistics.median(seconds[name, side]) for name in ("now", "before"))
        print(f"{side} px, from Run to the layer: now {now:.3f} s, before {before:.3f} s, ratio {now / before:.2f}, "
              f"difference {1e3 * (now - 1.05 * before):+.0f} ms beyond 1.05 times (limit 30)")  # fmt: skip


if __name__ == "__main__":
    main()
