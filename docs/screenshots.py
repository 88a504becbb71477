"""Make the pictures of the documentation: the widgets at work in napari, in a window of 1280 x 800.

    python docs/screenshots.py [--data FOLDER] [--biopsies FOLDER] [NAME ...]

FOLDER is a data folder with fluorescence and histology images (dsb2018), and one with colon biopsies (EBHI-Seg, whose
licence, CC BY 4.0, asks for its authors' names under the pictures); without them only the samples are used.
Where there is no display: python dev/with_display.py python docs/screenshots.py
"""

from __future__ import annotations

import argparse
import csv
import os
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import imageio.v3 as imageio
import napari
from PIL import Image as Picture
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QApplication

from napari_resformer.demo import ZOOMS

IMAGES = Path(__file__).parent / "images"
PLUGIN, NAME, FINE_TUNE = "napari-resformer", "Segment & Classify", "Fine-tune"


class Stage:
    """A viewer with a widget open."""

    def __init__(self, theme: str = "dark", *, dock_width: int = 300, height: int = 800, name: str = NAME) -> None:
        self.viewer: Any = napari.Viewer(show=True)
        self.window = QApplication.activeWindow() or QApplication.topLevelWidgets()[0].window()
        self.viewer.theme = theme
        self.dock, self.widget = self.viewer.window.add_plugin_dock_widget(PLUGIN, name)
        self.window = self.dock.window()
        self.window.resize(1280, height)
        self.wait(0.3)
        self.window.resizeDocks([self.dock], [dock_width], Qt.Orientation.Horizontal)
        self.wait(0.3)

    def wait(self, seconds: float, until: Callable[[], bool] = lambda: False) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end and not until():
            QApplication.processEvents()
            time.sleep(0.01)

    def planned(self) -> None:
        # The worker may still be starting, and the words until then are only a hint.
        self.wait(60, lambda: "Device:" in self.widget.plan_text or bool(self.widget.message))
        self.wait(0.5)

    def run(self, model: str = "nuclei") -> None:
        self.widget.model.value = model
        self.planned()
        self.widget.run.native.click()
        self.wait(300, lambda: not self.widget.busy)
        self.wait(1)

    def save(self, name: str) -> None:
        self.shoot(name)
        self.viewer.close()
        QApplication.processEvents()

    def shoot(self, name: str) -> None:
        QApplication.processEvents()
        IMAGES.mkdir(exist_ok=True)
        shot = self.viewer.screenshot(canvas_only=False, flash=False)
        palette = Picture.fromarray(shot).convert("RGB").quantize(256, dither=Picture.Dither.NONE)  # a third of the size
        palette.save(IMAGES / f"{name}.png", optimize=True)


def picture(data: Path | None, image_class: str, fold: str = "0", number: int = 0) -> tuple[Any, str] | None:
    """Return an image of a class from a fold that the bundled model was not trained on."""
    if data is None:
        return None
    with (data / "labels.csv").open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["class"] == image_class and row.get("fold") == fold]
    return imageio.imread(data / "images" / rows[number]["filename"]), rows[number]["class"]


def sample(theme: str, model: str, name: str, key: str = "immunohistochemistry", zoom: str = "") -> None:
    stage = Stage(theme)
    stage.viewer.open_sample(PLUGIN, key)
    stage.widget.zoom.value = zoom
    stage.run(model)
    stage.save(name)


def from_data(data: Path | None, image_class: str, theme: str, number: int) -> None:
    found = picture(data, image_class, number=number)
    if found is None:
        return
    stage = Stage(theme)
    pixels, name = found
    stage.viewer.add_image(pixels, name=name, rgb=pixels.ndim == 3)
    stage.run()
    stage.save(name)


def plan() -> None:
    stage = Stage("light")
    stage.viewer.open_sample(PLUGIN, "generated_nuclei")
    stage.planned()
    stage.save("plan")


def running() -> None:
    import dask.array as da

    stage = Stage()
    stage.viewer.open_sample(PLUGIN, "generated_nuclei")
    pixels = stage.viewer.layers[0].data
    stage.viewer.layers.clear()
    stage.viewer.add_image(da.tile(da.from_array(pixels), (8, 8)), name="a large image", contrast_limits=(200, 5000))
    stage.planned()
    stage.widget.run.native.click()
    bar = stage.widget._bar
    stage.wait(600, lambda: bar.maximum() > 0 and bar.value() >= 4)
    stage.widget.run.native.setFocus()
    stage.wait(0.3)
    stage.save("running")


