"""The widget on a viewer's model: what it says, and what it makes."""

from __future__ import annotations

import json
import threading
from typing import Any

import numpy as np
import pytest

pytest.importorskip("napari")

from napari.components import ViewerModel

from napari_resformer.widgets.predict.jobs import predict_job

# napari silences this one itself, but the filters of warnings are not safe in threads, and workers change them too.
pytestmark = pytest.mark.filterwarnings("ignore:Conversion from CIE-LAB")
RNG = np.random.default_rng(0)
TURN = np.deg2rad(20)

KINDS: dict[str, tuple[tuple[int, ...], str, bool, tuple[int, ...]]] = {
    # shape of the image, axes, rgb, shape of the labels
    "gray": ((40, 56), "YX", False, (40, 56)),
    "rgb": ((40, 56, 3), "YXC", True, (40, 56)),
    "rgba": ((40, 56, 4), "YXC", True, (40, 56)),
    "channels first": ((3, 40, 56), "CYX", False, (40, 56)),
    "channels last": ((40, 56, 3), "YXC", False, (40, 56, 3)),
    "stack": ((6, 40, 56), "ZYX", False, (6, 40, 56)),
    "channels in a stack": ((5, 3, 40, 56), "ZCYX", False, (5, 3, 40, 56)),
    "time, channels, depth": ((2, 3, 5, 40, 56), "TCZYX", False, (2, 3, 5, 40, 56)),
    "channels, depth": ((3, 5, 40, 56), "CZYX", False, (5, 40, 56)),
}


def add_image(viewer: Any, kind: str, *, moved: bool = False) -> Any:
    shape, _, rgb, _ = KINDS[kind]
    pixels = RNG.integers(0, 255, shape, dtype=np.uint8)
    if not moved:
        return viewer.add_image(pixels, name="picture", rgb=rgb)
    ndim = len(shape) - rgb
    rotate, shear = np.eye(ndim), np.eye(ndim)
    rotate[-2:, -2:] = [[np.cos(TURN), -np.sin(TURN)], [np.sin(TURN), np.cos(TURN)]]
    shear[-2, -1] = 0.3
    affine = np.eye(ndim + 1)
    affine[:ndim, -1] = 2.5
    return viewer.add_image(
        pixels, name="picture", rgb=rgb, scale=np.linspace(0.4, 2, ndim), translate=np.arange(ndim) * 7.0,
        rotate=rotate, shear=shear, affine=affine,
    )  # fmt: skip


def ready(qtbot: Any, widget: Any) -> None:
    """Wait until the plan is there, or refused."""
    qtbot.waitUntil(lambda: bool(widget.plan_text or widget.message), timeout=60_000)


# ---------------------------------------------------------------------------------------------------------- the answer
@pytest.mark.parametrize("kind", KINDS)
def test_run_makes_a_labels_layer(qtbot: Any, make_widget: Any, run: Any, kind: str) -> None:
    viewer = ViewerModel()
    image = add_image(viewer, kind, moved=True)
    shape, axes, _, labels_shape = KINDS[kind]
    widget = make_widget(viewer)
    widget.axes.value = axes
    run(widget)
    assert widget.message.startswith("Done"), widget.message
    labels = viewer.layers[-1]
    assert labels.name == "picture · tiny"
    assert labels.data.shape == labels_shape

    stored = labels.metadata["napari_resformer"]
    assert json.loads(json.dumps(stored)) == stored
    assert stored["format"] == 1
    assert stored["model"]["name"] == "tiny"
    assert stored["classes"] == ["left", "middle", "right"]
    assert stored["image"]["axes"] == axes
    assert stored["image"]["layer"] == "picture"
    loops = [size for size, axis in zip(shape, axes, strict=True) if axis in "TZP"]
    assert np.shape(stored["scores"]) == (*loops, 3)
    assert stored["plane_axes"] == "".join(axis for axis in axes if axis in "TZP")
    assert stored["mask_classes"] == {"1": "cell", "2": "nucleus"}

    once = labels.data[tuple(slice(1) if stride == 0 else slice(None) for stride in labels.data.strides)]
    values, counts = np.unique(once[once > 0], return_counts=True)
    assert list(labels.features["index"]) == list(values)
    assert list(labels.features["pixels"]) == list(counts)
    assert [("cell", "nucleus")[value - 1] for value in values] == list(labels.features["mask class"])

    corners = RNG.integers(0, 5, (4, len(shape)))
    for corner in corners:
        in_image = [step for step, axis in zip(corner, axes, strict=True) if not (image.rgb and axis == "C")]
        in_labels = in_image if len(in_image) == labels.ndim else [s for s, a in zip(corner, axes, strict=True) if a != "C"]
        expected = np.asarray(image.data_to_world(in_image))[-labels.ndim :]
        assert np.allclose(labels.data_to_world(in_labels), expected)
    assert [str(unit) for unit in labels.units] == [str(unit) for unit in image.units][-labels.ndim :]


