"""Buttons for annotating: labels for the image that is shown, all images again, and saving what was annotated."""

from __future__ import annotations

from typing import Any

from qtpy.QtCore import Signal  # type: ignore[attr-defined]
from qtpy.QtWidgets import QHBoxLayout, QPushButton, QWidget


class AnnotationTools(QWidget):
    """A row of buttons.

    Attributes
    ----------
    new_labels, show_all, save : Signal
        The button was pressed.
    """

    new_labels = Signal()
    show_all = Signal()
    save = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._labels = QPushButton("New labels")
        self._labels.setToolTip("Add an empty Labels layer for this image and select the brush")
        self._all = QPushButton("Show all")
        self._all.setToolTip("Show the other images again")
        self._save = QPushButton("Save …")
        self._save.setToolTip("Save images, masks and classes as a data folder that you can train on again")
        line = QHBoxLayout(self)
        line.setContentsMargins(0, 0, 0, 0)
        for button, signal in ((self._labels, self.new_labels), (self._all, self.show_all), (self._save, self.save)):
            button.clicked.connect(signal)
            line.addWidget(button, 1)
        self.offer(alone=False)

    def offer(self, *, alone: bool) -> None:
        """Offer to show all images only while one is shown alone."""
        self._all.setEnabled(alone)


def open_segmenter(viewer: Any, model: str) -> None:
    """Choose a model in Segment & Classify, which is opened if need be."""
    window = getattr(viewer, "window", None)
    if window is not None:
        _, widget = window.add_plugin_dock_widget("napari-resformer", "Segment & Classify")
        widget.reset_choices()
        widget.model.value = model
