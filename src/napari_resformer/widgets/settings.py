"""The plugin's settings in napari's preferences, with their defaults where napari has none."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class PluginSettings:
    """Default model and device, and pixels on a side that one pass of the network owns."""

    model: str = "nuclei"
    device: str = "auto"
    tile_size: int = 1024


def read_settings() -> PluginSettings:
    """Read what the user set; napari before 0.9 has no plugin settings."""
    try:
        from napari.settings import get_plugin_settings
    except ImportError:
        return PluginSettings()
    try:
        stored = get_plugin_settings("napari-resformer").prediction
    except (AttributeError, KeyError, ValueError):
        return PluginSettings()
    return PluginSettings(str(stored.model), str(stored.device), int(stored.tile_size))
