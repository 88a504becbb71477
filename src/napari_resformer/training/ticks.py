"""Round numbers on the axis of a chart; the same for the picture in a run folder and for the widget."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, floor, log10

_NEARLY = 1e-9


def ticks(low: float, high: float, wanted: int = 5) -> list[float]:
    """Return round numbers from ``low`` to ``high``, with about as many steps between them as wanted."""
    return _multiples(low, high, _round_step(low, high, wanted))


def round_axis(values: Sequence[float], wanted: int = 5) -> list[float]:
    """Return the ticks of an axis that begins and ends with a round number, and that all values fit on."""
    if not values:
        return [0.0, 1.0]
    low, high = min(values), max(values)
    if high - low < 1e-3 * max(abs(high), 1e-6):  # all alike: leave some room around them
        low, high = low - 0.05 * max(abs(low), 0.1), high + 0.05 * max(abs(high), 0.1)
    step = _round_step(low, high, wanted)
    return _multiples(floor(low / step + _NEARLY) * step, ceil(high / step - _NEARLY) * step, step)


def tick_words(tick: float, marks: Sequence[float]) -> str:
    """Return one of the ticks with as many decimals as their step needs."""
    step = marks[1] - marks[0] if len(marks) > 1 else 1.0
    decimals = max(0, -floor(log10(step) + _NEARLY)) if step > 0 else 0
    return f"{tick + 0.0:.{min(decimals, 4)}f}"


def _round_step(low: float, high: float, wanted: int) -> float:
    """Return 1, 2 or 5 times a power of ten."""
    raw = max(high - low, 1e-9) / wanted
    power = 10.0 ** floor(log10(raw))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= raw * 0.999)


def _multiples(low: float, high: float, step: float) -> list[float]:
    first, last = ceil(low / step - _NEARLY), floor(high / step + _NEARLY)
    return [round(number * step, 10) for number in range(first, last + 1)]
