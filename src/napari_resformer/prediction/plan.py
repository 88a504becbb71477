"""What a prediction will do, known and shown before it starts; refuses what cannot work or is ambiguous."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, prod

from napari_resformer.devices import Device, choose_device
from napari_resformer.images.channels import ChannelRule, match_channels
from napari_resformer.images.image import Image
from napari_resformer.images.normalise import SAMPLE_PIXELS, measure
from napari_resformer.model.card import Card

BLEND = 16
"""Half width, in pixels, of the cross-fade between tiles."""

DEFAULT_TILE = 1024
HALO = 64

_QUICK_SAMPLE = 250_000


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
    batch : int
        Tiles a pass.
    memory : int
        Bytes that the job is expected to need at its peak, beside the image itself.
    notes : tuple of str
        What the user should know before the start.
    """

    card: Card
    image: Image
    channels: ChannelRule
    device: Device
    tile: int
    halo: int
    batch: int
    memory: int
    notes: tuple[str, ...]

    @property
    def tiles_per_plane(self) -> int:
        """Network passes that a plane takes, at one tile a pass."""
        if self.card.input_mode == "resize":
            return 1
        return prod(ceil(side / self.tile) for side in self.image.plane_shape)

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
        height, width = self.image.plane_shape
        loops = ", ".join(f"{axis} {size}" for axis, size in zip(self.image.loop_axes, self.image.loop_shape, strict=True))
        planes = f"{self.planes} planes ({loops}) of" if self.planes > 1 else "1 plane of"
        if self.card.input_mode == "resize":
            passes = f"each resized to {self.card.input_size} px" if self.planes > 1 else f"resized to {self.card.input_size} px"
        elif self.tiles_per_plane == 1:
            passes = "in one piece"
        else:
            passes = f"in {self.tiles_per_plane} tiles of {self.tile} px"
        return (
            f"Axes {self.image.axes}: {planes} {width} × {height} px, {passes}",
            f"Channels: {self.channels.text}",
            f"Device: {self.device.name}, as {self.device.reason}",
            f"Memory: about {_size(self.memory)}",
            *self.notes,
        )


def make_plan(
    card: Card,
    image: Image,
    *,
    channels: Sequence[int | str] | None = None,
    device: str = "auto",
    tile: int | None = None,
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
    device : str
        See :func:`~napari_resformer.devices.choose_device`.
    tile : int, optional
        Pixels on a side that one pass owns; rounded up to the network's stride.

    Returns
    -------
    Plan

    Raises
    ------
    ValueError
        If channels, device or tile do not fit, or the first plane has no finite pixel.
    """
    rule = match_channels(image, card.channels, channels)
    where = choose_device(device)
    stride = card.network.stride
    if tile is not None and tile < stride:
        raise ValueError(f"tile {tile} is too small; give at least {stride} pixels, 512 to 2048 is usual")
    side = ceil((tile or DEFAULT_TILE) / stride) * stride
    scaling = measure(image.plane((0,) * len(image.loop_shape)), rule, card.normalisation, _QUICK_SAMPLE)
    notes = []
    if scaling.nonfinite > 0:
        notes.append(f"{scaling.nonfinite:.1%} of the pixels are NaN or infinite; they are taken as background")
    if (scaling.high <= scaling.low).all():
        notes.append("The image is constant; there is nothing to find in it")
    if card.input_mode == "native":
        notes.append(_pixel_size_note(card, image))
    if prod(image.plane_shape) > SAMPLE_PIXELS:
        notes.append(
            f"Brightness statistics are taken from about {SAMPLE_PIXELS // 1_000_000} million pixels spread over each plane"
        )
    return Plan(
        card, image, rule, where, side, HALO, 1 if where.name == "cpu" else 4,
        _memory(card, image, side), tuple(notes),
    )  # fmt: skip


def _pixel_size_note(card: Card, image: Image) -> str:
    if card.pixel_size is None:
        return "Pixel size: the model does not state one; objects should be about as large, in pixels, as in its training images"
    if image.pixel_size is None:
        return f"Pixel size: unknown, taken to be the model's {card.pixel_size:g} µm"
    return f"Pixel size: {image.pixel_size[0]:g} µm, the model was trained at {card.pixel_size:g} µm"


def _memory(card: Card, image: Image, tile: int) -> int:
    """Estimate the peak: a pass of the network, the slab of logits, the mask."""
    height, width = image.plane_shape
    resize = card.input_mode == "resize"
    side = card.input_size if resize else tile + 2 * HALO
    seen = side**2 if resize else min(side, height) * min(side, width)
    finest = card.network.widths[0] / 4 + card.network.widths[1] / 16
    activations = seen * 4 * (2 * card.network.in_channels + 8 * finest + 2 * (card.network.mask_classes + 1))
    slab = (height if resize else min(tile + 2 * BLEND, height)) * width * 4 * (card.network.mask_classes + 1) * 2
    return int(activations + slab + prod(image.mask_shape))


def _size(count: int) -> str:
    return f"{count / 2**30:.1f} GB" if count >= 2**30 else f"{max(count / 2**20, 1):.0f} MB"
