"""The parts of Fine-tune on their own: curves, tables, times and what layers keep."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

pytest.importorskip("napari")

from napari.layers import Image, Labels

from napari_resformer.events import EpochDone, StepDone
from napari_resformer.training.history import EpochPoint
from napari_resformer.widgets.train import pairs
from napari_resformer.widgets.train.annotation import fitting_classes, give_class, image_classes, layer_image
from napari_resformer.widgets.train.class_field import ClassField
from napari_resformer.widgets.train.curves import Curves
from napari_resformer.widgets.train.eta import Stopwatch, duration
from napari_resformer.widgets.train.pairs import labels_fit, mask_data, resemblance
from napari_resformer.widgets.train.summary import ConfusionTable


@pytest.mark.parametrize(
    "points",
    [
        [],
        [EpochPoint(1, (1.0, None), (None, None), (None, None))],
        [EpochPoint(n, (float("nan"), 1e30), (0.0, 0.0), (None, 1.0), best=True) for n in (1, 2, 3)],
        [EpochPoint(n, (1 / n, -2.0 * n), (n / 500, 1.0), (0.5, 0.5), best=n == 7) for n in range(1, 500)],
    ],
    ids=["none", "one", "odd values", "many"],
)
def test_curves_paint_any_values_at_any_width(qtbot: Any, points: list[EpochPoint]) -> None:
    curves = Curves()
    qtbot.addWidget(curves)
    curves.show_points(points, 500)
    assert curves.isVisibleTo(None) == bool(points)
    for width in (40, 320, 900):
        curves.resize(width, curves.sizeHint().height() + 1)
        picture = curves.grab().toImage()
        assert not picture.isNull()
    colours = {picture.pixel(x, y) for x in range(0, picture.width(), 3) for y in range(picture.height())}
    assert (len(colours) > 3) == bool(points)
    assert curves.minimumSizeHint().width() <= 200


def test_the_confusion_table_paints_and_tells(qtbot: Any) -> None:
    table = ConfusionTable()
    qtbot.addWidget(table)
    table.show_counts(["a" * 90, "b, c", "间"], [[12345, 0, 1], [0, 0, 0], [1, 2, 3]])
    for width in (40, 250, 900):
        table.resize(width, table.sizeHint().height())
        assert not table.grab().isNull()
    assert "间: 1 as aaa" in table.accessibleDescription()
    assert "b, c: no image" in table.accessibleDescription()


def epoch_done(epoch: int, seconds: float) -> EpochDone:
    fields = dict.fromkeys(("training", "held_out", "validation"), None)
    return EpochDone(epoch=epoch, epochs=10, score=0.0, best=False, seconds=seconds, **fields)  # type: ignore[arg-type]


def test_the_time_of_a_training_is_measured_and_not_guessed() -> None:
    watch, now = Stopwatch(), 100.0
    for step, span in ((1, 0.0), (2, 30.0), (3, 2.0), (5, 4.0), (6, 2.0)):  # the first two warm up; the fourth was left out
        now += span
        watch.step(StepDone(1, 10, step, 8, 1.0), now)
        assert watch.words() == ""  # four steps are not enough
    for step in (7, 8):
        now += 2
        watch.step(StepDone(1, 10, step, 8, 1.0), now)
    assert watch.remaining == pytest.approx(9 * 16)
    assert "plus the time for validation" in watch.words()
    assert watch.epoch_seconds is None
    watch.epoch(epoch_done(1, 60.0), now + 4)
    assert watch.epoch_seconds == pytest.approx(16 + 4)  # not the first epoch, which holds the warm-up
    assert watch.remaining == pytest.approx(9 * 20)
    now += 4
    for step in range(1, 5):
        now += 2
        watch.step(StepDone(2, 10, step, 8, 1.0), now)
    assert watch.remaining == pytest.approx(9 * 20 - 8)
    assert watch.words() == "About 3 min left; each epoch takes 20 s."
    for epoch, seconds in ((2, 24.0), (3, 22.0), (4, 24.0)):
        watch.epoch(epoch_done(epoch, seconds), now)
    assert watch.epoch_seconds == 24
    assert watch.remaining == 6 * 24


def test_epochs_of_one_step_are_measured_as_a_whole() -> None:
    watch = Stopwatch()
    for epoch in range(1, 8):
        watch.step(StepDone(epoch, 10, 1, 1, 1.0), epoch * 3.0)
        watch.epoch(epoch_done(epoch, 3.0), epoch * 3.0 + 1)
        assert (watch.words() == "") == (epoch < 6)  # the first is the warm-up
    assert watch.remaining == pytest.approx(9)


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.3, "less than a second"), (42.4, "42 s"), (130, "2 min"), (7300, "2 h 2 min"), (90_000, "25 h")]
)
def test_times_are_told_as_exactly_as_they_are_known(seconds: float, words: str) -> None:
    assert duration(seconds) == words


@pytest.mark.parametrize(
    ("image", "better", "worse"),
    [
        ("cell 1", "cell 1 labels", "cell 12 labels"),
        ("cell 1", "Cell_1_mask", "cell 1 2"),
        ("a.tif", "a labels.tif", "b.tif"),
        ("image", "Labels", "cell labels"),
        ("zelle ä", "ZELLE Ä [1]", "zelle a"),
    ],
)
def test_names_that_belong_together(image: str, better: str, worse: str) -> None:
    assert resemblance(image, better) > resemblance(image, worse)


@pytest.mark.parametrize(
    "stored", [None, 3, {"image_classes": 5}, {"image_classes": {"x": "a", "1": 7, "2": " ", "0,1": "kept"}}]
)
def test_classes_that_somebody_else_has_written(stored: Any) -> None:
    layer = Image(np.zeros((2, 9, 40, 40)), axis_labels=("t", "z", "y", "x"), metadata={"napari_resformer": stored, "mine": 1})
    classes = {(0, 1): "kept"} if isinstance(stored, dict) and isinstance(stored["image_classes"], dict) else {}
    assert image_classes(layer) == classes
    give_class(layer, (1, 2), "new")
    assert image_classes(layer) == classes | {(1, 2): "new"}
    assert layer.metadata["mine"] == 1


@pytest.mark.parametrize("first", [(), (0,)])
@pytest.mark.parametrize("then", [(), (0,)])
def test_the_only_plane_has_one_class_under_either_name(first: tuple[int, ...], then: tuple[int, ...]) -> None:
    layer = Image(np.zeros((1, 64, 64)))
    image = layer_image(layer)
    give_class(layer, first, "a")
    give_class(layer, then, "b")
    assert list(fitting_classes(layer, image).values()) == ["b"]
    give_class(layer, first, "")
    assert not fitting_classes(layer, image)


def test_nothing_chosen_takes_no_class_away(qtbot: Any) -> None:
    field, given = ClassField(), []
    qtbot.addWidget(field)
    field.given_to_all.connect(given.append)
    field.show_plane((1, 0), "plane", "", ["a", "b"], stack=True)
    field.all_planes.click()
    assert not given
    field.show_plane((1, 0), "plane", "b", ["a", "b"], stack=True)
    field.all_planes.click()
    assert given == ["b"]


def test_classes_fit_the_axes_that_there_are_now() -> None:
    layer = Image(np.zeros((9, 40, 40)))
    for index in ((3,), (9,), (), (1, 1)):
        give_class(layer, index, "a")
    assert fitting_classes(layer, layer_image(layer)) == {(3,): "a"}
    flat = Image(np.zeros((1, 40, 40)), axis_labels=("z", "y", "x"))
    give_class(flat, (), "a")
    assert fitting_classes(flat, layer_image(flat)) == {(0,): "a"}
    give_class(flat, (0,), "")
    assert image_classes(flat) == {}


def test_labels_that_were_painted_while_channels_were_shown() -> None:
    image = layer_image(Image(np.zeros((2, 6, 40, 41)), axis_labels=("c", "z", "y", "x")))
    painted = np.zeros((2, 6, 40, 41), int)
    painted[0, 3, 5, 5], painted[1, 3, 7, 7] = 1, 2
    labels = Labels(painted)
    assert labels_fit(image, labels)
    mask = mask_data(image, labels)
    assert mask.shape == (6, 40, 41)
    plane = mask[3, slice(None), slice(None)]
    assert (plane[5, 5], plane[7, 7], plane.sum()) == (1, 2, 3)


@pytest.mark.parametrize("sizes", [1, 60], ids=["one size", "each its own size"])
def test_many_layers_are_paired_without_looking_at_each_with_each(monkeypatch: pytest.MonkeyPatch, sizes: int) -> None:
    looks = []
    monkeypatch.setattr(pairs, "labels_fit", lambda image, labels: looks.append(labels) or labels_fit(image, labels))
    layers: list[Any] = []
    for number in range(60):
        shape = (40, 50 + number % sizes)
        layers += [Image(np.zeros(shape), name=f"cell {number}"), Labels(np.zeros(shape, int), name=f"cell {number} mask")]
    found = pairs.find_pairs(layers)
    assert [found[image.unique_id] for image in layers[::2]] == layers[1::2]
    assert len(looks) == sizes
