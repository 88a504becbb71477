"""Loss, Dice and accuracy over the epochs of a training, painted in the theme's own colours."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite

from qtpy.QtCore import QEvent, QPointF, QRectF, QSize, Qt
from qtpy.QtGui import QColor, QFontMetricsF, QHelpEvent, QPainter, QPaintEvent, QPalette, QPen, QPolygonF
from qtpy.QtWidgets import QSizePolicy, QToolTip, QWidget

from napari_resformer.training.history import EpochPoint, Value
from napari_resformer.training.ticks import round_axis, tick_words

_DARK, _LIGHT = ("#5ad1ff", "#ffb454"), ("#0b6fb3", "#b35300")  # training, validation; told apart by the colour-blind too
_PANEL = 76  # pixels, with the room for its heading
_GAP = 8
_STEPS = 2  # between round numbers on the axis of a chart


class Curves(QWidget):
    """Three small charts above each other, with one legend."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.points: tuple[EpochPoint, ...] = ()
        self._epochs = 1
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setAccessibleName("Training curves")
        self.hide()

    def show_points(self, points: Sequence[EpochPoint], epochs: int) -> None:
        """Show these epochs of so many; nothing is shown for none."""
        self.points, self._epochs = tuple(points), max(epochs, 1)
        self.setAccessibleDescription(self.words())
        self.updateGeometry()
        self.setVisible(bool(self.points))
        self.update()

    def words(self) -> str:
        """Tell the last epoch's figures."""
        if not self.points:
            return ""
        last = self.points[-1]
        figures = [f"{name}: {_pair(values)}" for name, values in self._charts(last)]
        return f"Epoch {last.epoch} of {self._epochs}. " + "; ".join(figures)

    def sizeHint(self) -> QSize:  # noqa: N802 - Qt's own name
        """Return room for the charts that have something to show."""
        charts = len(self._shown())
        line = self.fontMetrics().height()
        return QSize(280, 2 * line + 4 + charts * (_PANEL + line) if charts else 0)

    def minimumSizeHint(self) -> QSize:  # noqa: N802 - Qt's own name
        """Return the same height; the panel scrolls."""
        return QSize(120, self.sizeHint().height())

    def event(self, event: QEvent | None) -> bool:
        """Tell the figures of the epoch under the mouse."""
        if isinstance(event, QHelpEvent) and event.type() == QEvent.Type.ToolTip and self.points:
            left, right = self._sides()
            share = (event.pos().x() - left) / max(right - left, 1)
            wanted = 1 + share * (self._last_epoch() - 1)
            point = min(self.points, key=lambda point: abs(point.epoch - wanted))
            lines = [f"Epoch {point.epoch}"] + [f"{name}: {_pair(values)}" for name, values in self._charts(point)]
            QToolTip.showText(event.globalPos(), "\n".join(lines), self)
            return True
        return bool(super().event(event))

    def paintEvent(self, event: QPaintEvent | None) -> None:  # noqa: ARG002, N802 - Qt's own name
        """Paint legend, charts and the axis of epochs."""
        if not self.points:
            return
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        ink = self.palette().color(QPalette.ColorRole.WindowText)
        colours = [QColor(name) for name in (_DARK if ink.lightnessF() > 0.5 else _LIGHT)]
        line = self.fontMetrics().height()
        left, right = self._sides()
        self._paint_legend(painter, colours, ink, left)
        top = line + 4.0
        for title, values in self._shown():
            painter.setPen(ink)
            painter.drawText(QRectF(left, top, right - left, line), Qt.AlignmentFlag.AlignLeft, title)
            self._paint_chart(painter, QRectF(left, top + line + 2, right - left, _PANEL - _GAP - 2), values, colours, ink)
            top += _PANEL + line
        self._paint_epochs(painter, QRectF(left, top - _GAP + 2, right - left, line), ink)
        painter.end()

    # ------------------------------------------------------------------------------------------------------- the parts
    def _charts(self, point: EpochPoint) -> list[tuple[str, tuple[Value, Value]]]:
        charts = [("Loss", point.loss), ("Dice", point.dice), ("Accuracy", point.accuracy)]
        return [(name, values) for name, values in charts if values != (None, None)]

    def _shown(self) -> list[tuple[str, list[tuple[Value, Value]]]]:
        """Return the charts with a value in some epoch."""
        charts = (
            ("Loss", [point.loss for point in self.points]),
            ("Dice of the masks", [point.dice for point in self.points]),
            ("Accuracy of the classes", [point.accuracy for point in self.points]),
        )
        return [(title, values) for title, values in charts if any(value is not None for pair in values for value in pair)]

    def _last_epoch(self) -> int:
        return max(self._epochs, self.points[-1].epoch if self.points else 1, 2)

    def _sides(self) -> tuple[float, float]:
        return QFontMetricsF(self.font()).horizontalAdvance("0.00") + 10.0, self.width() - 10.0

    def _x(self, epoch: float, area: QRectF) -> float:
        return area.left() + (epoch - 1) / (self._last_epoch() - 1) * area.width()

    def _paint_legend(self, painter: QPainter, colours: Sequence[QColor], ink: QColor, left: float) -> None:
        metrics = QFontMetricsF(self.font())
        x = left
        for name, colour, dashed in (("training", colours[0], True), ("validation", colours[1], False)):
            painter.setPen(_pen(colour, dashed=dashed))
            painter.drawLine(QPointF(x, metrics.height() / 2), QPointF(x + 18, metrics.height() / 2))
            painter.setPen(ink)
            painter.drawText(QPointF(x + 24, metrics.ascent()), name)
            x += 24 + metrics.horizontalAdvance(name) + 14

    def _paint_chart(
        self, painter: QPainter, area: QRectF, values: list[tuple[Value, Value]], colours: Sequence[QColor], ink: QColor
    ) -> None:
        known = [value for pair in values for value in pair if value is not None and isfinite(value)]
        marks = round_axis(known, _STEPS)
        low, high = marks[0], marks[-1]
        grid, quiet = QColor(ink), QColor(ink)
        grid.setAlphaF(0.16)
        quiet.setAlphaF(0.85)

        def y(value: float) -> float:
            return area.bottom() - (value - low) / (high - low) * area.height()

        metrics = QFontMetricsF(self.font())
        for tick in marks:
            painter.setPen(QPen(grid, 1))
            painter.drawLine(QPointF(area.left(), y(tick)), QPointF(area.right(), y(tick)))
            painter.setPen(quiet)
            words = tick_words(tick, marks)
            painter.drawText(
                QPointF(area.left() - metrics.horizontalAdvance(words) - 5, y(tick) + metrics.ascent() / 2 - 1), words
            )
        for number, colour in enumerate(colours):
            places = [
                QPointF(self._x(point.epoch, area), y(value))
                for point, pair in zip(self.points, values, strict=True)
                if (value := pair[number]) is not None and isfinite(value)
            ]
            painter.setPen(_pen(colour, dashed=number == 0))
            painter.setBrush(Qt.BrushStyle.NoBrush)
            painter.drawPolyline(QPolygonF(places))
            if len(places) == 1:
                painter.setBrush(colour)
                painter.drawEllipse(places[0], 2.0, 2.0)
            if number == 1:
                self._paint_best(painter, area, values, colour, y)

    def _paint_best(self, painter: QPainter, area: QRectF, values: list[tuple[Value, Value]], colour: QColor, y: object) -> None:
        """Mark the best epoch on the curve of the validation."""
        best = [(point.epoch, pair[1]) for point, pair in zip(self.points, values, strict=True) if point.best]
        if best and best[-1][1] is not None and isfinite(best[-1][1]) and callable(y):
            painter.setPen(Qt.PenStyle.NoPen)
            painter.setBrush(colour)
            painter.drawEllipse(QPointF(self._x(best[-1][0], area), y(best[-1][1])), 4.0, 4.0)

    def _paint_epochs(self, painter: QPainter, area: QRectF, ink: QColor) -> None:
        painter.setPen(ink)
        metrics = QFontMetricsF(self.font())
        last = self._last_epoch()
        for epoch, align in ((1, 0.0), (last, 1.0)):
            words = str(epoch)
            painter.drawText(
                QPointF(self._x(epoch, area) - align * metrics.horizontalAdvance(words), area.top() + metrics.ascent()), words
            )
        words = "epoch (dot: the best)" if area.width() > 200 else "epoch"
        painter.drawText(area, Qt.AlignmentFlag.AlignHCenter | Qt.AlignmentFlag.AlignTop, words)


def _pen(colour: QColor, *, dashed: bool) -> QPen:
    pen = QPen(colour, 2.0)
    if dashed:  # not by the colour alone
        pen.setDashPattern([3.0, 2.0])
    return pen


def _pair(values: tuple[Value, Value]) -> str:
    parts = [f"{value:.3f} {name}" for value, name in zip(values, ("training", "validation"), strict=True) if value is not None]
    return ", ".join(parts)
