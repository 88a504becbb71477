"""From the channels that an image has to those that a model needs, by a rule that can be read."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from napari_resformer.images.image import Image

COLOUR = ("red", "green", "blue")

_LUMINANCE = np.array([0.2125, 0.7154, 0.0721], np.float32)  # ITU-R BT.709, as scikit-image's rgb2gray


def float_type(dtype: Any) -> np.dtype[Any]:
    """Return the floats in which pixels are computed with: float32 where it holds them, as of 8 and 16 bits, else float64."""
    return np.promote_types(np.dtype(dtype), np.float32).newbyteorder("=")


@dataclass(frozen=True)
class ChannelRule:
    """How the channels of a plane become those of the model.

    Parameters
    ----------
    take : tuple of int
        Channels of the image, in the order that the model needs.
    kind : {"as is", "gray to colour", "colour to gray"}
        What is done to them.
    text : str
        The same in words, for the plan.
    """

    take: tuple[int, ...]
    kind: Literal["as is", "gray to colour", "colour to gray"]
    text: str

    def apply(self, plane: NDArray[Any]) -> NDArray[np.floating[Any]]:
        """Turn (C, H, W) of the image into (C, H, W) of the model, in floats that hold its values."""
        taken = plane[list(self.take)].astype(float_type(plane.dtype), copy=False)
        if self.kind == "colour to gray":
            return np.tensordot(_LUMINANCE, taken, axes=1)[np.newaxis]
        return taken


def channels_fit(have: int, rgb: bool, wanted: Sequence[str]) -> bool:
    """Return whether :func:`match_channels` knows a rule for an image of so many channels, in colour or not."""
    need = len(wanted)
    return have == need or (rgb and have in (3, 4) and need in (1, 3)) or (have == 1 and tuple(wanted) == COLOUR)


def match_channels(image: Image, wanted: Sequence[str], chosen: Sequence[int | str] | None = None) -> ChannelRule:
    """Find the rule that brings an image's channels to a model's, or refuse.

    Parameters
    ----------
    image : Image
        What there is.
    wanted : sequence of str
        The model's channels.
    chosen : sequence of int or str, optional
        Channels of the image by number or name, in the model's order.

    Returns
    -------
    ChannelRule

    Raises
    ------
    ValueError
        If the numbers do not fit and no stated rule applies.
    """
    have, need = image.channels, len(wanted)
    colour_model = tuple(wanted) == COLOUR
    if chosen is not None:
        take = _channel_numbers(image, chosen)
        if len(take) == need:
            return ChannelRule(take, "as is", _pairs(image, take, wanted))
        if len(take) == 1 and colour_model:
            return ChannelRule(
                take * need,
                "gray to colour",
                f"{_name(image, take[0])}, copied to RGB",
            )
        raise ValueError(
            f"{len(take)} channels were chosen ({', '.join(map(str, chosen))}); the model needs {need} "
            f"({', '.join(wanted)}): choose {need}{' or 1' if colour_model else ''} of the {have} in {image.name}"
        )
    if image.rgb and have in (3, 4) and need == 3:
        text = "red, green, blue" + ("; alpha is ignored" if have == 4 else "")
        return ChannelRule((0, 1, 2), "as is", text)
    if image.rgb and have in (3, 4) and need == 1:
        return ChannelRule((0, 1, 2), "colour to gray", "RGB, converted to grayscale (luminance)")
    if have == need:
        take = _by_name(image, wanted) or tuple(range(need))
        return ChannelRule(take, "as is", _pairs(image, take, wanted))
    if have == 1 and colour_model:
        return ChannelRule((0,) * need, "gray to colour", "grayscale, copied to RGB")
    raise ValueError(
        f"{image.name} has {have} channel{'s' if have != 1 else ''}, the model needs {need} ({', '.join(wanted)}); "
        f"choose {need}{' or 1' if colour_model else ''} of them by number or name, or check the axes {image.axes}"
    )


def _by_name(image: Image, wanted: Sequence[str]) -> tuple[int, ...] | None:
    """Return the channels that have the wanted names, whatever their order; None where names do not tell."""
    names, ours = ([_folded(name) for name in side] for side in (image.channel_names, wanted))
    if len(set(names)) < len(names) or sorted(names) != sorted(ours):
        return None
    return tuple(names.index(name) for name in ours)


def _channel_numbers(image: Image, chosen: Sequence[int | str]) -> tuple[int, ...]:
    """Return the channels that are meant: a list that is all numbers of channels means these, whatever channels are called."""
    words = [str(channel).strip() for channel in chosen]
    if all(word.isdecimal() and int(word) < image.channels for word in words):
        return tuple(map(int, words))
    return tuple(_channel_number(image, channel) for channel in chosen)


def _channel_number(image: Image, channel: int | str) -> int:
    names = [_folded(name) for name in image.channel_names]
    if isinstance(channel, str) and _folded(channel) in names:
        same = [str(number) for number, name in enumerate(names) if name == _folded(channel)]
        if len(same) > 1:
            raise ValueError(f"{len(same)} channels of {image.name} are called {channel}; give the number: {' or '.join(same)}")
        return int(same[0])
    try:
        number = int(channel)
    except ValueError:
        number = -1
    if not 0 <= number < image.channels:
        known = f" ({', '.join(image.channel_names)})" if image.channel_names else ""
        raise ValueError(f"{image.name} has no channel {channel!r}; choose from 0 to {image.channels - 1}{known}")
    return number


def _folded(name: str) -> str:
    """Return a channel's name as it is compared: whatever its capitals, Unicode form and the spaces around it."""
    return unicodedata.normalize("NFC", name.casefold()).strip()


def _name(image: Image, number: int) -> str:
    return image.channel_names[number] if number < len(image.channel_names) else f"channel {number}"


def _pairs(image: Image, take: Sequence[int], wanted: Sequence[str]) -> str:
    if image.channels == 1 and len(wanted) == 1:
        return wanted[0]
    return ", ".join(f"{_name(image, number)} as {name}" for number, name in zip(take, wanted, strict=True))
