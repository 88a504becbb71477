"""Which Labels layer belongs to which image layer: found by shape and name, and what fits or does not, in words."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import prod
from typing import Any

import numpy as np
from napari.layers import Image as ImageLayer
from napari.layers import Labels as LabelsLayer
from numpy.typing import NDArray

from napari_resformer.images.image import Image
from napari_resformer.samples.pairs import LayerPair, pair_faults
from napari_resformer.widgets.annotation import fitting_classes, full_data, layer_image
from napari_resformer.widgets.preview import is_preview
from napari_resformer.widgets.result_layer import stored_result

_FILLER = {"label", "labels", "mask", "masks", "seg", "segmentation", "annotation", "annotations", "gt", "truth", "image", "img"}


@dataclass(frozen=True)
class PairRow:
    """A row of the table of pairs.

    Parameters
    ----------
    image : napari.layers.Image
        The image layer.
    labels : napari.layers.Labels, optional
        Its masks; None to learn the image class only.
    use : bool
        Whether it takes part in the training.
    """

    image: Any
    labels: Any | None = None
    use: bool = True


@dataclass(frozen=True)
class RowState:
    """What is known of a row.

    Parameters
    ----------
    image : Image or None
        The layer with named axes; None where they are ambiguous or the layer cannot be used.
    planes, classified : int
        How many planes there are, and how many of them have a class.
    trouble : str
        Why the row cannot be used, in words; empty if it can.
    """

    image: Image | None
    planes: int
    classified: int
    trouble: str


def row_state(row: PairRow) -> RowState:
    """Look at a row; no pixel is read."""
    try:
        image = layer_image(row.image, row.labels)
    except (ValueError, TypeError) as error:
        return RowState(None, 1, 0, f"{row.image.name}: {error}")
    classes = fitting_classes(row.image, image)
    trouble = ""
    if row.labels is not None and not labels_fit(image, row.labels):
        trouble = (
            f"{row.labels.name} has the shape {_shape(full_data(row.labels).shape)}, {row.image.name} needs "
            f"{_shape(image.mask_shape)}: choose other labels, or none"
        )
    elif row.labels is None and not classes:
        trouble = f"{row.image.name} has neither labels nor a class: paint a Labels layer, give it a class, or switch it off"
    return RowState(image, prod(image.loop_shape), len(classes), trouble)


def labels_fit(image: Image, labels: Any) -> bool:
    """Whether a Labels layer can be the masks of an image; it may have the image's channel axis, as napari makes it."""
    data = full_data(labels)
    return (
        tuple(data.shape) == tuple(image.data.shape) if _over_channels(image, data) else not pair_faults(LayerPair(image, data))
    )


def mask_data(image: Image, labels: Any) -> Any:
    """Return the data of fitting labels in the shape of the image's masks."""
    data = full_data(labels)
    if _over_channels(image, data):
        return AnyChannel(image, data)
    return data.reshape(image.mask_shape) if isinstance(data, np.ndarray) else data


class AnyChannel:
    """Labels that were painted while one channel or another was shown, as one mask; computed where they are read.

    Parameters
    ----------
    image : Image
        Its channel axis is that of the labels too.
    labels : array-like
        Label values in the shape of the image.
    """

    def __init__(self, image: Image, labels: Any) -> None:
        self.shape = image.mask_shape
        self.dtype = np.dtype(labels.dtype)
        self._axis = image.axes.index("C")
        self._labels = labels

    def __getitem__(self, place: tuple[int | slice, ...]) -> NDArray[Any]:
        inside = sum(isinstance(part, slice) for part in place[: self._axis])
        part = np.asarray(self._labels[(*place[: self._axis], slice(None), *place[self._axis :])])
        return part.max(axis=inside)  # type: ignore[no-any-return]


def _over_channels(image: Image, data: Any) -> bool:
    return not image.rgb and "C" in image.axes and tuple(data.shape) == tuple(image.data.shape)


def image_layers(layers: Iterable[Any]) -> list[Any]:
    """Return the layers that can be learned from, in the order of the layer list."""
    return [layer for layer in layers if isinstance(layer, ImageLayer)]


def labels_layers(layers: Iterable[Any]) -> list[Any]:
    """Return the layers that may hold masks: all Labels but the previews of a training."""
    return [layer for layer in layers if isinstance(layer, LabelsLayer) and not is_preview(layer)]


def find_pairs(layers: Sequence[Any]) -> dict[Any, Any]:
    """Find the labels of each image layer by shape and name.

    Predictions are never taken by themselves: a network should not learn from what a network found, unless somebody
    says so.

    Returns
    -------
    dict
        ``unique_id`` of an image layer to its Labels layer; images without one are left out.
    """
    candidates = [layer for layer in labels_layers(layers) if stored_result(layer) is None]
    fitting = [(one, labels) for one in image_layers(layers) for labels in _fitting(one, candidates)]
    likely = sorted(((resemblance(one.name, labels.name), one, labels) for one, labels in fitting), key=lambda pair: -pair[0])
    found: dict[Any, Any] = {}
    taken: set[Any] = set()
    for score, one, labels in likely:
        if score and one.unique_id not in found and labels.unique_id not in taken:
            found[one.unique_id] = labels
            taken.add(labels.unique_id)
    offers = Counter(one.unique_id for one, _ in fitting)
    wishes = Counter(labels.unique_id for _, labels in fitting)
    for one, labels in fitting:  # whatever they are called: nothing else fits either of them
        alone = offers[one.unique_id] == wishes[labels.unique_id] == 1
        if alone and one.unique_id not in found and labels.unique_id not in taken:
            found[one.unique_id] = labels
    return found


def _fitting(image_layer: Any, candidates: Sequence[Any]) -> list[Any]:
    try:
        image = layer_image(image_layer)
    except (ValueError, TypeError):  # perhaps the labels show which axis is which
        return [labels for labels in candidates if _explains(image_layer, labels)]
    return [labels for labels in candidates if labels_fit(image, labels)]


def _explains(image_layer: Any, labels: Any) -> bool:
    try:
        return labels_fit(layer_image(image_layer, labels), labels)
    except (ValueError, TypeError):
        return False


def resemblance(image: str, labels: str) -> int:
    """Return how well the name of labels fits that of an image: 0 for not at all.

    Words such as ``labels`` or ``mask`` do not count. The other words of the image's name must all be in the labels'
    name; each further word there makes the fit worse, so that ``cell 1`` takes ``cell 1 labels`` before ``cell 1 2``.
    """
    wanted, given = _words(image), _words(labels)
    if wanted == given:
        return 1000
    if not wanted or any(wanted.count(word) > given.count(word) for word in wanted):
        return 0
    return max(100 - (len(given) - len(wanted)), 1)


@lru_cache(maxsize=1024)
def _words(name: str) -> tuple[str, ...]:
    words = re.findall(r"[^\W\d_]+|\d+", name.casefold())
    return tuple(word for word in words if word not in _FILLER)


def _shape(shape: Sequence[int]) -> str:
    return " × ".join(map(str, shape))