def test_notes_of_the_plan_stay_with_the_result(qtbot: Any, make_widget: Any, run: Any) -> None:
    viewer = ViewerModel()
    viewer.add_image(np.full((40, 56), 9, np.uint8), name="flat")
    widget = make_widget(viewer)
    qtbot.waitUntil(lambda: "constant" in widget.plan_text, timeout=60_000)
    run(widget)
    notes = viewer.layers[-1].metadata["napari_resformer"]["notes"]
    assert any("constant" in note for note in notes)
    qtbot.waitUntil(lambda: all(note in widget.plan_text for note in notes), timeout=60_000)


def test_area_is_told_where_the_pixel_size_is_known(make_widget: Any, run: Any) -> None:
    viewer = ViewerModel()
    viewer.add_image(RNG.random((40, 56)), scale=(0.5, 0.25), units=("micrometer", "micrometer"), axis_labels=("y", "x"))
    widget = make_widget(viewer)
    run(widget)
    labels = viewer.layers[-1]
    assert np.allclose(labels.features["area (µm²)"], labels.features["pixels"] * 0.125)
    assert [str(unit) for unit in labels.units] == ["micrometer", "micrometer"]
    assert tuple(labels.axis_labels) == ("y", "x")


def test_a_constant_image_has_an_answer(qtbot: Any, make_widget: Any, run: Any) -> None:
    viewer = ViewerModel()
    viewer.add_image(np.full((48, 48), 7.0))
    widget = make_widget(viewer)
    ready(qtbot, widget)
    assert "constant" in widget.plan_text
    run(widget)
    assert widget.message.startswith("Done")
    assert len(viewer.layers) == 2


# -------------------------------------------------------------------------------------------------- plan and refusals
def test_the_plan_is_shown_before_run(qtbot: Any, make_widget: Any) -> None:
    viewer = ViewerModel()
    add_image(viewer, "rgb")
    widget = make_widget(viewer)
    ready(qtbot, widget)
    assert "Axes YXC: 1 plane of 56 × 40 px" in widget.plan_text
    assert "Channels: red, green, blue" in widget.plan_text
    assert "Device: cpu" in widget.plan_text
    assert "Memory" in widget.plan_text
    assert widget.axes.value == "YXC"
    assert not widget.busy
    assert len(viewer.layers) == 1


def test_ambiguous_axes_are_refused_in_words_and_mended_by_typing(qtbot: Any, make_widget: Any, run: Any) -> None:
    viewer = ViewerModel()
    add_image(viewer, "channels first")
    widget = make_widget(viewer)
    ready(qtbot, widget)
    assert widget.axes.value == ""
    assert "ambiguous" in widget.message
    assert "CYX" in widget.message
    assert not widget.plan_text
    refusal = widget.message
    run(widget)  # the same words, and nothing happens
    assert widget.message == refusal
    assert len(viewer.layers) == 1
    widget.axes.value = "cyx"
    qtbot.waitUntil(lambda: "Axes CYX" in widget.plan_text, timeout=20_000)
    assert widget.message == ""
    run(widget)
    assert len(viewer.layers) == 2, widget.message


