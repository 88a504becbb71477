"""The widget in a real viewer, through the manifest."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("napari")
pytestmark = pytest.mark.gui


@pytest.fixture
def opened(make_napari_viewer_proxy, random_model, user_folder):
    random_model.save(user_folder / "random.safetensors")
    viewer = make_napari_viewer_proxy()
    _, widget = viewer.window.add_plugin_dock_widget("napari-resformer", "Segment & Classify")
    widget.model.value = "random"
    return viewer, widget


def finish(qtbot, widget) -> None:
    qtbot.waitUntil(lambda: not widget.busy, timeout=60_000)


def test_run_adds_labels_scores_and_geometry(opened, qtbot, picture) -> None:
    viewer, widget = opened
    layer = viewer.add_image(picture, rgb=True, name="p", scale=(2, 3), translate=(5, 7), rotate=20)
    qtbot.waitUntil(lambda: "150" in widget.plan_text, timeout=60_000)
    widget.run.native.click()
    assert widget.busy
    finish(qtbot, widget)
    assert widget.message == ""
    labels = viewer.layers["p · random"]
    np.testing.assert_allclose(labels.data_to_world((10, 20)), layer.data_to_world((10, 20)))
    stored = labels.metadata["napari_resformer"]
    assert len(stored["scores"]) == 3
    assert list(labels.features["index"]) == [value for value in (1, 2) if (labels.data == value).any()]
    widget.run.native.click()  # the earlier result is replaced
    finish(qtbot, widget)
    assert len(viewer.layers) == 2
    labels.data[0, 0] = (labels.data[0, 0] + 1) % 3  # somebody paints: kept
    widget.run.native.click()
    finish(qtbot, widget)
    assert len(viewer.layers) == 3


def test_bad_axes_and_a_failing_job_end_in_words(opened, qtbot, picture, monkeypatch) -> None:
    viewer, widget = opened
    viewer.add_image(picture, rgb=True, name="p")
    widget.axes.value = "QQ"
    widget.run.native.click()
    assert "unknown letter" in widget.message
    widget.axes.value = ""

    def explode(*arguments, **options):
        raise RuntimeError("CUDA error: out of memory")
        yield

    with monkeypatch.context() as patch:
        patch.setattr("napari_resformer.prediction.job.run_plan", explode)
        widget.run.native.click()
        finish(qtbot, widget)
    assert "Out of memory" in widget.message
    widget.run.native.click()
    finish(qtbot, widget)
    assert widget.message == ""


def test_cancel_leaves_the_viewer_as_it_was(opened, qtbot) -> None:
    viewer, widget = opened
    widget._tile = 64
    viewer.add_image(np.random.default_rng(0).random((1500, 1500)), name="big")
    widget.run.native.click()
    qtbot.waitUntil(lambda: widget.run.text == "Cancel", timeout=10_000)
    widget.run.native.click()
    finish(qtbot, widget)
    assert len(viewer.layers) == 1
    assert "Cancelled" in widget.message
