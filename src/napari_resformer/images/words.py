"""Sizes and shares in words, the same everywhere: the width before the height, as cameras and microscopes tell them."""

from __future__ import annotations

from collections.abc import Sequence


def size_words(plane: Sequence[int] | int) -> str:
    """Return the size of a plane in words, for instance ``640 × 480 px``.

    Parameters
    ----------
    plane : (height, width), or int
        As in the shape of an array; one number for a square.
    """
    height, width = (plane, plane) if isinstance(plane, int) else plane
    return f"{width} × {height} px"


def stack_words(shape: Sequence[int], axes: str = "") -> str:
    """Return the size of an image or of labels in words, for instance ``5 planes of 640 × 480 px``.

    Parameters
    ----------
    shape : sequence of int
        Of the array, without colours.
    axes : str
        One letter a dimension; the last two are Y and X where they are left out.
    """
    sizes = [int(size) for size in shape]
    if len(sizes) < 2:
        return f"{sizes[0] if sizes else 1} values in one line"
    places = (axes.index("Y"), axes.index("X")) if len(axes) == len(sizes) else (len(sizes) - 2, len(sizes) - 1)
    loops = [str(size) for place, size in enumerate(sizes) if place not in places]
    plane = size_words([sizes[place] for place in places])
    if not loops:
        return plane
    return f"{' × '.join(loops)} {'plane' if set(loops) == {'1'} else 'planes'} of {plane}"


def pixel_words(pixel: tuple[float, float]) -> str:
    """Return a pixel size in words, for instance ``0.5 µm`` or ``0.4 × 0.5 µm (width × height)``.

    Parameters
    ----------
    pixel : (height, width)
        In micrometres.
    """
    height, width = pixel
    return f"{width:g} µm" if abs(height - width) <= 1e-3 * abs(width) else f"{width:g} × {height:g} µm (width × height)"


def percent(score: float) -> str:
    """Return a score, 0 to 1, as a percentage, for instance ``9.6%``; rounding makes none of them certain."""
    if score >= 0.9995:
        return ">99.9%"
    if score < 0.0005:
        return "<0.1%"
    return f"{score:.1%}"


def share(part: float, whole: float = 1.0) -> str:
    """Return what a part is of a whole, as a percentage: 0% and 100% are none and all."""
    fraction = part / whole
    return f"{fraction:.0%}" if fraction in (0, 1) else percent(fraction)
