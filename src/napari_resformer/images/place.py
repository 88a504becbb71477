"""Where an image lies, in its file's own units: kept, so that a result lies there too."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Place:
    """Where an array lies: a pixel's place is its index times ``scale``, plus ``translate``.

    Parameters
    ----------
    scale : tuple of float
        Size of a pixel, a dimension.
    translate : tuple of float
        Where the first pixel lies, a dimension.
    units : tuple of str
        Unit of both, a dimension, as the file writes it; empty where it names none.
    """

    scale: tuple[float, ...]
    translate: tuple[float, ...]
    units: tuple[str, ...]

    def part(self, start: tuple[int, ...]) -> Place:
        """Return where the part lies that begins with these indices."""
        moved = (at + first * size for at, first, size in zip(self.translate, start, self.scale, strict=True))
        return Place(self.scale, tuple(moved), self.units)

    def take(self, dimensions: list[int]) -> Place:
        """Return the place of an array with some of the dimensions."""
        return Place(
            tuple(self.scale[at] for at in dimensions),
            tuple(self.translate[at] for at in dimensions),
            tuple(self.units[at] for at in dimensions),
        )
