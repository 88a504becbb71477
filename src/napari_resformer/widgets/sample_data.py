"""Sample images that need no network."""

from __future__ import annotations

from typing import Any

import numpy as np

LayerData = tuple[np.ndarray[Any, Any], dict[str, Any], str]


def immunohistochemistry() -> list[LayerData]:
    """Return scikit-image's colonic glands (DAB and haematoxylin), RGB."""
    from napari_resformer.demo import demo_image

    return [(demo_image(), {"name": "immunohistochemistry", "rgb": True}, "image")]


def generated_nuclei() -> list[LayerData]:
    """Return a generated fluorescence image: blurred ellipses with noise, 512 x 512, 0.65 µm a pixel."""
    from scipy.ndimage import gaussian_filter

    generator = np.random.default_rng(7)
    rows, columns = np.mgrid[:512, :512]
    image = np.zeros((512, 512))
    for _ in range(60):
        y, x = generator.uniform(10, 502, 2)
        a, b = generator.uniform(9, 17, 2)
        turn = generator.uniform(0, np.pi)
        u = (rows - y) * np.cos(turn) + (columns - x) * np.sin(turn)
        v = -(rows - y) * np.sin(turn) + (columns - x) * np.cos(turn)
        image = np.maximum(image, generator.uniform(0.4, 1.0) * ((u / a) ** 2 + (v / b) ** 2 < 1))
    image = gaussian_filter(image, 1.5) * 6000 + 300
    counts = generator.poisson(image).astype(np.uint16)
    metadata = {
        "name": "generated nuclei",
        "scale": (0.65, 0.65),
        "units": ("micrometer", "micrometer"),
        "axis_labels": ("y", "x"),
    }
    return [(counts, metadata, "image")]
