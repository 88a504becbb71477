"""What a session learns from: annotated layers, copied as they are when it begins, or a data folder."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import Any

import numpy as np

from napari_resformer.events import Finished, Progress
from napari_resformer.images.image import Image
from napari_resformer.images.lazy import SparsePlanes
from napari_resformer.samples.folder import iter_read_folder
from napari_resformer.samples.pairs import LayerPair, samples_from_pairs, with_rules
from napari_resformer.samples.rules import MaskKind
from napari_resformer.samples.sample import SampleSet

Data = Path | tuple[LayerPair, ...]


def make_samples(
    data: Data,
    name: str,
    *,
    instance_labels: bool = False,
    mask_kind: MaskKind = "auto",
    axes: str | None = None,
    copy: bool = False,
) -> Generator[Progress, None, SampleSet]:
    """Make the samples of a session, and return them.

    Parameters
    ----------
    data : Path or tuple of LayerPair
        A data folder, or annotated layers. Images and labels may be anything with ``shape``, ``dtype``, ``ndim`` and indexing by
        whole numbers and slices.
    name : str
        What to call the samples of layers.
    instance_labels : bool
        Whether each object has a label value of its own; then all objects are of one mask class.
    mask_kind, axes
        As in :func:`~napari_resformer.samples.folder.read_folder`; for data folders alone.
    copy : bool
        Whether to copy what is painted, plane by plane, so that painting on does not change the samples.

    Yields
    ------
    Progress
        While masks are looked at or layers are copied.

    Raises
    ------
    ValueError
        If labels do not fit their image, or the folder is not a data folder.
    """
    if isinstance(data, Path):
        return (yield from _read(data, "instances" if instance_labels else mask_kind, axes))
    else:
        pairs = []
        for number, pair in enumerate(data, start=1):
            labels = pair.labels
            if copy and labels is not None and not _is_on_disk(labels):
                labels = yield from _copied(pair.image, labels, number, len(data))
            pairs.append(LayerPair(pair.image, labels, pair.classes))
        samples = with_rules(samples_from_pairs(pairs, name))
    return samples.with_instance_labels() if instance_labels else samples


def _read(folder: Path, mask_kind: MaskKind, axes: str | None) -> Generator[Progress, None, SampleSet]:
    for event in iter_read_folder(folder, mask_kind=mask_kind, axes=axes):
        if isinstance(event, Finished):
            return event.result
        yield event
    raise AssertionError("a listing ends with its samples")


def _copied(image: Image, labels: Any, number: int, total: int) -> Generator[Progress, None, Any]:
    """Copy what is painted; a blank plane takes no memory."""
    if tuple(labels.shape) != image.mask_shape:
        return labels  # of another layout, or at fault; samples_from_pairs knows what to make of it
    axes = image.mask_axes
    copy = SparsePlanes(image.mask_shape, tuple(sorted((axes.index("Y"), axes.index("X")))))  # type: ignore[arg-type]
    for index in image.plane_indices():
        copy.put(index, np.asarray(labels[image.mask_index(index, slice(None), slice(None))]))
        yield Progress(number, total, "copying layer")
    return copy


def _is_on_disk(labels: Any) -> bool:
    """Whether labels are a dask or zarr array, which are read as they are; all else can be painted in."""
    return hasattr(labels, "chunks")
