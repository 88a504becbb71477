"""Axis letters: what a user or a layer may say, and what an array's shape allows to conclude."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

LOOP_AXES = "TZP"
"""Axes that the planes are looped over: time, depth, and P for any other."""

AXES = LOOP_AXES + "CYX"

MAX_CHANNELS = 4
"""An unnamed axis of 2 to this many entries might hold channels, so that it is never guessed to be a loop."""

_STACKS = {2: "YX", 3: "ZYX", 4: "TZYX"}


def check_axes(axes: str, shape: Sequence[int]) -> str:
    """Return ``axes`` in capitals once they are known to describe an array of this shape.

    Parameters
    ----------
    axes : str
        One letter of T, Z, P, C, Y, X a dimension; case and blanks do not matter.
    shape : sequence of int
        Shape of the array.

    Raises
    ------
    TypeError
        If ``axes`` is not a string.
    ValueError
        If a letter is unknown or twice, Y or X lacks, or the number of letters is not that of the dimensions.
    """
    if not isinstance(axes, str):
        raise TypeError(f"axes were given as {type(axes).__name__}; give a text such as 'ZYX'")
    letters = "".join(axes.split()).upper()
    if unknown := sorted(set(letters) - set(AXES)):
        raise ValueError(f"axes {axes!r} hold the unknown letter {', '.join(unknown)}; use the letters {', '.join(AXES)}")
    if len(set(letters)) < len(letters):
        raise ValueError(f"axes {axes!r} name an axis twice; give each dimension a letter of its own")
    if not {"Y", "X"} <= set(letters):
        raise ValueError(f"axes {axes!r} lack Y or X; a plane needs both")
    if len(letters) != len(shape):
        raise ValueError(
            f"axes {axes!r} name {len(letters)} dimensions, the image has {len(shape)} (shape {tuple(shape)}); "
            "give one letter per dimension"
        )
    return letters


def guess_axes(shape: Sequence[int], *, rgb: bool | None = None, channels: int = 0) -> str:
    """Conclude the axes from the shape, or refuse.

    Axes of size 1 do not matter, wherever they are. Of the others, two are YX, three ZYX and four TZYX; but an axis of 2
    to 4 entries might as well hold channels, and is never guessed. Only where a model takes nothing but so many channels, the one
    axis of that size holds them.

    Parameters
    ----------
    shape : sequence of int
        Shape of the array.
    rgb : bool, optional
        Whether the last axis is known to hold colour; None where nobody said, and a last axis of 3 or 4 behind two
        others then is taken for colour if neither of them is that short.
    channels : int
        Channels that the image must have to be of use, see :attr:`~napari_resformer.model.card.Card.needed_channels`; 0 where
        nobody said.

    Raises
    ------
    ValueError
        If more than one answer is possible; the message names the choices.
    """
    shape = tuple(shape)
    if channels > 1 and not rgb and (settled := _around_channels(shape, channels)):
        return settled
    if rgb is None:
        long = [size for size in shape if size > 1]
        rgb = len(long) == 3 and shape[-1] in (3, 4) and min(long[:2]) > MAX_CHANNELS
    spatial = range(len(shape) - rgb)
    if len(spatial) < 2:
        raise ValueError(f"an image of shape {shape} has no plane; at least two dimensions (Y, X) are needed")
    wide = [place for place in spatial if shape[place] > 1]
    if len(wide) < 2:
        wide = list(spatial[-2:])
    choices = axes_choices(shape, rgb=rgb)
    if len(wide) > 4 or any(shape[place] <= MAX_CHANNELS for place in wide[:-2]):
        raise ValueError(_ambiguous(shape, choices))
    named = dict(zip(wide, _STACKS[len(wide)], strict=True))
    spare = [axis for axis in "PTZC" if axis not in named.values() and not (rgb and axis == "C")]
    if len(spatial) - len(wide) > len(spare):
        raise ValueError(_ambiguous(shape, choices))
    for place in spatial:
        if place not in named:  # behind the plane usually the channel
            named[place] = spare.pop() if place > wide[-1] else spare.pop(0)
    return "".join(named[place] for place in spatial) + ("C" if rgb else "")


def _around_channels(shape: tuple[int, ...], channels: int) -> str:
    """Return the axes where just one can hold the channels, else nothing."""
    found = []
    for place, size in enumerate(shape):
        others = shape[:place] + shape[place + 1 :]
        if size == channels and len(others) >= 2 and min(others[-2:]) > 1:
            loops = [max(other, MAX_CHANNELS + 1) if other > 1 else 1 for other in others[:-2]]  # no channels any more
            with contextlib.suppress(ValueError):
                named = guess_axes((*loops, *others[-2:]), rgb=False)
                found += [named[:place] + "C" + named[place:]] if "C" not in named else []
    return found[0] if len(found) == 1 else ""


def axes_choices(shape: Sequence[int], *, rgb: bool = False) -> tuple[str, ...]:
    """Return the usual axes for so many dimensions, to offer where a guess would be a gamble."""
    if rgb:
        return {3: ("YXC",), 4: ("ZYXC", "TYXC"), 5: ("TZYXC",)}.get(len(shape), ())
    return {
        2: ("YX",),
        3: ("CYX", "ZYX", "TYX", "YXC"),
        4: ("TZYX", "ZCYX", "TCYX", "CZYX", "ZYXC"),
        5: ("TZCYX", "TCZYX", "TZYXC"),
        6: ("PTZCYX", "TPZCYX"),
    }.get(len(shape), ())


def explained_axes(axes: str, shape: Sequence[int], channels: int = 0) -> str:
    """Return axes of which a file explains some only; each ``?`` of length 1 is named, of a longer one the user is asked.

    Parameters
    ----------
    axes : str
        One letter a dimension, or ``?``.
    shape : sequence of int
        Shape of the array.
    channels : int
        As in :func:`guess_axes`: what the model needs may settle the others.

    Raises
    ------
    ValueError
        If a longer dimension is not explained; the message names the choices.
    """
    settled = _around_channels(tuple(shape), channels) if "?" in axes and channels > 1 else ""
    if settled and settled.find("C") == axes.find("C"):
        return settled
    free = [axis for axis in "ZTP" if axis not in axes]
    unknown = [place for place, axis in enumerate(axes) if axis == "?"]
    letters = list(axes)
    if len(unknown) <= len(free) and all(shape[place] == 1 for place in unknown):
        for place in unknown:
            letters[place] = free.pop()
        return "".join(letters)
    choices = []
    for names in free[:2] if len(unknown) == 1 else ["".join(reversed(free[: len(unknown)]))]:
        for place, name in zip(unknown, names, strict=False):
            letters[place] = name
        choices.append("".join(letters))
    raise ValueError(_ambiguous(tuple(shape), [choice for choice in choices if "?" not in choice]))


def _ambiguous(shape: tuple[int, ...], choices: Sequence[str]) -> str:
    offer = f", for instance {', '.join(choices)}" if choices else ""
    return (
        f"the axes of an image of shape {shape} are ambiguous; name them (--axes) with one letter per dimension "
        f"(T time, Z depth, C channels, Y, X; P any other){offer}"
    )
