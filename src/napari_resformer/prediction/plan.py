"""What a prediction will do, known and shown before it starts; refuses what cannot work or is ambiguous."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import ceil, prod

from napari_resformer.devices import Device, choose_device, free_memory
from napari_resformer.images.image import Image
from napari_resformer.images.pyramid import suitable_level
from napari_resformer.images.words import pixel_words, share, size_words
from napari_resformer.model.card import Card
from napari_resformer.prediction.tiles import Cut
from napari_resformer.preprocessing.channels import ChannelRule
from napari_resformer.preprocessing.normalise import SAMPLE_PIXELS, NoFinitePixelError, Scaling
from napari_resformer.preprocessing.pipeline import PreparedPlane
from napari_resformer.preprocessing.resample import Grid

BLEND = 16
"""Half width, in pixels, of the cross-fade between tiles."""

DEFAULT_TILE = 1024
LEAST_TILE = 128
"""Tiles are not made smaller than this where memory is short."""
HALO = 128
"""Pixels; 64 left 0.5 % of a 4096 px plane different from one pass, 128 leaves 0.2 % (benchmarks/large_plane.py)."""

LARGE_MASK = 2**26
"""Bytes; a mask above this is better kept on disk."""

_QUICK_SAMPLE = 250_000
_BATCH_PIXELS = 2**18  # on a CPU, where larger passes gain nothing
_MOST_TILES = 16  # a pass
_MEAN_NOTHING = "mask and scores mean nothing"
_NAMED = 6  # blank planes
_LOOKED_THROUGH = 2**22  # pixels of a stack that is looked through for blank planes before the start
_FAR_BEYOND = 4  # times the range from black to white; a nucleus alone in a dark image lies there, and so do hot pixels


@dataclass(frozen=True)
class Plan:
    """Everything that a prediction needs to know beside the weights.

    Parameters
    ----------
    card : Card
        The model's card.
    image : Image
        What is predicted.
    channels : ChannelRule
        How its channels become the model's.
    device : Device
        Where the network runs, and why.
    tile, halo : int
        Pixels on a side that one pass of the network owns, and by which it sees beyond; in resize mode the whole
        plane is one tile.
    tile_given : bool
        Whether the user chose the tile; else the memory that is free decides, and a run that goes on keeps its own.
    batch : int
        Tiles a pass.
    grid : Grid
        From the pixels of a plane to those that the network sees: the same, or at the model's pixel size, or resized.
    brightness : tuple of float
        Of a sample of the first plane, what becomes -1 and 1, a channel.
    memory : int
        Bytes that the job is expected to need at its peak, beside the image itself and a mask that stays in memory.
    notes : tuple of str
        What the user should know before the start.
    statistics : Scaling, optional
        Of the first plane's brightness, where they were taken from all of it, or were known before.
    """

    card: Card
    image: Image
    channels: ChannelRule
    device: Device
    tile: int
    halo: int
    tile_given: bool
    batch: int
    grid: Grid
    brightness: tuple[float, ...]
    memory: int
    notes: tuple[str, ...]
    statistics: Scaling | None = field(default=None, compare=False, repr=False)

    def prepared(self, number: int, index: tuple[int, ...], scaling: Scaling | None = None) -> PreparedPlane:
        """Return a plane as the network sees it, by its number and its position on the loop axes."""
        hold = self.tiles_per_plane == 1 and prod(self.image.plane_shape) <= SAMPLE_PIXELS
        return self.card.preprocessor.prepare(
            self.image.plane(index),
            rule=self.channels,
            grid=self.grid,
            scaling=self.statistics if scaling is None and number == 0 else scaling,
            hold=hold,
        )

    @property
    def tiles_per_plane(self) -> int:
        """Network passes that a plane takes, at one tile a pass."""
        return self.cut(self.tile).count(self.grid.target)

    def cut(self, tile: int) -> Cut:
        """Return how planes are cut into tiles of another size than planned, or the same."""
        if self.resizes:
            return Cut(max(self.grid.target), 0, 0, 1)
        stride = self.card.network.stride
        return Cut(tile, self.halo, min(BLEND, self.halo, tile // 2), stride)

    @property
    def resizes(self) -> bool:
        """Whether each plane is resized and goes through the network in one piece."""
        return self.card.input_mode == "resize"

    @property
    def planes(self) -> int:
        """Planes in the image."""
        return prod(self.image.loop_shape)

    @property
    def tiles(self) -> int:
        """Tiles in all planes."""
        return self.planes * self.tiles_per_plane

    def lines(self) -> tuple[str, ...]:
        """Return the plan in words, a sentence a line."""
        level = f" (level {self.image.level} of the pyramid)" if self.image.level else ""
        loops = ", ".join(f"{axis} {size}" for axis, size in zip(self.image.loop_axes, self.image.loop_shape, strict=True))
        planes = f"{self.planes} planes ({loops}) of" if self.planes > 1 else "1 plane of"
        if self.resizes:
            passes = f"each resized to {self.card.input_size} px" if self.planes > 1 else f"resized to {self.card.input_size} px"
        elif self.tiles_per_plane == 1:
            passes = "in one pass"
        else:
            passes = f"in {self.tiles_per_plane} tiles of {self.tile} px"
        return (
            f"Axes {self.image.axes}: {planes} {size_words(self.image.plane_shape)}{level}, {passes}",
            f"Channels: {self.channels.text}",
            f"Device: {self.device.name} ({self.device.reason})",
            f"Memory: about {_size(self.memory)}",
            *self.notes,
        )


def make_plan(
    card: Card,
    image: Image,
    *,
    channels: Sequence[int | str] | None = None,
    device: str | Device = "auto",
    tile: int | None = None,
    zoom: float | None = None,
    statistics: Scaling | None = None,
) -> Plan:
    """Plan a prediction; reads a small sample of the pixels and loads torch to look for devices.

    Parameters
    ----------
    card : Card
        The model's card.
    image : Image
        What to predict.
    channels : sequence of int or str, optional
        Channels of the image in the model's order, by number or name.
    device : str or Device
        See :func:`~napari_resformer.devices.choose_device`; or what it returned.
    tile : int, optional
        Pixels on a side that one pass owns; rounded up to the network's stride.
    zoom : float, optional
        How many times as large, on a side, the network is to see the image: 0.5 where objects are twice as large, in
        pixels, as those that the model was trained on. When left out, the pixel sizes of image and model decide.
    statistics : Scaling, optional
        Of the first plane's brightness, where they are known already; no pixel is read then.

    Returns
    -------
    Plan

    Raises
    ------
    ValueError
        If channels, device, tile or zoom do not fit, or no plane has a finite pixel.
    """
    resize = card.input_mode == "resize"
    image, choice = _level(card, image, zoom)
    grid = card.preprocessor.grid(image, zoom)
    rule = card.preprocessor.rule(image, channels)
    where = choose_device(device) if isinstance(device, str) else device
    stride = card.network.stride
    if tile is not None and tile < stride:
        raise ValueError(f"tile {tile} is too small; give at least {stride} pixels, 512 to 2048 is usual")
    first = 0
    if (scaling := statistics) is None:
        scaling, first = _first_statistics(card, image, rule, grid)
    notes = list(image.notes)
    if first:
        what = "The first plane has" if first == 1 else f"The first {first} planes have"
        notes.append(f"{what} no finite pixel; such planes become background")
    blank = _blank_planes(card, image, rule, grid) if statistics is None else ()
    if scaling.nonfinite > 0:
        notes.append(f"{share(scaling.nonfinite)} of the pixels are NaN or infinite; they become background")
    if blank or scaling.constant:
        notes.append(blank_note(image, blank or (first,)))
    if scaling.clipped > _FAR_BEYOND:
        notes.append(
            f"A few pixels are up to {scaling.clipped:.0f} times brighter or darker than the rest and are clipped; if "
            "they are what you are looking for, crop the image around them"
        )
    if not resize:
        notes.append(_pixel_size_note(card, image, grid, zoom))
    if choice:
        notes.append(choice)
    if prod(image.plane_shape if resize else grid.target) > SAMPLE_PIXELS:
        notes.append(f"Brightness is measured on about {SAMPLE_PIXELS // 1_000_000} million pixels spread over each plane")
    free = free_memory(where.name)
    side = ceil((tile or DEFAULT_TILE) / stride) * stride
    while tile is None and not resize and free is not None and side > LEAST_TILE and _pass_memory(card, grid, side) > free / 2:
        side = ceil(side / 2 / stride) * stride
    return Plan(
        card, image, rule, where, side, 0 if resize else HALO, tile is not None, _batch(card, grid, side, where, free), grid,
        (*map(float, scaling.low), *map(float, scaling.high)),
        _memory(card, image, grid, side), tuple(notes),
        scaling if statistics is not None or (first == 0 and scaling.sampled == 1) else None,
    )  # fmt: skip


def with_tile(plan: Plan, tile: object) -> Plan:
    """Return a plan with the tile that a run was begun with, unless the user chose one, or this is none.

    Parameters
    ----------
    plan : Plan
        What is to be done.
    tile : object
        What an earlier run noted; None where there is no such run.
    """
    usable = isinstance(tile, int) and tile >= plan.card.network.stride and tile % plan.card.network.stride == 0
    if plan.tile_given or not usable or tile == plan.tile:
        return plan
    assert isinstance(tile, int)
    free = free_memory(plan.device.name)
    return replace(
        plan, tile=tile, batch=_batch(plan.card, plan.grid, tile, plan.device, free),
        memory=_memory(plan.card, plan.image, plan.grid, tile),
    )  # fmt: skip


def blank_note(image: Image, numbers: Sequence[int]) -> str:
    """Return a note on planes that show nothing, by their numbers in the order of the planes."""
    planes, count = prod(image.loop_shape), len(numbers)
    if planes == 1:
        return f"The image is constant: every pixel has the same value; its {_MEAN_NOTHING}"
    indices = list(image.plane_indices())
    names = [" ".join(f"{axis}{at}" for axis, at in zip(image.loop_axes, indices[number], strict=True)) for number in numbers]
    more = f" and {count - _NAMED} more" if count > _NAMED else ""
    return (
        f"{count} of {planes} planes {'is' if count == 1 else 'are'} blank (one value throughout, or no finite pixel): "
        f"{', '.join(names[:_NAMED])}{more}; {'its' if count == 1 else 'their'} {_MEAN_NOTHING}"
    )


def with_blank(plan: Plan, numbers: Sequence[int]) -> tuple[str, ...]:
    """Return a plan's notes once it is known which planes show nothing."""
    told = blank_note(plan.image, numbers) if numbers else ""
    if told in plan.notes:
        return plan.notes
    others = tuple(note for note in plan.notes if not note.endswith(_MEAN_NOTHING))
    return (*others, told) if told else others


