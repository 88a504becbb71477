"""Words in a narrow dock: they wrap, and never ask for more width than there is."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import zip_longest

from qtpy.QtCore import QSize, Qt
from qtpy.QtWidgets import QApplication, QFrame, QHBoxLayout, QLabel, QScrollArea, QSizePolicy, QStyle, QVBoxLayout, QWidget

_LEAST_HEIGHT = 120  # pixels of a dock: some fields, and the rest scrolls
_LONG_WORD = 20
_BREAK = "\u200b"  # no width, but a line may end there


class Paragraph(QLabel):
    """A label that wraps at any width; its words can be selected and copied."""

    def __init__(self, parent: QWidget | None = None, *, bold: bool = False) -> None:
        super().__init__(parent)
        self.words = ""
        self.setWordWrap(True)
        self.setTextFormat(Qt.TextFormat.PlainText)  # a layer's name may look like HTML
        policy = QSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Preferred)
        policy.setHeightForWidth(True)
        self.setSizePolicy(policy)
        self.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        if bold:
            font = self.font()
            font.setBold(True)
            self.setFont(font)

    def minimumSizeHint(self) -> QSize:  # noqa: N802 - Qt's own name
        """Return one line: a layout asks for the height at the width that there is.

        Qt's own hint is the height at the width of the longest word, and that word's width: a dock could not be
        narrower, and a page would be longer than its words.
        """
        return QSize(1, self.fontMetrics().lineSpacing())

    def say(self, words: str) -> None:
        """Show other words; nothing is shown for none."""
        if words != self.words:
            self.words = words
            self.setText(_breakable(words))
        self.setVisible(bool(words))


class Lines(QWidget):
    """Some paragraphs under a heading."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.words: tuple[str, ...] = ()
        self._layout = QVBoxLayout(self)
        self._layout.setContentsMargins(0, 0, 0, 0)
        self._layout.setSpacing(3)
        self._parts = [Paragraph(bold=True)]
        self._layout.addWidget(self._parts[0])

    def say(self, words: Sequence[str], heading: str = "") -> None:
        """Show other paragraphs."""
        self.words = tuple(words)
        while len(self._parts) <= len(words):
            self._parts.append(Paragraph())
            self._layout.addWidget(self._parts[-1])
        for part, line in zip_longest(self._parts, (heading, *words), fillvalue=""):
            part.say(line)  # type: ignore[union-attr]


class Message(QWidget):
    """What went wrong, with an icon, or well."""

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
        size = self.fontMetrics().height() + 4
        style = self.style() or QApplication.style()
        if style is not None:
            self._icon.setPixmap(style.standardIcon(QStyle.StandardPixmap.SP_MessageBoxWarning).pixmap(size, size))
        self._icon.setVisible(warning)
        self.paragraph.say(words)
        self.setVisible(bool(words))


class ScrollingWords(QScrollArea):
    """Widgets below each other that scroll, so that the fields above stay in sight."""

    def __init__(self, parts: Sequence[QWidget], parent: QWidget | None = None) -> None:
        super().__init__(parent)
        page = QWidget()
        layout = QVBoxLayout(page)
        layout.setContentsMargins(0, 0, 4, 0)
        layout.setSpacing(10)
        for part in parts:
            layout.addWidget(part)
        layout.addStretch(1)
        self.setWidget(page)
        self.setWidgetResizable(True)
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setMinimumHeight(80)
        self.setMinimumWidth(1)


def without_options(words: str) -> str:
    """Leave out options of the command line, which a dock does not have: `` (--axes)``, ``--instance-labels; in the widget,``."""
    return re.sub(r" \(--[a-z-]+\)", "", re.sub(r"--[a-z-]+; in the widget, ", "", words))


def scrollable(widget: QWidget) -> QWidget:
    """Put the contents of a widget into a scroll area inside it, so that a dock may be lower than they are.

    Returns
    -------
    QWidget
        What has the layout now that the widget had.
    """
    page = QWidget()
    page.setLayout(widget.layout())  # Qt takes it from the widget
    area = QScrollArea()
    area.setWidget(page)
    area.setWidgetResizable(True)
    area.setFrameShape(QFrame.Shape.NoFrame)
    area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
    area.setMinimumHeight(_LEAST_HEIGHT)
    around = QVBoxLayout(widget)
    around.setContentsMargins(0, 0, 0, 0)
    around.addWidget(area)
    return page


def _breakable(words: str) -> str:
    """Let lines end inside of words that no narrow dock can hold, such as the names of files, and not inside of a size."""
    words = re.sub(r"(?<=\d) (?=[×µ]|px\b|[MG]B\b|s\b)|(?<=×) (?=\d)", "\u00a0", words)
    return re.sub(rf"\S{{{_LONG_WORD},}}", lambda word: re.sub(r"(.{8}|[_/.,\-](?=\w))", rf"\1{_BREAK}", word[0]), words)
