"""One random view of a sample: crop, rotation, zoom, flip and elastic bending in one interpolation, then intensities.

Plain tensor functions on whole arrays, since crop, rotation, zoom and bending cost one interpolation together; a chain of
MONAI's dictionary transforms makes one each, on a larger image.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from napari_resformer.network.config import BACKGROUND
from napari_resformer.training.settings import TrainSettings
from napari_resformer.training.stain import restain

_BENDS = 4  # control points of the elastic field on each side
_BEND_STRENGTH = 0.02  # standard deviation of a control point's shift, in sides of the view


def sampling_grid(generator: np.random.Generator, shape: tuple[int, int], settings: TrainSettings) -> Tensor:
    """Draw where each pixel of a view comes from.

    Parameters
    ----------
    generator : numpy.random.Generator
        The only source of randomness.
    shape : (int, int)
        Height and width of the plane, in pixels.
    settings : TrainSettings
        Size, mode, rotation and zoom.

    Returns
    -------
    Tensor
        (1, size, size, 2) for :func:`torch.nn.functional.grid_sample` with ``align_corners=False``.
    """
    height, width = shape
    zoom = _zoom(generator, *settings.zoom)
    turn = math.radians(generator.uniform(-settings.rotation, settings.rotation))
    flip = 1 if generator.random() < 0.5 else -1
    across = torch.arange(settings.crop_size, dtype=torch.float32) - (settings.crop_size - 1) / 2
    v, u = torch.meshgrid(across, flip * across, indexing="ij")
    if generator.random() < 0.5:
        shifts = generator.normal(0, _BEND_STRENGTH * settings.crop_size, (1, 2, _BENDS, _BENDS))
        side = settings.crop_size
        bend = functional.interpolate(_random(shifts), size=(side, side), mode="bicubic", align_corners=True)[0]
        u, v = u + bend[0], v + bend[1]
    x = (math.cos(turn) * u - math.sin(turn) * v) / zoom + _centre(generator, width, settings, zoom)
    y = (math.sin(turn) * u + math.cos(turn) * v) / zoom + _centre(generator, height, settings, zoom)
    return torch.stack([(2 * x + 1) / width - 1, (2 * y + 1) / height - 1], dim=-1)[None]


def _zoom(generator: np.random.Generator, smallest: float, largest: float) -> float:
    """Draw a zoom, most often one near 1; a wide range then costs little at the true size."""
    if smallest == largest:
        return smallest
    low, high = math.log(smallest), math.log(largest)
    return math.exp(generator.triangular(low, min(max(0.0, low), high), high))


def _centre(generator: np.random.Generator, side: int, settings: TrainSettings, zoom: float) -> float:
    """Draw a view's centre on one axis: a view smaller than the plane lies inside it, a larger one holds it.

    A plane that is smaller than the view lies anywhere in it, since prediction pads it at the bottom and the right only.
    """
    seen = settings.crop_size / zoom
    room = abs(side - seen) / 2
    if settings.mode == "resize":
        room = max(room, 0.05 * side)
    return (side - 1) / 2 + generator.uniform(-room, room)


def view(
    generator: np.random.Generator,
    image: NDArray[np.float32],
    mask: NDArray[np.uint8] | None,
    settings: TrainSettings,
) -> tuple[Tensor, Tensor | None, Tensor]:
    """Draw one augmented view of a plane as the network sees it, see :class:`~napari_resformer.training.loader.PlaneReader`.

    Parameters
    ----------
    generator : numpy.random.Generator
        The only source of randomness.
    image : ndarray
        (C, H, W), -1 to 1; in resize mode its longer side is ``settings.crop_size`` already.
    mask : ndarray, optional
        (H, W) class numbers.
    settings : TrainSettings
        What to draw from.

    Returns
    -------
    image : Tensor
        (C, size, size), -1 to 1.
    mask : Tensor or None
        (size, size), int64.
    valid : Tensor
        (1, size, size), 1 inside the plane; where the plane is continued by its mirror image, all is valid.
    """
    grid = sampling_grid(generator, image.shape[1:], settings)  # type: ignore[arg-type]
    outside = "reflection" if settings.padding == "reflect" else "border"
    source = torch.from_numpy(image)[None]
    seen = functional.grid_sample(source, grid, mode="bilinear", padding_mode=outside, align_corners=False)[0]
    labels = None
    if mask is not None:
        labels = functional.grid_sample(
            torch.from_numpy(mask)[None, None].float(),
            grid,
            mode="nearest",
            padding_mode=outside,
            align_corners=False,
        )[0, 0].long()
    valid = torch.ones(1, *seen.shape[1:])
    if settings.stain_jitter and len(seen) == 3 and generator.random() < settings.stain_jitter:
        seen = restain(generator, seen, labels)
    seen = intensities(generator, seen, settings.color_jitter)
    if settings.padding == "constant":  # after the intensities: padding is the darkest value, as in prediction
        valid = (grid[0].abs() <= 1).all(-1)[None].float()
        seen = torch.where(valid.bool(), seen, BACKGROUND)
        labels = None if labels is None else torch.where(valid[0].bool(), labels, 0)
    return seen, labels, valid


def _random(values: NDArray[np.float64]) -> Tensor:
    return torch.from_numpy(np.asarray(values, np.float32))


def intensities(generator: np.random.Generator, image: Tensor, strength: float) -> Tensor:
    """Change contrast, brightness, gamma, colour balance, sharpness and noise of (C, H, W) in -1 to 1.

    Colour changes by a gain a channel (the stain's or the lamp's), and by mixing each channel with their mean.
    """
    if strength == 0:
        return image
    image = (image + 1) / 2
    channels = image.shape[0]
    if generator.random() < 0.8:
        image = image.clamp_min(0) ** math.exp(generator.normal(0, 1.5 * strength))
        image = image * math.exp(generator.normal(0, strength)) + generator.normal(0, strength / 4)
    if channels > 1 and generator.random() < 0.8:
        gains = _random(generator.lognormal(0, strength / 2, (channels, 1, 1)))
        saturation = math.exp(generator.normal(0, 1.5 * strength))
        gray = image.mean(0, keepdim=True)
        image = gray + (image * gains - gray) * min(saturation, 2.0)
    if generator.random() < 0.2:
        image = functional.avg_pool2d(image[None], 3, stride=1, padding=1, count_include_pad=False)[0]
    if generator.random() < 0.3:
        noise = generator.normal(0, generator.uniform(0, strength / 4), tuple(image.shape))
        image = image + _random(noise)
    return image.clamp(0, 1) * 2 - 1
