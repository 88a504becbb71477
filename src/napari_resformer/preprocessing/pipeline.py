"""The one way from a plane to what a network sees, and from its answer back to the plane.

Training, validation, prediction and evaluation all go through here, so that a network is used just as it was trained.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from napari_resformer.images.image import Image, Plane
from napari_resformer.network.config import MIN_SIDE
from napari_resformer.preprocessing.channels import ChannelRule, match_channels
from napari_resformer.preprocessing.geometry import fitted_shape, native_shape, padded
from napari_resformer.preprocessing.normalise import Normalisation, Readable, Scaling, measure
from napari_resformer.preprocessing.resample import Grid, ResampledPlane

ALL = slice(None)


@dataclass(frozen=True)
class Preprocessor:
    """What a model does to every plane; made from its card by :attr:`~napari_resformer.model.card.Card.preprocessor`.

    Parameters
    ----------
    channels : tuple of str
        The model's channels, in its order.
    normalisation : Normalisation
        How raw values become -1 to 1.
    input_mode : {"native", "resize"}
        Planes at the model's pixel size, or with the longer side brought to ``input_size``.
    input_size : int
        Side, in pixels, of the crops or planes that the network was trained on.
    pixel_size : float, optional
        Micrometres a pixel in training, where known.
    pads_small_planes : bool
        Whether training padded planes that were smaller than a crop; native planes are then padded to ``input_size``.
    """

    channels: tuple[str, ...]
    normalisation: Normalisation
    input_mode: Literal["native", "resize"]
    input_size: int
    pixel_size: float | None = None
    pads_small_planes: bool = False

    @property
    def resizes(self) -> bool:
        """Whether planes are resized to ``input_size``."""
        return self.input_mode == "resize"

    def rule(self, image: Image, chosen: Sequence[int | str] | None = None) -> ChannelRule:
        """Return how an image's channels become the model's; see :func:`match_channels`."""
        return match_channels(image, self.channels, chosen)

    def grid(self, image: Image, zoom: float | None = None) -> Grid:
        """Return the grid from an image's planes to what the network sees.

        Parameters
        ----------
        image : Image
            The image.
        zoom : float, optional
            Overrides the pixel sizes, see :func:`native_shape`.

        Raises
        ------
        ValueError
            If the zoom or the pixel size cannot be used.
        """
        shape = image.plane_shape
        if not self.resizes:
            return Grid(shape, native_shape(image, self.pixel_size, zoom))
        if zoom is not None:
            raise ValueError(f"the model resizes each plane to {self.input_size} px, so that a zoom does nothing; leave it out")
        return Grid(shape, fitted_shape(shape, self.input_size))

    def frame(self, seen: tuple[int, int], whole: tuple[int, int] | None = None) -> tuple[int, int]:
        """Return the least height and width that a plane, or a tile of it, is padded to before the network sees it.

        Where training showed padding beyond small planes, it did so in a crop of ``input_size``, and so does prediction.
        Along an axis on which the plane is cut into tiles, a tile is not padded.

        Parameters
        ----------
        seen : (int, int)
            Height and width of the tile, or of the plane, as the network sees it.
        whole : (int, int), optional
            Those of the plane, where ``seen`` is a tile.
        """
        if self.resizes:
            return self.input_size, self.input_size
        least = self.input_size if self.pads_small_planes else MIN_SIDE
        height, width = (
            least if all_of_it < least and side == all_of_it else MIN_SIDE
            for side, all_of_it in zip(seen, whole or seen, strict=True)
        )
        return height, width

    def prepare(
        self,
        plane: Plane,
        *,
        rule: ChannelRule | None = None,
        grid: Grid | None = None,
        scaling: Scaling | None = None,
        hold: bool = False,
    ) -> PreparedPlane:
        """Return a plane as the network sees it; nothing is read until it is asked for.

        Parameters
        ----------
        plane : Plane
            The plane.
        rule, grid : optional
            What :meth:`rule` and :meth:`grid` gave for its image.
        scaling : Scaling, optional
            The plane's brightness statistics, where they are known already.
        hold : bool
            Whether to read the plane once and keep it; for planes that are used as a whole.
        """
        image = plane.image
        return PreparedPlane(
            self, plane, self.rule(image) if rule is None else rule, self.grid(image) if grid is None else grid, scaling, hold
        )


class PreparedPlane:
    """A plane as the network sees it; made by :meth:`Preprocessor.prepare`.

    Native planes are brought to the model's pixel size and then normalised, so that statistics and pixels are those of the
    same grid. Resized ones are normalised first: the statistics are those of all pixels.
    """

    def __init__(
        self, preprocessor: Preprocessor, plane: Plane, rule: ChannelRule, grid: Grid, scaling: Scaling | None, hold: bool
    ) -> None:
        self.grid = grid
        self._preprocessor, self._rule, self._known = preprocessor, rule, scaling
        before, self._after = (grid.unchanged(), grid) if preprocessor.resizes else (grid, grid.unchanged())
        measured: Readable = ResampledPlane(plane.read, before, plane.where)
        self._measured: Readable = HeldPlane(measured.read(), plane.where) if hold else measured

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width as the network sees the plane, without padding."""
        return self.grid.target

    @cached_property
    def scaling(self) -> Scaling:
        """The plane's brightness statistics, equal for all its tiles."""
        return self._known or measure(self._measured, self._rule, self._preprocessor.normalisation)

    def measure(self, sample: int) -> Scaling:
        """Take the statistics from no more than about so many pixels."""
        return measure(self._measured, self._rule, self._preprocessor.normalisation, sample)

    def read(self, rows: slice = ALL, columns: slice = ALL) -> NDArray[np.float32]:
        """Read a part of what the network sees: (C, height, width), -1 to 1."""
        if self._after.same:
            return self._scaled(rows, columns)
        (top, bottom, _), (left, right, _) = (part.indices(size) for part, size in zip((rows, columns), self.shape, strict=True))
        return self._after.read(self._scaled, slice(top, bottom), slice(left, right)).astype(np.float32, copy=False)

    def tensor(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return the whole plane as the network takes it.

        Returns
        -------
        pixels : ndarray
            (1, C, H, W), padded to the frame.
        valid : ndarray
            (1, 1, H, W), 1 where the plane is and 0 where it is padding.
        """
        pixels = padded([self.read()], self._preprocessor.frame(self.shape))
        valid = np.zeros((1, 1, *pixels.shape[2:]), np.float32)
        valid[..., : self.shape[0], : self.shape[1]] = 1
        return pixels, valid

    def restore(self, answer: NDArray[np.float32]) -> NDArray[np.float32]:
        """Bring an answer (K, H, W) to :meth:`tensor` back to the plane's own pixels; padding is cut off."""
        answer = answer[:, : self.shape[0], : self.shape[1]]
        back = self.grid.back()
        if back.same:
            return answer
        return back.resample(answer, *(slice(0, side) for side in back.target)).astype(np.float32, copy=False)

    def labels(self, mask: NDArray[Any]) -> NDArray[Any]:
        """Bring the plane's mask (height, width) to the pixels that the network sees, by the nearest one."""
        return self.grid.nearest(mask)

    def _scaled(self, rows: slice, columns: slice) -> NDArray[np.float32]:
        return self.scaling.of_raw(self._measured.read(rows, columns), self._rule)


@dataclass(frozen=True)
class HeldPlane:
    """A plane that was read as a whole, (C, height, width)."""

    pixels: NDArray[Any]
    where: str

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.pixels.shape[1], self.pixels.shape[2]

    def read(self, rows: slice = ALL, columns: slice = ALL) -> NDArray[Any]:
        """Return a part."""
        return self.pixels[:, rows, columns]
