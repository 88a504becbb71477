"""Tells when the view has come to rest somewhere else: a part of the image that is in sight is another one then."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from qtpy.QtCore import QObject, QTimer, Signal  # type: ignore[attr-defined]


class Sight(QObject):
    """Watches camera and view of a viewer.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
        What is watched.
    rest : int
        Milliseconds without a movement that count as rest.
    parent : QObject
        Lives no longer than that.

    Attributes
    ----------
    changed : Signal
        The view has come to rest.
    """

    changed = Signal()

    def __init__(self, viewer: Any, rest: int, parent: QObject) -> None:
        super().__init__(parent)
        self._viewer = viewer
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(rest)
        self._timer.timeout.connect(self.changed)

    def emitters(self) -> list[tuple[Any, Any]]:
        """Return the viewer's emitters, each with what listens to it."""
        camera = getattr(self._viewer, "scene", self._viewer).camera  # napari 0.9 moved it
        return [
            (self._viewer.dims.events.ndisplay, self._moved),
            (camera.events.center, self._moved),
            (camera.events.zoom, self._moved),
        ]

    def stop(self) -> None:
        """Forget a movement; Qt's part of this may be gone already."""
        with suppress(RuntimeError):
            self._timer.stop()

    def _moved(self, *_: Any) -> None:
        self._timer.start()
