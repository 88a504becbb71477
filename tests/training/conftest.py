"""A small made-up data folder: squares, bright or dark."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import imageio.v3 as imageio
import numpy as np
import pytest


@pytest.fixture(scope="session")
def make_folder() -> Callable[[Path], Path]:
    """Return a function that writes the data folder."""
    return _write


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return _write(tmp_path / "data")


def _write(data: Path) -> Path:
    generator = np.random.default_rng(0)
    (data / "images").mkdir(parents=True)
    (data / "masks").mkdir()
    lines = ["filename,class,group"]
    for number in range(12):
        bright = number % 2
        image = generator.integers(0, 30, (64, 64)).astype(np.uint8)
        mask = np.zeros((64, 64), np.uint8)
        top, left = generator.integers(4, 30, 2)
        mask[top : top + 24, left : left + 24] = 1
        image[mask > 0] = 220 if bright else 120
        image[::8] = 255  # keeps the brightness statistics of both classes apart from the objects'
        imageio.imwrite(data / "images" / f"i{number}.png", image)
        if number != 3:
            imageio.imwrite(data / "masks" / f"i{number}.png", mask)
        lines.append(f'i{number}.png,"{("dunkel, ü", "bright")[bright]}",{number}')
    (data / "labels.csv").write_text("\n".join(lines), encoding="utf-8")
    return data
