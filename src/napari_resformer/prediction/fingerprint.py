"""What stored outputs were made of: a run goes on in a store only if all of it is the same."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterator, Mapping, Sequence
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_resformer.images.image import Image, Plane
from napari_resformer.model.file import Model
from napari_resformer.prediction.plan import Plan

_WHOLE_VALUES = 2**22
"""A plane of no more values than this, all channels, is looked at as a whole."""
_GRID, _BLOCK = 3, 128  # of a larger one: blocks on a side of the plane, and pixels on a side of a block
_PIXELS_FOLLOW = {"shape", "dtype", "axes", "level", "start", "brightness"}  # where these differ, the checksum does, too


_BEFORE_OUTPUTS = {"outputs": ["mask"]}  # what the first version made, and did not note


def fingerprint(model: Model, plan: Plan, outputs: Sequence[str] = ("mask",)) -> dict[str, Any]:
    """Return model, image, settings and outputs as JSON-serialisable values.

    The image is known by its shape and type, the brightness of its first plane, and a checksum of pixels of three planes: cheap
    however large it is, and different for another image, if not for one that was changed in a few pixels.
    """
    image = plan.image
    return {
        "model": model.sha256 or _weights(model),
        "shape": [int(size) for size in image.data.shape],
        "dtype": str(image.data.dtype),
        "axes": image.axes,
        "level": image.level,
        "start": list(image.start),
        "pixel_size": list(image.pixel_size) if image.pixel_size else None,
        "brightness": [float(f"{value:.5g}") for value in plan.brightness],
        "pixels": _checksum(image),
        "channels": list(plan.channels.take),
        "tile": plan.tile,
        "halo": plan.halo,
        "network_sees": list(plan.grid.target),
        "outputs": list(outputs),
    }


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """Return in words what differs; empty if nothing does."""
    before = {**_BEFORE_OUTPUTS, **before}
    names = [name for name in {**before, **now} if before.get(name) != now.get(name)]
    if _PIXELS_FOLLOW & set(names):
        names = [name for name in names if name != "pixels"]
    return "; ".join(
        "pixels are those of another image"  # a checksum tells nobody anything
        if name == "pixels"
        else f"{name.replace('_', ' ')} was {before.get(name)}, is {now.get(name)}"
        for name in names
    )


def _checksum(image: Image) -> str:
    """Return a checksum of pixels of the first, the middle and the last plane."""
    last = prod(image.loop_shape) - 1
    total = 0
    for number in dict.fromkeys((0, last // 2, last)):
        index = tuple(int(place) for place in np.unravel_index(number, image.loop_shape)) if image.loop_shape else ()
        for part in _parts(image.plane(index)):
            total = zlib.crc32(_plain(part), total)
    return f"{total:08x}"


def _parts(plane: Plane) -> Iterator[NDArray[Any]]:
    """Yield a plane, or blocks of a large one: few chunks are read; no block lies at the border, where slides are empty."""
    height, width = plane.shape
    if height * width * plane.image.channels <= _WHOLE_VALUES:
        yield plane.read()
        return
    for row in range(_GRID):
        for column in range(_GRID):
            top, left = (
                max(side * (2 * place + 1) // (2 * _GRID) - _BLOCK // 2, 0) for side, place in ((height, row), (width, column))
            )
            yield plane.read(slice(top, top + _BLOCK), slice(left, left + _BLOCK))


def _plain(part: NDArray[Any]) -> bytes:
    """Return the values as bytes that do not depend on how they were computed: one kind of NaN, no padding."""
    if part.dtype.kind == "f":
        part = part.astype(np.float64) if part.dtype.itemsize > 8 else part
        missing = np.isnan(part)
        if missing.any():
            part = np.where(missing, part.dtype.type(np.nan), part)
    return part.tobytes()


def _weights(model: Model) -> str:
    """Return a hash of a model that was never saved."""
    digest = hashlib.sha256(model.card.model_dump_json().encode())
    for name, tensor in sorted(model.network.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return f"unsaved {digest.hexdigest()}"
