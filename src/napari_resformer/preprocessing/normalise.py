"""From raw values to the range that a network saw in training, by statistics of the whole plane."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal, Protocol, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from napari_resformer.preprocessing.channels import ChannelRule

SAMPLE_PIXELS = 2**20
"""Pixels of a plane that its statistics are taken from at most."""

_GRID, _QUICK_GRID = 4, 3  # blocks on a side that a sample is taken from; a corner alone may be black, or NaN
_STRIP_PIXELS = 2**22  # looked through at once, where a sample met no finite pixel, or only one value
_SEARCHED_PIXELS = 2**26  # of a plane that is looked through as a whole where all sampled pixels are equal
_MIDDLE = 50.0  # the median's percentile
_FINE_GRID = 16  # blocks on a side that a larger one is looked at in


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
    least, most : ndarray
        (C,) least and largest of the sampled values; equal where the plane is constant.
    is_bright : ndarray
        (C,) whether most pixels are nearer to ``high``, as on paper white; what is missing then looks white, else black.
    """

    low: NDArray[np.floating[Any]]
    high: NDArray[np.floating[Any]]
    nonfinite: float
    sampled: float
    least: NDArray[np.floating[Any]]
    most: NDArray[np.floating[Any]]
    is_bright: NDArray[np.bool_]

    @property
    def constant(self) -> bool:
        """Whether all sampled pixels are equal."""
        return bool((self.most <= self.least).all())

    @property
    def clipped(self) -> float:
        """How many times the range from ``low`` to ``high`` the farthest value lies beyond it."""
        span = self.high - self.low
        beyond = np.maximum(self.most - self.high, self.low - self.least)
        return float(np.max(beyond[span > 0] / span[span > 0], initial=0))

    def of_raw(self, pixels: NDArray[Any], rule: ChannelRule) -> NDArray[np.float32]:
        """Bring raw pixels (C of the image, H, W) to the model's channels (C, H, W), scaled as by :meth:`apply`.

        Where there are fewer values than pixels, the values are scaled once and looked up, which is several times as fast.
        """
        if pixels.dtype != np.uint8 or not _has_few_values(pixels, rule):
            return self.apply(rule.apply(pixels))
        levels = np.arange(256, dtype=np.float32)[None, None]
        scaled = np.empty((len(rule.take), *pixels.shape[1:]), np.float32)
        for place, channel in enumerate(rule.take):
            here = slice(place, place + 1)
            one = replace(self, low=self.low[here], high=self.high[here], is_bright=self.is_bright[here])
            np.take(one.apply(levels)[0, 0], pixels[channel], out=scaled[place], mode="clip")
        return scaled

    def apply(self, plane: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
        """Scale (C, H, W) to float32 in -1 to 1; a constant plane becomes -1, nonfinite pixels what most pixels are nearer to.

        Only what has been scaled is float32: where values are large and differ by little, float32 would not tell them apart.
        """
        low, high = (edge[:, None, None].astype(plane.dtype) for edge in (self.low, self.high))
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            scaled = ((plane - low) / (high - low)).clip(0, 1).astype(np.float32, copy=False)
        np.copyto(scaled, self.is_bright[:, None, None], where=~np.isfinite(plane))
        np.copyto(scaled, 0, where=high <= low)
        scaled *= 2
        scaled -= 1
        return scaled


def measure(plane: Readable, rule: ChannelRule, normalisation: Normalisation, sample: int = SAMPLE_PIXELS) -> Scaling:
    """Take a plane's statistics; equal for all its tiles.

    A plane of more than ``sample`` pixels is sampled by blocks on a regular grid that spans it, so that data on disk
    are not read twice. Only where all of these are NaN or infinite, or equal, the plane is looked through for others.

    Where nearly all pixels are equal, both percentiles are, too: then the least and the largest value become -1 and 1.

    Raises
    ------
    NoFinitePixelError
        If the plane has no finite pixel.
    """
    parts, share = _sample(plane, sample)
    if all(_has_few_values(part, rule) for part in parts):
        edges = _edges_of_counts(parts, rule, normalisation)
        if share == 1 or not edges.constant:
            return edges.scaling(0.0, share, normalisation)
    pixels = np.concatenate([rule.apply(part).reshape(len_channels(rule), -1) for part in parts], axis=1)
    finite = np.isfinite(pixels).all(axis=0)
    kept, missing = pixels[:, finite], float(1 - finite.mean())
    if share < 1 and kept.size and (kept == kept[:, :1]).all():
        kept = np.concatenate([kept, _other_values(plane, rule, sample)], axis=1)
    if not kept.size and share < 1:
        kept, missing = _search(plane, rule, sample)
    if not kept.size:
        raise NoFinitePixelError(
            f"{plane.where} has no finite pixel (all NaN or infinite); check how the image was computed or loaded"
        )
    percentiles = (normalisation.low, _MIDDLE, normalisation.high)
    if normalisation.per_channel:
        levels = np.percentile(kept, percentiles, axis=1)
    else:
        levels = np.percentile(kept, percentiles)[:, None].repeat(len(kept), axis=1)
    return _Edges(levels, kept.min(axis=1), kept.max(axis=1)).scaling(missing, share, normalisation)


@dataclass(frozen=True)
class _Edges:
    """Values between which a plane lies.

    Parameters
    ----------
    levels : ndarray
        (3, C) the low percentile, the median and the high percentile, a channel.
    least, most : ndarray
        (C,) the least and the largest value, a channel.
    """

    levels: NDArray[np.floating[Any]]
    least: NDArray[np.floating[Any]]
    most: NDArray[np.floating[Any]]

    @property
    def constant(self) -> bool:
        return bool((self.most <= self.least).all())

    def scaling(self, missing: float, share: float, normalisation: Normalisation) -> Scaling:
        low, middle, high = self.levels
        own = normalisation.per_channel
        lowest, highest = (self.least, self.most) if own else (self.least.min(), self.most.max())
        flat = high <= low
        low, high = np.where(flat, lowest, low), np.where(flat, highest, high)
        return Scaling(low, high, missing, share, self.least, self.most, middle - low > high - middle)


def _has_few_values(pixels: NDArray[Any], rule: ChannelRule) -> bool:
    """Return whether pixels (C, H, W), and the model's channels of them, have fewer values than there are pixels."""
    dtype = pixels.dtype
    few = dtype.kind == "u" and dtype.itemsize <= 2 and 2 ** (8 * dtype.itemsize) <= pixels[0].size
    return few and rule.kind != "colour to gray"


def _edges_of_counts(parts: Sequence[NDArray[Any]], rule: ChannelRule, normalisation: Normalisation) -> _Edges:
    """Return the edges of whole numbers from how often each occurs, which is faster than to sort them."""
    values = 2 ** (8 * parts[0].dtype.itemsize)
    counts = {
        channel: np.sum([np.bincount(part[channel].reshape(-1), minlength=values) for part in parts], axis=0)
        for channel in set(rule.take)
    }
    percentiles = np.array([normalisation.low, _MIDDLE, normalisation.high])
    if normalisation.per_channel:
        levels = np.stack([_percentiles_of_counts(counts[channel], percentiles) for channel in rule.take], axis=1)
    else:
        together = np.sum([counts[channel] for channel in rule.take], axis=0)
        levels = _percentiles_of_counts(together, percentiles)[:, None].repeat(len(rule.take), axis=1)
    seen = [np.flatnonzero(counts[channel]) for channel in rule.take]
    return _Edges(levels, np.array([one[0] for one in seen], float), np.array([one[-1] for one in seen], float))


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
    return Scaling(nothing, nothing, 1.0, 1.0, nothing, nothing, nothing > 0)


def _sample(plane: Readable, sample: int) -> tuple[list[NDArray[Any]], float]:
    """Return parts (C, height, width) of a plane, and which share of it they are."""
    height, width = plane.shape
    if height * width <= sample:
        return [plane.read()], 1.0
    parts = _blocks(plane, sample, _GRID if sample >= SAMPLE_PIXELS else _QUICK_GRID)
    return parts, min(sum(part[0].size for part in parts) / (height * width), 1.0)


def _blocks(plane: Readable, sample: int, grid: int) -> list[NDArray[Any]]:
    """Return blocks (C, height, width) on a regular grid, about ``sample`` pixels."""
    block = max(int(sample**0.5) // grid, 1)
    tops, lefts = (np.unique(np.linspace(0, max(side - block, 0), grid).astype(int)) for side in plane.shape)
    return [plane.read(slice(top, top + block), slice(left, left + block)) for top in tops for left in lefts]


def _other_values(plane: Readable, rule: ChannelRule, sample: int) -> NDArray[np.floating[Any]]:
    """Return (C, N) finite values, about ``sample`` and their extremes, of a plane whose sampled pixels are all equal."""
    height, width = plane.shape
    parts: Iterable[NDArray[Any]]
    if height * width > _SEARCHED_PIXELS:
        parts, step = _blocks(plane, sample, _FINE_GRID), 1
    else:
        rows, step = max(_STRIP_PIXELS // width, 1), max(height * width // sample, 1)
        parts = (plane.read(slice(top, top + rows)) for top in range(0, height, rows))
    kept: list[NDArray[Any]] = []
    for part in parts:
        values = rule.apply(part).reshape(len_channels(rule), -1)
        values = values[:, np.isfinite(values).all(axis=0)]
        if values.size:
            kept += [values[:, ::step], values.min(axis=1, keepdims=True), values.max(axis=1, keepdims=True)]
    return np.concatenate(kept, axis=1)


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
