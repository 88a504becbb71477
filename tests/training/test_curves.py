"""Round numbers on the axes of curves."""

from __future__ import annotations

import pytest

from napari_resformer.training.ticks import round_axis, tick_words, ticks


@pytest.mark.parametrize("values", [[0.1, 0.93], [3.2], [0.0, 0.0], [1e-7, 2e-7], [-4.0, 1200.0], [0.499, 0.5], []])
def test_an_axis_has_few_round_numbers_around_the_values(values: list[float]) -> None:
    marks = round_axis(values, 2)
    assert marks[0] <= min(values, default=0)
    assert marks[-1] >= max(values, default=0)
    assert 2 <= len(marks) <= 4


def test_ticks_lie_within_the_axis() -> None:
    assert ticks(0, 1) == [0, 0.2, 0.4, 0.6, 0.8, 1]
    assert ticks(0.9, 1.0, 5) == [0.9, 0.92, 0.94, 0.96, 0.98, 1.0]
    assert ticks(1, 40) == [10, 20, 30, 40]
    assert [tick_words(tick, [0.0, 0.05, 0.1]) for tick in (0.0, 0.05, 0.1)] == ["0.00", "0.05", "0.10"]
