"""What the samples of a TIFF page mean: its photometric interpretation, palette, transparency and bits."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_resformer.io.metadata import Kind, Samples
from napari_resformer.io.numbers import count as count_of

_WHITE_IS_ZERO, _RGB, _PALETTE, _INKS, _YCBCR, _CIELAB, _ICCLAB, _ITULAB = 0, 2, 3, 5, 6, 8, 9, 10
_SAMPLES = {_RGB: 3, _INKS: 4, _YCBCR: 3, _CIELAB: 3, _ICCLAB: 3}
_KINDS: dict[int, Kind] = {_RGB: "rgb", _INKS: "cmyk", _YCBCR: "ycbcr", _CIELAB: "cielab", _ICCLAB: "icclab"}
_JPEGS = (6, 7, 33007, 34892, 22610)
_LOSSY = (*_JPEGS, 33003, 33005, 34712)  # JPEG 2000 may be lossless; only a mask suffers from the doubt
_ALPHA = (1, 2)
_UNUSUAL = {
    32803: "raw sensor data (a colour filter array)", 34892: "linear raw data", 32844: "logarithmic luminance (LogL)",
    32845: "logarithmic colour (LogLuv)", _ITULAB: "ITU L*a*b*", 51177: "depth values",
}  # fmt: skip


def samples_of(page: Any, axis: int | None, count: int, *, is_lut: bool) -> tuple[Samples, tuple[str, ...]]:
    """Return what the samples of a page mean, and what to say of it.

    Parameters
    ----------
    page : tifffile.TiffPage
        The page.
    axis : int, optional
        The dimension that holds the samples of a pixel; None where a pixel has one.
    count : int
        How many samples a pixel has.
    is_lut : bool
        Whether a palette is but the colours in which a microscopy program shows gray values.
    """
    photometric = int(page.photometric)
    bits = page.bitspersample if isinstance(page.bitspersample, int) else max(page.bitspersample)
    lossy = int(page.compression) in _LOSSY
    alpha = count > 1 and bool(page.extrasamples) and int(page.extrasamples[-1]) in _ALPHA
    plain = Samples("channels" if count - alpha > 1 else "gray", axis, alpha=alpha, bits=int(bits), lossy=lossy)
    if photometric in _UNUSUAL:
        return plain, (f"the file holds {_UNUSUAL[photometric]}; the values are read as they are stored",)
    if photometric == _PALETTE:
        palette = _palette(page)
        if palette is None or is_lut or np.dtype(page.dtype).kind != "u":
            return plain, ("the file's colour table is for display only; the values are read as they are stored",)
        return Samples("palette", axis, palette, alpha, int(bits), lossy=lossy), ()
    if photometric == _WHITE_IS_ZERO:
        return Samples(plain.kind, axis, None, alpha, int(bits), white_is_zero=True, lossy=lossy), ()
    if photometric not in _KINDS or count - alpha < _SAMPLES[photometric]:
        return plain, ()
    return _coloured(page, plain, count)


def _coloured(page: Any, plain: Samples, count: int) -> tuple[Samples, tuple[str, ...]]:
    """Return the meaning of samples of which the first ones are a colour."""
    photometric = int(page.photometric)
    kind = _KINDS[photometric]
    if photometric == _YCBCR and int(page.compression) in _JPEGS:
        kind = "rgb"  # as decoded
    if photometric == _INKS and count_of(getattr(page.tags.get("InkSet"), "value", 1)) != 1:
        return plain, ("the file holds inks other than cyan, magenta, yellow and black; they are read as channels",)
    further = count - plain.alpha - _SAMPLES[photometric]
    if photometric in (_CIELAB, _ICCLAB) and plain.bits not in (8, 16):
        return plain, ("L*a*b* colours are read as they are stored",)
    if further > 0 and (kind != "rgb" or count > 4):
        return plain, (f"beside colours, a pixel has {further} further sample(s); all are read as channels",)
    return Samples(kind, plain.axis, None, plain.alpha, plain.bits, lossy=plain.lossy), ()


def _palette(page: Any) -> NDArray[np.uint8] | None:
    """Return (entries, 3) colours, or None where the table is damaged."""
    table = page.colormap
    if table is None or np.ndim(table) != 2 or len(table) != 3:
        return None
    colours = np.asarray(table).T
    # The table holds 16 bits; some writers fill in 8.
    return np.ascontiguousarray(colours >> 8 if int(colours.max(initial=0)) > 255 else colours).astype(np.uint8)
