"""Parts, pyramids and large masks on a viewer's model; layers that change while a run is on its way."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("napari")

import zarr
from napari.components import ViewerModel

from napari_resformer import load_model, predict
from napari_resformer.widgets.base.settings import PluginSettings
from napari_resformer.widgets.predict.region import PLANE, VISIBLE, WHOLE

pytestmark = pytest.mark.filterwarnings("ignore:Conversion from CIE-LAB")
RNG = np.random.default_rng(0)
TURN = np.deg2rad(20)


def moved(ndim: int) -> dict[str, Any]:
    """Return a place in the world that nothing agrees with by chance."""
    rotate, shear, affine = np.eye(ndim), np.eye(ndim), np.eye(ndim + 1)
    rotate[-2:, -2:] = [[np.cos(TURN), -np.sin(TURN)], [np.sin(TURN), np.cos(TURN)]]
    shear[-2, -1] = 0.3
    affine[:ndim, -1] = 2.5
    affine[-2, -3] = 0.2
    scale = (*(2.0,) * (ndim - 2), 0.25, 0.25)
    return {"scale": scale, "translate": np.arange(ndim) * 7.0, "rotate": rotate, "shear": shear, "affine": affine,
            "units": ("micrometer",) * ndim}  # fmt: skip


def same_place(image: Any, in_image: Any, labels: Any, in_labels: Any) -> bool:
    return np.allclose(np.asarray(image.data_to_world(in_image))[-labels.ndim :], labels.data_to_world(in_labels))


# -------------------------------------------------------------------------------------------------------------- pyramids
@pytest.mark.parametrize("kind", ["YX", "ZYX", "ZCYX", "rgb"])
def test_labels_of_a_level_lie_where_its_pixels_do(make_widget: Any, run: Any, install_model: Any, kind: str) -> None:
    install_model("micron", pixel_size=1.0)
    shape = {"YX": (160, 200), "ZYX": (6, 160, 200), "ZCYX": (2, 3, 160, 200), "rgb": (160, 200, 3)}[kind]
    full = RNG.integers(0, 255, shape, dtype=np.uint8)
    cut = [
        (..., slice(None, None, step), slice(None, None, step), *([slice(None)] if kind == "rgb" else [])) for step in (1, 2, 4)
    ]
    levels = [zarr.array(full[part]) for part in cut]
    viewer = ViewerModel()
    image = viewer.add_image(levels, multiscale=True, rgb=kind == "rgb", name="slide", contrast_limits=(0, 255),
                             axis_labels=tuple("yx" if kind == "rgb" else kind.lower()),
                             **moved(2 if kind == "rgb" else len(kind)))  # fmt: skip
    widget = make_widget(viewer)
    widget.model.value = "micron"
    run(widget)
    assert widget.message.startswith("Done"), widget.message
    labels = viewer.layers[-1]
    stored = labels.metadata["napari_resformer"]
    assert stored["image"]["level"] == 2
    assert stored["image"]["pixel_size"] == [1, 1]
    expected = predict(load_model("micron"), full[cut[2]], axes="YXC" if kind == "rgb" else kind, pixel_size=1.0, device="cpu")
    np.testing.assert_array_equal(labels.data[:, 1] if kind == "ZCYX" else labels.data, expected.mask)
    for _ in range(5):
        place = RNG.integers(0, [*labels.data.shape[:-2], 6, 6])
        middle = place.astype(float)
        middle[-2:] = place[-2:] * 4 + 1.5  # the middle of the four pixels that it covers
        assert same_place(image, middle, labels, place)
    assert list(labels.features["area (µm²)"]) == list(labels.features["pixels"])


# ---------------------------------------------------------------------------------------------------------------- parts
def test_this_plane_only(make_widget: Any, run: Any) -> None:
    viewer = ViewerModel()
    pixels = RNG.integers(0, 4000, (2, 5, 3, 40, 56), dtype=np.uint16)
    image = viewer.add_image(pixels, name="cells", axis_labels=("t", "z", "c", "y", "x"), **moved(5))
    widget = make_widget(viewer)
    assert widget.region.choices == (WHOLE, PLANE)
    viewer.dims.set_current_step((0, 1), (1, 3))
    t, z = (round(step) for step in image.world_to_data(viewer.dims.point)[:2])
    widget.region.value = PLANE
    run(widget)
    labels = viewer.layers[-1]
    assert labels.name == f"cells · tiny (T {t}, Z {z})"
    assert labels.data.shape == (1, 1, 3, 40, 56)
    alone = predict(load_model("tiny"), pixels[t, z], axes="CYX", device="cpu")
    np.testing.assert_array_equal(labels.data[0, 0, 2], alone.mask)
    assert f"T {t}, Z {z}" in widget._scores.caption.words
    assert same_place(image, (t, z, 1, 7, 9), labels, (0, 0, 1, 7, 9))
    widget.region.value = WHOLE
    run(widget)
    assert [layer.name for layer in viewer.layers[1:]] == [labels.name, "cells · tiny"]


def test_the_visible_region_only(make_widget: Any, run: Any) -> None:
    viewer = ViewerModel()
    pixels = RNG.integers(0, 255, (90, 120, 3), dtype=np.uint8)
    image = viewer.add_image(pixels, name="tissue", rgb=True, **moved(2))
    widget = make_widget(viewer)
    assert widget.region.choices == (WHOLE,)  # one plane, and no canvas
    image.corner_pixels = np.array([[10, 20], [59, 89]])  # as the canvas does when it is zoomed
    widget.region.reset_choices()
    widget.region.value = VISIBLE
    run(widget)
    labels = viewer.layers[-1]
    np.testing.assert_array_equal(labels.data, predict(load_model("tiny"), pixels[10:60, 20:90], device="cpu").mask)
    assert same_place(image, (15, 30), labels, (5, 10))
    assert labels.metadata["napari_resformer"]["image"]["start"] == [10, 20, 0]


def test_results_of_two_visible_regions_are_two(qtbot: Any, make_widget: Any, run: Any) -> None:
    viewer = ViewerModel()
    image = viewer.add_image(RNG.integers(0, 255, (3, 90, 120), dtype=np.uint8), name="cells", axis_labels=("z", "y", "x"))
    viewer.dims.set_current_step(0, 1)
    widget = make_widget(viewer)
    names = []
    for top in (0, 40):
        image.corner_pixels = np.array([[1, top, 20], [1, top + 39, 89]])
        widget.region.reset_choices()
        widget.region.value = VISIBLE
        part = f"Z 1, visible Y {top}–{top + 39}, X 20–89"
        qtbot.waitUntil(lambda part=part: f"Only a part of the image ({part})" in widget.plan_text, timeout=60_000)
        run(widget)
        run(widget)  # replaces that of its own region
        names.append(f"cells · tiny ({part})")
        assert [layer.name for layer in viewer.layers[1:]] == names
        assert viewer.layers[-1].metadata["napari_resformer"]["widget"]["region"] == part
    assert [tuple(layer.translate) for layer in viewer.layers[1:]] == [(1, 0, 20), (1, 40, 20)]


def test_the_visible_region_stays_chosen_and_is_of_one_plane(qtbot: Any, make_widget: Any, run: Any) -> None:
    viewer = ViewerModel()
    image = viewer.add_image(RNG.integers(0, 255, (5, 90, 120), dtype=np.uint8), name="cells", axis_labels=("z", "y", "x"))
    viewer.dims.set_current_step(0, 3)
    widget = make_widget(viewer)
    image.corner_pixels = np.array([[3, 10, 20], [3, 59, 89]])
    widget.region.reset_choices()
    widget.region.value = VISIBLE
    for corners, part in (
        ([[3, 0, 0], [3, 89, 119]], "Z 3"),  # zoomed home: all of the plane, and no other
        ([[3, 10, 20], [3, 59, 89]], "Z 3, visible Y 10–59, X 20–89"),
    ):
        image.corner_pixels = np.array(corners)
        getattr(viewer, "scene", viewer).camera.zoom *= 2  # napari 0.9 moved it
        qtbot.waitUntil(lambda part=part: f"Only a part of the image ({part})" in widget.plan_text, timeout=60_000)
        assert widget.region.value == VISIBLE
        run(widget)
        assert viewer.layers[-1].name == f"cells · tiny ({part})"
    viewer.dims.ndisplay = 3
    qtbot.waitUntil(lambda: "switch to 2D" in widget.message, timeout=60_000)
    assert widget.region.value == VISIBLE
    run(widget)
    assert len(viewer.layers) == 3
    viewer.dims.ndisplay = 2
    image.corner_pixels = np.array([[3, 10, 20], [3, 15, 89]])
    qtbot.waitUntil(lambda: "are in sight" in widget.message, timeout=60_000)
    assert widget.region.value == VISIBLE
    run(widget)
    assert len(viewer.layers) == 3


def test_what_is_visible_of_one_plane_may_be_all_of_it(make_widget: Any, run: Any) -> None:
    viewer = ViewerModel()
    image = viewer.add_image(RNG.integers(0, 255, (90, 120), dtype=np.uint8), name="picture")
    widget = make_widget(viewer)
    for bottom in (49, 89):
        image.corner_pixels = np.array([[0, 0], [bottom, 119]])
        widget.region.reset_choices()
        if bottom == 49:
            widget.region.value = VISIBLE
    run(widget)
    assert widget.region.value == VISIBLE
    assert viewer.layers[-1].name == "picture · tiny"
    assert viewer.layers[-1].data.shape == (90, 120)


def test_this_plane_stays_chosen_while_axes_are_typed_and_other_layers_are_looked_at(make_widget: Any, run: Any) -> None:
    viewer = ViewerModel()
    stack = viewer.add_image(RNG.integers(0, 255, (5, 90, 120), dtype=np.uint8), name="cells", axis_labels=("z", "y", "x"))
    viewer.dims.set_current_step(0, 3)
    widget = make_widget(viewer)
    widget.region.value = PLANE
    for typed in ("", "T", "TY", "TYX"):
        widget.axes.value = typed
        widget.reset_choices()  # as when a layer is added
        assert widget.region.value == PLANE
        if typed == "TY":
            run(widget)
            assert "This cannot run" in widget.message
            assert len(viewer.layers) == 1
    run(widget)
    assert viewer.layers[-1].name == "cells · tiny (T 3)"
    viewer.add_image(RNG.integers(0, 255, (90, 120), dtype=np.uint8), name="flat")
    assert widget.image.value.name == "flat"
    assert widget.region.value == WHOLE  # which is that plane
    viewer.layers.selection.active = stack
    assert widget.region.value == PLANE
    widget.region.value = WHOLE
    widget.axes.value = "ZYX"
    assert widget.region.value == WHOLE


# --------------------------------------------------------------------------------------------------------- large masks
@pytest.fixture
def large(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Take every mask for large, with small tiles; return the folder for masks without a better place."""
    monkeypatch.setattr("napari_resformer.prediction.plan.LARGE_MASK", 1000)
    monkeypatch.setattr("napari_resformer.io.ome_zarr_writer._TOP_SIDE", 256)
    monkeypatch.setattr("napari_resformer.prediction.resume.SAVE_SECONDS", 0.0)
    monkeypatch.setattr("napari_resformer.widgets.predict.output_path.cache_folder", lambda: tmp_path / "cache")
    monkeypatch.setattr("napari_resformer.widgets.predict.segment_classify.read_settings", lambda: PluginSettings(tile_size=64))
    return tmp_path / "cache"


