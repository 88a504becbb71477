"""Words in a narrow dock: they wrap, and never ask for more width than there is."""

from __future__ import annotations

import re

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QHBoxLayout, QLabel, QSizePolicy, QStyle, QWidget

_LONG_WORD = 20
_BREAK = "\u200b"  # no width, but a line may end there


class Paragraph(QLabel):
    """A label that wraps at any width; its words can be selected and copied."""

    def __init__(self, parent: QWidget | None = None, *, bold: bool = False) -> None:
        super().__init__(parent)
        self.words = ""
        self.setWordWrap(True)
        self.setTextFormat(Qt.TextFormat.PlainText)  # a layer's name may look like HTML
        self.setMinimumWidth(1)  # else the longest word decides how narrow the dock can be
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Minimum)
        self.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        if bold:
            font = self.font()
            font.setBold(True)
            self.setFont(font)

    def say(self, words: str) -> None:
        """Show other words; nothing is shown for none."""
        if words != self.words:
            self.words = words
            self.setText(_breakable(words))
        self.setVisible(bool(words))


class Message(QWidget):
    """A paragraph with an icon: what went wrong, or well."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._icon, self.paragraph = QLabel(), Paragraph()
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._icon, 0, Qt.AlignmentFlag.AlignTop)
        layout.addWidget(self.paragraph, 1)
        self.hide()

    @property
    def words(self) -> str:
        """What is said now."""
        return self.paragraph.words

    def say(self, words: str, *, warning: bool = False) -> None:
        """Show other words; nothing is shown for none."""
        kind = QStyle.StandardPixmap.SP_MessageBoxWarning if warning else QStyle.StandardPixmap.SP_MessageBoxInformation
        size = self.fontMetrics().height() + 4
        self._icon.setPixmap(self.style().standardIcon(kind).pixmap(size, size))
        self._icon.setVisible(warning)
        self.paragraph.say(words)
        self.setVisible(bool(words))


def _breakable(words: str) -> str:
    """Let lines end inside of words that no narrow dock can hold, such as the names of files."""
    return re.sub(
        rf"\S{{{_LONG_WORD},}}", lambda word: re.sub(r"(.{8}|[_/.,\-](?=\w))", rf"\1{_BREAK}", word[0]), words
    )
