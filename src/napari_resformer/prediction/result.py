"""The answer of a prediction: what was asked for, scores, and how they came about."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_resformer.model.file import Model
from napari_resformer.prediction.plan import Plan, with_blank

PROVENANCE_FORMAT = 1


@dataclass(frozen=True)
class PredictResult:
    """What a model said about an image.

    Parameters
    ----------
    mask : array or None
        uint8 labels, shape of the image without its channel axis: 0 is background, 1, 2, ... are the ``mask_classes``. A zarr
        array where it was written to disk, None where it was not asked for.
    scores : ndarray
        float32, (planes..., image classes): probabilities of the image classes, which sum to 1; (image classes,) for a YX image.
    classes : tuple of str
        Names of the scores.
    mask_classes : tuple of str
        Names of the mask values 1, 2, ...
    provenance : dict
        How the result came about, JSON-serialisable; what napari keeps in ``layer.metadata["napari_resformer"]``.
    pixels : tuple of int
        How many pixels of the mask have the value 0, 1, ...; empty without a mask.
    levels : tuple of array
        The mask, and then half the resolution of the one before, where it was written as a pyramid.
    probabilities : array or None
        float32, (mask classes + 1, ...mask shape), background first; 0 to 1, and they sum to 1 at every pixel. A zarr or dask
        array where they were written to disk, None where they were not asked for.
    objects : array or None
        Instance labels; not yet available.
    heatmap : array or None
        What the image class rests on; not yet available.

    Examples
    --------
    >>> import numpy as np
    >>> import napari_resformer as nr
    >>> stack = np.random.default_rng(0).integers(0, 255, (5, 64, 80), dtype=np.uint8)
    >>> result = nr.predict(nr.load_model("nuclei"), stack, axes="ZYX", outputs=("mask", "probabilities"))
    >>> result.mask.shape, result.probabilities.shape, result.scores.shape
    ((5, 64, 80), (2, 5, 64, 80), (5, 3))
    >>> len(result.predicted), sum(result.pixels) == result.mask.size
    (5, True)
    """

    mask: Any
    scores: NDArray[np.float32]
    classes: tuple[str, ...]
    mask_classes: tuple[str, ...]
    provenance: dict[str, Any]
    pixels: tuple[int, ...] = ()
    levels: tuple[Any, ...] = ()
    probabilities: Any = None
    objects: Any = None
    heatmap: Any = None

    @property
    def notes(self) -> tuple[str, ...]:
        """What should be known of the image and of how it was read, in sentences; the plan said it before the start."""
        return tuple(self.provenance.get("notes", ()))

    @property
    def blank(self) -> NDArray[np.bool_]:
        """Which planes (planes...) show nothing, so that their mask and scores mean nothing."""
        shape = self.scores.shape[:-1]
        return np.array(self.provenance.get("blank", np.zeros(shape, bool)), dtype=bool).reshape(shape)

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
    model: Model,
    plan: Plan,
    scores: NDArray[np.float32],
    seconds: float,
    *,
    outputs: Sequence[str] = ("mask",),
    tile: int | None = None,
    store: Path | None = None,
    blank: Sequence[int] = (),
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
    outputs : sequence of str
        What was asked for.
    tile : int, optional
        Pixels on a side of the last tile, where memory was too short for those planned.
    store : Path, optional
        The zarr store that holds the first output.
    blank : sequence of int
        Numbers of the planes that show nothing.
    """
    card, image = plan.card, plan.image
    is_blank = np.zeros(plan.planes, bool)
    is_blank[list(blank)] = True
    return {
        "format": PROVENANCE_FORMAT,
        "model": {"name": card.name, "version": card.version, "sha256": model.sha256},
        "classes": list(card.image_classes),
        "scores": np.round(scores.astype(float), 6).tolist(),
        "predicted": predicted_classes(scores, card.image_classes),
        "plane_axes": image.loop_axes,
        "mask_classes": {str(value): name for value, name in enumerate(card.mask_classes, start=1)},
        "notice": card.notice,
        "notes": list(with_blank(plan, blank)),
        "blank": is_blank.reshape(image.loop_shape).tolist(),
        "image": {
            "layer": image.name,
            "axes": image.axes,
            "level": image.level,
            "start": list(image.start) or [0] * len(image.axes),
            "channels": list(plan.channels.take),
            "pixel_size": list(image.pixel_size) if image.pixel_size else None,
        },
        "settings": {
            "outputs": list(outputs),
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


@cache
def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:  # run from a source tree that was never installed
        return "unknown"
