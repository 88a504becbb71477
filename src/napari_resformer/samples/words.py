"""Long lists in short messages."""

from __future__ import annotations

from collections.abc import Sequence


def named(items: Sequence[object], most: int = 5, between: str = ", ") -> str:
    """Return the first few of some items, and how many there are where that is not all.

    Parameters
    ----------
    items : sequence
        What to name.
    most : int
        How many are shown.
    between : str
        What stands between two.
    """
    shown = between.join(map(str, items[:most]))
    return shown if len(items) <= most else f"{shown}{between}and {len(items) - most} more"
