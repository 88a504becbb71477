"""The widget Fine-tune: pairs and classes in, a model out; most on a viewer's model, some in a real window."""

from __future__ import annotations

import errno
import json
import os
from typing import Any

import numpy as np
import pytest

pytest.importorskip("napari")

from napari.components import ViewerModel
from qtpy.QtCore import Qt, QThreadPool
from qtpy.QtWidgets import QApplication, QStyleOptionViewItem

from napari_resformer.model.library import load_model
from napari_resformer.samples.folder import read_folder
from napari_resformer.widgets.train.annotation import give_class, image_classes
from napari_resformer.widgets.train.pairs import PairRow
from napari_resformer.widgets.train.pairs_table import CLASS, IMAGE, LABELS

from .conftest import small_run

# napari silences this one itself, but the filters of warnings are not safe in threads, and workers change them too.
pytestmark = pytest.mark.filterwarnings("ignore:Conversion from CIE-LAB")
CLASSES = ("mitosis, late", "间期", "mitosis, late")


def blob(number: int, shape: tuple[int, int] = (64, 64)) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(number)
    mask = np.zeros(shape, np.int32)
    mask[10 + number : 30 + number, 12:44] = 1
    return rng.integers(0, 60, shape, dtype=np.uint8) + (mask * 120).astype(np.uint8), mask


def add_pairs(viewer: Any, count: int = 3, classes: tuple[str, ...] = CLASSES) -> None:
    for number in range(count):
        pixels, mask = blob(number)
        image = viewer.add_image(pixels, name=f"cell {number + 1}")
        viewer.add_labels(mask, name=f"cell {number + 1} labels")
        if classes:
            give_class(image, (), classes[number % len(classes)])


def looked(qtbot: Any, widget: Any) -> None:
    """Wait until the samples were looked at."""
    qtbot.waitUntil(lambda: bool(widget.plan_text or widget.message), timeout=60_000)


def press(qtbot: Any, widget: Any, until: Any = None) -> None:
    """Press Run; wait for the end, or for something else."""
    widget.run.native.click()
    qtbot.waitUntil(until or (lambda: not widget.busy), timeout=120_000)


def epochs_done(widget: Any) -> int:
    return len(widget._panel.curves.points)


# ---------------------------------------------------------------------------------------------------------- the whole job
def test_three_pairs_two_epochs_and_the_model_is_in_every_list(
    qtbot: Any, make_fine_tune: Any, make_widget: Any, run: Any
) -> None:
    viewer, elsewhere = ViewerModel(), ViewerModel()
    add_pairs(viewer)
    elsewhere.add_image(blob(5)[0], name="new")
    widget, user = make_fine_tune(viewer), make_widget(elsewhere)
    looked(qtbot, widget)
    assert "2 images for training, 1 for validation" in widget.plan_text
    assert "mitosis, late 2, 间期 1" in widget.plan_text
    press(qtbot, widget)
    assert widget.message == ""
    assert "Best epoch" in widget.summary_text
    assert "Dice" in widget.summary_text
    assert epochs_done(widget) == 2
    assert all(None not in (*point.loss, *point.dice, *point.accuracy) for point in widget._panel.curves.points)
    assert widget._panel.summary.confusion.classes == ("mitosis, late", "间期")
    assert sum(map(sum, widget._panel.summary.confusion.counts)) == 1
    assert "mine" in user.model.choices
    assert user.model.value == "tiny"
    user.model.value = "mine"
    run(user)
    assert user.message.startswith("Done")
    assert elsewhere.layers[-1].metadata["napari_resformer"]["classes"] == ["mitosis, late", "间期"]
    assert load_model("mine").card.training["start"]["name"] == "tiny"
    assert widget.run.text == "Train"


