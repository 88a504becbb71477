"""Sample images that need no network: a real one that scikit-image ships, and a generated one."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

LayerData = tuple[NDArray[Any], dict[str, Any], str]

_SIDE, _NUCLEI = 512, 70  # pixels, how many
_REACH = 32  # pixels; no nucleus is longer from its centre


def immunohistochemistry() -> list[LayerData]:
    """Return scikit-image's colonic glands (DAB and haematoxylin), RGB; its pixel size is not known."""
    from napari_resformer.demo import demo_image

    return [(demo_image(), {"name": "immunohistochemistry", "rgb": True}, "image")]


def generated_nuclei(seed: int = 7) -> list[LayerData]:
    """Return a generated fluorescence image of nuclei: texture, blur, uneven light, shot and camera noise.

    It has no pixel size, as the other sample has none: napari would show one of them several times as large as the other.

    Parameters
    ----------
    seed : int
        Of the random numbers; the same seed makes the same image.
    """
    from scipy.ndimage import gaussian_filter

    generator = np.random.default_rng(seed)
    texture = gaussian_filter(generator.normal(size=(_SIDE, _SIDE)), 2.5)
    texture *= 0.16 / texture.std()
    light = np.zeros((_SIDE + 2 * _REACH, _SIDE + 2 * _REACH))
    for centre in _centres(generator):
        row, column = centre.astype(int)
        around = light[row : row + 2 * _REACH, column : column + 2 * _REACH]
        nucleus = _nucleus(generator, centre % 1 + _REACH)
        np.maximum(around, nucleus * generator.uniform(0.35, 1.0), out=around)  # an out-of-focus one is dim
    light = light[_REACH:-_REACH, _REACH:-_REACH] * (1 + texture)
    blurred = gaussian_filter(light, 1.2) + 0.12 * gaussian_filter(light, 14)  # the lens, and light from other planes
    rows, columns = np.mgrid[-1 : 1 : _SIDE * 1j, -1 : 1 : _SIDE * 1j]
    uneven = 1 - 0.18 * ((rows - 0.2) ** 2 + (columns + 0.1) ** 2)
    photons = generator.poisson(np.clip(blurred * uneven, 0, None) * 1100 + 45)
    counts = photons * 3.1 + 200 + generator.normal(0, 9, photons.shape)
    attributes = {"name": "generated nuclei", "axis_labels": ("y", "x")}
    return [(np.clip(counts, 0, 65535).astype(np.uint16), attributes, "image")]


def _centres(generator: np.random.Generator) -> NDArray[np.float64]:
    """Return places that are seldom nearer to each other than a nucleus is wide."""
    places = generator.uniform(0, _SIDE, (1, 2))
    while len(places) < _NUCLEI:
        place = generator.uniform(0, _SIDE, 2)
        nearest = np.hypot(*(places - place).T).min()
        if nearest > 34 or (nearest > 22 and generator.random() < 0.06):  # some touch
            places = np.vstack([places, place])
    return places


def _nucleus(generator: np.random.Generator, centre: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return a soft-edged ellipse with a wavy outline, 0 to 1."""
    rows, columns = np.mgrid[: 2 * _REACH, : 2 * _REACH] - centre[:, None, None]
    long, ratio, turn = generator.uniform(13, 20), generator.uniform(0.62, 0.95), generator.uniform(0, np.pi)
    along = rows * np.cos(turn) + columns * np.sin(turn)
    across = (columns * np.cos(turn) - rows * np.sin(turn)) / ratio
    angle = np.arctan2(across, along)
    wave = sum(generator.normal(0, 0.035) * np.cos(order * angle + generator.uniform(0, 6.3)) for order in (2, 3, 4))
    distance = long * (1 + wave) - np.hypot(along, across)  # pixels inside of the outline
    profile: NDArray[np.float64] = np.clip(distance / 3 + 0.5, 0, 1) * (0.8 + 0.2 * np.clip(distance / long, 0, 1))
    return profile