def test_axes_that_the_model_settles(qtbot: Any, make_widget: Any, install_model: Any, run: Any) -> None:
    install_model("pair", channels=("DAPI", "GFP"))
    viewer = ViewerModel()
    viewer.add_image(RNG.random((2, 40, 56)), name="two channels")
    widget = make_widget(viewer)
    assert widget.axes.value == ""  # to a colour model they could as well be two planes
    widget.model.value = "pair"
    assert widget.axes.value == "CYX"
    run(widget)
    assert viewer.layers[-1].data.shape == (40, 56)
    widget.model.value = "tiny"
    assert widget.axes.value == ""
    widget.axes.value = "ZYX"  # what was typed stays
    widget.model.value = "pair"
    assert widget.axes.value == "ZYX"


@pytest.mark.parametrize("axes", ["Q", "YXYX", "ZYX", "Y", "hello world", "Y X"])
def test_bad_axes_change_nothing(qtbot: Any, make_widget: Any, run: Any, axes: str) -> None:
    viewer = ViewerModel()
    add_image(viewer, "gray")
    widget = make_widget(viewer)
    widget.axes.value = axes
    run(widget)
    if axes == "Y X":  # blanks do not matter
        assert widget.message.startswith("Done")
    else:
        assert "axes" in widget.message
        assert len(viewer.layers) == 1
        widget.axes.value = ""  # the guess
        run(widget)
    assert len(viewer.layers) == 2


@pytest.mark.parametrize(
    "pixels",
    [
        np.full((48, 48), np.nan),
        np.full((48, 48), np.inf),
        np.zeros((1, 1)),
        np.zeros((2, 48)),
        np.zeros((2, 48, 48)),
        np.zeros((3, 2, 2, 48, 48)),
    ],
    ids=["all NaN", "all infinite", "one pixel", "two rows", "two channels", "5-D"],
)
def test_images_that_cannot_work_are_refused_in_words(qtbot: Any, make_widget: Any, run: Any, pixels: Any) -> None:
    viewer = ViewerModel()
    viewer.add_image(pixels, contrast_limits=(0, 1))
    widget = make_widget(viewer)
    run(widget)
    assert widget.message.startswith("This cannot run")
    assert len(viewer.layers) == 1


def test_the_zoom_is_kept_for_its_layer(qtbot: Any, make_widget: Any, run: Any) -> None:
    viewer = ViewerModel()
    first, second = add_image(viewer, "gray"), add_image(viewer, "rgb")
    widget = make_widget(viewer)
    widget.image.value = first
    widget.zoom.value = "twice"
    run(widget)
    assert "zoom 'twice' is not a number" in widget.message
    widget.zoom.value = "2"
    qtbot.waitUntil(lambda: "Zoom 2:" in widget.plan_text, timeout=20_000)
    widget.image.value = second
    assert widget.zoom.value == ""
    widget.image.value = first
    assert widget.zoom.value == "2"
    run(widget)
    result = viewer.layers[-1]
    assert result.data.shape == first.data.shape
    sees = result.metadata["napari_resformer"]["settings"]["network_sees"]
    assert sees == [2 * side for side in first.data.shape]


def test_no_image_and_then_one(qtbot: Any, make_widget: Any, run: Any) -> None:
    viewer = ViewerModel()
    widget = make_widget(viewer)
    qtbot.waitUntil(lambda: "Open an image" in widget.plan_text)
    run(widget)
    assert "no image layer" in widget.message
    add_image(viewer, "gray")
    widget.reset_choices()
    qtbot.waitUntil(lambda: "Axes YX" in widget.plan_text, timeout=20_000)
    assert widget.message == ""