def test_cancel_resume_finish(qtbot: Any, make_fine_tune: Any) -> None:
    viewer = ViewerModel()
    add_pairs(viewer)
    widget = make_fine_tune(viewer)
    widget.epochs.value = 4
    press(qtbot, widget, until=lambda: epochs_done(widget) == 2)
    widget.run.native.click()
    assert widget.run.text == "Cancelling …"
    qtbot.waitUntil(lambda: not widget.busy, timeout=20_000)
    assert "Cancelled" in widget.message
    qtbot.waitUntil(lambda: widget.run.text == "Resume", timeout=20_000)
    assert widget.start_anew.visible or not widget.native.isVisible()
    assert "unfinished training" in widget.plan_text
    widget.epochs.value = 5  # another training: there is nothing to resume
    qtbot.waitUntil(lambda: widget.run.text == "Train", timeout=20_000)
    qtbot.waitUntil(lambda: "epochs" in widget.plan_text, timeout=20_000)
    widget.epochs.value = 4
    qtbot.waitUntil(lambda: widget.run.text == "Resume", timeout=20_000)
    before = {point.epoch: point.dice for point in widget._panel.curves.points}
    steps: list[int] = []
    widget._stopwatch.step = lambda event, now: steps.append(event.epoch)
    press(qtbot, widget, until=lambda: widget.busy)
    qtbot.waitUntil(lambda: epochs_done(widget) >= 3, timeout=60_000)
    qtbot.waitUntil(lambda: not widget.busy, timeout=60_000)
    assert [point.epoch for point in widget._panel.curves.points] == [1, 2, 3, 4]
    assert all(point.dice == pytest.approx(before[point.epoch]) for point in widget._panel.curves.points if point.epoch in before)
    assert len(before) >= 2
    assert load_model("mine").card.training["epochs_done"] == 4
    assert sum(map(sum, widget._panel.summary.confusion.counts)) == 1  # also where the best epoch was before the break


def test_start_anew(qtbot: Any, make_fine_tune: Any) -> None:
    viewer = ViewerModel()
    add_pairs(viewer)
    widget = make_fine_tune(viewer)
    widget.epochs.value = 3
    press(qtbot, widget, until=lambda: epochs_done(widget) == 1)
    press(qtbot, widget)
    qtbot.waitUntil(lambda: widget.run.text == "Resume", timeout=20_000)
    widget.start_anew.native.click()
    assert epochs_done(widget) == 0
    qtbot.waitUntil(lambda: epochs_done(widget) == 1, timeout=60_000)
    assert widget._panel.curves.points[0].epoch == 1
    press(qtbot, widget)


def test_the_best_model_of_a_cancelled_training_can_be_kept(qtbot: Any, make_fine_tune: Any) -> None:
    viewer = ViewerModel()
    add_pairs(viewer)
    widget = make_fine_tune(viewer)
    widget.native.show()
    widget.epochs.value = 4
    press(qtbot, widget, until=lambda: epochs_done(widget) == 2)
    assert not widget.keep_best.visible
    press(qtbot, widget)
    assert widget.keep_best.visible
    qtbot.waitUntil(lambda: widget.run.text == "Resume", timeout=20_000)
    widget.keep_best.native.click()
    qtbot.waitUntil(lambda: not widget.busy, timeout=20_000)
    assert "mine is ready" in widget._panel.summary.lines._parts[0].words
    assert not widget.keep_best.visible
    assert 1 <= load_model("mine").card.training["epochs_done"] <= 3  # up to the best epoch, which may be the first
    assert "mine" in widget.model.choices
    qtbot.waitUntil(lambda: widget.run.text == "Resume", timeout=20_000)
    press(qtbot, widget)  # the kept model is of this very training, and may be replaced by its end
    assert "Best epoch" in widget.summary_text, widget.message
    assert load_model("mine").card.training["epochs_done"] == 4


