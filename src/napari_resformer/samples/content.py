"""What tells a plane from others, whatever its file is called: a checksum, and a hash of what it looks like."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_resformer.images.image import Plane

HASH_SIDE = 16
"""Cells on a side of a fingerprint: a plane is shrunk to so many gray cells, each above or below its median."""
SAME_BITS = HASH_SIDE**2 // 50
"""Fingerprints that differ in at most so many bits are of the same picture."""

_HASH_PIXELS = 1024
_FEW_CELLS = HASH_SIDE**2 // 8
_ONES = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1).sum(axis=1)  # bits set in each byte


@dataclass(frozen=True)
class Content:
    """What tells a plane from others.

    Parameters
    ----------
    checksum : str
        Of its pixels, 16 hexadecimal digits; of a large plane every n-th row and column is taken.
    fingerprint : bytes
        Perceptual hash: ``HASH_SIDE`` x ``HASH_SIDE`` gray cells, one bit each for above the median. It bears rescaling, other
        brightness and contrast, and compression. It is empty for a plane that is nearly the same all over, or whose cells are:
        such planes resemble each other without being duplicates.
    """

    checksum: str = ""
    fingerprint: bytes = b""


UNKNOWN = Content()


def content_of(plane: Plane) -> Content:
    """Read a plane, of a large one every n-th pixel, and return what tells it from others."""
    pixels = sampled(plane)
    return Content(checksum(pixels, plane.shape), _fingerprint(pixels))


def sampled(plane: Plane) -> NDArray[Any]:
    """Return (C, h, w): every n-th pixel, of a plane below 2048 pixels on its long side all of them."""
    step = max(max(plane.shape) // _HASH_PIXELS, 1)
    return plane.read(slice(None, None, step), slice(None, None, step))


def checksum(pixels: NDArray[Any], shape: tuple[int, ...] = ()) -> str:
    """Return the checksum of an array's values, whatever its byte order and memory layout."""
    plain = np.ascontiguousarray(pixels, pixels.dtype.newbyteorder("<"))
    digest = hashlib.blake2b(repr((pixels.dtype.kind, pixels.dtype.itemsize, pixels.shape, shape)).encode(), digest_size=8)
    digest.update(plain.data)
    return digest.hexdigest()


def alike(one: Sequence[bytes], other: Sequence[bytes], *, bits: int = SAME_BITS) -> list[tuple[int, int]]:
    """Return pairs of places, one from each side, whose fingerprints differ in at most so many bits; empty ones are like none."""
    left, right = ([place for place, print_ in enumerate(side) if print_] for side in (one, other))
    if not left or not right:
        return []
    rows = [np.frombuffer(side[place], np.uint8) for side, places in ((one, left), (other, right)) for place in places]
    a, b = np.stack(rows[: len(left)]), np.stack(rows[len(left) :])
    pairs = []
    for place, row in zip(left, a, strict=True):
        distance = _ONES[b ^ row].sum(axis=1)
        pairs += [(place, right[found]) for found in np.flatnonzero(distance <= bits)]
    return pairs


def _fingerprint(pixels: NDArray[Any]) -> bytes:
    if min(pixels.shape[1:]) < HASH_SIDE:
        return b""
    gray = pixels[:3].astype(np.float32).mean(axis=0)
    gray = np.nan_to_num(gray, copy=False, posinf=0, neginf=0)
    cells = np.stack([part.mean(axis=0) for part in np.array_split(gray, HASH_SIDE)])
    cells = np.stack([part.mean(axis=1) for part in np.array_split(cells, HASH_SIDE, axis=1)], axis=1)
    bits = cells > np.median(cells)
    if np.ptp(cells) < 1e-3 * max(float(np.abs(cells).max()), 1e-12) or not bits.sum() >= _FEW_CELLS:
        return b""
    return np.packbits(bits).tobytes()
