"""The image class in words, and its scores as bars in the theme's own colours."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from qtpy.QtCore import QEvent, QRectF, QSize, Qt
from qtpy.QtGui import QColor, QHelpEvent, QPainter, QPaintEvent
from qtpy.QtWidgets import QToolTip, QVBoxLayout, QWidget

from napari_resformer.images.words import percent
from napari_resformer.widgets.base.text import Paragraph
from napari_resformer.widgets.base.themed import Accented
from napari_resformer.widgets.results.result_layer import stored_result

_INDENT = 5  # pixels; as the words around


class ScoreBars(Accented):
    """One horizontal bar a class, largest first."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.scores: list[tuple[str, float]] = []

    def set_scores(self, scores: Sequence[tuple[str, float]]) -> None:
        """Show other scores, 0 to 1."""
        self.scores = sorted(scores, key=lambda pair: -pair[1])
        self.setAccessibleName("Scores")
        self.setAccessibleDescription(", ".join(f"{name} {percent(score)}" for name, score in self.scores))
        self.updateGeometry()
        self.update()

    def sizeHint(self) -> QSize:  # noqa: N802 - Qt's own name
        """Return room for all rows."""
        return QSize(120, self._row * len(self.scores))

    def minimumSizeHint(self) -> QSize:  # noqa: N802 - Qt's own name
        """Return the same height: bars are not squeezed, the panel scrolls."""
        return QSize(60, self.sizeHint().height())

    @property
    def _row(self) -> int:
        return self.fontMetrics().height() + 16

    def event(self, event: QEvent | None) -> bool:
        """Name the row under the mouse in full: long names are cut in the bar."""
        if isinstance(event, QHelpEvent) and event.type() == QEvent.Type.ToolTip:
            row = event.pos().y() // self._row
            if 0 <= row < len(self.scores):
                name, score = self.scores[row]
                QToolTip.showText(event.globalPos(), f"{name}: {score:.4f}", self)
                return True
        return bool(super().event(event))

    def paintEvent(self, event: QPaintEvent | None) -> None:  # noqa: ARG002, N802 - Qt's own name
        """Paint name, percentage and bar of each class."""
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        ink, accent = self.ink, self.accent
        groove, quiet = QColor(ink), QColor(accent)
        groove.setAlphaF(0.14)
        quiet.setAlphaF(0.6)
        metrics, width = self.fontMetrics(), self.width() - 2 * _INDENT
        painter.translate(_INDENT, 0)
        height, number = metrics.height(), metrics.horizontalAdvance("<99.9%") + 8
        for row, (name, score) in enumerate(self.scores):
            top = row * self._row
            painter.setPen(ink)
            middle = Qt.AlignmentFlag.AlignVCenter
            label = metrics.elidedText(readable(name), Qt.TextElideMode.ElideRight, width - number)
            painter.drawText(QRectF(0, top, width - number, height), middle | Qt.AlignmentFlag.AlignLeft, label)
            place = QRectF(width - number, top, number, height)
            painter.drawText(place, middle | Qt.AlignmentFlag.AlignRight, percent(score))
            painter.setPen(Qt.PenStyle.NoPen)
            painter.setBrush(groove)
            painter.drawRoundedRect(QRectF(0, top + height + 2, width, 6), 3, 3)
            painter.setBrush(quiet if row else accent)
            if score > 0:
                painter.drawRoundedRect(QRectF(0, top + height + 2, max(width * score, 3), 6), 3, 3)
        painter.end()


class ScorePanel(QWidget):
    """The image class, its scores, whose they are, and what must be said beside them."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.caption, self.headline, self.notice = Paragraph(), Paragraph(bold=True), Paragraph()
        self.bars = ScoreBars()
        font = self.headline.font()
        font.setPointSizeF(font.pointSizeF() * 1.25)
        self.headline.setFont(font)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(6)
        for part in (self.caption, self.headline, self.bars, self.notice):
            layout.addWidget(part)
        self.hide()

    def show_at(self, layer: Any, point: Sequence[float]) -> None:
        """Show the scores of the plane of a result that the viewer's sliders point at; nothing of a layer that has none."""
        stored = stored_result(layer)
        try:
            if stored is not None:
                self.show_plane(layer, stored, plane_index(layer, point))
        except (ValueError, TypeError, IndexError, KeyError):  # metadata that somebody changed
            self.clear()

    def show_plane(self, layer: Any, stored: dict[str, Any], index: tuple[int, ...]) -> None:
        """Show the scores of one plane of a result."""
        scores = np.asarray(stored["scores"], float)[index]
        classes = [str(name) for name in stored["classes"]]
        begin = dict(zip(stored["image"]["axes"], stored["image"].get("start") or (), strict=False))
        where = ", ".join(f"{axis} {step + begin.get(axis, 0)}" for axis, step in zip(stored["plane_axes"], index, strict=True))
        self.caption.say(f"{layer.name}" + (f", plane {where}" if where else ""))
        if not classes:
            self.headline.say("Mask only: this model has no image classes")
        else:
            best = int(scores.argmax())
            self.headline.say(f"Image class: {readable(classes[best])}, {percent(scores[best])}")
        self.bars.set_scores(list(zip(classes, map(float, scores), strict=True)))
        self.bars.setVisible(bool(classes))
        self.notice.say(str(stored.get("notice", "")))
        self.show()

    def clear(self) -> None:
        """Show nothing."""
        self.hide()
        for part in (self.caption, self.headline, self.notice):
            part.say("")
        self.bars.set_scores(())


def plane_index(layer: Any, point: Sequence[float]) -> tuple[int, ...]:
    """Return which plane of a result the viewer's sliders point at.

    Parameters
    ----------
    layer : napari.layers.Labels
        The result; it may be shifted or scaled against the sliders.
    point : sequence of float
        World coordinates of the sliders, ``viewer.dims.point``.

    Raises
    ------
    ValueError
        If the layer's metadata do not fit its data.
    """
    stored = stored_result(layer)
    if stored is None:
        raise ValueError(f"{layer.name} is no result of a prediction")
    axes = str(stored["image"]["axes"])
    if len(axes) != layer.ndim:
        axes = axes.replace("C", "")
    shape = np.shape(stored["scores"])[:-1]
    if len(axes) != layer.ndim or len(shape) != len(stored["plane_axes"]) or len(point) < layer.ndim:
        raise ValueError(f"the metadata of {layer.name} do not fit its data")
    place = layer.world_to_data(point[-layer.ndim :])
    steps = [round(float(place[axes.index(axis)])) for axis in stored["plane_axes"]]
    return tuple(min(max(step, 0), size - 1) for step, size in zip(steps, shape, strict=True))


def readable(name: str) -> str:
    """Return a class name for the eye: labels.csv files often have underscores for blanks."""
    return name.replace("_", " ")
