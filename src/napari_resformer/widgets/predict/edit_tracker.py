"""Who paints while a run is under way: after the last look at an earlier result, before the new one takes its place."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

_EVENTS = ("paint", "labels_update")  # a stroke has ended; a stroke is under way


class EditTracker:
    """Notice strokes in Labels layers, until :meth:`stop`.

    Parameters
    ----------
    layers : iterable of napari.layers.Labels
        What may be painted in.

    Attributes
    ----------
    painted : set
        The ``unique_id`` of each layer that was, as text.
    """

    def __init__(self, layers: Iterable[Any] = ()) -> None:
        self.painted: set[str] = set()
        self._layers = list(layers)
        self._each("connect")

    def stop(self) -> None:
        """Notice nothing more."""
        self._each("disconnect")
        self._layers = []

    def _each(self, what: str) -> None:
        for layer in self._layers:
            for name in _EVENTS:
                emitter = getattr(layer.events, name, None)  # events of other napari versions
                if emitter is not None:
                    getattr(emitter, what)(self._note)

    def _note(self, event: Any) -> None:
        self.painted.add(str(event.source.unique_id))
