"""A sample: a plane with a mask, an image class, or both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_resformer.images.image import Plane
from napari_resformer.io.read import read_image
from napari_resformer.samples.masks import read_label_file


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
    instance_labels : bool
        Whether each object has a label value of its own; then all objects are of one mask class.
    """

    name: str
    image: Path | Plane
    mask_source: Path | LabelPlane | NDArray[Any] | None
    image_class: str | None
    group: str
    fold: str | None = None
    instance_labels: bool = False

    def plane(self) -> Plane:
        """Return the plane.

        Raises
        ------
        ValueError
            If the file holds more than one plane.
        """
        if isinstance(self.image, Plane):
            return self.image
        image = read_image(self.image)
        if image.loop_shape and max(image.loop_shape) > 1:
            raise ValueError(
                f"{self.name} is a stack (shape {tuple(image.data.shape)}, axes {image.axes}); "
                "a data folder holds one plane a file: split the stack into planes"
            )
        return image.plane((0,) * len(image.loop_shape))

    def mask(self) -> NDArray[Any] | None:
        """Return the mask (Y, X), or None."""
        values = self._label_values()
        return (values > 0).astype(np.uint8) if self.instance_labels and values is not None else values

    def _label_values(self) -> NDArray[Any] | None:
        if isinstance(self.mask_source, Path):
            return read_label_file(self.mask_source)
        if isinstance(self.mask_source, LabelPlane):
            return self.mask_source.read()
        return None if self.mask_source is None else np.asarray(self.mask_source)


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
    """

    name: str
    samples: tuple[Sample, ...]
    image_classes: tuple[str, ...]
    notes: tuple[str, ...] = ()

    def class_number(self, sample: Sample) -> int | None:
        """Return the number of a sample's image class, None where unknown."""
        return None if sample.image_class is None else self.image_classes.index(sample.image_class)

    def subset(self, samples: Sequence[Sample]) -> SampleSet:
        """Return a set of some of the samples, with the same names."""
        return SampleSet(self.name, tuple(samples), self.image_classes, self.notes)

    def with_instance_labels(self) -> SampleSet:
        """Return the same samples, in whose masks each object has a label value of its own and all are of one mask class."""
        return self.subset([replace(sample, instance_labels=True) for sample in self.samples])
