"""From raw values to the range that a network saw in training, by statistics of the whole plane."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Protocol, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from napari_resformer.preprocessing.channels import ChannelRule

SAMPLE_PIXELS = 2**20
"""Pixels of a plane that its statistics are taken from at most."""

_GRID, _QUICK_GRID = 4, 3  # blocks on a side that a sample is taken from; a corner alone may be black, or NaN
_STRIP_PIXELS = 2**22  # looked through at once, where a sample met no finite pixel


class NoFinitePixelError(ValueError):
    """A plane is all NaN or infinite."""


class Readable(Protocol):
    """A plane, or one on another grid: what statistics are taken from."""

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width in pixels."""
        ...

    @property
    def where(self) -> str:
        """What to call it in messages."""
        ...

    def read(self, rows: slice = ..., columns: slice = ...) -> NDArray[Any]:
        """Read a part as (C, height, width)."""
        ...


class Normalisation(BaseModel):
    """How a model wants its planes: percentiles of the plane go to -1 and 1, what lies outside is clipped.

    Parameters
    ----------
    method : {"percentile"}
        The only one so far; named so that a file from a newer version is refused rather than misread.
    low, high : float
        Percentiles, 0 to 100.
    per_channel : bool
        Whether each channel has percentiles of its own (independent stains), or all share them (colour).
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    method: Literal["percentile"] = "percentile"
    low: Annotated[float, Field(ge=0, le=100)] = 0.1
    high: Annotated[float, Field(ge=0, le=100)] = 99.9
    per_channel: bool = False

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.low >= self.high:
            raise ValueError(f"normalisation: low percentile {self.low} is not below the high one {self.high}")
        return self


@dataclass(frozen=True)
class Scaling:
    """The statistics of one plane, ready to be applied to any tile of it.

    Parameters
    ----------
    low, high : ndarray
        (C,) values that become -1 and 1.
    nonfinite : float
        Share of the sampled pixels that are NaN or infinite in any channel; they become background.
    sampled : float
        Share of the plane's pixels that the statistics were taken from.
    """

    low: NDArray[np.floating[Any]]
    high: NDArray[np.floating[Any]]
    nonfinite: float
    sampled: float

    def of_raw(self, pixels: NDArray[Any], rule: ChannelRule) -> NDArray[np.float32]:
        """Bring raw pixels (C of the image, H, W) to the model's channels (C, H, W), scaled as by :meth:`apply`.

        Where there are fewer values than pixels, the values are scaled once and looked up, which is several times as fast.
        """
        if pixels.dtype != np.uint8 or not _has_few_values(pixels, rule):
            return self.apply(rule.apply(pixels))
        levels = np.arange(256, dtype=np.float32)[None, None]
        scaled = np.empty((len(rule.take), *pixels.shape[1:]), np.float32)
        for place, channel in enumerate(rule.take):
            one = Scaling(self.low[place : place + 1], self.high[place : place + 1], 0.0, 1.0)
            np.take(one.apply(levels)[0, 0], pixels[channel], out=scaled[place], mode="clip")
        return scaled

    def apply(self, plane: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
        """Scale (C, H, W) to float32 in -1 to 1; a constant plane and nonfinite pixels become -1.

        Only what has been scaled is float32: where values are large and differ by little, float32 would not tell them apart.
        """
        low, high = (edge[:, None, None].astype(plane.dtype) for edge in (self.low, self.high))
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            scaled = ((plane - low) / (high - low)).clip(0, 1).astype(np.float32, copy=False)
        scaled[~np.isfinite(plane) | (high <= low)] = 0
        scaled *= 2
        scaled -= 1
        return scaled


def measure(plane: Readable, rule: ChannelRule, normalisation: Normalisation, sample: int = SAMPLE_PIXELS) -> Scaling:
    """Take a plane's statistics; equal for all its tiles.

    A plane of more than ``sample`` pixels is sampled by blocks on a regular grid that spans it, so that data on disk
    are not read twice. Only where all of these are NaN or infinite, the plane is looked through for others.

    Raises
    ------
    NoFinitePixelError
        If the plane has no finite pixel.
    """
    parts, share = _sample(plane, sample)
    if all(_has_few_values(part, rule) for part in parts):
        return Scaling(*_edges_of_counts(parts, rule, normalisation), 0.0, share)
    pixels = np.concatenate([rule.apply(part).reshape(len_channels(rule), -1) for part in parts], axis=1)
    finite = np.isfinite(pixels).all(axis=0)
    kept, missing = pixels[:, finite], float(1 - finite.mean())
    if not kept.size and share < 1:
        kept, missing = _search(plane, rule, sample)
    if not kept.size:
        raise NoFinitePixelError(
            f"{plane.where} has no finite pixel (all NaN or infinite); check how the image was computed or loaded"
        )
    percentiles = (normalisation.low, normalisation.high)
    if normalisation.per_channel:
        low, high = np.percentile(kept, percentiles, axis=1)
    else:
        low, high = (np.full(len(kept), value) for value in np.percentile(kept, percentiles))
    return Scaling(low, high, missing, share)


def _has_few_values(pixels: NDArray[Any], rule: ChannelRule) -> bool:
    """Return whether pixels (C, H, W), and the model's channels of them, have fewer values than there are pixels."""
    dtype = pixels.dtype
    few = dtype.kind == "u" and dtype.itemsize <= 2 and 2 ** (8 * dtype.itemsize) <= pixels[0].size
    return few and rule.kind != "colour to gray"


