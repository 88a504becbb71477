"""The widget in a real napari window, through the manifest."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

pytest.importorskip("napari")

from qtpy.QtCore import Qt, QThreadPool
from qtpy.QtWidgets import QApplication

# napari silences this one itself, but the filters of warnings are not safe in threads, and workers change them too.
pytestmark = [pytest.mark.gui, pytest.mark.filterwarnings("ignore:Conversion from CIE-LAB")]
PLUGIN, NAME = "napari-resformer", "Segment & Classify"


@pytest.fixture
def open_widget(make_napari_viewer_proxy: Any, model_name: str, qtbot: Any) -> Any:
    def open_it(*, show: bool = False) -> tuple[Any, Any, Any]:
        viewer = make_napari_viewer_proxy(show=show)
        dock, widget = viewer.window.add_plugin_dock_widget(PLUGIN, NAME)
        widget.model.value = model_name
        widget.device.value = "cpu"
        return viewer, dock, widget

    yield open_it
    assert QThreadPool.globalInstance().waitForDone(20_000)


def test_the_labels_follow_the_sliders_of_their_image(open_widget: Any, run: Any) -> None:
    viewer, _, widget = open_widget()
    pixels = np.random.default_rng(1).integers(0, 4000, (3, 4, 3, 32, 40), dtype=np.uint16)
    viewer.add_image(pixels, name="cells", axis_labels=("t", "z", "c", "y", "x"), scale=(1, 2, 1, 0.5, 0.5))
    assert widget.axes.value == "TZCYX"
    run(widget)
    labels = next(layer for layer in viewer.layers if layer.name == "cells · tiny")
    from napari_resformer import load_model, predict

    mask = predict(load_model("tiny"), pixels, axes="TZCYX", device="cpu").mask
    rng = np.random.default_rng(2)
    for _ in range(20):
        t, z, c, y, x = (int(rng.integers(size)) for size in pixels.shape)
        viewer.dims.set_point(range(3), (t, 2 * z, c))
        world = (*viewer.dims.point[:3], y * 0.5, x * 0.5)
        assert labels.get_value(world, world=True) == mask[t, z, y, x]
        assert f"T {t}, Z {z}" in widget._scores.caption.words
        shown = dict(widget._scores.bars.scores)
        stored = labels.metadata["napari_resformer"]["scores"][t][z]
        assert [shown[name] for name in ("left", "middle", "right")] == stored


def test_the_settings_of_napari_are_not_the_users(open_widget: Any) -> None:
    from napari.settings import get_settings

    open_widget()
    assert "resformer-settings-" in str(get_settings().config_path)


def test_a_sample_image_from_the_menu(open_widget: Any, run: Any, qtbot: Any) -> None:
    viewer, _, widget = open_widget(show=True)
    viewer.open_sample(PLUGIN, "immunohistochemistry")
    qtbot.waitUntil(lambda: "Axes YXC" in widget.plan_text, timeout=60_000)
    run(widget)
    (labels,) = (layer for layer in viewer.layers if "napari_resformer" in layer.metadata)
    assert labels.data.shape == (512, 512)
    assert viewer.layers.selection.active == labels
    for theme in ("light", "dark"):
        viewer.theme = theme
        QApplication.processEvents()
        assert not widget.native.grab().isNull()
    assert widget.native.minimumSizeHint().width() <= 260
    assert widget.native.parent().minimumSizeHint().width() <= 260


def test_fields_begin_in_one_line_though_there_was_no_image_at_first(open_widget: Any, qtbot: Any) -> None:
    viewer, _, widget = open_widget(show=True)
    viewer.add_image(np.zeros((40, 40)), name="later")
    qtbot.wait(100)
    shown = [field.native for field in (widget.image, widget.model, widget.axes, widget.zoom, widget.device)]
    assert all(field.isVisible() for field in shown)
    assert len({field.mapTo(widget.native, field.rect().topLeft()).x() for field in shown}) == 1


@pytest.mark.parametrize("shape", [(64, 72), (12, 48, 56)], ids=["plane", "volume"])
def test_run_in_a_3d_view(open_widget: Any, run: Any, qtbot: Any, shape: tuple[int, ...]) -> None:
    viewer, _, widget = open_widget(show=True)
    viewer.add_image(np.random.default_rng(1).integers(0, 255, shape, dtype=np.uint8), name="cells")
    viewer.dims.ndisplay = 3
    for _ in range(2):  # the first result, and the one in its place
        run(widget)
        assert widget.message.startswith("Done"), widget.message
        labels = next(layer for layer in viewer.layers if "napari_resformer" in layer.metadata)
        assert len(viewer.layers) == 2
        assert viewer.layers.selection.active == labels
        assert list(labels.features["index"]) == [value for value in np.unique(labels.data) if value]
        viewer.layers.selection.active = viewer.layers["cells"]


def test_two_samples_lie_on_each_other_at_one_scale(make_napari_viewer: Any) -> None:
    viewer = make_napari_viewer()
    for key in ("immunohistochemistry", "generated_nuclei"):
        viewer.open_sample(PLUGIN, key)
    first, second = (layer.extent.world for layer in viewer.layers)
    np.testing.assert_array_equal(first, second)
    assert len({str(layer.units) for layer in viewer.layers}) == 1


def test_the_features_table_of_napari_has_one_index(open_widget: Any, run: Any) -> None:
    from qtpy.QtWidgets import QTableView

    viewer, _, widget = open_widget()
    _, table = viewer.window.add_plugin_dock_widget("napari", "Features table widget")
    viewer.add_image(np.random.default_rng(1).integers(0, 255, (64, 80), dtype=np.uint8), name="cells")
    for _ in range(2):  # the first result, and the one in its place
        run(widget)
        labels = next(layer for layer in viewer.layers if "napari_resformer" in layer.metadata)
        model = table.findChild(QTableView).model()
        headings = [model.headerData(column, Qt.Orientation.Horizontal) for column in range(model.columnCount())]
        assert headings == ["row", "index", "mask class", "pixels"]
        shown = [model.index(row, 1).data() for row in range(model.rowCount())]
        assert shown == list(labels.features["index"])


def test_closing_the_dock_in_mid_run(open_widget: Any, slow_job: Any, qtbot: Any) -> None:
    viewer, dock, widget = open_widget()
    viewer.add_image(np.zeros((40, 40)))
    widget.run.native.click()
    qtbot.waitUntil(slow_job.started.is_set, timeout=60_000)
    viewer.window.remove_dock_widget(dock)
    qtbot.waitUntil(slow_job.closed.is_set, timeout=5_000)
    assert QThreadPool.globalInstance().waitForDone(5_000)
    qtbot.waitUntil(lambda: not widget.busy)
    viewer.add_image(np.zeros((40, 40)))
    viewer.dims.set_point(0, 0)
    qtbot.wait(300)
    assert len(viewer.layers) == 2


def test_closing_the_viewer_in_mid_run(open_widget: Any, slow_job: Any, qtbot: Any) -> None:
    viewer, _, widget = open_widget()
    viewer.add_image(np.zeros((40, 40)))
    widget.run.native.click()
    qtbot.waitUntil(slow_job.started.is_set, timeout=60_000)
    viewer.close()
    qtbot.waitUntil(slow_job.closed.is_set, timeout=5_000)
    assert QThreadPool.globalInstance().waitForDone(5_000)
    qtbot.wait(100)


def test_the_activity_dock_shows_the_run(open_widget: Any, slow_job: Any, qtbot: Any) -> None:
    from napari.utils import progress

    viewer, _, widget = open_widget()
    viewer.add_image(np.zeros((40, 40)), name="picture")
    widget.run.native.click()
    qtbot.waitUntil(slow_job.started.is_set, timeout=60_000)
    running = [str(one) for one in progress._all_instances]
    assert any("picture" in words for words in running)
    slow_job.go_on.set()
    qtbot.waitUntil(lambda: not widget.busy, timeout=20_000)
    assert not list(progress._all_instances)


def test_the_manifest_is_valid_and_has_its_places() -> None:
    from npe2 import PluginManifest

    manifest = PluginManifest.from_distribution(PLUGIN)
    assert manifest.display_name == "ResFormer"
    manifest.validate_imports()
    menus = manifest.contributions.menus or {}
    for menu in ("napari/layers/segment", "napari/layers/classify"):
        assert [item.command for item in menus[menu]] == ["napari-resformer.segment_classify"]
    assert [item.command for item in menus["napari/layers/annotate"]] == ["napari-resformer.fine_tune"]
    names = [widget.display_name for widget in manifest.contributions.widgets or []]
    assert names == ["Segment & Classify", "Fine-tune"]
    assert len(manifest.contributions.sample_data or []) == 2


def test_both_docks_share_tabs_and_the_window_keeps_its_size(make_napari_viewer: Any) -> None:
    from qtpy.QtWidgets import QApplication, QDockWidget

    viewer = make_napari_viewer(show=True)
    window = viewer.window._qt_window
    window.resize(1280, 800)
    docks = []
    for title in ("Segment & Classify", "Fine-tune"):
        dock, _ = viewer.window.add_plugin_dock_widget("napari-resformer", title)
        docks.append(dock)
        for _ in range(20):
            QApplication.processEvents()
    assert window.tabifiedDockWidgets(docks[0]) == [docks[1]]
    assert (window.width(), window.height()) == (1280, 800)
    assert [dock.windowTitle() for dock in docks] == ["Segment && Classify", "Fine-tune"]
    assert isinstance(docks[0], QDockWidget)
    assert [title_of(dock) for dock in docks] == ["Segment & Classify", "Fine-tune"]
    docks[1].setFloating(True)  # napari makes the title anew
    docks[1].setFloating(False)
    for _ in range(20):
        QApplication.processEvents()
    assert title_of(docks[1]) == "Fine-tune"
    window.resize(1280, 800)
    for orientation in (Qt.Orientation.Horizontal, Qt.Orientation.Vertical):
        window.splitDockWidget(docks[0], docks[1], orientation)
        for _ in range(20):
            QApplication.processEvents()
        assert window.height() == 800
        assert all(dock.isVisible() and not dock.visibleRegion().isEmpty() for dock in docks)


def title_of(dock: Any) -> str:
    from qtpy.QtWidgets import QLabel

    return next(label.text() for label in dock.titleBarWidget().findChildren(QLabel) if label.text())
