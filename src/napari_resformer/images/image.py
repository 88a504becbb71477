"""An image with named axes, and the planes in it; pixels are read when they are asked for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_resformer.images.axes import LOOP_AXES, check_axes, guess_axes
from napari_resformer.images.lazy import Window
from napari_resformer.images.place import Place
from napari_resformer.images.words import pixel_words, share, size_words

MIN_PLANE_SIDE = 8
"""Pixels; nothing smaller can show an object and its surroundings."""

PixelSize = tuple[float, float]
"""Height and width of a pixel, in micrometres."""

PlaneIndex = tuple[int, ...]
"""Position of a plane on the loop axes of its image; empty where there are none."""


@dataclass(frozen=True)
class Image:
    """An array with named axes.

    Parameters
    ----------
    data : array-like
        numpy, dask or zarr array: anything with ``shape``, ``dtype`` and slicing.
    axes : str
        One letter a dimension, see :func:`~napari_resformer.images.axes.check_axes`.
    name : str
        What to call the image in messages and results.
    pixel_size : (float, float), optional
        Micrometres in Y and X, when known.
    channel_names : tuple of str
        Names of the entries of the channel axis, when known.
    rgb : bool
        Whether the channel axis holds colour (red, green, blue, and perhaps alpha).
    z_step : float, optional
        Micrometres between planes of the axis Z, when known.
    pyramid : tuple of array-like
        The same image at falling resolution, the full one first; empty where there is only one.
    level : int
        Which entry of the pyramid ``data`` is.
    start : tuple of int
        Where ``data`` begin on each axis of the level, where they are a part of it; empty for the whole.
    places : tuple of Place
        Where each level of the pyramid lies (of an image without one: where it lies), in the file's own units; empty where
        the file does not say.
    notes : tuple of str
        What the user should know of the file: what else it holds, what was damaged and ignored, what its values mean.

    Raises
    ------
    TypeError
        If the pixels are not real numbers.
    ValueError
        If the axes do not fit, the image is empty or its planes are too small.

    Examples
    --------
    >>> import numpy as np
    >>> import napari_resformer as nr
    >>> image = nr.Image(np.zeros((5, 2, 64, 80), np.uint16), "ZCYX", pixel_size=(0.5, 0.5), channel_names=("DAPI", "GFP"))
    >>> image.loop_shape, image.channels, image.plane_shape
    ((5,), 2, (64, 80))
    """

    data: Any
    axes: str
    name: str = "image"
    pixel_size: PixelSize | None = None
    channel_names: tuple[str, ...] = ()
    rgb: bool = False
    z_step: float | None = None
    pyramid: tuple[Any, ...] = ()
    level: int = 0
    start: tuple[int, ...] = ()
    places: tuple[Place, ...] = ()
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_dtype(self.data.dtype, self.name)
        object.__setattr__(self, "axes", check_axes(self.axes, self.data.shape))
        if prod(self.data.shape) == 0:
            raise ValueError(f"{self.name} is empty: its shape is {tuple(self.data.shape)}; give an image with pixels")
        if min(self.plane_shape) < MIN_PLANE_SIDE:
            raise ValueError(
                f"the planes of {self.name} are {size_words(self.plane_shape)} (shape {tuple(self.data.shape)}, axes "
                f"{self.axes}); at least {size_words(MIN_PLANE_SIDE)} are needed: check the axes or give a larger image"
            )
        if self.pixel_size is not None:
            object.__setattr__(self, "pixel_size", _checked(self.pixel_size, self.name))

    @property
    def level_factors(self) -> tuple[float, ...]:
        """How many pixels of the full resolution a pixel spans, an axis; all 1 without a pyramid."""
        if not self.pyramid:
            return (1.0,) * len(self.axes)
        full, here = self.pyramid[0].shape, self.pyramid[self.level].shape
        return tuple(int(most) / int(least) for most, least in zip(full, here, strict=True))

    def at_level(self, level: int) -> Image:
        """Return the same image at another level of its pyramid; the pixel size changes with it."""
        if level == self.level or not self.pyramid:
            return self
        now, then = self.level_factors, replace(self, data=self.pyramid[level], level=level, pixel_size=None).level_factors
        growth = dict(zip(self.axes, (after / before for before, after in zip(now, then, strict=True)), strict=True))
        size = None if self.pixel_size is None else (self.pixel_size[0] * growth["Y"], self.pixel_size[1] * growth["X"])
        step = None if self.z_step is None else self.z_step * growth.get("Z", 1)
        return replace(self, data=self.pyramid[level], level=level, pixel_size=size, z_step=step)

    def part(self, ranges: Mapping[str, slice]) -> Image:
        """Return a part of the image; nothing is read, and pyramid and level stay those of the whole.

        Parameters
        ----------
        ranges : mapping of str to slice
            First and last pixel, an axis; all of an axis that is not named.
        """
        slices = tuple(
            slice(*ranges.get(axis, slice(None)).indices(int(size))[:2])
            for axis, size in zip(self.axes, self.data.shape, strict=True)
        )
        return replace(self, data=Window(self.data, slices), start=tuple(part.start for part in slices))

    @property
    def mask_place(self) -> Place | None:
        """Where a mask of this image lies, an axis of ``mask_axes``; None where the file does not say."""
        if len(self.places) <= self.level:
            return None
        place = self.places[self.level]
        here = place.part(self.start) if self.start else place
        return here.take([number for number, axis in enumerate(self.axes) if axis != "C"])

    def size(self, axis: str) -> int:
        """Return the length of an axis; 1 where the image does not have it."""
        place = self.axes.find(axis)
        return int(self.data.shape[place]) if place >= 0 else 1

    @property
    def loop_axes(self) -> str:
        """Axes that the planes are looped over, in the order of the image."""
        return "".join(axis for axis in self.axes if axis in LOOP_AXES)

    @property
    def loop_shape(self) -> tuple[int, ...]:
        """Lengths of the loop axes."""
        return tuple(self.size(axis) for axis in self.loop_axes)

    @property
    def rows_first(self) -> bool:
        """Whether Y comes before X in the image, and so in a mask of it."""
        return self.axes.index("Y") < self.axes.index("X")

    @property
    def plane_shape(self) -> tuple[int, int]:
        """Height and width of a plane, in pixels."""
        return self.size("Y"), self.size("X")

    @property
    def channels(self) -> int:
        """Channels of a plane."""
        return self.size("C")

    @property
    def mask_axes(self) -> str:
        """Axes of a mask of this image: its own without the channel axis."""
        return self.axes.replace("C", "")

    @property
    def mask_shape(self) -> tuple[int, ...]:
        """Shape of a mask of this image."""
        return tuple(self.size(axis) for axis in self.mask_axes)

    def plane_indices(self) -> Iterator[PlaneIndex]:
        """Yield the position of each plane on the loop axes, last axis fastest."""
        yield from np.ndindex(*self.loop_shape)

    def plane(self, index: PlaneIndex = ()) -> Plane:
        """Return a plane by its position on the loop axes."""
        return Plane(self, index)

    def mask_index(self, index: PlaneIndex, rows: slice, columns: slice) -> tuple[int | slice, ...]:
        """Return where a part of a plane lies in a mask of this image."""
        place = dict(zip(self.loop_axes, index, strict=True)) | {"Y": rows, "X": columns}
        return tuple(place[axis] for axis in self.mask_axes)


@dataclass(frozen=True)
class Plane:
    """One YX image with its channels, still unread."""

    image: Image
    index: PlaneIndex

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.image.plane_shape

    @property
    def where(self) -> str:
        """What to call it in messages."""
        if not self.index:
            return self.image.name
        place = ", ".join(f"{axis}={position}" for axis, position in zip(self.image.loop_axes, self.index, strict=True))
        return f"the plane {place} of {self.image.name}"

    def alone(self) -> Image:
        """Return the plane as an image of its own, at this resolution alone; nothing is read."""
        place = zip(self.image.loop_axes, self.index, strict=True)
        part = self.image.part({axis: slice(step, step + 1) for axis, step in place})
        return replace(part, pyramid=(), level=0, start=())

    def read(self, rows: slice = slice(None), columns: slice = slice(None)) -> NDArray[Any]:
        """Read a part of the plane as (C, height, width), in the image's own dtype (bool as uint8)."""
        image = self.image
        place: dict[str, int | slice] = dict(zip(image.loop_axes, self.index, strict=True))
        place |= {"Y": rows, "X": columns, "C": slice(None)}
        try:
            part = np.asarray(image.data[tuple(place[axis] for axis in image.axes)])
        except (ValueError, TypeError, OSError, MemoryError):
            raise
        except Exception as error:  # decoders raise errors of their own, zlib's for instance
            raise ValueError(
                f"the pixels of {self.where} are damaged ({str(error) or type(error).__name__}); copy the file again"
            ) from error
        kept = [axis for axis in image.axes if axis in "CYX"]
        if "C" not in kept:
            part, kept = part[np.newaxis], ["C", *kept]
        part = part.transpose([kept.index(axis) for axis in "CYX"])
        return part.view(np.uint8) if part.dtype == bool else part