def test_from_scratch_in_a_stack_with_some_planes_annotated(qtbot: Any, make_fine_tune: Any) -> None:
    viewer = ViewerModel()
    pixels, masks = (np.stack([blob(number)[part] for number in range(6)]) for part in (0, 1))
    masks[3:] = 0  # not yet painted
    stack = viewer.add_image(pixels, name="stack", scale=(2, 1, 1), translate=(7, 0, 0))
    viewer.add_labels(masks, name="stack labels", scale=(2, 1, 1), translate=(7, 0, 0))
    add_pairs(viewer, 2, ("a", "b"))
    widget = make_fine_tune(viewer)
    viewer.layers.selection.active = stack
    for plane, name in ((0, "a"), (4, "b")):
        viewer.dims.set_point(0, 7 + 2 * plane)
        assert f"Z {plane}" in widget._class_field.caption.text()
        widget.give_class(name)
    assert image_classes(stack) == {(0,): "a", (4,): "b"}
    assert widget.pairs.view.model().index(0, CLASS).data() == "2 of 6"
    widget.model.value = "from scratch"
    small_run(widget)
    looked(qtbot, widget)
    assert "6 annotated" in widget.plan_text  # planes 0, 1, 2 and 4, and the two images
    viewer.layers.selection.active = stack
    press(qtbot, widget)
    assert "ready" in widget._panel.summary.lines._parts[0].words
    preview = next(layer for layer in viewer.layers if layer.name == "stack · preview")
    assert preview.data.shape == (1, 64, 64)
    assert np.allclose(preview.data_to_world((0, 0, 0)), stack.data_to_world((4, 0, 0)))


# -------------------------------------------------------------------------------------------------------------- the table
def test_pairs_are_found_by_shape_and_name(make_fine_tune: Any) -> None:
    viewer = ViewerModel()
    for name, shape in (("a 1", (40, 40)), ("a 12", (40, 40)), ("b", (50, 60)), ("c", (33, 34))):
        viewer.add_image(np.zeros(shape), name=name)
    for name, shape in (("a 12 mask", (40, 40)), ("A 1 Labels", (40, 40)), ("Labels", (33, 34)), ("b labels", (50, 61))):
        viewer.add_labels(np.zeros(shape, int), name=name)
    rows = make_fine_tune(viewer).pairs.value
    assert [(row.image.name, row.labels and row.labels.name, row.use) for row in rows] == [
        ("a 1", "A 1 Labels", True),
        ("a 12", "a 12 mask", True),
        ("b", None, False),
        ("c", "Labels", True),
    ]


def test_predictions_and_previews_are_not_taken_by_themselves(make_fine_tune: Any) -> None:
    viewer = ViewerModel()
    viewer.add_image(np.zeros((40, 40)), name="a")
    stored = {"classes": [], "scores": [], "plane_axes": "", "image": {}, "model": {}}
    prediction = viewer.add_labels(np.zeros((40, 40), int), name="a · nuclei", metadata={"napari_resformer": stored})
    viewer.add_labels(np.zeros((40, 40), int), name="a · preview", metadata={"napari_resformer": {"preview": {}}})
    widget = make_fine_tune(viewer)
    assert widget.pairs.value[0].labels is None
    assert widget.pairs.labels_choices() == [prediction]  # but one may correct it and choose it


def test_the_table_by_script_and_by_hand(qtbot: Any, make_fine_tune: Any) -> None:
    viewer = ViewerModel()
    add_pairs(viewer)
    widget = make_fine_tune(viewer)
    one, labels, two, _, _, third_labels = viewer.layers
    widget.pairs.value = [(one, third_labels), PairRow(two, None, use=False)]
    assert [(row.labels, row.use) for row in widget.pairs.value] == [
        (third_labels, True), (None, False), (third_labels, False)
    ]  # fmt: skip
    widget.pairs.value = widget.pairs.value
    assert widget.pairs.value[0] == PairRow(one, third_labels)
    table = widget.pairs.view.model()
    assert table.setData(table.index(1, IMAGE), Qt.CheckState.Checked, Qt.ItemDataRole.CheckStateRole)
    assert table.setData(table.index(0, LABELS), labels)
    assert table.setData(table.index(0, CLASS), "T-cell, CD4+")
    assert widget.pairs.value[0] == PairRow(one, labels)
    assert widget.pairs.value[1].use
    assert table.index(0, CLASS).data() == "T-cell, CD4+"
    assert one.metadata["napari_resformer"] == {"format": 1, "image_classes": {"": "T-cell, CD4+"}}
    viewer.layers.remove(labels)
    assert widget.pairs.value[0].labels is not labels
    with pytest.raises(ValueError, match="no image layer of this viewer"):
        widget.pairs.value = [(ViewerModel().add_image(np.zeros((9, 9))), None)]
    qtbot.wait(10)


