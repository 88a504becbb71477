"""Which Labels layer belongs to which image layer: found by shape and name, and what fits or does not, in words."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import prod
from typing import Any

import numpy as np
from napari.layers import Image as ImageLayer
from napari.layers import Labels as LabelsLayer

from napari_resformer.images.image import Image
from napari_resformer.images.lazy import LargestAlong
from napari_resformer.images.words import stack_words
from napari_resformer.samples.pairs import LayerPair, pair_faults
from napari_resformer.widgets.results.result_layer import stored_result
from napari_resformer.widgets.train.annotation import fitting_classes, full_data, layer_image, typed_axes
from napari_resformer.widgets.train.places import place_fault
from napari_resformer.widgets.train.preview import is_preview

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
            f"{row.labels.name} is {stack_words(full_data(row.labels).shape, image.mask_axes)}, {row.image.name} needs "
            f"{stack_words(image.mask_shape, image.mask_axes)}: choose other labels, or none"
        )
    elif row.labels is not None:
        trouble = place_fault(row.image, image, row.labels)
    elif not classes:
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
        return LargestAlong(data, image.axes.index("C"))  # painted while one channel or another was shown
    return data.reshape(image.mask_shape) if isinstance(data, np.ndarray) else data


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
    labels = [layer for layer in labels_layers(layers) if stored_result(layer) is None]
    images = image_layers(layers)
    image_forms, labels_forms = [_image_form(layer) for layer in images], [_labels_form(layer) for layer in labels]
    fitting = _fitting_forms(dict(zip(image_forms, images, strict=True)), dict(zip(labels_forms, labels, strict=True)))
    likely = [
        (resemblance(images[one].name, labels[other].name), one, other)
        for one, other in _alike([layer.name for layer in images], [layer.name for layer in labels])
        if labels_forms[other] in fitting[image_forms[one]]
    ]
    found: dict[int, int] = {}
    taken: set[int] = set()
    for score, one, other in sorted(likely, key=lambda pair: -pair[0]):
        if score and one not in found and other not in taken:
            found[one] = other
            taken.add(other)
    many = Counter(labels_forms)
    wishes = Counter(form for one in image_forms for form in fitting[one])
    for one, form in enumerate(image_forms):  # whatever they are called: nothing else fits either of them
        offers = list(fitting[form])
        if one not in found and len(offers) == 1 and many[offers[0]] == wishes[offers[0]] == 1:
            other = labels_forms.index(offers[0])
            if other not in taken:
                found[one] = other
    return {images[one].unique_id: labels[other] for one, other in found.items()}


_Form = tuple[Any, ...]


def _image_form(layer: Any) -> _Form:
    """Return all that decides which labels fit an image layer."""
    levels = tuple(layer.data) if layer.multiscale else (layer.data,)
    shapes = tuple((tuple(level.shape), str(level.dtype)) for level in levels)
    return shapes, bool(layer.rgb), tuple(layer.axis_labels), typed_axes(layer)


def _labels_form(layer: Any) -> _Form:
    """Return all that decides which images a Labels layer fits."""
    data = full_data(layer)
    repeats = tuple(stride == 0 for stride in data.strides) if isinstance(data, np.ndarray) else ()
    return tuple(data.shape), str(data.dtype), repeats


def _fitting_forms(images: dict[_Form, Any], labels: dict[_Form, Any]) -> dict[_Form, set[_Form]]:
    """Return which forms of labels fit each form of images, given a layer of each.

    Layers of one form are looked at once, and only where the sizes may fit: each image with all labels of a hundred would
    hold up the viewer for a second whenever a layer changes.
    """
    lengths = {form: {size for size in form[0] if size > 1} for form in labels}
    fitting = {}
    for image_form, layer in images.items():
        shape = set(image_form[0][0][0])
        fitting[image_form] = {form for form in labels if lengths[form] <= shape and _fits(layer, labels[form])}
    return fitting


def _fits(image_layer: Any, labels: Any) -> bool:
    try:
        image = layer_image(image_layer)
    except (ValueError, TypeError):  # perhaps the labels show which axis is which
        return _explains(image_layer, labels)
    return labels_fit(image, labels)


def _alike(images: Sequence[str], labels: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Yield the places of names that may resemble each other: those of labels with all words of the image's."""
    by_word: dict[str, set[int]] = defaultdict(set)
    wordless = set()
    for place, name in enumerate(labels):
        for word in _words(name):
            by_word[word].add(place)
        if not _words(name):
            wordless.add(place)
    for place, name in enumerate(images):
        words = [by_word.get(word, set()) for word in _words(name)]
        for other in sorted(set.intersection(*words) if words else wordless):
            yield place, other


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
