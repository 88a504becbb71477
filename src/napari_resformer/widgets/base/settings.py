"""The plugin's settings in napari's preferences, with their defaults where napari has none."""

from __future__ import annotations

from dataclasses import dataclass

from napari_resformer.devices import DEVICES


@dataclass(frozen=True)
class PluginSettings:
    """Default model and device, pixels on a side that one pass of the network owns, and a folder for large masks."""

    model: str = "nuclei"
    device: str = "auto"
    tile_size: int = 1024
    result_folder: str = ""


def read_settings() -> PluginSettings:
    """Read what the user set; napari before 0.9 has no plugin settings, and the defaults hold."""
    try:
        from napari.settings import get_plugin_settings
    except ImportError:
        return PluginSettings()
    try:
        stored = get_plugin_settings("napari-resformer").prediction
        device = str(getattr(stored.device, "value", stored.device))
        folder = str(getattr(stored, "result_folder", ""))
        read = PluginSettings(str(stored.model), device, int(stored.tile_size), folder)
    except (AttributeError, KeyError, ValueError, TypeError):
        return PluginSettings()
    return read if read.device in DEVICES else PluginSettings(read.model, tile_size=read.tile_size, result_folder=folder)
