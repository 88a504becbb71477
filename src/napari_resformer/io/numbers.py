"""Numbers as files write them: in words, with a decimal comma, without an end."""

from __future__ import annotations

from math import isfinite
from typing import Any


def number(told: Any) -> float | None:
    """Return a finite number, or None where this is none; a decimal comma is read as a point."""
    if isinstance(told, bool):
        return None
    try:
        value = float(told.strip().replace(",", ".") if isinstance(told, str) else told)
    except (TypeError, ValueError, OverflowError):
        return None
    return value if isfinite(value) else None


def positive(told: Any) -> float | None:
    """Return a number above 0, or None."""
    value = number(told)
    return value if value is not None and value > 0 else None


def count(told: Any) -> int | None:
    """Return a whole number from 1, or None."""
    value = number(told)
    return int(value) if value is not None and 1 <= value < 2**53 and value == int(value) else None
