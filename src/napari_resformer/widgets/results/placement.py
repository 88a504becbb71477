"""Where a mask lies: in its image, and with it in the world of the viewer. Nothing here imports napari."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_resformer.images.image import Image


@dataclass(frozen=True)
class Placed:
    """Data of a Labels layer, and where they lie in the image's.

    Parameters
    ----------
    data : array or list of array
        Label values, or the levels of a pyramid; where the image has a channel axis that is not the first, they repeat
        along it.
    axes : str
        The image's axes that its layer has too.
    dropped_axis : int, optional
        Axis of the image's geometry that the labels do not have.
    factors : tuple of float
        How many pixels of the image's full resolution a label spans, an axis.
    start : tuple of int
        Where the labels begin, in their own pixels, an axis.
    """

    data: Any
    axes: str
    dropped_axis: int | None
    factors: tuple[float, ...]
    start: tuple[int, ...]

    @property
    def multiscale(self) -> bool:
        """Whether the data are a pyramid."""
        return isinstance(self.data, list)

    @property
    def ndim(self) -> int:
        """Number of dimensions."""
        return int((self.data[0] if isinstance(self.data, list) else self.data).ndim)


@dataclass(frozen=True)
class Placement:
    """Where a mask lies in its image, without the pixels of either.

    Parameters
    ----------
    axes : str
        The axes of the image that its layer has too.
    channels : int
        Length of the channel axis.
    factors : tuple of float
        How many pixels of the image's full resolution a label spans, an axis.
    start : tuple of int
        Where the labels begin, in their own pixels, an axis.
    """

    axes: str
    channels: int
    factors: tuple[float, ...]
    start: tuple[int, ...]

    @classmethod
    def of(cls, image: Image) -> Placement:
        """Return the placement of a mask of an image: a level, or a part, of a layer's image."""
        axes = image.axes[:-1] if image.rgb and image.axes.endswith("C") else image.axes
        start = image.start or (0,) * len(image.axes)
        return cls(axes, image.channels, image.level_factors[: len(axes)], start[: len(axes)])

    def place(self, levels: Sequence[Any]) -> Placed:
        """Lay out a mask so that napari, which aligns layers by their last axes, puts it under the right sliders.

        A leading channel axis can be left out. Any other keeps its place: the values are repeated along it without being
        copied. In memory that view is writable, so that painting in one channel shows in all.
        """
        channel = self.axes.find("C")
        aligned = [level if channel <= 0 else _repeated(level, channel, self.channels) for level in levels]
        return Placed(
            aligned if len(aligned) > 1 else aligned[0], self.axes, 0 if channel == 0 else None, self.factors, self.start
        )


def _repeated(level: Any, axis: int, count: int) -> Any:
    if isinstance(level, np.ndarray):
        shape, strides = list(level.shape), list(level.strides)
        shape.insert(axis, count)
        strides.insert(axis, 0)
        return np.lib.stride_tricks.as_strided(level, shape, strides, writeable=True)
    import dask.array as da

    lazy = da.expand_dims(da.from_array(level, chunks=level.chunks), axis)
    return da.broadcast_to(lazy, (*lazy.shape[:axis], count, *lazy.shape[axis + 1 :]))


@dataclass(frozen=True)
class Frame:
    """Where an image layer lies in the world; the fields are those of the layer."""

    scale: NDArray[Any]
    translate: NDArray[Any]
    rotate: NDArray[Any]
    shear: NDArray[Any]
    affine: NDArray[Any]
    units: tuple[Any, ...]
    axis_labels: tuple[str, ...]


def frame_of(layer: Any) -> Frame:
    """Return where an image layer lies now."""
    shear = np.asarray(layer.shear)
    if shear.ndim == 1:  # napari gives the entries above the diagonal alone where that is enough
        above, shear = shear, np.eye(layer.ndim)
        shear[np.triu_indices(layer.ndim, 1)] = above
    return Frame(
        np.array(layer.scale), np.array(layer.translate), np.array(layer.rotate), shear,
        np.array(layer.affine.affine_matrix), tuple(layer.units), tuple(layer.axis_labels),
    )  # fmt: skip


def geometry(frame: Frame, placed: Placed) -> dict[str, Any]:
    """Return arguments of ``add_labels`` for labels that lie somewhere in the image.

    A pixel of a coarse level covers several of the full resolution, and its centre is theirs.
    """
    factors, ndim = np.asarray(placed.factors), len(frame.scale)
    begin = np.asarray(placed.start) * factors + (factors - 1) / 2
    translate = frame.translate + frame.rotate @ frame.shear @ (frame.scale * begin)
    keep = [axis for axis in range(ndim) if axis != placed.dropped_axis]
    block = np.ix_(keep, keep)
    return {
        "scale": (frame.scale * factors)[keep],
        "translate": translate[keep],
        "rotate": frame.rotate[block],
        "shear": frame.shear[block],
        "affine": frame.affine[np.ix_([*keep, ndim], [*keep, ndim])],
        "units": tuple(frame.units[axis] for axis in keep),
        "axis_labels": tuple(frame.axis_labels[axis] for axis in keep),
    }