def gathered_notes(notes: Mapping[str, Sequence[str]]) -> Iterator[str]:
    """Yield each note of many plans once, with the images that it is about.

    Parameters
    ----------
    notes : mapping of str to sequence of str
        Names of images by the note that their plans have.
    """
    for note, names in notes.items():
        others = f" and {len(names) - 1} more" if len(names) > 1 else ""
        yield f"{names[0]}{others}: {note}"


def _level(card: Card, image: Image, zoom: float | None) -> tuple[Image, str]:
    """Return the level of a pyramid that suits the model, and why in words."""
    if not image.pyramid or image.level or image.start:
        return image, ""
    count = len(image.pyramid)
    if card.input_mode == "resize":
        return image, f"Pyramid of {count} levels: full resolution is used"
    if zoom is not None:
        return image, f"Pyramid of {count} levels: full resolution is used because a zoom is set"
    chosen = suitable_level(image, card.pixel_size)
    if card.pixel_size is None or image.pixel_size is None:
        return (
            chosen,
            f"Pyramid of {count} levels: full resolution is used because the pixel size of the model or the image is not known",
        )
    return chosen, f"Pyramid of {count} levels: level {chosen.level} is the coarsest that is fine enough for this model"


def _first_statistics(card: Card, image: Image, rule: ChannelRule, grid: Grid) -> tuple[Scaling, int]:
    """Return the statistics of the first plane that has any finite pixel, and its number."""
    preprocessor = card.preprocessor
    first: NoFinitePixelError | None = None
    for number, index in enumerate(image.plane_indices()):
        try:
            return preprocessor.prepare(image.plane(index), rule=rule, grid=grid).measure(_QUICK_SAMPLE), number
        except NoFinitePixelError as error:
            first = first or error
    assert first is not None
    raise first


