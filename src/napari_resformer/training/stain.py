"""Random changes of the stains of tissue, so that a model bears those of other laboratories."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from skimage.color import hed_from_rgb, rgb_from_hed
from torch import Tensor
from torch.nn import functional

from napari_resformer.metrics import IGNORE

_STAINS = torch.from_numpy(rgb_from_hed).float()  # optical densities (red, green, blue) of haematoxylin, eosin and DAB
_UNSTAIN = torch.from_numpy(hed_from_rgb).float()


def restain(generator: np.random.Generator, image: Tensor, labels: Tensor | None) -> Tensor:
    """Separate the stains of an RGB crop and mix them anew, each with another strength and a slightly different color.

    Stains are separated by color deconvolution (Ruifrok and Johnston, 2001). Half of the crops become immunohistochemistry: the
    eosin fades, and DAB marks the objects, their surroundings, or both, in patches and along the tissue's own texture. An image
    on a dark background is not stained, and is returned unchanged.

    Parameters
    ----------
    generator : numpy.random.Generator
        The only source of randomness.
    image : Tensor
        (3, H, W), -1 to 1.
    labels : Tensor, optional
        (H, W) label values; 0 is background, and ignored pixels count as such here.

    Returns
    -------
    Tensor
        (3, H, W), -1 to 1.
    """
    if image.mean() < -0.2:
        return image
    height, width = image.shape[1:]
    density = -torch.log((image.flatten(1).T + 1).clamp_min(0.02) / 2)  # (H * W, 3)
    amounts = (density @ _UNSTAIN).clamp_min(0) * _tensor(generator.lognormal(0, 0.3, 3))
    if generator.random() < 0.5:
        amounts *= _tensor(generator.uniform((0.3, 0.0, 0.0), (1.0, 0.5, 0.3)))
        patches = functional.interpolate(
            _tensor(generator.normal(0.5, 0.7, (1, 1, 4, 4))), size=(height, width), mode="bicubic", align_corners=True
        )[0, 0].clamp(0, 1)
        texture = density.sum(1).view(height, width)
        texture = (texture / texture.mean().clamp_min(0.05)).clamp_max(2)
        mark = generator.uniform(0.2, 1.8) * patches * texture ** generator.uniform(0, 1)
        if labels is not None and (where := generator.integers(3)):
            inside = functional.avg_pool2d(((labels > 0) & (labels != IGNORE)).float()[None], 3, stride=1, padding=1)[0]
            mark = mark * (inside if where == 1 else 1 - inside)
        amounts[:, 2] += mark.flatten()
    stains = (_STAINS + _tensor(generator.normal(0, 0.06, (3, 3)))).clamp_min(0)
    mixed = torch.exp(-(amounts @ stains)).clamp(0, 1) * 2 - 1
    return mixed.T.reshape(image.shape)


def _tensor(values: NDArray[np.float64]) -> Tensor:
    return torch.from_numpy(np.asarray(values, np.float32))
