"""How much tiles change the answer: ``python benchmarks/tile_agreement.py path/to/images [--tile 128] [--most 60]``."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

import napari_resformer as nr
from napari_resformer.io.read import SUFFIXES, read_image

WHOLE = 8192


def main() -> None:
    """Print Dice between the tiled and the whole prediction, and the largest difference of a score."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("images", type=Path)
    parser.add_argument("--model", default="nuclei")
    parser.add_argument("--tile", type=int, default=128)
    parser.add_argument("--most", type=int, default=60)
    options = parser.parse_args()
    predictor = nr.Predictor(nr.load_model(options.model))
    dice, changed, scores = [], [], []
    for path in sorted(path for path in options.images.iterdir() if path.suffix in SUFFIXES)[: options.most]:
        image = read_image(path)
        whole = predictor.predict(image, tile=WHOLE)
        tiled = predictor.predict(image, tile=options.tile)
        both, either = ((whole.mask > 0) & (tiled.mask > 0)).sum(), (whole.mask > 0).sum() + (tiled.mask > 0).sum()
        dice.append(2 * both / either if either else 1.0)
        changed.append((whole.mask != tiled.mask).mean())
        scores.append(np.abs(whole.scores - tiled.scores).max(initial=0))
    print(f"images {len(dice)}, tile {options.tile}")
    print(f"Dice tiled against whole: mean {np.mean(dice):.5f}, least {np.min(dice):.5f}")
    print(f"pixels that differ: mean {np.mean(changed):.6f}, most {np.max(changed):.6f}")
    print(f"largest difference of a score: {np.max(scores):.5f}")


if __name__ == "__main__":
    main()
