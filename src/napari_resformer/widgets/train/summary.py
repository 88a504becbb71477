"""What came out of a training: figures in words, and which classes the network takes for which."""

from __future__ import annotations

from collections.abc import Sequence

from qtpy.QtCore import QEvent, QRectF, QSize, Qt, Signal  # type: ignore[attr-defined]
from qtpy.QtGui import QColor, QHelpEvent, QPainter, QPaintEvent
from qtpy.QtWidgets import QPushButton, QToolTip, QVBoxLayout, QWidget

from napari_resformer.widgets.base.text import Lines
from napari_resformer.widgets.base.themed import Accented

_CELL = 44  # pixels, at the most
_SPACE = 6


class ConfusionTable(Accented):
    """Images by true class (rows) and predicted class (columns), the more of a row the stronger the colour."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.classes: tuple[str, ...] = ()
        self.counts: tuple[tuple[int, ...], ...] = ()

    def show_counts(self, classes: Sequence[str], counts: Sequence[Sequence[int]]) -> None:
        """Show another table; nothing is shown for no class."""
        self.classes, self.counts = tuple(classes), tuple(tuple(row) for row in counts)
        self.setAccessibleName("Confusion table")
        self.setAccessibleDescription("; ".join(self._words(row) for row in range(len(self.counts))))
        self.setVisible(bool(self.classes))
        self.updateGeometry()
        self.update()

    def sizeHint(self) -> QSize:  # noqa: N802 - Qt's own name
        """Return room for all rows and the heading."""
        return QSize(200, self._row * (len(self.classes) + 2) if self.classes else 0)

    def minimumSizeHint(self) -> QSize:  # noqa: N802 - Qt's own name
        """Return the same height; the panel scrolls."""
        return QSize(100, self.sizeHint().height())

    @property
    def _row(self) -> int:
        return self.fontMetrics().height() + _SPACE

    def _sides(self) -> tuple[float, float]:
        """Return where the cells begin, and how wide each is."""
        names = max(
            (self.fontMetrics().horizontalAdvance(f"{number} {name}") for number, name in enumerate(self.classes, 1)), default=0
        )
        widest = max((self.fontMetrics().horizontalAdvance(str(count)) for row in self.counts for count in row), default=0)
        cells = max(len(self.classes), 1)
        room = self.width() - min(names + 12, self.width() * 0.6)
        cell = min(max(min(room / cells, _CELL), widest + 8), self.width() / (cells + 1))
        return self.width() - cell * cells, cell

    def event(self, event: QEvent | None) -> bool:
        """Tell in words what the row under the mouse says."""
        if isinstance(event, QHelpEvent) and event.type() == QEvent.Type.ToolTip:
            row = event.pos().y() // self._row - 2
            if 0 <= row < len(self.counts):
                QToolTip.showText(event.globalPos(), self._words(row), self)
                return True
        return bool(super().event(event))

    def paintEvent(self, event: QPaintEvent | None) -> None:  # noqa: ARG002, N802 - Qt's own name
        """Paint numbers as headings of the columns, since names would not fit, and a cell for each pair of classes."""
        painter = QPainter(self)
        ink, accent = self.ink, self.accent
        start, cell = self._sides()
        metrics, height = self.fontMetrics(), self._row
        centre, middle = Qt.AlignmentFlag.AlignCenter, Qt.AlignmentFlag.AlignVCenter
        left, right = Qt.AlignmentFlag.AlignLeft | middle, Qt.AlignmentFlag.AlignRight | middle
        painter.setPen(ink)
        painter.drawText(
            QRectF(0, 0, start - 4, height), left, metrics.elidedText("true class", Qt.TextElideMode.ElideRight, int(start) - 4)
        )
        painter.drawText(QRectF(start - 60, 0, self.width() - start + 58, height), right, "predicted as")
        for number in range(len(self.classes)):
            painter.drawText(QRectF(start + number * cell, height, cell, height), centre, str(number + 1))
        for row, (name, counts) in enumerate(zip(self.classes, self.counts, strict=True)):
            top = (row + 2) * height
            label = metrics.elidedText(f"{row + 1} {name}", Qt.TextElideMode.ElideMiddle, max(int(start) - 6, 10))
            painter.setPen(ink)
            painter.drawText(QRectF(0, top, start - 4, height), left, label)
            for column, count in enumerate(counts):
                shade = QColor(accent)
                shade.setAlphaF(0.06 + 0.64 * (count / max(sum(counts), 1)))
                box = QRectF(start + column * cell, top, cell - 2, height - 2)
                painter.fillRect(box, shade)
                painter.drawText(box, centre, str(count))
        painter.end()

    def _words(self, row: int) -> str:
        counts = [f"{count} as {name}" for name, count in zip(self.classes, self.counts[row], strict=True) if count]
        return f"{self.classes[row]}: {', '.join(counts) or 'no image'}"


class Summary(QWidget):
    """The figures of a finished training, and the way to use its model.

    Attributes
    ----------
    open_pressed : Signal
        The user wants the model in Segment & Classify.
    """

    open_pressed = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.lines, self.confusion, self.small_print = Lines(), ConfusionTable(), Lines()
        self.open = QPushButton("Open in Segment && Classify")
        self.open.setToolTip("Choose the new model in the widget Segment & Classify")
        self.open.clicked.connect(self.open_pressed)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(6)
        for part in (self.lines, self.confusion, self.open, self.small_print):
            layout.addWidget(part)
        self.hide()

    @property
    def words(self) -> str:
        """All that is said, in lines."""
        return "\n".join((*self.lines.words, *self.small_print.words))

    def show_result(
        self,
        heading: str,
        lines: Sequence[str],
        small_print: Sequence[str],
        classes: Sequence[str],
        counts: Sequence[Sequence[int]],
    ) -> None:
        """Show the figures of a finished training."""
        self.lines.say(lines, heading)
        self.small_print.say(small_print)
        self.confusion.show_counts(classes, counts)
        self.show()

    def clear(self) -> None:
        """Show nothing."""
        self.hide()
        self.lines.say(())
        self.small_print.say(())
        self.confusion.show_counts((), ())
