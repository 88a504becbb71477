"""A sample: a plane with a mask, an image class, or both."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_resformer.images.image import Image, Plane
from napari_resformer.images.words import stack_words
from napari_resformer.io.read import read_image
from napari_resformer.samples.kinds import decide_alone
from napari_resformer.samples.mask_file import read_stored
from napari_resformer.samples.rules import UNDECIDED, MaskRule
from napari_resformer.samples.stored import StoredMask
from napari_resformer.samples.words import counted


@dataclass(frozen=True)
class LabelPlane:
    """One YX plane of an array of label values, still unread.

    Parameters
    ----------
    labels : array-like
        numpy, dask or zarr array of label values.
    place : tuple of int or slice
        Where the plane lies in it; two slices, all else whole numbers.
    turned : bool
        Whether X comes before Y.
    """

    labels: Any
    place: tuple[int | slice, ...]
    turned: bool = False

    def read(self) -> NDArray[Any] | None:
        """Return the label values (Y, X), or None where nothing is painted: a blank plane is one not yet annotated."""
        plane = np.asarray(self.labels[self.place])
        plane = plane.T if self.turned else plane
        return plane if plane.any() else None


class LastRead:
    """Keeps the last file that was read, so that the planes of a stack do not read it once each."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._path: Path | None = None
        self._content: Any = None

    def get(self, path: Path, read: Callable[[], Any]) -> Any:
        """Return what ``read`` gave for this path, or gives now."""
        with self._lock:
            if self._path != path:
                self._path, self._content = None, None  # before the next is read: memory holds one
                self._content = read()
                self._path = path
            return self._content

    def __reduce__(self) -> tuple[type[LastRead], tuple[()]]:
        return LastRead, ()  # pixels do not travel along


@dataclass(frozen=True)
class StackPlace:
    """Where a sample lies in a file of several planes.

    Parameters
    ----------
    index : tuple of int
        Position on the image's loop axes.
    sizes : tuple of int
        Of these axes.
    images, masks : LastRead
        Shared by all planes of a folder.
    """

    index: tuple[int, ...]
    sizes: tuple[int, ...]
    images: LastRead = field(repr=False, compare=False)
    masks: LastRead = field(repr=False, compare=False)


