"""Layer pairs to samples: an image, its label values and its image classes, plane by plane."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from napari_resformer.images.image import Image
from napari_resformer.images.words import stack_words
from napari_resformer.samples.kinds import decide_painted
from napari_resformer.samples.sample import LabelPlane, Sample, SampleSet
from napari_resformer.samples.stored import Evidence, count_values


@dataclass(frozen=True)
class LayerPair:
    """An image and what was annotated in it.

    Parameters
    ----------
    image : Image
        With named axes, for instance from :func:`~napari_resformer.images.layers.from_layer`.
    labels : array-like, optional
        Label values of ``image.mask_shape`` (numpy, dask or zarr); 0 is background. Axes of size 1 may be there or not,
        and a channel axis may be there if it only repeats. None where there is no mask. A plane without a painted pixel
        counts as not annotated, so that a stack need not be painted from end to end.
    classes : mapping of tuple of int to str
        Image class by the plane's position on ``image.loop_axes``; ``{(): "mitosis"}`` for a single plane. A missing
        or empty entry is an unknown class.
    """

    image: Image
    labels: Any | None = None
    classes: Mapping[tuple[int, ...], str] = field(default_factory=dict)


def samples_from_pairs(pairs: Sequence[LayerPair], name: str) -> SampleSet:
    """Turn layer pairs into samples, one a plane; no pixel is read.

    The planes of one image are one group: they never lie on both sides of a split, also where an image is given twice.

    Parameters
    ----------
    pairs : sequence of LayerPair
        What was annotated.
    name : str
        What to call the set.

    Raises
    ------
    ValueError
        If there is no pair, labels do not fit their image, or a class is given for a plane that is not there; the
        message names every pair at fault.
    """
    if not pairs:
        raise ValueError("there is no pair to train on; choose at least two images with a mask or an image class")
    faults = [fault for pair in pairs for fault in pair_faults(pair)]
    if faults:
        raise ValueError("; ".join(faults))
    names = _unique([pair.image.name for pair in pairs])
    groups: dict[int, str] = {}
    samples = []
    for pair, unique in zip(pairs, names, strict=True):
        group = groups.setdefault(id(pair.image.data), unique)
        samples += list(_samples(pair, unique, group))
    classes = sorted({sample.image_class for sample in samples if sample.image_class is not None})
    return SampleSet(name, tuple(samples), tuple(classes))


def with_rules(samples: SampleSet) -> SampleSet:
    """Return the same samples of layers, with what their label values stand for decided for all planes of a layer together.

    Where 255 is painted beside classes it means ignored, also on a plane that holds nothing else. All labels are read once.
    """
    layers: dict[int, Counter[int]] = defaultdict(Counter)
    for sample in samples.samples:
        source = sample.mask_source
        plane = source.read() if isinstance(source, LabelPlane) else None
        if isinstance(source, LabelPlane) and plane is not None and plane.dtype.kind in "bui" and plane.min() >= 0:
            layers[id(source.labels)].update(count_values(plane.astype(np.uint8) if plane.dtype == bool else plane))
    seen = [Evidence(samples.name, (), np.dtype(np.uint8), counts=counts) for counts in layers.values()]
    rules = dict(zip(layers, decide_painted(seen), strict=True))
    decided = []
    for sample in samples.samples:
        source = sample.mask_source
        rule = rules.get(id(source.labels)) if isinstance(source, LabelPlane) else None
        decided.append(sample if rule is None else replace(sample, mask_rule=rule))
    return samples.subset(decided)


def pair_faults(pair: LayerPair) -> tuple[str, ...]:
    """Return what keeps a pair from being used, in words; empty for a pair that fits."""
    image, faults = pair.image, []
    if pair.labels is not None:
        if np.dtype(pair.labels.dtype).kind not in "bui":
            faults.append(f"the labels of {image.name} are of type {pair.labels.dtype}; label values are whole numbers")
        elif _label_place(pair) is None:
            faults.append(
                f"the labels of {image.name} are {stack_words(pair.labels.shape, image.mask_axes)}, the image is "
                f"{stack_words(image.mask_shape, image.mask_axes)}; they must be equal: draw the labels on this image, or check "
                f"its axes {image.axes}"
            )
    if strange := [place for place, kind in pair.classes.items() if kind and not _is_plane(image, place)]:
        there = ", ".join(f"{axis} 0 to {size - 1}" for axis, size in zip(image.loop_axes, image.loop_shape, strict=True))
        faults.append(
            f"{image.name} has a class for the plane {', '.join(map(str, strange[0])) or 'without a number'}, but its planes are "
            f"{there or 'only one'}; give the class of planes that are there"
        )
    return tuple(faults)


def _samples(pair: LayerPair, name: str, group: str) -> Iterator[Sample]:
    image = pair.image
    place = _label_place(pair)
    for index in image.plane_indices():
        position = dict(zip(image.loop_axes, index, strict=True)) | {"Y": slice(None), "X": slice(None)}
        mask = None
        if place is not None:
            where_it_lies = tuple(0 if axis is None else position[axis] for axis in place)
            mask = LabelPlane(pair.labels, where_it_lies, turned=not image.rows_first)
        where = "".join(
            f" {axis}{number}" for axis, number, size in zip(image.loop_axes, index, image.loop_shape, strict=True) if size > 1
        )
        image_class = (pair.classes.get(index) or "").strip() or None
        yield Sample(f"{name}{where}", image.plane(index), mask, image_class, group)


def _label_place(pair: LayerPair) -> list[str | None] | None:
    """Return the image axis that each label axis follows (None: its only entry), or None where the shapes do not fit."""
    if pair.labels is None:
        return None
    image, shape = pair.image, tuple(pair.labels.shape)
    if shape == image.mask_shape:
        return list(image.mask_axes)
    if len(shape) == len(image.axes):  # with the channel axis, as a prediction's layer has it
        sizes = [image.size(axis) for axis in image.axes]
        channel = image.axes.find("C")
        repeats = channel >= 0 and (shape[channel] == 1 or _is_broadcast(pair.labels, channel))
        if repeats and all(have == want for place, (have, want) in enumerate(zip(shape, sizes, strict=True)) if place != channel):
            return [None if axis == "C" else axis for axis in image.axes]
    return _without_single_axes(image, shape)


def _without_single_axes(image: Image, shape: tuple[int, ...]) -> list[str | None] | None:
    """Pair the axes of more than one entry in their order; Y and X are kept whatever their size."""
    if shape[-2:] != image.plane_shape or len(shape) < 2 or "".join(image.mask_axes[-2:]) != "YX":
        return None
    loops = [(axis, size) for axis, size in zip(image.loop_axes, image.loop_shape, strict=True) if size > 1]
    long = [size for size in shape[:-2] if size > 1]
    if long != [size for _, size in loops]:
        return None
    names = iter(axis for axis, _ in loops)
    return [next(names) if size > 1 else None for size in shape[:-2]] + ["Y", "X"]


def _is_broadcast(labels: Any, axis: int) -> bool:
    return isinstance(labels, np.ndarray) and labels.strides[axis] == 0


def _is_plane(image: Image, place: tuple[int, ...]) -> bool:
    shape = image.loop_shape
    return len(place) == len(shape) and all(0 <= number < size for number, size in zip(place, shape, strict=True))


def _unique(names: Sequence[str]) -> list[str]:
    taken: set[str] = set()
    unique = []
    for name in names:
        candidate, number = name, 1
        while candidate in taken:
            number += 1
            candidate = f"{name} ({number})"
        taken.add(candidate)
        unique.append(candidate)
    return unique
