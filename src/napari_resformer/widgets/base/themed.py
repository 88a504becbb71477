"""What is painted in the theme's own colour."""

from __future__ import annotations

from qtpy.QtGui import QColor, QPalette
from qtpy.QtWidgets import QSizePolicy, QWidget


class Accented(QWidget):
    """A widget that paints itself, as high as its contents and as wide as there is room."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._accent: QColor | None = None
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)

    @property
    def ink(self) -> QColor:
        """The colour of words."""
        return QColor(self.palette().color(QPalette.ColorRole.WindowText))

    @property
    def accent(self) -> QColor:
        """The theme's colour; the palette's highlight where no theme has said."""
        return QColor(self._accent or self.palette().color(QPalette.ColorRole.Highlight))

    def set_accent(self, colour: str | None) -> None:
        """Paint in this colour; in the palette's highlight if None."""
        self._accent = QColor(colour) if colour else None
        self.update()