# ------------------------------------------------------------------------------------------------------- the fields
def test_the_image_follows_the_active_layer_and_its_name(make_widget: Any) -> None:
    viewer = ViewerModel()
    first, second = viewer.add_image(np.zeros((40, 40)), name="a"), viewer.add_image(np.zeros((9, 40, 40)), name="b")
    widget = make_widget(viewer)
    assert widget.image.value is second
    assert widget.axes.value == "ZYX"
    viewer.layers.selection.active = first
    assert widget.image.value is first
    assert widget.axes.value == "YX"
    first.name = "renamed"
    assert widget.image.value is first
    assert set(widget.image.choices) == {first, second}
    viewer.layers.remove(first)
    assert widget.image.value is second
    second.axis_labels = ("t", "y", "x")
    assert widget.axes.value == "TYX"


def test_typed_axes_are_kept_for_their_layer(make_widget: Any) -> None:
    viewer = ViewerModel()
    first, second = viewer.add_image(np.zeros((9, 40, 40))), viewer.add_image(np.zeros((40, 40)))
    widget = make_widget(viewer)
    widget.image.value = first
    widget.axes.value = "TYX"
    widget.image.value = second
    assert widget.axes.value == "YX"
    widget.image.value = first
    assert widget.axes.value == "TYX"


def test_fields_have_names_and_tooltips(make_widget: Any) -> None:
    widget = make_widget(ViewerModel())
    for name in ("image", "model", "axes", "device", "run"):
        assert widget[name].name == name
        assert widget[name].tooltip
    assert widget.device.choices == ("auto", "cpu", "cuda", "mps")
    assert {"tiny"} <= set(widget.model.choices)


# ---------------------------------------------------------------------------------------------------------- run again
def test_running_again_replaces_the_result_in_its_place(make_widget: Any, run: Any, install_model: Any) -> None:
    install_model("other", seed=1)
    viewer = ViewerModel()
    image = add_image(viewer, "rgb")
    widget = make_widget(viewer)
    run(widget)
    result = viewer.layers[-1]
    result.contour = 2
    viewer.add_points(np.zeros((1, 2)), name="on top")
    image.data = image.data[::-1].copy()
    image.scale = (2, 3)
    run(widget)
    assert [layer.name for layer in viewer.layers] == ["picture", "picture · tiny", "on top"]
    assert viewer.layers[1] is result
    assert result.contour == 2
    assert tuple(result.scale) == (2, 3)
    widget.model.value = "other"
    run(widget)
    assert [layer.name for layer in viewer.layers] == ["picture", "picture · tiny", "on top", "picture · other"]


@pytest.mark.parametrize("how", ["paint", "in the array"])
@pytest.mark.parametrize(("kind", "axes"), [("rgb", "YXC"), ("channels in a stack", "ZCYX")])
def test_a_painted_result_is_kept(make_widget: Any, run: Any, how: str, kind: str, axes: str) -> None:
    viewer = ViewerModel()
    add_image(viewer, kind)
    widget = make_widget(viewer)
    widget.axes.value = axes
    run(widget)
    painted = viewer.layers[-1]
    if how == "paint":
        painted.paint((0,) * (painted.ndim - 2) + (20, 20), 9)
    else:
        painted.data[..., 20, 20] = 9
    assert (painted.data[(0,) * (painted.ndim - 2)] == 9).any()
    kept = painted.data.copy()
    run(widget)
    assert len(viewer.layers) == 3
    assert np.array_equal(painted.data, kept)
    run(widget)  # the second result is nobody's work yet
    assert len(viewer.layers) == 3


def test_a_run_with_other_settings_leaves_the_earlier_result(make_widget: Any, run: Any) -> None:
    viewer = ViewerModel()
    viewer.add_image(RNG.integers(0, 255, (6, 64, 56), dtype=np.uint8), name="picture")
    widget = make_widget(viewer)
    run(widget)
    widget.zoom.value = "2"
    run(widget)
    assert [layer.name for layer in viewer.layers] == ["picture", "picture · tiny", "picture · tiny [1]"]
    widget.axes.value = "TYX"
    run(widget)
    assert len(viewer.layers) == 4
    widget.axes.value, widget.zoom.value = "ZYX", ""
    run(widget)
    assert len(viewer.layers) == 4  # asked for before: it takes the place of that result
    assert viewer.layers.selection.active is viewer.layers[1]


