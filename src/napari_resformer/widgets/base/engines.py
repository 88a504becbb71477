"""The engine of a viewer: its dock widgets share one worker process, two viewers do not."""

from __future__ import annotations

from typing import Any
from weakref import WeakValueDictionary

from napari_resformer.engine.job import Engine
from napari_resformer.widgets.base.settings import read_settings

_engines: WeakValueDictionary[int, Engine] = WeakValueDictionary()
"""By the identity of the viewer's layer list. An engine lives as long as a dock widget holds it, and its worker with it."""


def engine_of(viewer: Any) -> Engine:
    """Return the engine of a viewer; it is made for its first dock widget, and its worker starts when it is first used.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
        The viewer, or napari's public proxy of it.
    """
    key = id(getattr(viewer.layers, "__wrapped__", viewer.layers))
    engine = _engines.get(key)
    if engine is None:
        engine = _engines[key] = make_engine()
    return engine


def make_engine() -> Engine:
    """Make an engine with the user's settings."""
    from napari_resformer.engine.process import ProcessEngine

    return ProcessEngine(idle_seconds=60 * read_settings().idle_minutes)
