"""Numbers in sentences."""

from __future__ import annotations

from napari_resformer.images.words import share
from napari_resformer.samples.words import counted

__all__ = ["counted", "share"]
