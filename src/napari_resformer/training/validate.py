"""Metrics of a network on validation samples, one plane a pass."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from napari_resformer.images.normalise import Normalisation
from napari_resformer.metrics import ImageTally, tally_image
from napari_resformer.network import ResFormer
from napari_resformer.network.frame import fit, pad, unfit
from napari_resformer.network.resformer import MIN_SIDE
from napari_resformer.samples.sample import SampleSet
from napari_resformer.training.loader import load_plane
from napari_resformer.training.settings import TrainSettings

MAX_SIDE = 1024
"""Pixels; of a larger plane the middle is validated, since training only needs to compare epochs."""


def validate(
    network: ResFormer,
    samples: SampleSet,
    channels: Sequence[str],
    normalisation: Normalisation,
    settings: TrainSettings,
    device: torch.device,
) -> Iterator[ImageTally]:
    """Yield a tally a sample; no torch context is open while the caller has control."""
    mask_classes = network.config.mask_classes
    for sample in samples.samples:
        image, mask = load_plane(sample, channels, normalisation)
        image, mask = _middle(image), None if mask is None else _middle(mask[np.newaxis])[0]
        predicted, scores = _predict(network, image, settings, device)
        yield tally_image(
            sample.name,
            mask_classes=mask_classes,
            true_mask=mask,
            predicted_mask=predicted if mask is not None else None,
            true_class=samples.class_number(sample),
            scores=scores,
        )


def _middle(plane: NDArray[Any]) -> NDArray[Any]:
    top, left = (max(side - MAX_SIDE, 0) // 2 for side in plane.shape[1:])
    return plane[:, top : top + MAX_SIDE, left : left + MAX_SIDE]


def _predict(
    network: ResFormer, image: NDArray[np.float32], settings: TrainSettings, device: torch.device
) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    height, width = image.shape[1:]
    with torch.inference_mode():
        x = torch.from_numpy(np.ascontiguousarray(image))[None].to(device)
        if settings.mode == "resize":
            output = network(*fit(x, settings.size))
            logits = unfit(output.mask_logits, (height, width), settings.size)
        else:
            output = network(*pad(x, (MIN_SIDE, MIN_SIDE)))
            logits = output.mask_logits[..., :height, :width]
        predicted = logits[0].argmax(0).to(torch.uint8).cpu().numpy()
        scores = torch.softmax(output.class_logits[0].double().cpu(), 0).numpy()
    return predicted, scores
