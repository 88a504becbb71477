"""What is in a set of samples: one pass over all files, before anything is trained on them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from napari_resformer.events import Finished, Progress
from napari_resformer.images.image import PixelSize, Plane
from napari_resformer.images.words import size_words
from napari_resformer.metrics import IGNORE
from napari_resformer.samples.content import UNKNOWN, Content, checksum, content_of, sampled
from napari_resformer.samples.extent import object_side
from napari_resformer.samples.sample import Sample, SampleSet
from napari_resformer.samples.stored import count_values
from napari_resformer.samples.words import gathered


@dataclass(frozen=True)
class SampleFacts:
    """What one look at a sample found.

    Parameters
    ----------
    name : str
        The sample's name.
    fault : str
        Why the sample cannot be used; empty for one that can. The rest is then without meaning, as it is for a sample that has
        neither a mask nor an image class, which is not read.
    shape : (int, int)
        Height and width, in pixels.
    channels : int
        Channels of the plane.
    colour : bool
        Whether it is in colour.
    dtype : str
        Type of its pixels.
    pixel_size : (float, float), optional
        Micrometres in Y and X, when known.
    channel_names : tuple of str
        Names of the channels, where the file says them.
    mask_values : mapping of int to int, optional
        Pixels of each label value, background and ignored pixels left out; None where there is no mask.
    ignored : int
        Pixels of the mask that say nothing.
    object_side : float, optional
        Side of a square as large as a typical object, in pixels; None where nothing is painted.
    content : Content
        What tells the plane from others.
    mask_checksum : str
        Of the label values; empty where there is no mask.
    notes : tuple of str
        What the image file says of itself that the user should know.
    """

    name: str
    fault: str = ""
    shape: tuple[int, int] = (0, 0)
    channels: int = 0
    colour: bool = False
    dtype: str = ""
    pixel_size: PixelSize | None = None
    channel_names: tuple[str, ...] = ()
    mask_values: Mapping[int, int] | None = None
    ignored: int = 0
    object_side: float | None = None
    content: Content = UNKNOWN
    mask_checksum: str = ""
    notes: tuple[str, ...] = ()

    @property
    def annotated_pixels(self) -> int:
        """Pixels of the mask that count: background or a class; 0 where there is no mask."""
        return 0 if self.mask_values is None else self.shape[0] * self.shape[1] - self.ignored


@dataclass(frozen=True)
class Survey:
    """What a pass over all samples found, in the order of the samples."""

    facts: tuple[SampleFacts, ...]

    def of(self, samples: Sequence[Sample]) -> Survey:
        """Return the facts of some of the samples."""
        known = {fact.name: fact for fact in self.facts}
        return Survey(tuple(known[sample.name] for sample in samples))

    @property
    def notes(self) -> tuple[str, ...]:
        """What the image files say of themselves, each note once, with the names of the samples that it is of."""
        return gathered({fact.name: fact.notes for fact in self.facts})

    @property
    def masks(self) -> int:
        """How many samples have a mask."""
        return sum(fact.mask_values is not None for fact in self.facts)

    @property
    def mask_values(self) -> dict[int, int]:
        """In how many masks each label value occurs, background left out."""
        counts = Counter(value for fact in self.facts for value in fact.mask_values or {})
        return dict(sorted(counts.items()))

    @property
    def painted(self) -> float:
        """Share of the pixels of all masks that are not background, 0 to 1; ignored ones do not count."""
        pixels = sum(fact.annotated_pixels for fact in self.facts)
        return sum(sum((fact.mask_values or {}).values()) for fact in self.facts) / pixels if pixels else 0.0

    @property
    def channels(self) -> tuple[int, ...]:
        """Channel counts that occur."""
        return tuple(sorted({fact.channels for fact in self.facts}))

    @property
    def channel_names(self) -> tuple[str, ...]:
        """Names of the channels, where all planes have the same ones, in whatever order; that of the first counts."""
        names = [fact.channel_names for fact in self.facts]
        if not names or any(
            len(set(map(str.casefold, one))) < fact.channels for one, fact in zip(names, self.facts, strict=True)
        ):
            return ()
        same = {tuple(sorted(map(str.casefold, one))) for one in names}
        return tuple(name.strip() for name in names[0]) if len(same) == 1 and all(map(str.strip, names[0])) else ()

    @property
    def colour(self) -> bool:
        """Whether some planes are in colour."""
        return any(fact.colour for fact in self.facts)

    def annotated(self, samples: SampleSet) -> SampleSet:
        """Return the samples that have a mask or an image class; labels in which nothing is painted are no mask."""
        masked = {fact.name for fact in self.facts if fact.mask_values is not None}
        told = [one if one.name in masked else replace(one, mask_source=None) for one in samples.samples]
        return samples.subset([one for one in told if one.image_class is not None or one.mask_source is not None])


def iter_survey(samples: SampleSet) -> Iterator[Progress | Finished[Survey]]:
    """Read every plane and mask once; what cannot be used is noted, not raised."""
    facts = []
    for sample in samples.samples:
        facts.append(look_at(sample))
        yield Progress(len(facts), len(samples.samples), "checking image")
    yield Finished(Survey(tuple(facts)))


def look_at(sample: Sample) -> SampleFacts:
    """Read a sample's plane and mask and note what they are."""
    try:
        mask = sample.mask()
        if mask is None and sample.image_class is None:
            return SampleFacts(sample.name)  # of a long stack few planes are annotated; the others need not be read
        plane = sample.plane()
        if mask is not None and mask.shape != plane.shape:
            turned = mask.shape == plane.shape[::-1]
            remedy = "one of them lies on its side: turn it" if turned else "save the mask at the size of the image"
            raise ValueError(
                f"{sample.name}: its mask is {size_words(mask.shape)}, the image {size_words(plane.shape)}; they must be equal: "
                f"{remedy}"
            )
        if not _has_pixels(plane):
            raise ValueError(f"{sample.name} has no finite pixel; mend the image, or leave it out")
        content = content_of(plane)
    except (ValueError, TypeError, OSError) as error:
        text = str(error)
        return SampleFacts(sample.name, fault=text if sample.name in text else f"{sample.name}: {text}")
    values = None if mask is None else count_values(mask)
    ignored = values.pop(IGNORE, 0) if values and mask is not None and mask.dtype == np.uint8 else 0
    return SampleFacts(
        sample.name,
        shape=plane.shape,
        channels=plane.image.channels,
        colour=plane.image.rgb,
        dtype=np.dtype(plane.image.data.dtype).name,
        pixel_size=plane.image.pixel_size,
        channel_names=plane.image.channel_names,
        mask_values=None if values is None else {value: count for value, count in values.items() if value},
        ignored=ignored,
        object_side=None if mask is None else object_side(mask),
        content=content,
        mask_checksum="" if mask is None else checksum(mask),
        notes=tuple(plane.image.notes),
    )


def _has_pixels(plane: Plane) -> bool:
    """Return whether some pixel is finite in all channels; integers always are."""
    if np.dtype(plane.image.data.dtype).kind != "f":
        return True
    return any(np.isfinite(pixels).all(axis=0).any() for pixels in (sampled(plane), plane.read()))