def test_the_scores_shown_are_those_of_the_chosen_image(make_widget: Any, run: Any) -> None:
    viewer = ViewerModel()
    one, other = (viewer.add_image(RNG.integers(0, 255, (64, 56), dtype=np.uint8), name=name) for name in ("one", "other"))
    unseen = viewer.add_image(RNG.integers(0, 255, (64, 56), dtype=np.uint8), name="unseen")
    widget = make_widget(viewer)
    for layer in (one, other):
        viewer.layers.selection.active = layer
        run(widget)
    viewer.layers.selection.active = one
    assert widget._scores.caption.words == "one · tiny"
    viewer.layers.selection.active = other
    assert widget._scores.caption.words == "other · tiny"
    viewer.layers.selection.active = unseen
    assert widget._scores.caption.words == ""
    for layer, words in ((one, "one · tiny"), (unseen, ""), (other, "other · tiny")):
        widget.image.value = layer  # in the list of the widget
        assert widget._scores.caption.words == words


def test_a_renamed_image_renames_its_results(make_widget: Any, run: Any) -> None:
    viewer = ViewerModel()
    image = viewer.add_image(RNG.integers(0, 255, (64, 56), dtype=np.uint8), name="before")
    widget = make_widget(viewer)
    run(widget)
    image.name = "after"
    assert viewer.layers[-1].name == "after · tiny"
    assert viewer.layers[-1].metadata["napari_resformer"]["image"]["layer"] == "after"
    assert widget._scores.caption.words == "after · tiny"
    widget._detach()  # the dock is closed
    image.name = "meanwhile"
    make_widget(viewer)
    assert viewer.layers[-1].name == "meanwhile · tiny"
    viewer.layers[-1].name = "mine"
    image.name = "later"
    assert viewer.layers[-1].name == "mine"


def test_an_image_of_the_same_name_is_another_image(make_widget: Any, run: Any) -> None:
    viewer = ViewerModel()
    image = add_image(viewer, "gray")
    widget = make_widget(viewer)
    run(widget)
    viewer.layers.remove(image)
    add_image(viewer, "gray")
    run(widget)
    assert len(viewer.layers) == 3


# ------------------------------------------------------------------------------------------------- scores beside it
def test_scores_follow_the_sliders(make_widget: Any, run: Any) -> None:
    viewer = ViewerModel()
    viewer.add_image(RNG.random((9, 40, 40)), scale=(2, 1, 1), translate=(10, 0, 0))
    viewer.add_image(np.zeros((30, 4, 4)), name="longer")
    viewer.layers.selection.active = viewer.layers[0]
    widget = make_widget(viewer)
    run(widget)
    scores = viewer.layers[-1].metadata["napari_resformer"]["scores"]
    panel = widget._scores
    for plane in (0, 3, 8):
        viewer.dims.set_point(0, 10 + 2 * plane)
        shown = dict(panel.bars.scores)
        assert shown == dict(zip(("left", "middle", "right"), scores[plane], strict=True))
        assert f"Z {plane}" in panel.caption.words
        assert max(shown, key=lambda name: shown[name]) in panel.headline.words
    assert panel.notice.words == "Research use only."


def test_an_older_result_shows_its_scores_again(make_widget: Any, run: Any) -> None:
    viewer = ViewerModel()
    add_image(viewer, "gray")
    widget = make_widget(viewer)
    run(widget)
    first, before = viewer.layers[-1], dict(widget._scores.bars.scores)
    viewer.add_image(RNG.random((64, 64)) ** 4, name="second")
    run(widget)
    assert "second" in widget._scores.caption.words
    viewer.layers.selection.active = first
    assert dict(widget._scores.bars.scores) == before
    assert "picture" in widget._scores.caption.words
    again = make_widget(viewer)  # another widget reads the same from the layer
    assert dict(again._scores.bars.scores) == before
    viewer.layers.remove(first)
    assert not widget._scores.bars.scores


