"""Tells when a widget is first shown, and when its dock was closed: napari only takes the parent away then."""

from __future__ import annotations

from contextlib import suppress
from functools import partial

from qtpy.QtCore import QEvent, QObject, QTimer, Signal  # type: ignore[attr-defined]
from qtpy.QtWidgets import QDockWidget, QLabel, QMainWindow, QWidget

_OURS = "napari-resformer"  # a property of the docks that hold widgets of this plugin


class Lifetime(QObject):
    """Watches a widget that is put into docks, and taken out of them.

    Attributes
    ----------
    first_shown : Signal
        Once, when the widget is on the screen for the first time.
    docked, undocked : Signal
        The widget got a parent; it lost its parent and did not get another one at once.
    """

    first_shown = Signal()
    docked = Signal()
    undocked = Signal()

    def __init__(self, widget: QWidget) -> None:
        super().__init__(widget)
        self._widget = widget
        self._shown = False
        self._check = QTimer(self)  # a child: it does not outlive the widget
        self._check.setSingleShot(True)
        self._check.setInterval(0)
        self._check.timeout.connect(self._look)
        widget.installEventFilter(self)

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:  # noqa: N802 - Qt's own name
        """Note what concerns the widget; nothing is held back."""
        if watched is self._widget and event is not None:
            if event.type() == QEvent.Type.Show and not self._shown:
                self._shown = True
                self.first_shown.emit()
            elif event.type() == QEvent.Type.ParentChange:
                self._check.start()
        return False

    def _look(self) -> None:
        if self._widget.parent() is None:
            self.undocked.emit()
        else:
            self.docked.emit()


def share_tabs(widget: QWidget, title: str) -> None:
    """Put the dock of a widget into tabs with the other dock of this plugin: one above the other, both would be low.

    Parameters
    ----------
    widget : QWidget
        In a dock of a window, or elsewhere: then nothing is done.
    title : str
        What the title and the tab say; napari's own title, with the name of the plugin, would be cut.
    """
    dock = widget.parent()
    window = dock.parent() if isinstance(dock, QDockWidget) else None
    if not isinstance(dock, QDockWidget) or not isinstance(window, QMainWindow) or dock.property(_OURS):
        return
    dock.setProperty(_OURS, True)
    dock.setWindowTitle(title.replace("&", "&&"))
    _shorten_title(dock, title)
    for moved in (dock.topLevelChanged, dock.dockLocationChanged, dock.visibilityChanged):  # napari makes the title anew then
        moved.connect(lambda *_: QTimer.singleShot(0, partial(_shorten_title, dock, title)))
    area = window.dockWidgetArea(dock)
    for other in window.findChildren(QDockWidget):
        beside = other is not dock and other.property(_OURS) and not other.isFloating() and other.isVisible()
        if beside and window.dockWidgetArea(other) == area:
            window.tabifyDockWidget(other, dock)
            QTimer.singleShot(0, dock.raise_)
            return


def _shorten_title(dock: QDockWidget, title: str) -> None:
    """Leave the name of the plugin out of the words above a dock: in a narrow one both would be cut."""
    with suppress(RuntimeError):  # the dock is gone
        bar = dock.titleBarWidget()
        for label in bar.findChildren(QLabel) if bar is not None else ():
            if label.text().startswith(title):
                label.setText(title)