@dataclass(frozen=True)
class Sample:
    """A plane and what is known of it; nothing is read until it is asked for.

    Parameters
    ----------
    name : str
        Unique among the samples of a set.
    image : Path or Plane
        The file, or a plane in memory.
    mask_source : Path, LabelPlane or ndarray, optional
        Label values (Y, X), 0 is background; None where there is no mask.
    image_class : str, optional
        None where unknown.
    group : str
        Samples of one group (case, well, stack) never lie on both sides of a split.
    fold : str, optional
        Fold that the data set's makers put it in.
    mask_rule : MaskRule
        What the values of the mask stand for. Where nobody has decided that for all masks together, each is judged alone.
    instance_source : Path, optional
        A file with one value an object.
    axes : str, optional
        Axes of the image file, where they were given.
    stack : StackPlace, optional
        Where in a file of several planes the sample lies; None for a file of one plane.
    """

    name: str
    image: Path | Plane
    mask_source: Path | LabelPlane | NDArray[Any] | None
    image_class: str | None
    group: str
    fold: str | None = None
    mask_rule: MaskRule = UNDECIDED
    instance_source: Path | None = None
    axes: str | None = None
    stack: StackPlace | None = None

    @property
    def instance_labels(self) -> bool:
        """Whether the values of the mask number objects, which then all are of one mask class."""
        return self.mask_rule.kind == "instances"

    def plane(self) -> Plane:
        """Return the plane.

        Raises
        ------
        ValueError
            If the file cannot be read, or holds more than one plane and nobody said which.
        """
        if isinstance(self.image, Plane):
            return self.image
        path = self.image
        if self.stack is not None:
            image: Image = self.stack.images.get(path, lambda: read_image(path, self.axes))
            return image.plane(self.stack.index)
        image = read_image(path, self.axes)
        if image.loop_shape and max(image.loop_shape) > 1:
            raise ValueError(
                f"{self.name} is a stack ({stack_words(image.mask_shape, image.mask_axes)}, axes {image.axes}), and one plane is "
                "needed; read the folder again"
            )
        return image.plane((0,) * len(image.loop_shape))

    def mask(self) -> NDArray[Any] | None:
        """Return the mask (Y, X), or None.

        In 8 bits, where classes fit: 0 is background, :data:`~napari_resformer.metrics.IGNORE` says nothing, all else is
        a mask class.

        Raises
        ------
        ValueError
            If the file cannot be read or its values can be no label values.
        """
        stored = self._stored(self.mask_source)
        if stored is None:
            return None
        rule = self.mask_rule
        if not rule.decided:
            rule = decide_alone(stored, rule.kind, strict=isinstance(self.mask_source, Path))
        labels = rule.labels(stored)
        # In a stack, blank planes are those that nobody has annotated yet.
        return labels if self.stack is None or labels.any() else None

    def instances(self) -> NDArray[Any] | None:
        """Return instance labels (Y, X), one value an object and 0 elsewhere, or None where they are not known."""
        source = self.instance_source or (self.mask_source if self.instance_labels else None)
        stored = self._stored(source)
        if stored is None:
            return None
        rule = decide_alone(stored, "instances", strict=True)
        return np.where(rule.labels(stored) == 1, stored.values, 0)

    def _stored(self, source: Path | LabelPlane | NDArray[Any] | None) -> StoredMask | None:
        if isinstance(source, Path):
            path, name = source, source.name
            if self.stack is None:
                return _one_plane(read_stored(path, name))
            return _of_stack(self.stack, self.stack.masks.get(path, lambda: read_stored(path, name)))
        values = source.read() if isinstance(source, LabelPlane) else source
        return None if values is None else StoredMask(f"of {self.name}", np.asarray(values))


def _one_plane(stored: StoredMask) -> StoredMask:
    if stored.loops:
        raise ValueError(
            f"the mask {stored.name} holds {prod(stored.loops)} planes, its image one: save the plane that belongs to the image"
        )
    return stored


def _of_stack(stack: StackPlace, stored: StoredMask) -> StoredMask:
    """Return the plane of a mask that lies where the image's does; axes of one entry need not be there."""
    index, sizes = zip(*[(place, size) for place, size in zip(stack.index, stack.sizes, strict=True) if size > 1], strict=True)
    if stored.loops != sizes:
        raise ValueError(
            f"the mask {stored.name} holds {counted(prod(stored.loops), 'plane')}, its image {prod(sizes)}; give the mask a "
            "plane for each of the image"
        )
    return stored.plane(index)


@dataclass(frozen=True)
class SampleSet:
    """Samples and the names of what they may be.

    Parameters
    ----------
    name : str
        What to call the set.
    samples : tuple of Sample
        In a fixed order, so that a seed means the same everywhere.
    image_classes : tuple of str
        All image classes that occur, sorted.
    notes : tuple of str
        What should be known of the set before it is used, in words; for instance masks that fit no image.
    facts : tuple of str
        How the set was read: how names were matched, and what kind of masks there are.
    """

    name: str
    samples: tuple[Sample, ...]
    image_classes: tuple[str, ...]
    notes: tuple[str, ...] = ()
    facts: tuple[str, ...] = ()

    def class_number(self, sample: Sample) -> int | None:
        """Return the number of a sample's image class, None where unknown."""
        return None if sample.image_class is None else self.image_classes.index(sample.image_class)

    def subset(self, samples: Sequence[Sample]) -> SampleSet:
        """Return a set of some of the samples, with the same names."""
        return replace(self, samples=tuple(samples))

    def with_instance_labels(self) -> SampleSet:
        """Return the same samples, whose label values number objects of one mask class."""
        rule = MaskRule("instances")
        return self.subset([sample if sample.instance_labels else replace(sample, mask_rule=rule) for sample in self.samples])