def test_a_model_without_image_classes(make_widget: Any, run: Any, install_model: Any) -> None:
    install_model("mask-only", image_classes=())
    viewer = ViewerModel()
    add_image(viewer, "gray")
    widget = make_widget(viewer)
    widget.model.value = "mask-only"
    run(widget)
    assert widget.message.startswith("Done")
    assert "Mask only" in widget._scores.headline.words


@pytest.mark.parametrize("broken", [{}, {"scores": [[1]]}, {"classes": []}, {"image": {"axes": "YXZT"}}])
def test_metadata_of_somebody_else_do_no_harm(make_widget: Any, run: Any, broken: dict[str, Any]) -> None:
    viewer = ViewerModel()
    add_image(viewer, "gray")
    widget = make_widget(viewer)
    run(widget)
    stored = viewer.layers[-1].metadata["napari_resformer"] | broken if broken else {}
    viewer.add_labels(np.zeros((40, 56), int), metadata={"napari_resformer": stored})
    run(widget)
    assert widget.message.startswith("Done")


# ------------------------------------------------------------------------------------------ cancel, errors, disturbances
def test_run_turns_into_cancel(qtbot: Any, make_widget: Any, slow_job: Any) -> None:
    viewer = ViewerModel()
    add_image(viewer, "gray")
    widget = make_widget(viewer)
    widget.run.native.click()
    assert widget.busy
    assert widget.run.text == "Cancel"
    qtbot.waitUntil(slow_job.started.is_set, timeout=20_000)
    widget.run.native.click()
    assert not widget.run.enabled
    qtbot.waitUntil(lambda: not widget.busy, timeout=5_000)
    assert widget.run.text == "Run"
    assert widget.run.enabled
    assert "Cancelled" in widget.message
    assert len(viewer.layers) == 1
    assert slow_job.closed_in is not threading.main_thread()


def test_a_double_click_cancels_and_starts_nothing_twice(
    qtbot: Any, make_widget: Any, slow_job: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from napari_resformer.widgets.base import progress as activity

    viewer = ViewerModel()
    add_image(viewer, "gray")
    widget = make_widget(viewer)
    made = []

    def progress(**options: Any) -> Any:  # in a window napari processes events while it makes one
        made.append(real_progress(**options))
        if len(made) == 1:
            widget.run.native.click()
        return made[-1]

    real_progress = activity.progress
    monkeypatch.setattr(activity, "progress", progress)
    widget.run.native.click()
    qtbot.waitUntil(lambda: not widget.busy, timeout=20_000)
    assert len(made) == 1
    assert "Cancelled" in widget.message
    assert widget.run.text == "Run"


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (RuntimeError("CUDA out of memory"), "smaller tile"),
        (MemoryError(), "smaller tile"),
        (RuntimeError("The size of tensor a (3) must match"), "size of tensor a"),
        (ValueError("no finite pixel"), "no finite pixel"),
        (AssertionError(), "AssertionError"),
    ],
)
def test_an_error_ends_in_words_and_the_next_run_works(
    make_widget: Any, run: Any, monkeypatch: pytest.MonkeyPatch, error: Exception, words: str
) -> None:
    from napari_resformer.network import ResFormer

    viewer = ViewerModel()
    add_image(viewer, "gray")
    widget = make_widget(viewer)

    def fail(*_: Any, **__: Any) -> None:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(ResFormer, "forward_tile", fail)
        run(widget)
    assert words in widget.message
    assert len(viewer.layers) == 1
    assert widget.run.text == "Run"
    run(widget)
    assert widget.message.startswith("Done")
    assert len(viewer.layers) == 2