def refused() -> None:
    import numpy as np

    stage = Stage("light", dock_width=260)
    stage.viewer.open_sample(PLUGIN, "generated_nuclei")
    pixels = stage.viewer.layers[0].data
    stage.viewer.layers.clear()
    name = "2026-03-14_experiment_with_a_very_long_name_for_a_file_0001.ome.tif"
    stage.viewer.add_image(np.stack([pixels, pixels[::-1], pixels[:, ::-1]]), name=name)
    stage.planned()
    stage.save("refused")


def narrow() -> None:
    stage = Stage("dark", dock_width=240, height=560)
    stage.viewer.open_sample(PLUGIN, "immunohistochemistry")
    stage.widget.zoom.value = str(ZOOMS["colon-biopsy"])
    stage.run("colon-biopsy")
    stage.save("narrow")


def fine_tune(biopsies: Path | None, epochs: int = 60, each: int = 9, crop: int = 160) -> None:
    """Take three pictures of one training, before, during and after, each in both themes."""
    if biopsies is None:
        return
    from napari_resformer.widgets.train.annotation import give_class

    os.environ["XDG_DATA_HOME"] = tempfile.mkdtemp()  # a library of its own, also for the worker process
    stage = Stage(dock_width=320, name=FINE_TUNE)
    viewer, widget = stage.viewer, stage.widget

    def shoot(name: str) -> None:
        for theme, suffix in (("light", "-light"), ("dark", "")):
            viewer.theme = theme
            stage.wait(0.5)
            stage.shoot(name + suffix)

    for number, (name, image_class) in enumerate(few_of_each(biopsies, ("adenocarcinoma", "normal"), each), start=1):
        pixels, mask = (imageio.imread(next((biopsies / part).glob(f"{Path(name).stem}.*"))) for part in ("images", "masks"))
        image = viewer.add_image(pixels, name=f"biopsy {number}", rgb=True, visible=number == 1)
        viewer.add_labels(mask, name=f"biopsy {number} labels", visible=number == 1, opacity=0.35)
        give_class(image, (), image_class)
    viewer.layers.selection.active = viewer.layers["biopsy 1"]
    viewer.reset_view()
    widget.model.value = "nuclei"
    widget.epochs.value = epochs
    widget.more.batch.value, widget.more.crop.value = 4, crop
    widget.model_name.value = "my-biopsies"
    widget.mask_names.value = "epithelium"
    stage.wait(300, lambda: "annotated" in widget.plan_text)
    stage.wait(1)
    shoot("fine-tune-before")
    widget.run.native.click()
    stage.wait(3600, lambda: len(widget._panel.curves.points) >= 0.6 * epochs or not widget.busy)
    viewer.layers["biopsy 1 labels"].visible = False
    shoot("fine-tune-during")
    stage.wait(3600, lambda: not widget.busy)
    stage.wait(1)
    shoot("fine-tune-after")
    viewer.close()


def few_of_each(data: Path, image_classes: tuple[str, ...], count: int) -> list[tuple[str, str]]:
    """Return names of images of some classes, each of a case of its own."""
    found = defaultdict(dict)
    with (data / "labels.csv").open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if row["class"] in image_classes:
                found[row["class"]].setdefault(row["group"], row["filename"])
    return [(name, kind) for kind in image_classes for name in list(found[kind].values())[:count]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--biopsies", type=Path)
    parser.add_argument("names", nargs="*")
    options = parser.parse_args()
    pictures: dict[str, Callable[[], None]] = {
        "immunohistochemistry": lambda: sample("dark", "colon-biopsy", "immunohistochemistry", zoom=str(ZOOMS["colon-biopsy"])),
        "immunohistochemistry-light": lambda: sample("light", "nuclei", "immunohistochemistry-light", zoom=str(ZOOMS["nuclei"])),
        "generated": lambda: sample("dark", "nuclei", "generated", "generated_nuclei"),
        "fluorescence": lambda: from_data(options.data, "fluorescence", "dark", 30),
        "histology": lambda: from_data(options.data, "histology", "light", 3),
        "plan": plan,
        "running": running,
        "refused": refused,
        "narrow": narrow,
        "fine-tune": lambda: fine_tune(options.biopsies),
    }
    for name in options.names or pictures:
        pictures[name]()
        print(name)


if __name__ == "__main__":
    main()
