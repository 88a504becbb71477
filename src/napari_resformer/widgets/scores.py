"""The image class in words, and the scores as bars in the theme's own colours."""

from __future__ import annotations

from qtpy.QtCore import QRectF, QSize, Qt
from qtpy.QtGui import QPainter, QPalette
from qtpy.QtWidgets import QLabel, QSizePolicy, QVBoxLayout, QWidget


class ScoreBars(QWidget):
    """One horizontal bar a class, largest first."""

    _ROW = 34

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._scores: list[tuple[str, float]] = []
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)

    def set_scores(self, scores: dict[str, float]) -> None:
        """Show other scores, 0 to 1."""
        self._scores = sorted(scores.items(), key=lambda pair: -pair[1])
        self.setToolTip("\n".join(f"{name}: {score:.2%}" for name, score in self._scores))
        self.setFixedHeight(self._ROW * len(self._scores))
        self.update()

    def sizeHint(self) -> QSize:  # noqa: N802 - Qt's own name
        return QSize(200, self._ROW * len(self._scores))

    def paintEvent(self, event: object) -> None:  # noqa: ARG002, N802 - Qt's own name
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        ink = self.palette().color(QPalette.ColorRole.WindowText)
        accent = self.palette().color(QPalette.ColorRole.Highlight)
        groove = self.palette().color(QPalette.ColorRole.WindowText)
        groove.setAlphaF(0.15)
        for row, (name, score) in enumerate(self._scores):
            top = row * self._ROW
            text = painter.fontMetrics().elidedText(name, Qt.TextElideMode.ElideRight, self.width() - 64)
            painter.setPen(ink)
            painter.drawText(QRectF(0, top, self.width() - 60, 20), Qt.AlignmentFlag.AlignVCenter, text)
            percent = QRectF(self.width() - 60, top, 58, 20)
            painter.drawText(percent, Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter, f"{score:.1%}")
            painter.setPen(Qt.PenStyle.NoPen)
            painter.setBrush(groove)
            painter.drawRoundedRect(QRectF(0, top + 21, self.width() - 2, 7), 3, 3)
            painter.setBrush(accent)
            painter.drawRoundedRect(QRectF(0, top + 21, max((self.width() - 2) * score, 2), 7), 3, 3)
        painter.end()


class ScorePanel(QWidget):
    """The predicted class, its scores, and what must be said beside them."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.headline, self.notice, self.bars = QLabel(), QLabel(), ScoreBars()
        for label in (self.headline, self.notice):
            label.setWordWrap(True)
        font = self.headline.font()
        font.setBold(True)
        self.headline.setFont(font)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        for part in (self.headline, self.bars, self.notice):
            layout.addWidget(part)
        self.hide()

    def show_scores(self, headline: str, scores: dict[str, float], notice: str) -> None:
        """Show the answer for one plane."""
        self.headline.setText(headline)
        self.notice.setText(notice)
        self.notice.setVisible(bool(notice))
        self.bars.set_scores(scores)
        self.show()