def test_a_large_mask_is_in_a_store_and_goes_on_after_cancel(qtbot: Any, make_widget: Any, run: Any, large: Path) -> None:
    viewer = ViewerModel()
    pixels = RNG.integers(0, 255, (500, 400), dtype=np.uint8)
    viewer.add_image(pixels, name="sli/de")
    widget = make_widget(viewer)
    store = large / "sli-de_tiny_mask.ome.zarr"
    qtbot.waitUntil(lambda: str(store) in widget.plan_text, timeout=60_000)
    widget.run.native.click()
    qtbot.waitUntil(lambda: widget._bar.value() >= 8, timeout=60_000)
    labels = viewer.layers[-1]
    assert labels.multiscale
    assert labels.name == "sli/de · tiny"
    widget.run.native.click()
    qtbot.waitUntil(lambda: not widget.busy, timeout=20_000)
    assert "The finished part stays in its layer" in widget.message
    assert viewer.layers[-1] is labels
    qtbot.waitUntil(lambda: "continues where an earlier run stopped" in widget.plan_text, timeout=60_000)

    run(widget)
    assert widget.message.startswith("Done"), widget.message
    assert len(viewer.layers) == 2
    assert viewer.layers[-1] is labels
    whole = predict(load_model("tiny"), pixels, axes="YX", tile=64, device="cpu")
    np.testing.assert_array_equal(labels.data[0], whole.mask)
    stored = labels.metadata["napari_resformer"]
    assert stored["store"] == str(store)
    np.testing.assert_allclose(stored["scores"], whole.scores, atol=1e-5)
    assert list(labels.features["pixels"]) == [count for count in whole.pixels[1:] if count]
    run(widget)  # a new one, in the place of the old
    assert widget.message.startswith("Done"), widget.message
    assert [layer.name for layer in viewer.layers] == ["sli/de", "sli/de · tiny"]
    assert viewer.layers[-1].metadata["napari_resformer"]["store"] == str(large / "sli-de_tiny_mask-2.ome.zarr")
    qtbot.waitUntil(lambda: [path.name for path in large.iterdir()] == ["sli-de_tiny_mask-2.ome.zarr"], timeout=20_000)


