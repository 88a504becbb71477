"""What a file says about its image, before its axes are settled."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from napari_resformer.images.image import PixelSize
from napari_resformer.images.place import Place

Kind = Literal["gray", "palette", "rgb", "cmyk", "ycbcr", "cielab", "icclab", "channels"]


@dataclass(frozen=True)
class Samples:
    """What the stored samples of a pixel mean.

    Parameters
    ----------
    kind : str
        ``gray``, ``palette`` (one index a pixel), a colour space, or ``channels`` for several samples that are no colour.
    axis : int, optional
        The dimension that holds the samples of a pixel; None where a pixel has one sample.
    palette : ndarray of uint8, optional
        (entries, 3) colours of the indices.
    alpha : bool
        Whether the last sample is transparency; 0 is transparent.
    bits : int
        Bits a sample, as stored; 0 where the file does not say.
    white_is_zero : bool
        Whether viewers show 0 as white, and the largest value as black.
    lossy : bool
        Whether the compression changes values, as JPEG does.
    """

    kind: Kind = "gray"
    axis: int | None = None
    palette: NDArray[np.uint8] | None = None
    alpha: bool = False
    bits: int = 0
    white_is_zero: bool = False
    lossy: bool = False


@dataclass(frozen=True)
class Found:
    """An image as its file describes it.

    Parameters
    ----------
    levels : tuple of array-like
        The pixels as they are stored, at full resolution and then at falling ones where the file has them.
    axes : str, optional
        One letter a dimension, ``?`` for one that the file does not explain; None where it says nothing.
    pixel_size : (float, float), optional
        Micrometres in Y and X.
    z_step : float, optional
        Micrometres between planes.
    channel_names : tuple of str
        Names of the channels.
    samples : Samples
        What the stored values mean.
    places : tuple of Place
        Where each level lies, in the file's own units; empty where the file does not say.
    images : int
        How many images the file holds.
    notes : tuple of str
        What the user should know: what else the file holds, what was damaged and ignored.
    """

    levels: tuple[Any, ...]
    axes: str | None = None
    pixel_size: PixelSize | None = None
    z_step: float | None = None
    channel_names: tuple[str, ...] = ()
    samples: Samples = Samples()
    places: tuple[Place, ...] = ()
    images: int = 1
    notes: tuple[str, ...] = ()