def test_the_editors_of_the_table(qtbot: Any, make_fine_tune: Any) -> None:
    viewer = ViewerModel()
    add_pairs(viewer, 2, ("a, b", ""))
    widget = make_fine_tune(viewer)
    view = widget.pairs.view
    delegate, table = view.itemDelegate(), view.model()

    def edit(row: int, column: int, choose: Any = None) -> list[str]:
        index = table.index(row, column)
        editor = delegate.createEditor(view.viewport(), QStyleOptionViewItem(), index)
        delegate.setEditorData(editor, index)
        offered = [editor.itemText(number) for number in range(editor.count())]
        if choose is not None:
            editor.setCurrentText(choose)
        delegate.setModelData(editor, table, index)
        editor.deleteLater()
        return offered

    before = [dict(layer.metadata) for layer in viewer.layers]
    assert "a, b" in edit(1, CLASS)  # looked at, and left as it was
    assert edit(0, LABELS) == ["none", "cell 2 labels", "cell 1 labels"]
    assert table.index(0, LABELS).data() == "… labels"  # the image's name stands beside it
    assert [dict(layer.metadata) for layer in viewer.layers] == before
    edit(0, LABELS, "cell 2 labels")
    assert widget.pairs.value[0].labels is viewer.layers["cell 2 labels"]
    assert table.index(0, LABELS).data() == "cell 2 labels"
    edit(1, CLASS, "free entry")
    edit(0, LABELS, "none")
    assert image_classes(viewer.layers["cell 2"]) == {(): "free entry"}
    assert [row.labels for row in widget.pairs.value] == [None, viewer.layers["cell 2 labels"]]
    qtbot.wait(20)


def test_a_class_for_the_plane_that_is_shown(make_fine_tune: Any) -> None:
    viewer = ViewerModel()
    image = viewer.add_image(np.zeros((2, 5, 40, 40)), axis_labels=("t", "z", "y", "x"), metadata={"other": 1}, name="movie")
    widget = make_fine_tune(viewer)
    field = widget._class_field
    viewer.dims.set_point((0, 1), (1, 3))
    assert field.caption.text() == "Class of movie, plane T 1, Z 3"
    field.box.lineEdit().setText("  α-cell, 1 ")
    field.box.lineEdit().editingFinished.emit()
    stored = image.metadata["napari_resformer"]
    assert stored == {"format": 1, "image_classes": {"1,3": "α-cell, 1"}}
    assert image.metadata["other"] == 1
    assert json.loads(json.dumps(stored)) == stored
    viewer.dims.set_point(1, 4)
    assert field.box.currentText() == ""
    assert [field.box.itemText(number) for number in range(field.box.count())][-1] == "α-cell, 1"
    field.box.setCurrentText("rest")
    field.all_planes.click()
    assert len(image_classes(image)) == 10
    widget.give_class("")
    assert (1, 4) not in image_classes(image)
    assert len(image_classes(image)) == 9


def test_a_typed_class_stays_with_its_plane_when_the_slider_moves(qtbot: Any, make_fine_tune: Any) -> None:
    viewer = ViewerModel()
    image = viewer.add_image(np.zeros((6, 40, 40)))
    widget = make_fine_tune(viewer)
    viewer.dims.set_point(0, 2)
    widget._class_field.box.lineEdit().setText("typed, not entered")
    viewer.dims.set_point(0, 5)
    assert image_classes(image) == {(2,): "typed, not entered"}
    assert widget._class_field.box.currentText() == ""