@pytest.mark.parametrize("shape", [(80, 300), (2, 64, 72)], ids=["pyramid", "stack"])
def test_stores_of_replaced_results_do_not_pile_up(
    qtbot: Any, make_widget: Any, run: Any, large: Path, shape: tuple[int, ...]
) -> None:
    viewer = ViewerModel()
    viewer.add_image(RNG.integers(0, 255, shape, dtype=np.uint8), name="slide", axis_labels=("z", "y", "x")[-len(shape) :])
    widget = make_widget(viewer)
    for name in ("slide_tiny_mask", "slide_tiny_mask-2", "slide_tiny_mask", "slide_tiny_mask-2"):
        run(widget)
        assert widget.message.startswith("Done"), widget.message
        assert len(viewer.layers) == 2
        assert viewer.layers[-1].metadata["napari_resformer"]["store"] == str(large / f"{name}.ome.zarr")
        qtbot.waitUntil(lambda name=name: [path.name for path in large.iterdir()] == [f"{name}.ome.zarr"], timeout=20_000)


def test_a_store_that_another_layer_shows_stays_when_its_result_is_replaced(make_widget: Any, run: Any, large: Path) -> None:
    viewer = ViewerModel()
    viewer.add_image(RNG.integers(0, 255, (200, 150), dtype=np.uint8), name="slide")
    widget = make_widget(viewer)
    run(widget)
    viewer.add_image(viewer.layers[-1].data, name="converted", multiscale=viewer.layers[-1].multiscale, contrast_limits=(0, 2))
    viewer.layers.selection.active = viewer.layers["slide"]
    run(widget)
    assert widget.message.startswith("Done"), widget.message
    run(widget)
    assert (large / "slide_tiny_mask.ome.zarr").exists()
    levels = viewer.layers["converted"].data
    assert np.asarray(levels[0] if viewer.layers["converted"].multiscale else levels).shape == (200, 150)