def _blank_planes(card: Card, image: Image, rule: ChannelRule, grid: Grid) -> tuple[int, ...]:
    """Return the numbers of the planes that show nothing, of a stack that is small enough to be read before the start."""
    if image.loop_shape == () or prod(image.data.shape) > _LOOKED_THROUGH:
        return ()
    found = []
    for number, index in enumerate(image.plane_indices()):
        try:
            if card.preprocessor.prepare(image.plane(index), rule=rule, grid=grid.unchanged()).measure(_QUICK_SAMPLE).constant:
                found.append(number)
        except NoFinitePixelError:
            found.append(number)
    return tuple(found)


def _pixel_size_note(card: Card, image: Image, grid: Grid, zoom: float | None) -> str:
    if zoom is not None:
        return f"Zoom {zoom:g}: the network sees {size_words(grid.target)}; the mask has the size of the image"
    if card.pixel_size is None:
        return (
            "Pixel size: not used by this model. If objects are much larger or smaller, in pixels, than in its training images, "
            "set the zoom"
        )
    if image.pixel_size is None:
        return f"Pixel size: not given for this image; the model's {card.pixel_size:g} µm is assumed"
    if grid.same:
        return f"Pixel size: {pixel_words(image.pixel_size)}, the same as in training ({card.pixel_size:g} µm)"
    return (
        f"Pixel size: {pixel_words(image.pixel_size)} is resampled to the model's {card.pixel_size:g} µm "
        f"({size_words(grid.target)}); the mask has the size of the image"
    )


