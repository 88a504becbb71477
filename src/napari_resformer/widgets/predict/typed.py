"""What the user typed into the fields of the widget, kept for each layer."""

from __future__ import annotations

from typing import Any

AXES, CHANNELS, ZOOM = "axes", "channels", "zoom"


class Typed:
    """Texts by field and layer; a layer's go with it."""

    def __init__(self) -> None:
        self._texts: dict[tuple[str, Any], str] = {}

    def get(self, field: str, layer: Any | None) -> str:
        """Return what was typed for a layer; empty for nothing, and for no layer."""
        return "" if layer is None else self._texts.get((field, layer.unique_id), "")

    def keep(self, field: str, layer: Any | None, text: str) -> None:
        """Keep what was typed for a layer."""
        if layer is not None:
            self._texts[field, layer.unique_id] = text.strip()

    def forget(self, layer: Any) -> None:
        """Drop what was typed for a layer that is gone."""
        for field in (AXES, CHANNELS, ZOOM):
            self._texts.pop((field, layer.unique_id), None)