def test_axes_that_the_layer_does_not_tell(qtbot: Any, make_fine_tune: Any) -> None:
    viewer = ViewerModel()
    image = viewer.add_image(np.zeros((3, 40, 40)), name="what")
    widget = make_fine_tune(viewer)
    assert "which axes" in widget._class_field.caption.text()
    widget._class_field.axes.setText("cyx")
    widget._class_field.axes.editingFinished.emit()
    widget.give_class("a")
    assert image_classes(image) == {(): "a"}
    assert widget.pairs.states[0].planes == 1
    other = viewer.add_image(np.zeros((4, 30, 30)), name="planes")
    viewer.add_labels(np.zeros((4, 30, 30), int), name="planes labels")  # labels have no channels
    assert widget.pairs.states[1].planes == 4
    assert widget.pairs.value[1].image is other


# ------------------------------------------------------------------------------------------------------------ data folder
def test_what_was_annotated_is_kept_as_a_data_folder(qtbot: Any, make_fine_tune: Any, tmp_path: Any) -> None:
    viewer = ViewerModel()
    add_pairs(viewer)
    widget = make_fine_tune(viewer)
    folder = tmp_path / "annotated"
    widget.save_data_folder(folder)
    assert widget.busy
    qtbot.waitUntil(lambda: not widget.busy, timeout=20_000)
    assert str(folder) in widget.message
    samples = read_folder(folder)
    assert samples.image_classes == ("mitosis, late", "间期")
    for number, sample in enumerate(samples.samples):
        pixels, mask = blob(number)
        assert np.array_equal(sample.plane().read()[0], pixels)
        assert np.array_equal(sample.mask(), mask)
    widget.save_data_folder(folder)
    assert not widget.busy
    assert "not empty" in widget.message
    widget.pairs.value = []  # what is not ticked is annotated all the same; what is not annotated is not written
    viewer.add_image(np.zeros((40, 40)), name="plain")
    widget.save_data_folder(tmp_path / "again")
    qtbot.waitUntil(lambda: not widget.busy, timeout=20_000)
    assert len(read_folder(tmp_path / "again").samples) == 3


