"""Print how large the objects of a data folder are, in pixels: ``python docs/object_sizes.py DATA``.

The diameter of an object is that of a circle of its area; objects that touch count as one.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from skimage.measure import label, regionprops

from napari_resformer.samples.folder import read_folder

LEAST = 12  # pixels; less is a slip of the brush


def main() -> None:
    """Print the quartiles."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    options = parser.parse_args()
    masks = (sample.mask() for sample in read_folder(options.data).samples)
    sizes = [
        region.equivalent_diameter_area
        for mask in masks
        if mask is not None
        for region in regionprops(label(mask > 0))
        if region.area >= LEAST
    ]
    low, middle, high = np.percentile(sizes, (25, 50, 75))
    print(f"{len(sizes)} objects; half of them are {low:.0f} to {high:.0f} pixels wide, the middle one {middle:.0f}")


if __name__ == "__main__":
    main()