def test_a_layer_that_cannot_be_added_is_told(make_widget: Any, run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    viewer = ViewerModel()
    add_image(viewer, "gray")
    widget = make_widget(viewer)

    def fail(*_: Any) -> None:
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr("napari_resformer.widgets.predict.run.show_result", fail)
        run(widget)
    assert "not enough memory" in widget.message
    run(widget)
    assert len(viewer.layers) == 2


def test_a_damaged_model_file_is_told(make_widget: Any, run: Any, install_model: Any) -> None:
    path = install_model("broken")
    viewer = ViewerModel()
    add_image(viewer, "gray")
    widget = make_widget(viewer)
    widget.model.value = "broken"
    path.write_bytes(path.read_bytes()[:-100])
    run(widget)
    assert "broken.safetensors" in widget.message
    assert len(viewer.layers) == 1


def test_removing_the_layer_cancels(qtbot: Any, make_widget: Any, slow_job: Any) -> None:
    viewer = ViewerModel()
    image = add_image(viewer, "gray")
    widget = make_widget(viewer)
    widget.run.native.click()
    qtbot.waitUntil(slow_job.started.is_set, timeout=20_000)
    viewer.layers.remove(image)
    assert not widget.busy
    assert "removed" in widget.message
    qtbot.waitUntil(slow_job.closed.is_set, timeout=5_000)
    qtbot.wait(50)
    assert len(viewer.layers) == 0


def test_renaming_the_layer_in_mid_run(qtbot: Any, make_widget: Any, slow_job: Any) -> None:
    viewer = ViewerModel()
    image = add_image(viewer, "gray")
    widget = make_widget(viewer)
    widget.run.native.click()
    qtbot.waitUntil(slow_job.started.is_set, timeout=20_000)
    image.name = "another"
    viewer.add_image(np.zeros((40, 40)), name="new and active")
    slow_job.go_on.set()
    qtbot.waitUntil(lambda: not widget.busy, timeout=20_000)
    assert viewer.layers[-1].name == "another · tiny"


def test_two_widgets_do_not_know_of_each_other(qtbot: Any, make_widget: Any, run: Any, slow_job: Any) -> None:
    viewers = ViewerModel(), ViewerModel()
    for viewer in viewers:
        add_image(viewer, "gray")
    one, two = map(make_widget, viewers)
    one.run.native.click()
    assert one.busy
    assert not two.busy
    slow_job.go_on.set()
    run(two)
    qtbot.waitUntil(lambda: not one.busy, timeout=20_000)
    assert [len(viewer.layers) for viewer in viewers] == [2, 2]


# ----------------------------------------------------------------------------------------------------------------- torch


def test_a_second_selected_image_is_told(qtbot: Any, make_widget: Any) -> None:
    viewer = ViewerModel()
    one, _ = (viewer.add_image(RNG.integers(0, 255, (64, 56), dtype=np.uint8), name=name) for name in ("one", "other"))
    widget = make_widget(viewer)
    ready(qtbot, widget)
    assert "selected" not in widget.plan_text
    viewer.layers.selection.add(one)
    qtbot.waitUntil(lambda: "2 images are selected; only other will be processed" in widget.plan_text, timeout=20_000)


STARTED, GO_ON = threading.Event(), threading.Event()


def long_tile(*arguments: Any) -> Any:
    """Predict, but take long over the first piece of work."""
    for event in predict_job(*arguments):
        STARTED.set()
        GO_ON.wait(20)
        yield event


def test_cancel_lets_go_at_once_and_the_next_run_waits_for_the_last_tile(
    qtbot: Any, make_widget: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    STARTED.clear()
    GO_ON.clear()
    viewer = ViewerModel()
    viewer.add_image(RNG.integers(0, 255, (64, 64), dtype=np.uint8), name="picture")
    widget = make_widget(viewer)
    with monkeypatch.context() as patch:
        patch.setattr("napari_resformer.widgets.predict.segment_classify.predict_job", long_tile)
        widget.run.native.click()
        qtbot.waitUntil(STARTED.is_set, timeout=60_000)
        widget.run.native.click()
        qtbot.waitUntil(lambda: not widget.busy, timeout=10_000)
    assert not GO_ON.is_set()
    assert widget.message == "Cancelled; nothing was changed."
    assert widget.run.text == "Run"
    widget.run.native.click()
    qtbot.wait(200)
    assert widget.busy
    GO_ON.set()
    qtbot.waitUntil(lambda: not widget.busy, timeout=60_000)
    assert widget.message.startswith("Done"), widget.message
    assert [layer.name for layer in viewer.layers] == ["picture", "picture · tiny"]
