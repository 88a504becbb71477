"""One image at a time: strokes land on the picture that is seen."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

pytest.importorskip("napari")

from napari.components import ViewerModel

RNG = np.random.default_rng(0)


def click(widget: Any, row: int) -> None:
    pairs = widget.pairs
    pairs.update_rows()
    pairs._clicked(pairs.view.model().index(row, 0))


def seen(viewer: Any) -> list[str]:
    return [layer.name for layer in viewer.layers if layer.visible]


@pytest.fixture
def six(make_fine_tune: Any) -> tuple[Any, Any]:
    viewer = ViewerModel()
    for number in range(6):
        viewer.add_image(RNG.integers(0, 255, (64, 64), dtype=np.uint8), name=f"cells {number}")
    viewer.layers["cells 3"].visible = False
    viewer.add_points(np.zeros((1, 2)), name="marks")
    return viewer, make_fine_tune(viewer)


@pytest.mark.parametrize("made_by", ["dock", "napari"])
def test_new_labels_belong_to_the_image_that_is_shown(six: Any, made_by: str) -> None:
    viewer, widget = six
    click(widget, 1)
    assert seen(viewer) == ["cells 1", "marks"]
    if made_by == "dock":
        widget._annotating.add_labels()
    else:
        viewer._new_labels()
    labels = viewer.layers.selection.active
    labels.paint((20, 20), 3)
    rows = {row.image.name: row.labels for row in widget.pairs.value}
    assert rows["cells 1"] is labels
    assert all(rows[f"cells {number}"] is None for number in (0, 2, 3, 4, 5))
    assert seen(viewer) == ["cells 1", "marks", labels.name]
    if made_by == "dock":
        assert (labels.name, labels.mode) == ("cells 1 labels", "paint")


def test_each_row_shows_its_own_image_and_labels_and_the_eyes_come_back(six: Any) -> None:
    viewer, widget = six
    before = seen(viewer)
    click(widget, 1)
    widget._annotating.add_labels()
    click(widget, 4)
    assert seen(viewer) == ["cells 4", "marks"]
    assert viewer.layers.selection.active.name == "cells 4"
    widget._annotating.add_labels()
    click(widget, 1)
    assert seen(viewer) == ["cells 1", "marks", "cells 1 labels"]
    assert viewer.layers.selection.active.name == "cells 1 labels"
    widget._annotating.show_all()
    assert seen(viewer) == [*before, "cells 1 labels", "cells 4 labels"]
    click(widget, 2)
    viewer.layers.remove("cells 2")
    assert set(before) - {"cells 2"} <= set(seen(viewer))


def test_labels_lie_on_a_moved_stack_with_channels(make_fine_tune: Any) -> None:
    viewer = ViewerModel()
    image = viewer.add_image(
        RNG.random((4, 3, 40, 56)), name="stack", scale=(2, 1, 0.5, 0.5), translate=(0, 0, 7, 9), axis_labels=("z", "c", "y", "x")
    )
    viewer.add_image(RNG.random((64, 64)), name="other")
    widget = make_fine_tune(viewer)
    click(widget, 0)
    widget._annotating.add_labels()
    labels = viewer.layers["stack labels"]
    assert labels.data.shape == (4, 3, 40, 56)
    assert np.allclose(labels.data_to_world((1, 0, 5, 6)), image.data_to_world((1, 0, 5, 6)))
    row = next(row for row in widget.pairs.value if row.image.name == "stack")
    assert row.labels is labels
    assert not widget.pairs.states[0].trouble


def test_undo_redo_and_other_widgets_make_the_plan_anew_and_sliders_do_not(qtbot: Any, make_fine_tune: Any) -> None:
    viewer = ViewerModel()
    viewer.add_image(RNG.random((5, 64, 64)), name="stack", axis_labels=("z", "y", "x"))
    labels = viewer.add_labels(np.zeros((5, 64, 64), np.uint8), name="stack labels")
    widget = make_fine_tune(viewer)
    qtbot.wait(50)
    noticed: list[int] = []
    widget._annotating.painted.connect(lambda: noticed.append(1))
    for step in (1, 3, 2):
        viewer.dims.set_current_step(0, step)
    assert noticed == []
    labels.paint((2, 5, 5), 2)
    labels.fill((2, 30, 30), 3)
    for change in (labels.undo, labels.redo, labels.refresh):
        noticed.clear()
        change()
        assert noticed, change
