"""How Fine-tune treats the viewer: the event loop's longest stall while a model is trained, and memory over the epochs.

    python dev/with_display.py python benchmarks/fine_tune_viewer.py [DATA] [--pairs 3] [--epochs 8] [--crop 96] [--from nuclei]

In the real napari, three images with painted Labels and classes (parts of an image of scikit-image's, or those of a data
folder) are trained on for two epochs, cancelled in the middle of the second, resumed, and the new model is used by Segment &
Classify. Then a longer run tells how much memory each epoch leaves behind. What napari itself needs for adding, refreshing and
drawing a layer is not counted as a stall (see stalls.py). The library of models is a temporary one.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import napari
import numpy as np
from stalls import Watch, resident, settle, wait, worker

from napari_resformer.demo import demo_image
from napari_resformer.samples.folder import read_folder
from napari_resformer.widgets.train.annotation import give_class

PLUGIN = "napari-resformer"


def painted(pairs: int, side: int = 256) -> list[tuple[Any, Any, str]]:
    """Return parts of a stained tissue, what is dark in them, and a class."""
    pixels = demo_image()
    places = [(row, column) for row in range(0, pixels.shape[0], side) for column in range(0, pixels.shape[1], side)]
    parts = [pixels[row : row + side, column : column + side] for row, column in places[:pairs]]
    dark = np.median(pixels.mean(axis=-1))
    return [(part, (part.mean(axis=-1) < dark).astype(np.uint8), "ab"[number % 2]) for number, part in enumerate(parts)]


def from_folder(path: Path, pairs: int) -> list[tuple[Any, Any, str]]:
    """Return images of a data folder that have a mask, of as many classes as there are."""
    samples = [sample for sample in read_folder(path).samples if sample.mask_source is not None]
    by_class: dict[str, list[Any]] = {}
    for sample in samples:
        by_class.setdefault(sample.image_class or "", []).append(sample)
    turns = [sample for turn in range(pairs) for some in by_class.values() for sample in some[turn : turn + 1]]
    return [(np.moveaxis(one.plane().read(), 0, -1).squeeze(), one.mask(), one.image_class or "") for one in turns[:pairs]]


def add(viewer: napari.Viewer, pairs: Sequence[tuple[Any, Any, str]]) -> None:
    """Add images and Labels."""
    for number, (pixels, mask, name) in enumerate(pairs, start=1):
        image = viewer.add_image(pixels, name=f"image {number}", rgb=pixels.ndim == 3)
        viewer.add_labels(mask, name=f"image {number} labels", opacity=0.3)
        give_class(image, (), name)
    viewer.layers.selection.active = viewer.layers["image 1"]


def epochs_done(widget: Any) -> int:
    return len(widget._panel.curves.points)


def two_epochs(viewer: napari.Viewer, widget: Any, watch: Watch, pairs: Sequence[tuple[Any, Any, str]], crop: int) -> None:
    """Train, cancel, resume, finish, and predict with the new model."""
    widget.model_name.value = "warm"
    widget.epochs.value = 1
    begin = time.perf_counter()
    widget.run.native.click()
    wait(lambda: not widget.busy)
    watch.tell("a first epoch", begin)
    assert widget.summary_text, widget.message
    settle(2)

    widget.model_name.value = "mine"
    widget.epochs.value = 2
    wait(lambda: bool(widget.plan_text) and not widget.busy)
    settle(1)
    begin = time.perf_counter()
    widget.run.native.click()
    wait(lambda: epochs_done(widget) == 1)
    wait(lambda: widget._epoch_words.startswith("Epoch 2") or not widget.busy)
    cancelled = time.perf_counter()
    widget.run.native.click()
    wait(lambda: not widget.busy)
    print(f"cancelled in the second epoch within {time.perf_counter() - cancelled:.2f} s: {widget.message}")
    wait(lambda: widget.run.text == "Resume")
    watch.tell("training until the cancel", begin)
    begin = time.perf_counter()
    widget.run.native.click()
    wait(lambda: not widget.busy)
    watch.tell("resumed until the end", begin)
    print(widget.summary_text)
    assert [point.epoch for point in widget._panel.curves.points] == [1, 2]

    _, user = viewer.window.add_plugin_dock_widget(PLUGIN, "Segment & Classify")
    settle(8)
    assert "mine" in user.model.choices
    user.image.value, user.model.value = viewer.layers["image 1"], "mine"
    settle(2)
    begin = time.perf_counter()
    user.run.native.click()
    wait(lambda: not user.busy)
    settle(0.5)
    watch.tell("Segment & Classify with the new model", begin)
    print(user.message)
    assert viewer.layers[-1].name == "image 1 · mine"


def many_epochs(widget: Any, watch: Watch, epochs: int) -> None:
    """Tell the memory after each epoch of a longer run."""
    widget.model_name.value = "memory"
    widget.epochs.value = epochs
    settle(2)
    begin = time.perf_counter()
    widget.run.native.click()
    sizes = []
    for epoch in range(1, epochs + 1):
        wait(lambda epoch=epoch: epochs_done(widget) >= epoch or not widget.busy)
        settle(0.2)  # the preview comes after the epoch
        sizes.append(resident())
    wait(lambda: not widget.busy)
    watch.tell(f"{epochs} epochs", begin)
    grown = (sizes[-1] - sizes[1]) / max(len(sizes) - 2, 1)
    print(f"resident MB of napari after each epoch: {', '.join(f'{size:.0f}' for size in sizes)}; "
          f"after the second {grown:+.2f} MB an epoch; the worker has {resident(worker()):.0f} MB")  # fmt: skip


def main() -> None:
    """Print stalls and memory."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="?", metavar="DATA")
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--crop", type=int, default=96)
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--from", dest="start", default="nuclei")
    options = parser.parse_args()

    viewer = napari.Viewer()
    watch = Watch(viewer)
    pairs = from_folder(options.data, options.pairs) if options.data else painted(options.pairs)
    settle(2)
    begin = time.perf_counter()
    settle(2)
    watch.tell("idle viewer", begin)
    begin = time.perf_counter()
    for _ in range(50):
        viewer.window._qt_window.update()
        settle(0.04)
    watch.tell("idle viewer that is repainted all the time", begin)
    begin = time.perf_counter()
    _, widget = viewer.window.add_plugin_dock_widget(PLUGIN, "Fine-tune")
    opened = time.perf_counter()
    settle(8)
    print(f"opening the widget {1e3 * (opened - begin):.0f} ms")
    watch.tell("the worker starts and loads its libraries", opened + 0.05)
    widget.model.value = options.start
    widget.more.crop.value, widget.more.batch.value = options.crop, options.batch
    add(viewer, pairs)
    begin = time.perf_counter()
    wait(lambda: bool(widget.plan_text or widget.message))
    settle(1)
    watch.tell("looking at the pairs", begin)
    two_epochs(viewer, widget, watch, pairs, options.crop)
    many_epochs(widget, watch, options.epochs)
    viewer.close()


if __name__ == "__main__":
    main()
