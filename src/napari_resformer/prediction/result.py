"""The answer of a prediction: mask, scores, and how they came about."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_resformer.model.file import Model
from napari_resformer.prediction.plan import Plan

PROVENANCE_FORMAT = 1


@dataclass(frozen=True)
class PredictResult:
    """What a model said about an image.

    Parameters
    ----------
    mask : array
        Mask class of each pixel, uint8, 0 is background; shape of the image without its channel axis. A zarr array
        where it was written to disk.
    scores : ndarray
        float32, (planes..., classes): softmax probabilities over the image classes; (classes,) for a YX image.
    classes, mask_classes : tuple of str
        Names of the scores, and of the mask values 1, 2, ...
    provenance : dict
        The contents of ``layer.metadata["napari_resformer"]``; JSON-serialisable.
    pixels : tuple of int
        How many pixels of the mask have the value 0, 1, ...; empty where nobody counted.
    levels : tuple of array
        The mask, and then at half the resolution of the one before, where it was written as a pyramid.
    """

    mask: Any
    scores: NDArray[np.float32]
    classes: tuple[str, ...]
    mask_classes: tuple[str, ...]
    provenance: dict[str, Any]
    pixels: tuple[int, ...] = ()
    levels: tuple[Any, ...] = ()

    @property
    def predicted(self) -> Any:
        """Class with the largest score: a name, nested lists of names for a stack, None without image classes."""
        return predicted_classes(self.scores, self.classes)


def predicted_classes(scores: NDArray[np.floating[Any]], classes: tuple[str, ...]) -> Any:
    """Return the names of the largest scores (planes..., classes) as nested lists; None without classes."""
    if not classes:
        return None
    return np.array(classes, dtype=object)[scores.argmax(-1)].tolist() if scores.ndim > 1 else classes[int(scores.argmax())]


def provenance(
    model: Model, plan: Plan, scores: NDArray[np.float32], seconds: float, *, tile: int | None = None, store: Path | None = None
) -> dict[str, Any]:
    """Return how a result came about, as JSON-serialisable values.

    Parameters
    ----------
    model, plan
        What was done.
    scores : ndarray
        (planes..., classes).
    seconds : float
        Wall time of the run, or of its last part.
    tile : int, optional
        Pixels on a side of the last tile, where memory was too short for those planned.
    store : Path, optional
        The zarr store that holds the mask.
    """
    card, image = plan.card, plan.image
    return {
        "format": PROVENANCE_FORMAT,
        "model": {"name": card.name, "version": card.version, "sha256": model.sha256},
        "classes": list(card.image_classes),
        "scores": np.round(scores.astype(float), 6).tolist(),
        "predicted": predicted_classes(scores, card.image_classes),
        "plane_axes": image.loop_axes,
        "mask_classes": {str(value): name for value, name in enumerate(card.mask_classes, start=1)},
        "notice": card.notice,
        "image": {
            "layer": image.name,
            "axes": image.axes,
            "level": image.level,
            "start": list(image.start) or [0] * len(image.axes),
            "channels": list(plan.channels.take),
            "pixel_size": list(image.pixel_size) if image.pixel_size else None,
        },
        "settings": {
            "input_mode": card.input_mode,
            "tile": plan.tile if tile is None else tile,
            "halo": plan.halo,
            "batch": plan.batch,
            "network_sees": list(plan.grid.target),
            "channel_rule": plan.channels.kind,
            "normalisation": card.normalisation.model_dump(mode="json"),
        },
        "versions": {name: _version(name) for name in ("napari-resformer", "torch", "numpy")},
        "device": plan.device.name,
        "seconds": round(seconds, 3),
        "store": str(store) if store else None,
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:  # run from a source tree that was never installed
        return "unknown"