def _edges_of_counts(
    parts: Sequence[NDArray[Any]], rule: ChannelRule, normalisation: Normalisation
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the percentiles of whole numbers from how often each occurs, which is faster than to sort them."""
    values = 2 ** (8 * parts[0].dtype.itemsize)
    counts = {
        channel: np.sum([np.bincount(part[channel].reshape(-1), minlength=values) for part in parts], axis=0)
        for channel in set(rule.take)
    }
    percentiles = np.array([normalisation.low, normalisation.high])
    if normalisation.per_channel:
        edges = np.stack([_percentiles_of_counts(counts[channel], percentiles) for channel in rule.take], axis=1)
    else:
        together = np.sum([counts[channel] for channel in rule.take], axis=0)
        edges = _percentiles_of_counts(together, percentiles)[:, None].repeat(len(rule.take), axis=1)
    return edges[0], edges[1]


def _percentiles_of_counts(counts: NDArray[np.int64], percentiles: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return what ``np.percentile`` returns for values that occur so often."""
    upto = np.cumsum(counts)
    place = percentiles / 100 * (upto[-1] - 1)
    before = np.floor(place)
    first, second = (
        np.searchsorted(upto, rank, side="right").astype(float) for rank in (before, np.minimum(before + 1, upto[-1] - 1))
    )
    return first + (second - first) * (place - before)


def blank(rule: ChannelRule) -> Scaling:
    """Return what a plane without a finite pixel is scaled by: all of it becomes background."""
    nothing = np.zeros(len_channels(rule))
    return Scaling(nothing, nothing, 1.0, 1.0)


def _sample(plane: Readable, sample: int) -> tuple[list[NDArray[Any]], float]:
    """Return parts (C, height, width) of a plane, and which share of it they are."""
    height, width = plane.shape
    if height * width <= sample:
        return [plane.read()], 1.0
    grid = _GRID if sample >= SAMPLE_PIXELS else _QUICK_GRID
    block = max(int(sample**0.5) // grid, 1)
    tops, lefts = (np.unique(np.linspace(0, max(side - block, 0), grid).astype(int)) for side in (height, width))
    parts = [plane.read(slice(top, top + block), slice(left, left + block)) for top in tops for left in lefts]
    return parts, min(sum(part[0].size for part in parts) / (height * width), 1.0)


def _search(plane: Readable, rule: ChannelRule, sample: int) -> tuple[NDArray[np.floating[Any]], float]:
    """Return (C, N) values of the first finite pixels, about ``sample``, and the share that is not finite up to there."""
    height, width = plane.shape
    rows, seen, finite, taken = max(_STRIP_PIXELS // width, 1), 0, 0, 0
    parts: list[NDArray[Any]] = []
    for top in range(0, height, rows):
        values = rule.apply(plane.read(slice(top, top + rows))).reshape(len_channels(rule), -1)
        kept = values[:, np.isfinite(values).all(axis=0)]
        seen, finite = seen + values.shape[1], finite + kept.shape[1]
        parts.append(kept[:, :: max(kept.shape[1] // sample, 1)])
        taken += parts[-1].shape[1]
        if taken >= sample:
            break
    return np.concatenate(parts, axis=1), 1 - finite / seen


def len_channels(rule: ChannelRule) -> int:
    """Return how many channels a rule yields."""
    return 1 if rule.kind == "colour to gray" else len(rule.take)
