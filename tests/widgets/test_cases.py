"""Layers as other programs and plugins leave them: channels to choose from, labels that lie elsewhere. One test a case."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

pytest.importorskip("napari")

from napari.components import ViewerModel

import napari_resformer as nr
from napari_resformer.widgets.train.annotation import give_class
from napari_resformer.widgets.train.pairs import PairRow, row_state


# ---------------------------------------------------------------------------------------------------------------- channels
@pytest.mark.parametrize(
    ("axes", "shape", "typed", "index"),
    [
        ("CYX", (2, 40, 48), "1", np.s_[1]),
        ("CYX", (4, 40, 48), "3", np.s_[3]),
        ("ZCYX", (3, 2, 40, 48), " 1 ", np.s_[:, 1]),
        ("CYX", (4, 40, 48), "2, 0;3", np.s_[[2, 0, 3]]),
    ],
)
def test_the_channels_that_a_model_gets_can_be_chosen(
    qtbot: Any, make_widget: Any, run: Any, axes: str, shape: tuple[int, ...], typed: str, index: Any
) -> None:
    viewer, pixels = ViewerModel(), np.random.default_rng(0).integers(0, 255, shape, np.uint8)
    viewer.add_image(pixels, name="stains")
    widget = make_widget(viewer)
    widget.axes.value = axes
    qtbot.waitUntil(lambda: "model needs 3" in widget.message, timeout=60_000)
    assert widget.channels.label == "Channels"
    widget.channels.value = typed
    qtbot.waitUntil(lambda: "Channels: channel" in widget.plan_text, timeout=60_000)
    run(widget)
    model, taken = nr.load_model(widget._entries[widget.model.value].path), pixels[index]
    plain = "CYX" if taken.ndim == 3 and axes == "CYX" else axes.replace("C", "")
    expected = nr.predict(model, taken, axes=plain, device="cpu").mask
    mask = np.asarray(viewer.layers[-1].data)
    mask = mask[:, 0] if mask.ndim > expected.ndim else mask
    np.testing.assert_array_equal(mask, expected)
    told = viewer.layers[-1].metadata["napari_resformer"]
    assert told["image"]["channels"][0] == int(typed.strip()[0])


def test_channels_are_kept_for_their_layer_and_told_apart(qtbot: Any, make_widget: Any, run: Any) -> None:
    viewer = ViewerModel()
    two = viewer.add_image(np.random.default_rng(0).integers(0, 255, (2, 40, 48), np.uint8), name="two")
    gray = viewer.add_image(np.random.default_rng(1).integers(0, 255, (40, 48), np.uint8), name="gray")
    widget = make_widget(viewer)
    widget.native.show()
    assert not widget.channels.visible  # there is nothing to choose from
    widget.image.value = two
    widget.axes.value = "CYX"
    assert widget.channels.visible
    widget.channels.value = "0"
    run(widget)
    widget.channels.value = "1"
    run(widget)
    assert len(viewer.layers) == 4  # another channel is another question: the earlier answer stays
    widget.channels.value = "1"
    run(widget)
    assert len(viewer.layers) == 4
    widget.image.value = gray
    assert (widget.channels.value, widget.channels.visible) == ("", False)
    widget.image.value = two
    assert widget.channels.value == "1"
    for wrong in ("2", "first", "-1", "0,1"):
        widget.channels.value = wrong
        qtbot.waitUntil(lambda: bool(widget.message), timeout=60_000)
        assert not widget.plan_text
        widget.channels.value = "1"
        qtbot.waitUntil(lambda: bool(widget.plan_text), timeout=60_000)


# ------------------------------------------------------------------------------------------------------------------ places
MOVED: dict[str, dict[str, Any]] = {
    "lower": {"translate": (30, 0)},
    "to the left": {"translate": (0, -2)},
    "at another scale": {"scale": (0.5, 0.5)},
    "a little larger": {"scale": (1.05, 1.05)},
    "rotated": {"rotate": 5},
    "sheared": {"shear": (0.2,)},
    "by an affine": {"affine": [[1, 0, 4], [0, 1, 0], [0, 0, 1]]},
    "mirrored": {"scale": (-1, 1), "translate": (39, 0)},
}


@pytest.mark.parametrize("how", MOVED)
@pytest.mark.parametrize("which", ["labels", "image"])
def test_labels_that_lie_elsewhere_are_not_learned_from(qtbot: Any, make_fine_tune: Any, how: str, which: str) -> None:
    viewer = ViewerModel()
    for number in range(3):
        image, labels = (MOVED[how], {}) if which == "image" else ({}, MOVED[how])
        layer = viewer.add_image(np.random.default_rng(number).integers(0, 255, (40, 48), np.uint8), name=f"c{number}", **image)
        painted = np.zeros((40, 48), int)
        painted[8:20, 8:20] = 1
        viewer.add_labels(painted, name=f"c{number} labels", **labels)
        give_class(layer, (), "ab"[number % 2])
    widget = make_fine_tune(viewer)
    qtbot.waitUntil(lambda: "lies elsewhere" in widget.message, timeout=60_000)
    assert "c0 labels lies elsewhere than c0" in widget.message
    assert not widget.plan_text
    for layer in viewer.layers:  # mended while the dock is open
        layer.scale, layer.translate, layer.rotate, layer.shear, layer.affine = (1, 1), (0, 0), 0, (0,), np.eye(3)
    qtbot.waitUntil(lambda: bool(widget.plan_text), timeout=60_000)
    viewer.layers["c1 labels"].translate = (0, 7)
    qtbot.waitUntil(lambda: "c1 labels lies elsewhere than c1 in the viewer, up to 7 px away" in widget.message, timeout=60_000)


PLACE: dict[str, Any] = {"scale": (2, 0.5, 0.25), "translate": (5, 100, -7), "rotate": 30, "shear": (0.1, 0, 0.2)}


@pytest.mark.parametrize(
    ("axes", "shape", "labels", "where", "fits"),
    [
        ("ZYX", (4, 30, 40), (4, 30, 40), PLACE, True),
        ("ZYX", (4, 30, 40), (4, 30, 40), PLACE | {"translate": (7, 100, -7)}, False),  # a plane too deep
        ("CYX", (4, 30, 40), (30, 40), {}, True),
        ("CYX", (4, 30, 40), (30, 40), {"translate": (0, 1)}, False),
        ("CYX", (4, 30, 40), (30, 40), {"translate": (0, 0.5)}, True),  # half a pixel is a matter of convention
        ("CYX", (4, 30, 40), (4, 30, 40), {"translate": (3, 0, 0)}, True),  # channels are no place
        ("ZCYX", (3, 2, 30, 40), (3, 30, 40), {}, True),
        ("ZCYX", (3, 2, 30, 40), (3, 30, 40), {"translate": (0, 0, 9)}, False),
        ("YXC", (30, 40, 3), (30, 40), {}, True),
        ("YXC", (30, 40, 3), (30, 40), {"translate": (1, 1)}, False),
        ("ZYX", (1, 30, 40), (30, 40), {}, True),
        ("ZYX", (1, 30, 40), (30, 40), {"scale": (2, 2)}, False),
        ("XY", (40, 30), (40, 30), {}, True),
        ("XY", (40, 30), (40, 30), {"translate": (2, 0)}, False),
    ],
)
def test_places_are_compared_whatever_the_axes(
    axes: str, shape: tuple[int, ...], labels: tuple[int, ...], where: dict[str, Any], fits: bool
) -> None:
    viewer = ViewerModel()
    own = PLACE if "rotate" in where else {}
    image = viewer.add_image(np.zeros(shape, np.uint8), name="image", rgb=axes.endswith("C"), **own)
    image.metadata = {"napari_resformer": {"axes": axes}}
    state = row_state(PairRow(image, viewer.add_labels(np.ones(labels, int), name="labels", **where)))
    assert ("lies elsewhere" in state.trouble, bool(state.trouble)) == (not fits, not fits)


def test_labels_of_a_pyramid_lie_on_it() -> None:
    viewer = ViewerModel()
    levels = [np.zeros((64, 80), np.uint8), np.zeros((32, 40), np.uint8)]
    image = viewer.add_image(levels, name="image", multiscale=True, scale=(0.5, 0.5))
    assert not row_state(PairRow(image, viewer.add_labels(np.ones((64, 80), int), scale=(0.5, 0.5)))).trouble
    assert row_state(PairRow(image, viewer.add_labels(np.ones((64, 80), int)))).trouble
