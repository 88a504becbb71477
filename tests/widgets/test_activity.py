"""How far a run is, shown without holding up the window."""

from __future__ import annotations

from typing import Any

import pytest
from napari.utils import progress

from napari_resformer.widgets.base import progress as activity
from napari_resformer.widgets.base.progress import Activity, RunBar


class Watched(RunBar):
    """Notes what it shows when it is painted."""

    def __init__(self) -> None:
        super().__init__()
        self.painted: list[int] = []

    def paintEvent(self, event: Any) -> None:  # noqa: N802 - Qt's name
        self.painted.append(self.value())
        super().paintEvent(event)


@pytest.fixture
def bar(qtbot: Any) -> Watched:
    bar = Watched()
    qtbot.addWidget(bar)
    with qtbot.waitExposed(bar):
        bar.show()
    return bar


def test_the_bar_is_painted_once_for_all_that_is_said_meanwhile(bar: Watched, qtbot: Any) -> None:
    bar.say("tile %v of %m", 1, 9)
    qtbot.waitUntil(lambda: bar.painted[-1:] == [1])
    bar.painted.clear()
    for done in range(2, 9):
        bar.say("tile %v of %m", done, 9)
    assert not bar.painted
    qtbot.waitUntil(lambda: bool(bar.painted))
    assert bar.painted == [8]
    assert bar.text() == "tile 8 of 9"


def test_a_total_that_is_not_known_makes_a_busy_bar(bar: Watched) -> None:
    bar.say("Preparing")
    assert (bar.minimum(), bar.maximum()) == (0, 0)
    bar.say("tile %v of %m", 3, 4)
    assert (bar.value(), bar.maximum()) == (3, 4)


def test_the_activity_dock_hears_of_a_run_now_and_then_and_of_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(activity.time, "monotonic", lambda: now)
    run = Activity("a run")
    (shown,) = progress._all_instances
    seen = []
    for done in range(1, 31):
        now += 0.1
        run.show(done, 30)
        seen.append(shown.n)
    assert seen[-1] == 30
    assert 5 <= len(set(seen)) <= 8
    run.show(29, 30)
    assert shown.n == 30
    run.close()
    run.close()
    assert not list(progress._all_instances)
