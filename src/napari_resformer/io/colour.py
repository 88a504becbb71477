"""Stored samples to the gray or red, green and blue that viewers show; lazily where the pixels are still unread."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_resformer.images.words import share
from napari_resformer.io.lazy import Converted, in_memory, is_read
from napari_resformer.io.metadata import Found, Samples


@dataclass(frozen=True)
class Shown:
    """An image as viewers show it.

    Parameters
    ----------
    levels : tuple of array-like
        The pixels, at full resolution and then at falling ones.
    axes : str, optional
        One letter a dimension, ``?`` for one that the file does not explain; None where it explains nothing.
    colour : int, optional
        The dimension that holds red, green and blue.
    notes : tuple of str
        What was done to the stored values, where this is not plain.
    """

    levels: tuple[Any, ...]
    axes: str | None
    colour: int | None
    notes: tuple[str, ...] = ()


def as_shown(found: Found) -> Shown:
    """Return an image as viewers show it: gray, or red, green and blue, without transparency.

    Pixels that are wholly transparent say nothing: where there are any, the image becomes floats, and these pixels NaN.
    """
    samples, first = found.samples, found.levels[0]
    axis, dtype = samples.axis, np.dtype(first.dtype)
    stored = 0 if axis is None else int(first.shape[axis])
    colour = samples.kind not in ("gray", "channels") and not _is_gray(samples.palette)
    opaque = stored - samples.alpha
    count = 3 if colour else opaque if opaque > 1 else 0
    hides, notes = _transparency(first, axis) if samples.alpha and axis is not None else (False, ())
    if samples.white_is_zero:
        notes = (*notes, "White is stored as zero in the file; the image is inverted to what viewers show")
    if samples.kind in ("gray", "channels", "rgb") and count == stored and not samples.white_is_zero:
        return Shown(found.levels, found.axes, axis if colour else None)
    axes = found.axes
    if axes is not None and axis is not None and not count:
        axes = axes[:axis] + axes[axis + 1 :]
    elif axes is not None and axis is None and count:
        axes += "C"
    convert = partial(_convert, samples, hides)
    out = convert(np.zeros((1, stored) if stored else 1, dtype)).dtype
    levels = tuple(Converted(level, axis, count, convert, out) for level in found.levels)
    place = levels[0].sample_place
    return Shown(tuple(map(in_memory, levels)), axes, place if colour else None, notes)


def to_colours(part: NDArray[Any], samples: Samples) -> NDArray[Any]:
    """Turn stored samples (..., samples), or (...) where a pixel has one, into what is shown; transparency is not among them."""
    return _COLOURS[samples.kind](part, samples)


def _transparency(pixels: Any, axis: int) -> tuple[bool, tuple[str, ...]]:
    """Return whether transparent pixels are to be hidden, and what to say of them; of unread pixels it is not known."""
    if not is_read(pixels):
        return True, ("Transparent pixels, where there are any, are taken as NaN",)
    alpha = pixels.take(-1, axis)
    opaque = np.iinfo(alpha.dtype).max if alpha.dtype.kind in "ui" else 1
    clear = float((alpha == 0).mean())
    if clear == 1:
        return False, ("The file calls all pixels transparent; this is ignored",)
    if clear:
        return True, (f"{share(clear)} of the pixels are transparent; they are taken as NaN",)
    return False, () if (alpha == opaque).all() else ("The image is partly transparent; the transparency is left out",)


def _convert(samples: Samples, hides: bool, part: NDArray[Any]) -> NDArray[Any]:
    """Turn (..., samples), or (...) where a pixel has one, into (..., 3) or (...)."""
    alpha = None
    if samples.axis is not None:
        if samples.alpha:
            alpha, part = part[..., -1], part[..., :-1]
        part = part[..., 0] if part.shape[-1] == 1 else part
    shown = to_colours(part, samples)
    if hides and alpha is not None:
        shown = shown.astype(np.promote_types(shown.dtype, np.float32))
        shown[alpha == 0] = np.nan
    return shown


def _as_stored(part: NDArray[Any], samples: Samples) -> NDArray[Any]:
    if not samples.white_is_zero:
        return part
    if part.dtype.kind == "f":
        return -part
    if part.dtype.kind == "u" and 0 < samples.bits < 8 * part.dtype.itemsize:
        return (2**samples.bits - 1) - part  # 4 bits are read as 8, 12 as 16
    return ~part


def _from_palette(part: NDArray[Any], samples: Samples) -> NDArray[Any]:
    assert samples.palette is not None
    table = samples.palette[:, 0] if _is_gray(samples.palette) else samples.palette
    return table[np.minimum(part, len(table) - 1)]


def _from_inks(part: NDArray[Any], _: Samples) -> NDArray[Any]:
    """Turn cyan, magenta, yellow and black into red, green and blue, as without a colour profile."""
    if part.dtype.kind == "f":
        return (1 - part[..., :3]) * (1 - part[..., 3:4])
    most = np.iinfo(part.dtype).max
    paper = (most - part).astype(np.uint64)
    return ((paper[..., :3] * paper[..., 3:4] + most // 2) // most).astype(part.dtype)


def _from_ycbcr(part: NDArray[Any], _: Samples) -> NDArray[Any]:
    """Turn 8-bit luma and chroma (ITU-R BT.601, full range) into red, green and blue."""
    luma, blue, red = (part[..., place].astype(np.float32) for place in range(3))
    blue, red = blue - 128, red - 128
    colours = np.stack([luma + 1.402 * red, luma - 0.344136 * blue - 0.714136 * red, luma + 1.772 * blue], axis=-1)
    return np.rint(colours).clip(0, 255).astype(np.uint8)


def _from_lab(part: NDArray[Any], samples: Samples) -> NDArray[Any]:
    """Turn L*a*b* of 8 or 16 bits into red, green and blue of 8 bits."""
    from skimage.color import lab2rgb

    most = np.iinfo(part.dtype).max
    lab = part.astype(np.float32)
    if samples.kind == "icclab":
        chroma = lab[..., 1:3] - (most // 2 + 1)
    else:
        chroma = part[..., 1:3].view(part.dtype.name.removeprefix("u")).astype(np.float32)
    chroma /= 1 if part.dtype.itemsize == 1 else 256
    whole = np.concatenate([lab[..., :1] * (100 / most), chroma], axis=-1)
    return np.rint(lab2rgb(whole) * 255).clip(0, 255).astype(np.uint8)


def _is_gray(palette: NDArray[np.uint8] | None) -> bool:
    return palette is not None and bool((palette == palette[:, :1]).all())


_COLOURS: dict[str, Callable[[NDArray[Any], Samples], NDArray[Any]]] = {
    "gray": _as_stored,
    "channels": _as_stored,
    "rgb": _as_stored,
    "palette": _from_palette,
    "cmyk": _from_inks,
    "ycbcr": _from_ycbcr,
    "cielab": _from_lab,
    "icclab": _from_lab,
}
