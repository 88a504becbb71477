"""The plugin's settings in napari's preferences, with their defaults where napari has none."""

from __future__ import annotations

from dataclasses import dataclass, replace

from napari_resformer.devices import DEVICES


@dataclass(frozen=True)
class PluginSettings:
    """What the user chose, or the defaults.

    Parameters
    ----------
    model, device : str
        What the widgets choose at first.
    tile_size : int
        Pixels on a side that one pass of the network owns.
    result_folder : str
        Where large masks go whose image is no local file; empty for a folder of the cache.
    idle_minutes : int
        After so long without a job the worker process ends, and gives its memory and the graphics card's back.
    """

    model: str = "nuclei"
    device: str = "auto"
    tile_size: int = 1024
    result_folder: str = ""
    idle_minutes: int = 10


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
        read = PluginSettings(str(stored.model), device, int(stored.tile_size), folder, int(getattr(stored, "idle_minutes", 10)))
    except (AttributeError, KeyError, ValueError, TypeError):
        return PluginSettings()
    return read if read.device in DEVICES else replace(read, device="auto")