def test_a_large_mask_lies_beside_its_image(make_widget: Any, run: Any, large: Path, tmp_path: Path) -> None:
    from napari.layers._source import layer_source

    folder = tmp_path / "data"
    zarr.save_array(folder / "slide.zarr", RNG.integers(0, 255, (100, 90), dtype=np.uint8))
    viewer = ViewerModel()
    with layer_source(path=str(folder / "slide.zarr")):
        viewer.add_image(zarr.open(folder / "slide.zarr", mode="r"), name="slide", contrast_limits=(0, 255))
    widget = make_widget(viewer)
    run(widget)
    assert (folder / "slide_tiny_mask.ome.zarr" / "zarr.json").exists()
    assert not large.exists()


def test_a_stored_mask_repeats_along_channels(make_widget: Any, run: Any, large: Path) -> None:
    viewer = ViewerModel()
    pixels = RNG.integers(0, 255, (2, 3, 40, 56), dtype=np.uint8)
    viewer.add_image(pixels, name="cells", axis_labels=("z", "c", "y", "x"))
    widget = make_widget(viewer)
    run(widget)
    labels = viewer.layers[-1]
    assert labels.data.shape == (2, 3, 40, 56)
    expected = predict(load_model("tiny"), pixels, axes="ZCYX", tile=64, device="cpu").mask
    for channel in range(3):
        np.testing.assert_array_equal(np.asarray(labels.data[:, channel]), expected)