def test_a_data_folder_is_saved_whole_or_can_be_chosen_again(
    qtbot: Any, make_fine_tune: Any, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    viewer = ViewerModel()
    add_pairs(viewer)
    widget = make_fine_tune(viewer)
    folder = tmp_path / "annotated"
    sync = os.fsync

    def full(handle: int) -> None:
        if list(folder.glob("masks/.cell 3.tif.*.part")):
            raise OSError(errno.ENOSPC, "No space left on device")
        sync(handle)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        widget.save_data_folder(folder)
        qtbot.waitUntil(lambda: not widget.busy, timeout=20_000)
    assert "The disk is full" in widget.message
    assert "cell 3.tif" in widget.message
    assert not list(folder.iterdir())
    widget.save_data_folder(folder)
    qtbot.waitUntil(lambda: not widget.busy, timeout=20_000)
    assert len(read_folder(folder).samples) == 3


# ------------------------------------------------------------------------------------------------------------ hostile
def test_what_cannot_work_is_refused_in_words(qtbot: Any, make_fine_tune: Any) -> None:
    viewer = ViewerModel()
    widget = make_fine_tune(viewer)
    qtbot.waitUntil(lambda: "Open images" in widget.plan_text, timeout=20_000)
    widget.run.native.click()
    assert "no image is ticked" in widget.message

    image = viewer.add_image(np.zeros((40, 40)), name="a")
    odd = viewer.add_labels(np.ones((41, 40), int), name="odd")
    widget.pairs.value = [(image, odd)]
    widget.run.native.click()
    assert not widget.busy
    assert "40 × 41 px" in widget.message
    assert "40 × 40" in widget.message
    widget.pairs.value = [(image, None)]
    widget.run.native.click()
    assert "neither labels nor a class" in widget.message


@pytest.mark.parametrize(
    ("classes", "painted", "words"),
    [(("a",), False, "every image has the image class a"), ((), True, "at least 2"), ((), False, "annotate")],
    ids=["one class only", "one pair", "nothing painted"],
)
def test_samples_that_cannot_be_trained_on(qtbot: Any, make_fine_tune: Any, classes: Any, painted: bool, words: str) -> None:
    viewer = ViewerModel()
    add_pairs(viewer, 1 if painted else 3, classes)
    if not painted:
        for layer in viewer.layers[1::2]:
            layer.data = np.zeros((64, 64), int)
    widget = make_fine_tune(viewer)
    qtbot.waitUntil(lambda: words in widget.message, timeout=20_000)
    press(qtbot, widget)
    assert words in widget.message
    assert "mine" not in widget.model.choices


def test_what_will_work_badly_is_told_before_the_run(qtbot: Any, make_fine_tune: Any) -> None:
    viewer = ViewerModel()
    pixels, mask = blob(1)
    for number in range(3):
        viewer.add_image(pixels + np.uint8(number), name=f"cell {number}")
        viewer.add_labels(mask * (number + 1), name=f"cell {number} labels")
    widget = make_fine_tune(viewer)
    widget.model.value = "from scratch"
    qtbot.waitUntil(lambda: "near-duplicates" in widget.plan_text, timeout=60_000)
    assert "Class 3 covers" in widget.plan_text
    widget.mask_names.value = "cell, nucleus"
    qtbot.waitUntil(lambda: "up to 3, but 2 mask classes are named (cell, nucleus)" in widget.message, timeout=20_000)
    widget.mask_names.value = "cell, nucleus, ring"
    qtbot.waitUntil(lambda: "Ring (label value 3) covers" in widget.plan_text, timeout=20_000)
    assert widget.message == ""


def test_what_a_run_finds_is_told_while_it_runs(qtbot: Any, make_fine_tune: Any) -> None:
    viewer = ViewerModel()
    add_pairs(viewer)
    widget = make_fine_tune(viewer)
    widget.epochs.value = 50
    widget.run.native.click()  # before anybody has looked ahead
    qtbot.waitUntil(lambda: "to train on" in widget.plan_text, timeout=60_000)
    assert widget.busy
    assert "annotated image" in widget.plan_text
    press(qtbot, widget)


@pytest.mark.parametrize("name", ["", "a/b", "..", "from scratch", "nuclei", "x" * 300])
def test_names_that_cannot_be(make_fine_tune: Any, name: str) -> None:
    viewer = ViewerModel()
    add_pairs(viewer)
    widget = make_fine_tune(viewer)
    widget.model_name.value = name
    widget.run.native.click()
    assert not widget.busy
    assert "name" in widget.message


def test_a_model_is_not_replaced_unasked(qtbot: Any, make_fine_tune: Any, install_model: Any) -> None:
    path = install_model("mine")
    before = path.read_bytes()
    viewer = ViewerModel()
    add_pairs(viewer)
    widget = make_fine_tune(viewer)
    widget.epochs.value = 1
    widget.run.native.click()
    assert not widget.busy
    assert "or replace it" in widget.message
    assert path.read_bytes() == before
    widget.replace.value = True
    widget.model_name.value = "other"
    assert not widget.replace.value  # what was ticked was said of another model
    widget.model_name.value, widget.replace.value = "mine", True
    press(qtbot, widget)
    assert "Best epoch" in widget.summary_text
    assert path.read_bytes() != before


def test_label_values_that_number_objects(qtbot: Any, make_fine_tune: Any) -> None:
    viewer = ViewerModel()
    add_pairs(viewer)
    for layer in viewer.layers[1::2]:
        layer.data = layer.data * np.arange(1, 65)[:, None] * 9
    widget = make_fine_tune(viewer)
    qtbot.waitUntil(lambda: "254" in widget.message, timeout=20_000)
    assert "instance labels" in widget.message
    widget.more.label_values.value = "instance labels"
    widget.mask_names.value = "nucleus"
    widget.epochs.value = 1
    press(qtbot, widget)
    assert load_model("mine").card.mask_classes == ("nucleus",)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), "mat1 and mat2"),
        (MemoryError(), "smaller crop or batch size"),
        (OSError(28, "No space left on device"), "disk is full"),
    ],
)
def test_a_failure_is_told_and_the_widget_is_ready_again(
    qtbot: Any, make_fine_tune: Any, monkeypatch: pytest.MonkeyPatch, error: Exception, words: str
) -> None:
    viewer = ViewerModel()
    add_pairs(viewer)
    widget = make_fine_tune(viewer)
    widget.epochs.value = 1

    def fail(*_: Any) -> None:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr("napari_resformer.training.run_folder.RunFolder.record", fail)
        press(qtbot, widget)
    assert words in widget.message
    assert widget.summary_text == ""
    press(qtbot, widget)
    assert "Best epoch" in widget.summary_text


