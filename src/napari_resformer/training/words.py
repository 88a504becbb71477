"""Numbers in sentences."""

from __future__ import annotations


def counted(number: int, noun: str, plural: str = "") -> str:
    """Return a number with its noun, for instance ``1 image`` or ``3 classes``."""
    return f"{number} {noun if number == 1 else plural or f'{noun}s'}"


def percent(fraction: float) -> str:
    """Return a fraction as a percentage, for instance ``9.6 %``."""
    return f"{100 * fraction:.1f} %"