def test_two_widgets_write_to_two_stores(qtbot: Any, make_widget: Any, large: Path) -> None:
    viewer = ViewerModel()
    viewer.add_image(RNG.integers(0, 255, (300, 200), dtype=np.uint8), name="slide")
    one, two = make_widget(viewer), make_widget(viewer)
    for widget in (one, two):
        widget.run.native.click()
        qtbot.waitUntil(lambda widget=widget: widget._bar.value() >= 1 or not widget.busy, timeout=60_000)
    qtbot.waitUntil(lambda: not (one.busy or two.busy), timeout=120_000)
    assert one.message.startswith("Done"), one.message
    assert two.message.startswith("Done"), two.message
    folders = {layer.metadata["napari_resformer"]["store"] for layer in viewer.layers[1:]}
    assert len(folders) == len(viewer.layers) - 1 == len(list(large.iterdir()))


def test_nobody_paints_in_a_mask_that_grows(qtbot: Any, make_widget: Any, run: Any, large: Path) -> None:
    viewer = ViewerModel()
    pixels = RNG.integers(0, 255, (12, 200, 150), dtype=np.uint8)
    viewer.add_image(pixels, name="stack", axis_labels=("z", "y", "x"))
    widget = make_widget(viewer)
    widget.run.native.click()
    qtbot.waitUntil(lambda: len(viewer.layers) == 2, timeout=60_000)
    labels = viewer.layers[-1]
    assert not labels.multiscale
    assert not labels.editable
    viewer.dims.ndisplay = 3
    viewer.dims.ndisplay = 2
    labels.mode = "paint"
    assert labels.mode == "pan_zoom"
    widget.run.native.click()
    qtbot.waitUntil(lambda: not widget.busy, timeout=20_000)
    assert "The finished part stays in its layer" in widget.message
    assert not labels.editable  # the next run goes on in it

    run(widget)
    assert widget.message.startswith("Done"), widget.message
    assert viewer.layers[-1] is labels
    assert labels.editable
    labels.paint((1, 20, 20), 9)
    assert zarr.open(labels.metadata["napari_resformer"]["store"], mode="r")["0"][1, 20, 20] == 9


