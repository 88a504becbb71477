"""How well answers survive another stain, lamp, camera or zoom: ``python benchmarks/robustness.py DATA --models A,B --folds 0``.

Twelve changes, each at three strengths, are made to test images (and to their masks, where the change moves pixels). Each model
is evaluated on the changed images through the public door, and the table says how far Dice and balanced accuracy fall. The last
lines are the means over all changes. Random parts of a change are drawn from the image's number, so that all models see the
same images.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage
from skimage.color import hed2rgb, rgb2gray, rgb2hed

import napari_resformer as nr
from napari_resformer.samples.folder import read_folder
from napari_resformer.samples.split import select_folds

Pixels = NDArray[np.float64]  # (H, W, 3), 0 to 1
Test = tuple[str, str, str, NDArray[np.uint8], NDArray[np.int64] | None]  # name, class, group, pixels, mask
STRENGTHS = ("weak", "middle", "strong")


def darker(image: Pixels, strength: float, _random: np.random.Generator) -> Pixels:
    """Less light, without a camera that makes up for it."""
    return image * (1 - strength)


def gamma(image: Pixels, strength: float, random: np.random.Generator) -> Pixels:
    """Another display curve."""
    return image ** (np.exp(strength) if random.random() < 0.5 else np.exp(-strength))


def haze(image: Pixels, strength: float, _random: np.random.Generator) -> Pixels:
    """Stray light: contrast is lost towards white."""
    return image * (1 - strength) + strength


def white_balance(image: Pixels, strength: float, random: np.random.Generator) -> Pixels:
    """Another color temperature: red and blue change against each other."""
    sign = 1 if random.random() < 0.5 else -1
    return image * np.exp(sign * strength * np.array([-0.5, 0.0, 0.5]))


def saturation(image: Pixels, strength: float, _random: np.random.Generator) -> Pixels:
    """Paler colors."""
    gray = rgb2gray(image)[..., None]
    return gray + (image - gray) * (1 - strength)


def stain(image: Pixels, strength: float, random: np.random.Generator) -> Pixels:
    """Hematoxylin and eosin of other strengths (optical densities)."""
    factors = np.exp(strength * random.choice([-1, 1], size=3))
    return np.asarray(hed2rgb(rgb2hed(image.clip(0, 1)) * factors), float)


def shading(image: Pixels, strength: float, random: np.random.Generator) -> Pixels:
    """Uneven illumination from one side to the other."""
    height, width = image.shape[:2]
    angle = random.uniform(0, 2 * np.pi)
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    return image * (1 + strength * (np.cos(angle) * x + np.sin(angle) * y))[..., None]


def blur(image: Pixels, strength: float, _random: np.random.Generator) -> Pixels:
    """Out of focus: a Gaussian of so many pixels."""
    return ndimage.gaussian_filter(image, (strength, strength, 0))


def noise(image: Pixels, strength: float, random: np.random.Generator) -> Pixels:
    """A noisy camera."""
    return image + random.normal(0, strength, image.shape)


def compression(image: Pixels, strength: float, _random: np.random.Generator) -> Pixels:
    """JPEG of a quality of ``100 - strength``."""
    stream = io.BytesIO()
    Image.fromarray(to_bytes(image)).save(stream, "JPEG", quality=int(100 - strength))
    return np.asarray(Image.open(stream), float) / 255


def coarser(image: Pixels, strength: float, _random: np.random.Generator) -> Pixels:
    """A camera with fewer pixels, scaled up again."""
    height, width = image.shape[:2]
    small = Image.fromarray(to_bytes(image)).resize((round(width / strength), round(height / strength)), Image.Resampling.BOX)
    return np.asarray(small.resize((width, height), Image.Resampling.BICUBIC), float) / 255


def same(image: Pixels, _strength: float, _random: np.random.Generator) -> Pixels:
    """Nothing."""
    return image


CHANGES: dict[str, tuple[Callable[[Pixels, float, np.random.Generator], Pixels], tuple[float, float, float]]] = {
    "darker": (darker, (0.2, 0.4, 0.6)),
    "gamma": (gamma, (0.2, 0.4, 0.7)),
    "haze": (haze, (0.15, 0.3, 0.5)),
    "white balance": (white_balance, (0.15, 0.3, 0.6)),
    "saturation": (saturation, (0.25, 0.5, 0.8)),
    "stain": (stain, (0.15, 0.3, 0.6)),
    "shading": (shading, (0.15, 0.3, 0.5)),
    "blur": (blur, (0.7, 1.3, 2.0)),
    "noise": (noise, (0.02, 0.05, 0.1)),
    "compression": (compression, (50, 75, 90)),
    "coarser": (coarser, (1.5, 2.0, 3.0)),
    "zoom": (same, (1.2, 1.5, 2.0)),
}
"""Each change with its three strengths; the zoom is made to image and mask alike, see :func:`zoomed`."""


def main() -> None:
    """Print a table for each model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--models", required=True, help="names or paths, separated by commas")
    parser.add_argument("--folds", required=True, help="test folds, which none of the models was trained on")
    parser.add_argument("--changes", default=",".join(CHANGES))
    parser.add_argument("--strengths", default=",".join(STRENGTHS))
    parser.add_argument("--most", type=int, default=120, help="images at most, spread over the folds")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--json", type=Path, help="write all figures here too")
    options = parser.parse_args()
    strengths = options.strengths.split(",")
    images = read_images(options.data, options.folds.split(","), options.most)
    models = {name: nr.load_model(name) for name in options.models.split(",")}
    found: dict[str, dict[str, tuple[float | None, float | None]]] = {name: {} for name in models}
    conditions = ["none", *(f"{change}, {strength}" for change in options.changes.split(",") for strength in strengths)]
    for condition in conditions:
        with tempfile.TemporaryDirectory() as folder:
            write_changed(Path(folder), images, condition)
            for name, model in models.items():
                found[name][condition] = figures(model, Path(folder), options.device)
        print(f"{condition:24} " + "   ".join(show(found[name], condition) for name in models), flush=True)
    for strength in strengths:
        falls = [f"{mean_fall(found[name], strength, 0):6.4f} {mean_fall(found[name], strength, 1):6.3f}" for name in models]
        print(f"mean fall, {strength:13} " + "   ".join(fall.rjust(31) for fall in falls))
    if options.json:
        options.json.write_text(json.dumps(found, indent=1), encoding="utf-8")