def from_array(
    array: Any,
    axes: str | None = None,
    *,
    name: str = "image",
    pixel_size: PixelSize | None = None,
    channel_names: tuple[str, ...] = (),
    rgb: bool | None = None,
    z_step: float | None = None,
    pyramid: Sequence[Any] = (),
    needed_channels: int = 0,
    places: tuple[Place, ...] = (),
    notes: tuple[str, ...] = (),
) -> Image:
    """Name the axes of an array.

    The masked pixels of a numpy masked array become NaN.

    Parameters
    ----------
    array : array-like
        numpy, dask or zarr array; a nested list is refused, since its dtype would be a guess.
    axes : str, optional
        One letter a dimension; concluded from the shape where only one answer is possible.
    name, pixel_size, channel_names, z_step, pyramid, places, notes
        As in :class:`Image`.
    rgb : bool, optional
        Whether the last axis holds colour; None where unknown.
    needed_channels : int
        Channels that a model cannot do without, which may settle what the axes are; 0 where nobody said.

    Raises
    ------
    TypeError, ValueError
        If this is no array of real numbers, or its axes are ambiguous or do not fit.
    """
    if not all(hasattr(array, attribute) for attribute in ("shape", "dtype", "__getitem__")):
        raise TypeError(f"{name} was given as {type(array).__name__}; give a numpy, dask or zarr array")
    check_dtype(array.dtype, name)
    if isinstance(array, np.ma.MaskedArray):
        array, notes = _unmasked(array, notes)
    if axes is None:
        if prod(array.shape) == 0:
            raise ValueError(f"{name} is empty: its shape is {tuple(array.shape)}; give an image with pixels")
        axes = guess_axes(array.shape, rgb=rgb, channels=needed_channels)
    axes = check_axes(axes, array.shape)
    if rgb is None:
        rgb = axes.endswith("C") and array.shape[-1] in (3, 4)
    levels = tuple(pyramid) if len(pyramid) > 1 else ()
    if any(len(level.shape) != len(axes) for level in levels):
        raise ValueError(f"the levels of {name} differ in their number of dimensions; give levels of one image")
    return Image(array, axes, name, pixel_size, channel_names, rgb, z_step, levels, places=places, notes=notes)


