"""The main job on a real image that scikit-image ships: in napari, or as a picture where there is no display."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_resformer.images.words import percent, share, size_words
from napari_resformer.io.atomic import atomic_write

if TYPE_CHECKING:
    from napari_resformer.model.file import Model
    from napari_resformer.prediction.result import PredictResult

# The sample states no pixel size. Chosen by eye: its glands are several times as large, in pixels, as those that the model knows.
ZOOMS = {"nuclei": 1.6, "colon-biopsy": 0.28}
_MARGIN, _BAR, _LINE = 16, 260, 22
_PAPER, _INK, _FAINT, _ACCENT = (255, 255, 255), (30, 30, 30), (225, 228, 232), (0, 114, 178)
_COLOURS = np.array([(230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66), (213, 94, 0)], np.float32)


def demo_image() -> NDArray[np.uint8]:
    """Return scikit-image's immunohistochemistry image: colonic glands, DAB and haematoxylin, (512, 512, 3)."""
    from skimage.data import immunohistochemistry

    return np.asarray(immunohistochemistry())


def has_display() -> bool:
    """Tell whether a window can be opened."""
    if sys.platform.startswith("linux"):
        return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
    return True


def show_demo(name: str, device: str) -> None:
    """Open napari with the image, the widget and its answer; returns when the window is closed.

    Parameters
    ----------
    name : str
        A model of the library; the widget offers no others.
    device : str
        One of the widget's devices.

    Raises
    ------
    ValueError
        If napari is not installed, or the widget has no such model or device.
    """
    try:
        import napari  # noqa: TID251 - only where a display is there
    except ImportError as error:
        raise ValueError(
            "the demo opens napari, which is not installed: pip install 'napari-resformer[all]', or add -o demo.png"
        ) from error

    viewer = napari.Viewer()
    viewer.add_image(demo_image(), name="immunohistochemistry", rgb=True)
    _, widget = viewer.window.add_plugin_dock_widget("napari-resformer", "Segment & Classify")
    for field, value in ((widget.model, name), (widget.device, device)):
        if value not in field.choices:
            raise ValueError(
                f"the widget has no {field.name} {value!r}; choose one of {', '.join(field.choices)}, or add -o demo.png"
            )
        field.value = value
    widget.zoom.value = str(ZOOMS.get(name, ""))
    widget.run.changed.emit(True)
    napari.run()


def render_demo(model: Model, device: str, path: Path) -> PredictResult:
    """Predict the image and draw it beside its mask and scores.

    Parameters
    ----------
    model : Model
        What to predict with.
    device : str
        Where.
    path : Path
        The PNG to write; one that exists is replaced.
    """
    from napari_resformer.prediction.api import predict

    image = demo_image()
    result = predict(model, image, axes="YXC", device=device, zoom=ZOOMS.get(model.card.name))
    write_picture(image, result, model, path)
    return result


def write_picture(image: NDArray[np.uint8], result: PredictResult, model: Model, path: Path) -> None:
    """Draw an RGB image, its mask's outlines and its scores side by side into a PNG."""
    from PIL import Image as Picture
    from PIL import ImageDraw, ImageFont

    height, width = image.shape[:2]
    sheet = Picture.new("RGB", (2 * width + _BAR + 4 * _MARGIN, height + 2 * _MARGIN), _PAPER)
    sheet.paste(Picture.fromarray(image), (_MARGIN, _MARGIN))
    sheet.paste(Picture.fromarray(outlined(image, np.asarray(result.mask))), (width + 2 * _MARGIN, _MARGIN))
    draw, left, top = ImageDraw.Draw(sheet), 2 * width + 3 * _MARGIN, _MARGIN
    bold, plain, small = (ImageFont.load_default(size) for size in (18, 14, 11))
    draw.text((left, top), f"{model.card.name}: {result.predicted or 'mask only'}", _INK, bold)
    top += 2 * _LINE
    for name, score in sorted(zip(result.classes, result.scores, strict=True), key=lambda pair: -pair[1]):
        draw.text((left, top), name, _INK, plain)
        draw.text((left + _BAR, top), percent(float(score)), _INK, plain, anchor="ra")
        draw.rectangle((left, top + 20, left + _BAR, top + 28), _FAINT)
        draw.rectangle((left, top + 20, left + max(round(_BAR * float(score)), 1), top + 28), _ACCENT)
        top += 2 * _LINE
    for value, name in enumerate(result.mask_classes, start=1):
        painted = float((np.asarray(result.mask) == value).mean())
        draw.rectangle((left, top + 3, left + 12, top + 15), tuple(int(part) for part in _COLOURS[(value - 1) % 5]))
        draw.multiline_text((left + 20, top), _wrapped(f"{name}: {share(painted)} of the pixels", 34), _INK, plain)
        top += 2 * _LINE
    said = f"The network saw the image at {size_words(result.provenance['settings']['network_sees'])}. {model.card.notice}"
    draw.multiline_text((left, top + _LINE), _wrapped(said, 42), _INK, small)
    with atomic_write(path) as file:
        sheet.save(file, format="PNG")


def outlined(image: NDArray[np.uint8], mask: NDArray[Any]) -> NDArray[np.uint8]:
    """Return the image with each mask class tinted and outlined in its own colour."""
    from skimage.segmentation import find_boundaries

    drawn = image.astype(np.float32)
    colour = _COLOURS[(mask.astype(int) - 1) % len(_COLOURS)]
    inside = mask > 0
    drawn[inside] = 0.75 * drawn[inside] + 0.25 * colour[inside]
    edge = find_boundaries(mask, mode="inner")
    drawn[edge] = colour[edge]
    return drawn.astype(np.uint8)


def _wrapped(text: str, width: int) -> str:
    import textwrap

    return "\n".join(textwrap.wrap(text.replace("×", "x"), width))  # Pillow's own font has no such sign
