"""The metrics of a run as a picture: loss, Dice and accuracy of training and validation over the epochs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from napari_resformer.io.atomic import atomic_write
from napari_resformer.training.ticks import ticks

_FINE = 2  # drawn so many times larger and shrunk at the end, for smooth lines
_PANEL = (560 * _FINE, 400 * _FINE)
_PLOT = (64 * _FINE, 44 * _FINE, 540 * _FINE, 336 * _FINE)  # left, top, right, bottom of the axes in a panel
_FONT_SIZE = 15 * _FINE
_INK, _GRID, _PAPER = (40, 40, 40), (225, 225, 225), (255, 255, 255)
# Okabe and Ito's colours, which colour-blind readers tell apart
_TRAINING, _VALIDATION, _BEST = (230, 159, 0), (0, 114, 178), (0, 158, 115)

_PANELS = (
    ("Loss", "train_loss", "loss", False),
    ("Dice", "train_dice", "dice", True),
    ("Accuracy", "train_accuracy", "accuracy", True),
)

Points = list[tuple[float, float]]


def draw_curves(history: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Draw the history of a run as PNG; a figure that was never measured has no panel.

    Parameters
    ----------
    history : sequence of mapping
        One entry for each epoch, as in ``metrics.csv``.
    path : Path
        Where the picture goes.
    """
    panels = [panel for panel in _PANELS if any(row.get(key) is not None for row in history for key in panel[1:3])]
    picture = Image.new("RGB", (_PANEL[0] * max(len(panels), 1), _PANEL[1]), _PAPER)
    best = next((row["epoch"] for row in reversed(history) if row.get("best")), None)
    for place, panel in enumerate(panels):
        picture.paste(_draw_panel(history, *panel, best), (place * _PANEL[0], 0))
    picture = picture.resize((picture.width // _FINE, picture.height // _FINE), Image.Resampling.LANCZOS)
    with atomic_write(path) as file:
        picture.save(file, format="PNG")


def _draw_panel(
    history: Sequence[Mapping[str, Any]], title: str, training: str, validation: str, share: bool, best: int | None
) -> Image.Image:
    panel = Image.new("RGB", _PANEL, _PAPER)
    pen = ImageDraw.Draw(panel)
    font = ImageFont.load_default(size=_FONT_SIZE)
    left, top, right, bottom = _PLOT
    curves = [(_points(history, training), _TRAINING, "training"), (_points(history, validation), _VALIDATION, "validation")]
    values = [y for points, _, _ in curves for _, y in points]
    low, high = _limits(values, share)
    epochs = max(*(row["epoch"] for row in history), 2)

    def place(x: float, y: float) -> tuple[float, float]:
        return left + (x - 1) / (epochs - 1) * (right - left), bottom - (y - low) / (high - low) * (bottom - top)

    pen.text((left, 12 * _FINE), title, fill=_INK, font=font)
    for value in ticks(low, high):
        y = place(1, value)[1]
        pen.line((left, y, right, y), fill=_GRID, width=_FINE)
        pen.text((left - 8 * _FINE, y), f"{value:g}", fill=_INK, font=font, anchor="rm")
    for value in ticks(1, epochs):
        if value == int(value) and value >= 1:
            x = place(value, low)[0]
            pen.line((x, bottom, x, bottom + 5 * _FINE), fill=_INK, width=_FINE)
            pen.text((x, bottom + 8 * _FINE), f"{value:g}", fill=_INK, font=font, anchor="mt")
    pen.text((right, bottom + 34 * _FINE), "epoch", fill=_INK, font=font, anchor="rt")
    if best is not None:
        x = place(best, low)[0]
        pen.line((x, top, x, bottom), fill=_BEST, width=_FINE)
    pen.line((left, top, left, bottom, right, bottom), fill=_INK, width=_FINE)
    legend = float(right)
    for points, colour, label in reversed(curves):
        if points:
            _draw_line(pen, [place(x, y) for x, y in points], colour)
            legend -= pen.textlength(label, font=font)
            pen.text((legend, 12 * _FINE), label, fill=colour, font=font)
            legend -= 16 * _FINE
    if best is not None:
        label = f"best: epoch {best}"
        pen.text((legend - pen.textlength(label, font=font), 12 * _FINE), label, fill=_BEST, font=font)
    return panel


def _draw_line(pen: ImageDraw.ImageDraw, points: Points, colour: tuple[int, int, int]) -> None:
    if len(points) > 1:
        pen.line(points, fill=colour, width=3 * _FINE, joint="curve")
    else:
        (x, y), radius = points[0], 4 * _FINE
        pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)


def _points(history: Sequence[Mapping[str, Any]], key: str) -> Points:
    return [(row["epoch"], row[key]) for row in history if row.get(key) is not None and math.isfinite(row[key])]


def _limits(values: Sequence[float], share: bool) -> tuple[float, float]:
    low, high = min(values, default=0.0), max(values, default=1.0)
    if share:  # to 1, so that what is missing is seen; from where there is something to see
        return min(math.floor(low * 10) / 10, 0.9), 1.0
    return min(low, 0.0), high + 0.05 * max(high - low, 1e-3)
