"""What is in a set of samples: one pass over all files, before anything is trained on them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np

from napari_resformer.samples.sample import SampleSet


@dataclass(frozen=True)
class Survey:
    """What a pass over all samples found.

    Parameters
    ----------
    samples, masks, groups : int
        How many samples, samples with a mask, and groups there are.
    class_counts : dict of str to int
        Samples of each image class.
    unclassified : int
        Samples whose image class is unknown.
    mask_values : dict of int to int
        In how many masks each label value occurs, background left out.
    channels : tuple of int
        Channel counts that occur.
    colour : bool
        Whether some planes are in colour.
    """

    samples: int
    masks: int
    groups: int
    class_counts: dict[str, int]
    unclassified: int
    mask_values: dict[int, int]
    channels: tuple[int, ...]
    colour: bool


def survey_samples(samples: SampleSet) -> Survey:
    """Read every image and mask once and count.

    Raises
    ------
    ValueError
        If a file cannot be read, a mask does not have the shape of its plane, or a sample has neither mask nor class.
    """
    values: Counter[int] = Counter()
    channels: set[int] = set()
    masks, colour = 0, False
    for sample in samples.samples:
        plane = sample.plane()
        mask = sample.mask()
        if mask is None and sample.image_class is None:
            raise ValueError(f"{sample.name} has neither a mask nor an image class; annotate it or take it out")
        if mask is not None:
            if mask.shape != plane.shape:
                raise ValueError(
                    f"{sample.name}: its mask is {mask.shape[0]}x{mask.shape[1]} pixels, the image {plane.shape[0]}x"
                    f"{plane.shape[1]}; they must be equal"
                )
            present = set(np.unique(mask).tolist()) - {0}
            values.update(present)
            masks += 1
        channels.add(plane.image.channels)
        colour |= plane.image.rgb
    return Survey(
        samples=len(samples.samples),
        masks=masks,
        groups=len({sample.group for sample in samples.samples}),
        class_counts=dict(Counter(sample.image_class for sample in samples.samples if sample.image_class is not None)),
        unclassified=sum(sample.image_class is None for sample in samples.samples),
        mask_values=dict(sorted(values.items())),
        channels=tuple(sorted(channels)),
        colour=colour,
    )