def _unmasked(array: Any, notes: tuple[str, ...]) -> tuple[NDArray[Any], tuple[str, ...]]:
    """Return a masked array with NaN where it is masked, and the notes with one of it."""
    masked = float(np.ma.getmaskarray(array).mean())
    if not masked:
        return np.asarray(array.data), notes
    floats = array.astype(np.promote_types(array.dtype, np.float32)).filled(np.nan)
    return floats, (*notes, f"{share(masked)} of the pixels are masked; they are taken as NaN")


def _checked(size: Any, name: str) -> PixelSize:
    """Return a pixel size as two floats, or refuse it."""
    try:
        y, x = map(float, size)
    except (TypeError, ValueError):
        raise ValueError(f"{name}: invalid pixel size {size!r}; give height and width in micrometres") from None
    if not (np.isfinite([y, x]).all() and min(y, x) > 0):
        raise ValueError(f"{name}: invalid pixel size {pixel_words((y, x))}; it must be above 0")
    return y, x


def check_dtype(dtype: Any, name: str) -> None:
    """Refuse pixels that are not real numbers."""
    try:
        kind = np.dtype(dtype).kind
    except TypeError:  # a tensor of another library
        raise TypeError(f"the pixels of {name} are of type {dtype}; give a numpy, dask or zarr array") from None
    if kind in "buif":
        return
    what = {"c": "complex numbers", "O": "Python objects", "U": "text", "S": "text"}.get(kind, f"of type {dtype}")
    hint = "take the magnitude, np.abs(image)" if kind == "c" else "convert it to integers or floats"
    raise TypeError(f"the pixels of {name} are {what}; real numbers are needed: {hint}")