def read_images(
    data: Path, folds: list[str], most: int
) -> list[tuple[str, str, str, NDArray[np.uint8], NDArray[np.int64] | None]]:
    """Return name, class, group, pixels and mask of the test images."""
    samples = select_folds(read_folder(data), folds).samples
    chosen = samples[:: -(-len(samples) // most)]
    images = []
    for sample in chosen:
        plane = sample.plane()
        pixels = plane.read()  # (C, H, W)
        rgb = np.moveaxis(np.broadcast_to(pixels, (3, *pixels.shape[1:])) if len(pixels) == 1 else pixels[:3], 0, -1)
        mask = sample.mask()
        images.append(
            (sample.name, sample.image_class or "", sample.group, np.ascontiguousarray(rgb, np.uint8),
             None if mask is None else mask.astype(np.int64))
        )  # fmt: skip
    return images


def write_changed(folder: Path, images: list[Test], condition: str) -> None:
    """Write a data folder of changed images."""
    (folder / "images").mkdir()
    (folder / "masks").mkdir()
    change, _, strength = condition.partition(", ")
    function, amounts = CHANGES.get(change, (same, (0.0, 0.0, 0.0)))
    amount = amounts[STRENGTHS.index(strength)] if strength else 0.0
    rows = []
    for number, (_, image_class, group, pixels, mask) in enumerate(images):
        changed = to_bytes(function(pixels / 255, amount, np.random.default_rng(number)))
        truth = None if mask is None else mask.astype(np.uint8)
        if change == "zoom":
            changed, truth = zoomed(changed, truth, amount if number % 2 else 1 / amount)
        Image.fromarray(changed).save(folder / "images" / f"{number}.png")
        if truth is not None:
            Image.fromarray(truth).save(folder / "masks" / f"{number}.png")
        rows.append((f"{number}.png", image_class, group))
    with (folder / "labels.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("filename", "class", "group"), *rows])


def zoomed(
    pixels: NDArray[np.uint8], mask: NDArray[np.uint8] | None, factor: float
) -> tuple[NDArray[np.uint8], NDArray[np.uint8] | None]:
    """Scale an image and its mask: objects become larger or smaller on the camera."""
    height, width = pixels.shape[:2]
    size = max(round(width * factor), 32), max(round(height * factor), 32)
    image = np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC if factor > 1 else Image.Resampling.BOX))
    return image, None if mask is None else np.asarray(Image.fromarray(mask).resize(size, Image.Resampling.NEAREST))


def figures(model: nr.Model, folder: Path, device: str) -> tuple[float | None, float | None]:
    """Return mean Dice and balanced accuracy."""
    report = nr.evaluate(model, folder, device=device, mask_kind="classes")
    return report.mask_mean.dice, report.image_class.balanced_accuracy if report.image_class else None


def show(found: dict[str, tuple[float | None, float | None]], condition: str) -> str:
    """Put the figures of a condition, and how far they fell, into a cell."""
    parts = []
    for place in (0, 1):
        value, before = found[condition][place], found["none"][place]
        if value is None or before is None:
            parts.append(" " * 15)
        else:
            parts.append(f"{value:6.4f} {value - before:+7.4f} ")
    return " ".join(parts)


def mean_fall(found: dict[str, tuple[float | None, float | None]], strength: str, place: int) -> float:
    """Return how far a figure falls on the mean over the changes of a strength; nan where it is not known."""
    before = found["none"][place]
    values = [value[place] for name, value in found.items() if name.endswith(f", {strength}")]
    if before is None or not values:
        return float("nan")
    return float(before - np.mean([value for value in values if value is not None]))


def to_bytes(image: Pixels) -> NDArray[np.uint8]:
    return (image.clip(0, 1) * 255).round().astype(np.uint8)


if __name__ == "__main__":
    main()
