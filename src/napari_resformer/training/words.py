"""Numbers in sentences."""

from __future__ import annotations

from napari_resformer.samples.words import counted

__all__ = ["counted", "percent"]


def percent(fraction: float) -> str:
    """Return a fraction as a percentage, for instance ``9.6 %``."""
    return f"{100 * fraction:.1f} %"