def test_two_windows_do_not_train_the_same_model(qtbot: Any, make_fine_tune: Any) -> None:
    viewers = ViewerModel(), ViewerModel()
    for viewer in viewers:
        add_pairs(viewer)
    one, two = map(make_fine_tune, viewers)
    one.epochs.value = 500
    press(qtbot, one, until=lambda: epochs_done(one) == 1)
    press(qtbot, two)
    assert "another window or command" in two.message
    press(qtbot, one)
    assert "Cancelled" in one.message


def test_two_docks_of_one_viewer_train_at_once(qtbot: Any, make_fine_tune: Any) -> None:
    viewer = ViewerModel()
    add_pairs(viewer)
    viewer.layers.selection.active = viewer.layers["cell 1"]
    one, two = make_fine_tune(viewer), make_fine_tune(viewer)
    two.model_name.value = "other"
    one.run.native.click()
    press(qtbot, two, until=lambda: not one.busy and not two.busy)
    for widget, name in ((one, "mine"), (two, "other")):
        assert "Best epoch" in widget.summary_text, widget.message
        assert {"mine", "other"} <= set(widget.model.choices)
        assert load_model(name).card.training["epochs_done"] == 2
    previews = [layer for layer in viewer.layers if "preview" in layer.name]
    assert len(previews) == 2
    viewer.layers.selection.active = viewer.layers["cell 2"]
    for widget in (one, two):  # each takes one that nobody needs any more
        widget.replace.value = True
        widget.run.native.click()
    qtbot.waitUntil(lambda: not one.busy and not two.busy, timeout=120_000)
    names = {layer.name for layer in viewer.layers if "preview" in layer.name}  # which dock is the first is a matter of chance
    assert names == {"cell 2 · preview", "cell 2 · preview [1]"}


def test_painting_and_removing_layers_in_mid_run(qtbot: Any, make_fine_tune: Any) -> None:
    viewer = ViewerModel()
    add_pairs(viewer)
    widget = make_fine_tune(viewer)
    widget.epochs.value = 4
    viewer.layers.selection.active = viewer.layers["cell 2"]
    press(qtbot, widget, until=lambda: any(layer.name == "cell 2 · preview" for layer in viewer.layers))
    viewer.layers["cell 1 labels"].paint((5, 5), 200)  # a value that a training from the start would refuse to name
    viewer.layers.remove("cell 3")
    viewer.layers["cell 2"].name = "renamed"
    viewer.layers.remove("cell 2 · preview")  # not wanted
    viewer.layers.selection.active = viewer.layers["cell 1"]
    qtbot.waitUntil(lambda: not widget.busy, timeout=60_000)
    assert "Best epoch" in widget.summary_text
    assert not any("preview" in layer.name for layer in viewer.layers)
    assert load_model("mine").card.mask_classes == ("cell", "nucleus")