def _batch(card: Card, grid: Grid, tile: int, device: Device, free: int | None) -> int:
    """Return how many tiles go through the network at once."""
    area = _pass_pixels(card, grid, tile)
    if device.name == "cpu":
        return min(max(_BATCH_PIXELS // area, 1), _MOST_TILES)
    fits = 4 if free is None else int(free / 2 / max(_pass_memory(card, grid, tile), 1))
    return min(max(fits, 1), _MOST_TILES)


def _pass_pixels(card: Card, grid: Grid, tile: int) -> int:
    """Return how many pixels of a tile the network sees: with its halo, or the frame of a plane in one piece."""
    frame, cut = card.preprocessor.frame(grid.target), tile + 2 * HALO
    if card.input_mode == "resize":
        return prod(frame)
    return prod(max(side, least) if cut >= side else cut for side, least in zip(grid.target, frame, strict=True))


def _pass_memory(card: Card, grid: Grid, tile: int) -> int:
    """Estimate the bytes that one tile takes in the network."""
    seen = _pass_pixels(card, grid, tile)
    finest = card.network.widths[0] / 4 + card.network.widths[1] / 16
    return int(seen * 4 * (2 * card.network.in_channels + 8 * finest + 2 * (card.network.mask_classes + 1)))


def _memory(card: Card, image: Image, grid: Grid, tile: int) -> int:
    """Estimate the peak: a pass of the network, tiles on their way in and out, what fades into the row below, the mask."""
    classes = card.network.mask_classes + 1
    strips = 2 * (2 * BLEND + (0 if grid.same else grid.back().rows.margin)) * grid.target[1] * 4 * classes
    tiles = 3 * min(tile + 2 * HALO, grid.target[0]) * min(tile + 2 * HALO, grid.target[1]) * 4 * (classes + len(card.channels))
    return int(_pass_memory(card, grid, tile) + strips + tiles + min(prod(image.mask_shape), LARGE_MASK))


def _size(count: int) -> str:
    return f"{count / 2**30:.1f} GB" if count >= 2**30 else f"{max(count / 2**20, 1):.0f} MB"
