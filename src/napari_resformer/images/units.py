"""Units of length, in micrometres, and which units are of time."""

from __future__ import annotations

_STEMS = {
    "ångström": 1e-4, "angstrom": 1e-4, "picometer": 1e-6, "nanometer": 1e-3, "micrometer": 1.0, "micron": 1.0, "millimeter": 1e3,
    "centimeter": 1e4, "decimeter": 1e5, "meter": 1e6, "inch": 25400.0, "inche": 25400.0,
}  # fmt: skip
"""Words, in the singular and in American spelling; the last is the plural's."""

_SIGNS = {
    "å": 1e-4, "pm": 1e-6, "nm": 1e-3, "µ": 1.0, "µm": 1.0, "um": 1.0, "mm": 1e3, "cm": 1e4, "dm": 1e5, "m": 1e6, "in": 25400.0,
    '"': 25400.0,
}  # fmt: skip

_TIMES = {
    "second", "sec", "s", "millisecond", "msec", "ms", "microsecond", "µs", "us", "nanosecond", "ns", "minute", "min", "hour",
    "h", "hr", "day",
}  # fmt: skip


def is_time(unit: str) -> bool:
    """Return whether a unit is one of time."""
    plain = _plain(unit)
    return plain in _TIMES or plain.removesuffix("s") in _TIMES


def micrometres(unit: str) -> float | None:
    """Return how many micrometres a unit is; None where it is no known length (``pixel``, for instance).

    Signs and words are known, in singular and plural, American and British.
    """
    plain = _plain(unit)
    if plain in _SIGNS:
        return _SIGNS[plain]
    word = plain.removesuffix("s")
    return _STEMS.get(word.removesuffix("re") + "er" if word.endswith("metre") else word)


def _plain(unit: str) -> str:
    # casefold turns the micro sign into the Greek letter, so the replacement comes after it
    return unit.strip().strip(".").casefold().replace("\\u00b5", "µ").replace("\u03bc", "µ")
