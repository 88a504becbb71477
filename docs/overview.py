"""Make the picture at the head of the README: three images, each with its mask and its class.

    python docs/overview.py --data FOLDER

FOLDER is the 2018 Data Science Bowl as a data folder (CC0); the third image is one that scikit-image ships.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Picture
from PIL import ImageDraw, ImageFont

import napari_resformer as nr
from napari_resformer.demo import ZOOMS, demo_image, outlined
from napari_resformer.images.words import percent
from napari_resformer.io.read import read_image

TARGET = Path(__file__).parent / "images" / "overview.png"
SIDE, GAP, TEXT = 258, 18, 92


def main() -> None:
    """Write the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    options = parser.parse_args()
    with (options.data / "labels.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["fold"] == "0"]
    cases: list[tuple[NDArray[Any], str, str, float | None]] = []
    for kind in ("fluorescence", "histology"):
        name = next(row["filename"] for row in rows if row["class"] == kind)
        cases.append((np.asarray(read_image(options.data / "images" / name).data), "nuclei", kind, None))
    cases.append((demo_image(), "colon-biopsy", "immunohistochemistry", ZOOMS["colon-biopsy"]))

    sheet = Picture.new("RGB", (3 * SIDE + 4 * GAP, 2 * SIDE + 3 * GAP + TEXT), (255, 255, 255))
    draw = ImageDraw.Draw(sheet)
    bold, plain = ImageFont.load_default(16), ImageFont.load_default(13)
    for column, (image, model, kind, zoom) in enumerate(cases):
        result = nr.predict(nr.load_model(model), image, axes="YX" if image.ndim == 2 else "YXC", zoom=zoom)
        shown = stretched(image)
        left = GAP + column * (SIDE + GAP)
        sheet.paste(square(shown), (left, GAP))
        sheet.paste(square(outlined(shown, np.asarray(result.mask))), (left, 2 * GAP + SIDE))
        top = 3 * GAP + 2 * SIDE
        draw.text(
            (left, top - 6), f"{result.predicted.replace('_', ' ')}  {percent(float(result.scores.max()))}", (20, 20, 20), bold
        )
        draw.text((left, top + 18), f"model {model}" + (f", zoom {zoom}" if zoom else ""), (90, 90, 90), plain)
        draw.text((left, top + 36), f"mask: {', '.join(result.mask_classes)}", (90, 90, 90), plain)
        draw.text((left, top + 54), f"image: {kind}, not trained on", (90, 90, 90), plain)
    sheet.quantize(256, dither=Picture.Dither.NONE).save(TARGET, optimize=True)  # a third of the size
    print(TARGET)


def stretched(image: NDArray[Any]) -> NDArray[np.uint8]:
    """Return an image as RGB, gray from its darkest to its brightest percent."""
    if image.ndim == 3:
        return image[..., :3].astype(np.uint8)
    low, high = np.percentile(image, (0.5, 99.5))
    gray = (np.clip((image - low) / max(high - low, 1), 0, 1) * 255).astype(np.uint8)
    return np.repeat(gray[..., np.newaxis], 3, axis=-1)


def square(image: NDArray[np.uint8]) -> Picture.Image:
    """Return the middle square at the picture's size."""
    side = min(image.shape[:2])
    top, left = ((length - side) // 2 for length in image.shape[:2])
    return Picture.fromarray(image[top : top + side, left : left + side]).resize((SIDE, SIDE), Picture.Resampling.LANCZOS)


if __name__ == "__main__":
    main()
