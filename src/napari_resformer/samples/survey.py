"""What is in a set of samples: one pass over all files, before anything is trained on them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_resformer.events import Finished, Progress
from napari_resformer.images.image import PixelSize, Plane
from napari_resformer.samples.sample import Sample, SampleSet

HASH_SIDE = 16
"""Cells on a side of a fingerprint: a plane is shrunk to so many gray cells, each above or below its median."""

_HASH_PIXELS = 1024
_COUNTED_DIRECTLY = 1 << 16
_FEW_CELLS = HASH_SIDE**2 // 8
_ONES = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1).sum(axis=1)  # bits set in each byte


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
    mask_values : mapping of int to int, optional
        Pixels of each label value, background left out; None where there is no mask.
    fingerprint : bytes
        Perceptual hash of the plane; see :func:`fingerprint`.
    """

    name: str
    fault: str = ""
    shape: tuple[int, int] = (0, 0)
    channels: int = 0
    colour: bool = False
    dtype: str = ""
    pixel_size: PixelSize | None = None
    mask_values: Mapping[int, int] | None = None
    fingerprint: bytes = b""


@dataclass(frozen=True)
class Survey:
    """What a pass over all samples found, in the order of the samples."""

    facts: tuple[SampleFacts, ...]

    def of(self, samples: Sequence[Sample]) -> Survey:
        """Return the facts of some of the samples."""
        known = {fact.name: fact for fact in self.facts}
        return Survey(tuple(known[sample.name] for sample in samples))

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
        """Share of the pixels of all masks that are not background, 0 to 1."""
        pixels = sum(fact.shape[0] * fact.shape[1] for fact in self.facts if fact.mask_values is not None)
        return sum(sum((fact.mask_values or {}).values()) for fact in self.facts) / pixels if pixels else 0.0

    @property
    def channels(self) -> tuple[int, ...]:
        """Channel counts that occur."""
        return tuple(sorted({fact.channels for fact in self.facts}))

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
            raise ValueError(
                f"{sample.name}: its mask is {mask.shape[0]}x{mask.shape[1]} pixels, the image {plane.shape[0]}x"
                f"{plane.shape[1]}; they must be equal"
            )
        if mask is not None and mask.dtype.kind == "i" and int(mask.min()) < 0:
            raise ValueError(f"the mask of {sample.name} holds negative values; label values start at 0, the background")
        if not _has_pixels(plane):
            raise ValueError(f"{sample.name} has no finite pixel; mend the image, or leave it out")
        print_ = fingerprint(plane)
    except (ValueError, TypeError, OSError) as error:
        text = str(error)
        return SampleFacts(sample.name, fault=text if sample.name in text else f"{sample.name}: {text}")
    return SampleFacts(
        sample.name,
        shape=plane.shape,
        channels=plane.image.channels,
        colour=plane.image.rgb,
        dtype=np.dtype(plane.image.data.dtype).name,
        pixel_size=plane.image.pixel_size,
        mask_values=None if mask is None else _count(mask),
        fingerprint=print_,
    )


def fingerprint(plane: Plane) -> bytes:
    """Return the perceptual hash of a plane: ``HASH_SIDE`` x ``HASH_SIDE`` gray cells, one bit each for above the median.

    It bears rescaling, other brightness and contrast, and compression. It is empty for a plane that is nearly the same all
    over, or whose cells are: such planes resemble each other without being duplicates.
    """
    step = max(max(plane.shape) // _HASH_PIXELS, 1)
    gray = plane.read(slice(None, None, step), slice(None, None, step))[:3].astype(np.float32).mean(axis=0)
    gray = np.nan_to_num(gray, copy=False, posinf=0, neginf=0)
    cells = np.stack([part.mean(axis=0) for part in np.array_split(gray, HASH_SIDE)])
    cells = np.stack([part.mean(axis=1) for part in np.array_split(cells, HASH_SIDE, axis=1)], axis=1)
    bits = cells > np.median(cells)
    if np.ptp(cells) < 1e-3 * max(float(np.abs(cells).max()), 1e-12) or not bits.sum() >= _FEW_CELLS:
        return b""
    return np.packbits(bits).tobytes()


def _has_pixels(plane: Plane) -> bool:
    """Return whether some pixel is finite in all channels; integers always are."""
    if np.dtype(plane.image.data.dtype).kind != "f":
        return True
    some, everything = slice(None, None, max(max(plane.shape) // _HASH_PIXELS, 1)), slice(None)
    return any(np.isfinite(plane.read(part, part)).all(axis=0).any() for part in (some, everything))


def near_duplicates(
    one: Sequence[SampleFacts], other: Sequence[SampleFacts], *, bits: int = HASH_SIDE**2 // 50
) -> list[tuple[str, str]]:
    """Return pairs of names, one from each side, whose fingerprints differ in at most so many bits."""
    left, right = ([fact for fact in side if fact.fingerprint] for side in (one, other))
    if not left or not right:
        return []
    a, b = (np.frombuffer(b"".join(fact.fingerprint for fact in side), np.uint8).reshape(len(side), -1) for side in (left, right))
    pairs = []
    for fact, row in zip(left, a, strict=True):
        distance = _ONES[b ^ row].sum(axis=1)
        pairs += [(fact.name, right[place].name) for place in np.flatnonzero(distance <= bits)]
    return pairs


def _count(mask: NDArray[Any]) -> dict[int, int]:
    if int(mask.max()) < _COUNTED_DIRECTLY:
        counts = np.bincount(mask.ravel())  # without sorting the pixels
        values = np.flatnonzero(counts)
        counts = counts[values]
    else:
        values, counts = np.unique(mask, return_counts=True)
    return {int(value): int(count) for value, count in zip(values, counts, strict=True) if value}
