"""Units of length, in micrometres, and which units are of time."""

from __future__ import annotations

_MICROMETRES = {
    "ångström": 1e-4, "angstrom": 1e-4, "å": 1e-4, "nanometer": 1e-3, "nm": 1e-3, "micrometer": 1.0, "micron": 1.0,
    "microns": 1.0, "µm": 1.0, "um": 1.0, "millimeter": 1e3, "mm": 1e3, "centimeter": 1e4, "cm": 1e4, "meter": 1e6,
    "m": 1e6, "inch": 25400.0,
}  # fmt: skip

_TIMES = {
    "second", "s", "millisecond", "ms", "microsecond", "µs", "us", "nanosecond", "ns", "minute", "min", "hour", "h", "day",
}  # fmt: skip


def is_time(unit: str) -> bool:
    """Return whether a unit is one of time."""
    return unit.strip().casefold().replace("\u03bc", "µ") in _TIMES


def micrometres(unit: str) -> float | None:
    """Return how many micrometres a unit is; None where it is no known length (``pixel``, for instance)."""
    # casefold turns the micro sign into the Greek letter, so the replacement comes after it
    return _MICROMETRES.get(unit.strip().casefold().replace("\u03bc", "µ"))
