"""What a file says about its image, before its axes are settled."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from napari_resformer.images.image import PixelSize


@dataclass(frozen=True)
class Found:
    """An image as its file describes it.

    Parameters
    ----------
    levels : tuple of array-like
        The pixels, at full resolution and then at falling ones where the file has them.
    axes : str, optional
        One letter a dimension, ``?`` for one that the file does not explain; None where it says nothing.
    pixel_size : (float, float), optional
        Micrometres in Y and X.
    z_step : float, optional
        Micrometres between planes.
    channel_names : tuple of str
        Names of the channels.
    colour : int, optional
        The dimension that holds red, green and blue; None where the file does not say.
    """

    levels: tuple[Any, ...]
    axes: str | None = None
    pixel_size: PixelSize | None = None
    z_step: float | None = None
    channel_names: tuple[str, ...] = ()
    colour: int | None = None