@pytest.mark.parametrize("axes", ["zyx", "zcyx"])
def test_running_again_replaces_a_large_result_that_nobody_painted_in(make_widget: Any, run: Any, large: Path, axes: str) -> None:
    viewer = ViewerModel()
    shape = (4, 3, 80, 72) if axes == "zcyx" else (4, 80, 72)
    viewer.add_image(RNG.integers(0, 255, shape, dtype=np.uint8), name="stack", axis_labels=tuple(axes))
    widget = make_widget(viewer)
    run(widget)
    run(widget)
    assert widget.message.startswith("Done"), widget.message
    assert [layer.name for layer in viewer.layers] == ["stack", "stack · tiny"]
    painted = viewer.layers[-1]
    assert painted.metadata["napari_resformer"]["store"] == str(large / "stack_tiny_mask-2.ome.zarr")
    painted.data[(3, *(0,) * (painted.ndim - 3), slice(40, 44), slice(50, 54))] = 9
    run(widget)
    assert len(viewer.layers) == 3
    assert painted in viewer.layers
    assert np.count_nonzero(np.asarray(painted.data) == 9) == 16
    run(widget)  # of the two, that which nobody painted in
    assert len(viewer.layers) == 3
    assert painted in viewer.layers


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_large_result_that_is_painted_once_it_was_looked_at(
    qtbot: Any, make_widget: Any, run: Any, large: Path, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    """The worker's thread looks whether a result was painted in; the user may paint until the new one is shown."""
    viewer = ViewerModel()
    viewer.add_image(RNG.integers(0, 255, (4, 80, 72), dtype=np.uint8), name="stack", axis_labels=("z", "y", "x"))
    widget = make_widget(viewer)
    run(widget)
    old = viewer.layers[-1]
    show = type(widget)._show

    def paint_and_show(*args: Any) -> None:
        old.paint((2, 40, 50), 9)
        show(*args)

    if when == "after":
        monkeypatch.setattr(type(widget), "_show", paint_and_show)
    else:
        old.paint((2, 40, 50), 9)
    run(widget)
    assert widget.message.startswith("Done"), widget.message
    assert len(viewer.layers) == 3
    assert old in viewer.layers
    assert old.data[2, 40, 50] == 9


def test_a_large_result_whose_store_is_gone(make_widget: Any, run: Any, large: Path) -> None:
    viewer = ViewerModel()
    viewer.add_image(RNG.integers(0, 255, (4, 80, 72), dtype=np.uint8), name="stack", axis_labels=("z", "y", "x"))
    widget = make_widget(viewer)
    run(widget)
    shutil.rmtree(large)
    run(widget)
    assert widget.message.startswith("Done"), widget.message


def test_a_growing_layer_that_is_removed_comes_back_whole(qtbot: Any, make_widget: Any, large: Path) -> None:
    viewer = ViewerModel()
    viewer.add_image(RNG.integers(0, 255, (300, 200), dtype=np.uint8), name="slide")
    widget = make_widget(viewer)
    widget.run.native.click()
    qtbot.waitUntil(lambda: len(viewer.layers) == 2, timeout=60_000)
    viewer.layers.pop()
    qtbot.waitUntil(lambda: not widget.busy, timeout=60_000)
    assert widget.message.startswith("Done"), widget.message
    assert len(viewer.layers) == 2


# --------------------------------------------------------------------------------------- layers that change meanwhile
@pytest.mark.parametrize("shape", [(40, 56), (64, 64), (4, 40, 56)], ids=["same shape", "other shape", "other dimensions"])
def test_an_image_that_gets_other_data_in_mid_run(qtbot: Any, make_widget: Any, slow_job: Any, shape: tuple[int, ...]) -> None:
    viewer = ViewerModel()
    image = viewer.add_image(RNG.random((40, 56)), name="picture", scale=(2, 3))
    widget = make_widget(viewer)
    widget.run.native.click()
    qtbot.waitUntil(slow_job.started.is_set, timeout=60_000)
    image.data = RNG.random(shape)
    slow_job.go_on.set()
    qtbot.waitUntil(lambda: not widget.busy, timeout=60_000)
    assert "has changed since" in widget.message
    labels = viewer.layers[-1]
    assert labels.data.shape == (40, 56)
    assert tuple(labels.scale) == (2, 3)


def test_a_result_that_is_removed_in_mid_run_comes_back(qtbot: Any, make_widget: Any, run: Any, slow_job: Any) -> None:
    viewer = ViewerModel()
    viewer.add_image(RNG.random((40, 56)), name="picture")
    widget = make_widget(viewer)
    slow_job.go_on.set()
    run(widget)
    slow_job.go_on.clear()
    slow_job.started.clear()
    widget.run.native.click()
    qtbot.waitUntil(slow_job.started.is_set, timeout=60_000)
    viewer.layers.pop()
    slow_job.go_on.set()
    qtbot.waitUntil(lambda: not widget.busy, timeout=60_000)
    assert [layer.name for layer in viewer.layers] == ["picture", "picture · tiny"]


@pytest.mark.parametrize("how", ["painted", "given other data"])
def test_a_result_that_is_edited_in_mid_run_is_kept(qtbot: Any, make_widget: Any, run: Any, slow_job: Any, how: str) -> None:
    viewer = ViewerModel()
    viewer.add_image(RNG.random((40, 56)), name="picture")
    widget = make_widget(viewer)
    slow_job.go_on.set()
    run(widget)
    slow_job.go_on.clear()
    slow_job.started.clear()
    widget.run.native.click()
    qtbot.waitUntil(slow_job.started.is_set, timeout=60_000)
    edited = viewer.layers[-1]
    if how == "painted":
        edited.paint((20, 20), 7)
    else:
        edited.data = np.full((40, 56), 7, np.uint8)
    slow_job.go_on.set()
    qtbot.waitUntil(lambda: not widget.busy, timeout=60_000)
    assert widget.message.startswith("Done"), widget.message
    assert len(viewer.layers) == 3
    assert edited.data[20, 20] == 7
    assert viewer.layers[-1].data[20, 20] == 1


def test_what_is_painted_over_another_widgets_result_is_kept(qtbot: Any, make_widget: Any, run: Any, slow_job: Any) -> None:
    """Both widgets begin on one result; the user paints in what the first made of it before the second is done."""
    viewer = ViewerModel()
    viewer.add_image(RNG.random((40, 56)), name="picture")
    one, two = make_widget(viewer), make_widget(viewer)
    slow_job.go_on.set()
    run(one)
    slow_job.go_on.clear()
    slow_job.started.clear()
    two.run.native.click()
    qtbot.waitUntil(slow_job.started.is_set, timeout=60_000)
    with pytest.MonkeyPatch.context() as patch:
        from napari_resformer.prediction import predictor

        patch.setattr(predictor, "run_plan", type(slow_job)())
        predictor.run_plan.go_on.set()
        run(one)
    result = viewer.layers[-1]
    result.paint((20, 20), 7)
    slow_job.go_on.set()
    qtbot.waitUntil(lambda: not two.busy, timeout=60_000)
    assert two.message.startswith("Done"), two.message
    assert result.data[20, 20] == 7
    assert len(viewer.layers) == 3


def test_an_image_that_is_other_before_its_mask_has_begun(qtbot: Any, make_widget: Any, large: Path) -> None:
    viewer = ViewerModel()
    image = viewer.add_image(RNG.integers(0, 255, (200, 150), dtype=np.uint8), name="slide", scale=(2, 3))
    widget = make_widget(viewer)
    warned = []
    say = widget._say
    widget._say = lambda words, *, warning=False: (warned.append(words) if warning else None, say(words, warning=warning))
    widget.run.native.click()
    image.data = RNG.integers(0, 255, (4, 30, 40), dtype=np.uint8)
    qtbot.waitUntil(lambda: not widget.busy, timeout=120_000)
    assert not warned
    assert "has changed since" in widget.message
    labels = viewer.layers[-1]
    assert labels.data.shape == (200, 150)
    assert tuple(labels.scale) == (2, 3)


def test_all_layers_are_removed_in_mid_run_and_the_run_goes_on(qtbot: Any, make_widget: Any, run: Any, large: Path) -> None:
    viewer = ViewerModel()
    pixels = RNG.integers(0, 255, (300, 200), dtype=np.uint8)
    viewer.add_image(pixels, name="slide")
    widget = make_widget(viewer)
    widget.run.native.click()
    qtbot.waitUntil(lambda: widget._bar.value() >= 5, timeout=120_000)
    viewer.layers.clear()
    assert not widget.busy
    assert "removed" in widget.message
    store = large / "slide_tiny_mask.ome.zarr"
    qtbot.waitUntil(lambda: can_lock(store), timeout=60_000)
    viewer.add_image(pixels, name="slide")
    run(widget)
    assert widget.message.startswith("Done"), widget.message
    assert [path.name for path in large.iterdir()] == [store.name]
    np.testing.assert_array_equal(viewer.layers[-1].data[0], predict(load_model("tiny"), pixels, tile=64, device="cpu").mask)


def can_lock(store: Path) -> bool:
    """Return whether nobody writes to a store any more."""
    from napari_resformer.prediction.resume import begun_with, can_resume

    begun = begun_with(store)
    return begun is not None and can_resume(store, begun)


def test_two_widgets_run_on_two_layers_at_once(qtbot: Any, make_widget: Any) -> None:
    viewer = ViewerModel()
    images = [viewer.add_image(RNG.random(shape), name=name) for name, shape in (("a", (90, 80)), ("b", (6, 40, 56)))]
    widgets = [make_widget(viewer) for _ in images]
    for widget, image in zip(widgets, images, strict=True):
        widget.image.value = image
        widget.run.native.click()
    assert all(widget.busy for widget in widgets)
    qtbot.waitUntil(lambda: not any(widget.busy for widget in widgets), timeout=120_000)
    for widget, image, axes in zip(widgets, images, ("YX", "ZYX"), strict=True):
        assert widget.message.startswith("Done"), widget.message
        labels = viewer.layers[f"{image.name} · tiny"]
        np.testing.assert_array_equal(labels.data, predict(load_model("tiny"), image.data, axes=axes, device="cpu").mask)


def test_two_widgets_run_on_one_layer(qtbot: Any, make_widget: Any, slow_job: Any) -> None:
    viewer = ViewerModel()
    viewer.add_image(RNG.random((40, 56)), name="picture")
    one, two = make_widget(viewer), make_widget(viewer)
    one.run.native.click()
    two.run.native.click()
    assert one.busy
    assert two.busy
    slow_job.go_on.set()
    qtbot.waitUntil(lambda: not (one.busy or two.busy), timeout=60_000)
    for widget in (one, two):
        assert widget.message.startswith("Done"), widget.message
