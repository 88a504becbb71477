"""Bring a plane into a frame that the network takes, and its answer back: pad, or resize and pad."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from napari_resformer.network.config import BACKGROUND


def pad(x: Tensor, shape: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Pad (B, C, H, W) at the bottom and the right to at least a shape.

    Returns
    -------
    x : Tensor
        (B, C, max(H, shape[0]), max(W, shape[1])).
    valid : Tensor
        (B, 1, ...), 1 where the plane is.
    """
    height, width = x.shape[2:]
    margins = (0, max(shape[1] - width, 0), 0, max(shape[0] - height, 0))
    valid = functional.pad(x.new_ones(x.shape[0], 1, height, width), margins)
    return functional.pad(x, margins, value=BACKGROUND), valid


def fitted_shape(shape: tuple[int, int], size: int) -> tuple[int, int]:
    """Return height and width once the longer side is ``size`` and the aspect kept."""
    scale = size / max(shape)
    return max(round(shape[0] * scale), 1), max(round(shape[1] * scale), 1)


def fit(x: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Bring the longer side of (B, C, H, W) to ``size``, keep the aspect, and pad to a square; see :func:`pad`."""
    shape = fitted_shape((x.shape[2], x.shape[3]), size)
    x = functional.interpolate(x, size=shape, mode="bilinear", align_corners=False, antialias=True)
    return pad(x, (size, size))


def unfit(logits: Tensor, shape: tuple[int, int], size: int, to: tuple[int, int] | None = None) -> Tensor:
    """Bring mask logits of a frame that :func:`fit` made of a plane of ``shape`` back to it: crop the padding, then resize.

    With ``to``, they are brought to so many pixels instead, which saves memory where the plane is large.
    """
    height, width = fitted_shape(shape, size)
    return functional.interpolate(logits[..., :height, :width], size=to or shape, mode="bilinear", align_corners=False)