def test_the_preview_follows_what_is_looked_at(qtbot: Any, make_fine_tune: Any) -> None:
    viewer = ViewerModel()
    add_pairs(viewer)
    rng = np.random.default_rng(1)
    large = viewer.add_image(
        rng.integers(0, 255, (5, 1100, 1301), dtype=np.uint8),
        name="large",
        scale=(1, 0.5, 0.5),
        rotate=[[1, 0, 0], [0, 0, -1], [0, 1, 0]],
    )
    viewer.dims.set_point(0, 3)
    widget = make_fine_tune(viewer)
    widget.epochs.value = 1
    press(qtbot, widget)
    preview = viewer.layers["large · preview"]
    assert preview.data.shape == (1, 1024, 1024)
    assert np.allclose(preview.data_to_world((0, 0, 0)), large.data_to_world((3, 38, 138)))
    assert np.allclose(preview.data_to_world((0, 9, 5)), large.data_to_world((3, 47, 143)))
    assert viewer.layers.selection.active is large
    assert preview.metadata["napari_resformer"]["preview"]["epoch"] == 1


# ---------------------------------------------------------------------------------------------------- in a real window
PLUGIN, NAME = "napari-resformer", "Fine-tune"


@pytest.fixture
def open_fine_tune(make_napari_viewer_proxy: Any, model_name: str) -> Any:
    def open_it(*, show: bool = False) -> tuple[Any, Any, Any]:
        viewer = make_napari_viewer_proxy(show=show)
        dock, widget = viewer.window.add_plugin_dock_widget(PLUGIN, NAME)
        widget.model.value = model_name
        small_run(widget)
        return viewer, dock, widget

    yield open_it
    assert QThreadPool.globalInstance().waitForDone(20_000)


@pytest.mark.gui
def test_paint_train_cancel_resume_and_predict_in_napari(open_fine_tune: Any, qtbot: Any, run: Any) -> None:
    viewer, dock, widget = open_fine_tune(show=True)
    add_pairs(viewer)
    widget.epochs.value = 3
    press(qtbot, widget, until=lambda: epochs_done(widget) == 1)
    viewer.layers["cell 1 labels"].paint((5, 5), 1)
    press(qtbot, widget)
    viewer.layers["cell 1 labels"].undo()
    qtbot.waitUntil(lambda: widget.run.text == "Resume", timeout=20_000)
    assert widget.start_anew.visible
    press(qtbot, widget)
    assert "Best epoch" in widget.summary_text
    for theme in ("light", "dark"):
        viewer.theme = theme
        QApplication.processEvents()
        assert not widget.native.grab().isNull()
    assert dock.minimumSizeHint().width() <= 320
    viewer.layers.selection.active = viewer.layers["cell 1"]
    widget._panel.summary.open.click()
    _, user = viewer.window.add_plugin_dock_widget(PLUGIN, "Segment & Classify")
    assert user.model.value == "mine"
    run(user)
    assert user.message.startswith("Done")
    assert viewer.layers[-1].name == "cell 1 · mine"


@pytest.mark.gui
def test_closing_the_dock_in_mid_run(open_fine_tune: Any, qtbot: Any) -> None:
    viewer, dock, widget = open_fine_tune()
    add_pairs(viewer)
    widget.epochs.value = 500
    press(qtbot, widget, until=lambda: epochs_done(widget) == 1)
    viewer.window.remove_dock_widget(dock)
    qtbot.waitUntil(lambda: not widget.busy, timeout=5_000)
    assert QThreadPool.globalInstance().waitForDone(10_000)
    viewer.add_image(np.zeros((40, 40)))
    viewer.dims.set_point(0, 0)
    qtbot.wait(500)


@pytest.mark.gui
def test_closing_the_viewer_in_mid_run(open_fine_tune: Any, qtbot: Any) -> None:
    viewer, _, widget = open_fine_tune()
    add_pairs(viewer)
    widget.epochs.value = 500
    press(qtbot, widget, until=lambda: epochs_done(widget) == 1)
    viewer.close()
    assert QThreadPool.globalInstance().waitForDone(10_000)
    qtbot.wait(100)
