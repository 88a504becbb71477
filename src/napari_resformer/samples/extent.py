"""How large the objects of a mask are, and how much of the image they fill."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_resformer.metrics import IGNORE

_LOOKED_AT = 512  # pixels of the longer side that are looked at; objects are counted roughly, and large masks cost time


def object_side(mask: NDArray[Any]) -> float | None:
    """Return the side of a square as large as a typical object of a mask.

    Objects are connected parts of the mask, whatever their class. Each counts by its area, so that specks do not decide.

    Parameters
    ----------
    mask : ndarray
        (H, W) label values; 0 is background, and pixels that are ignored in an 8-bit mask count as background.

    Returns
    -------
    float or None
        Pixels; None where the mask is empty.
    """
    step = max(-(-max(mask.shape) // _LOOKED_AT), 1)
    seen = mask[::step, ::step]
    painted = (seen != 0) & ((seen != IGNORE) | (mask.dtype != np.uint8))
    numbers, count = ndimage.label(painted)
    if not count:
        return None
    areas = np.bincount(numbers.reshape(-1))[1:].astype(float)
    return step * float(np.sqrt((areas**2).sum() / areas.sum()))
