"""How the logits of tiles are joined without a seam, and brought back to the pixels of the image."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_resformer.prediction.tiles import Span, Tile
from napari_resformer.preprocessing.resample import Grid

_BAND_PIXELS = 2**21  # of the image that are made at once

Strips = tuple[NDArray[np.float32], NDArray[np.float32]]


@dataclass(frozen=True)
class Block:
    """Logits (classes, rows, columns) of a part of a plane that no further tile changes."""

    rows: slice
    columns: slice
    logits: NDArray[np.float32]


class Blender:
    """Joins the logits of a plane tile by tile, row by row; holds no more than the strips where tiles cross-fade.

    Tiles cross-fade linearly over ``2 * blend`` pixels around the border between what they own; the weights sum to 1
    at every pixel by construction. A row of tiles counts when it is ended; before, it can be started anew, with tiles
    of another size.

    Parameters
    ----------
    shape : (int, int)
        Height and width of the plane.
    classes : int
        Channels of the logits.
    blend : int
        Half width of the cross-fade, in pixels; at most the halo, and half a tile.
    """

    def __init__(self, shape: tuple[int, int], classes: int, blend: int) -> None:
        self._height, self._width = shape
        self._classes = classes
        self._blend = blend
        self.above = np.zeros((classes, 0, self._width), np.float32)
        """What the rows above gave to the fade below them, (classes, rows, width)."""
        self.restart_row()

    def restart_row(self) -> None:
        """Forget the tiles since the last row was ended."""
        self._below = np.zeros((self._classes, 0, self._width), np.float32)
        self._left = np.zeros((self._classes, 0, 0), np.float32)

    def end_row(self) -> None:
        """Go on with the next row."""
        self.above = self._below
        self.restart_row()

    def add(self, tile: Tile, logits: NDArray[np.float32]) -> Block:
        """Add a tile's logits (classes, height, width), from left to right; return what became final."""
        row_weights, rows, to_row = self._weights(tile.rows, self._height)
        column_weights, columns, to_column = self._weights(tile.columns, self._width)
        part = logits[
            :,
            rows.start - tile.rows.read_start : rows.stop - tile.rows.read_start,
            columns.start - tile.columns.read_start : columns.stop - tile.columns.read_start,
        ]
        if row_weights is not None:
            part = part * row_weights[:, None]
        if column_weights is not None:
            part = part * column_weights
        left = self._left.shape[2] if tile.columns.start else 0
        if above := self.above.shape[1] if tile.rows.start else 0:
            part[:, :above, left:] += self.above[:, :, columns.start + left : columns.stop]
        if left:
            part[:, :, :left] += self._left
        final_rows, final_columns = to_row - rows.start, to_column - columns.start
        if to_row < rows.stop:
            if not self._below.size:
                self._below = np.zeros((self._classes, rows.stop - to_row, self._width), np.float32)
            self._below[:, :, columns.start : to_column] = part[:, final_rows:, :final_columns]
        self._left = part[:, :, final_columns:].copy()
        return Block(slice(rows.start, to_row), slice(columns.start, to_column), part[:, :final_rows, :final_columns])

    def _weights(self, span: Span, length: int) -> tuple[NDArray[np.float32] | None, slice, int]:
        """Return a span's weights (None: 1 everywhere), the pixels that they belong to, and where the next fade begins."""
        blend = self._blend
        start = span.start - blend if span.start > 0 else 0
        stop = min(span.stop + blend, length)
        final = span.stop - blend if span.stop < length else length
        if start == 0 and final == length:
            return None, slice(start, stop), final
        position = np.arange(start, stop, dtype=np.float32) + 0.5
        weights = np.ones(stop - start, np.float32)
        if blend and span.start > 0:
            weights = np.minimum(weights, (position - start) / (2 * blend))
        if blend and span.stop < length:
            # Where the plane ends before the fade does, the next tile's weights are 1 minus these all the same.
            weights = np.minimum(weights, (span.stop + blend - position) / (2 * blend))
        return weights.clip(0, 1), slice(start, stop), final


class Restorer:
    """Brings blocks of logits, row by row and from left to right, to the pixels of the image.

    Parameters
    ----------
    grid : Grid
        From what the network sees to the image.
    classes : int
        Channels of the logits.
    """

    def __init__(self, grid: Grid, classes: int) -> None:
        self._grid = grid
        self._classes = classes
        self._margins = (0, 0) if grid.same else (grid.rows.margin, grid.columns.margin)
        self.above = np.zeros((classes, self._margins[0], 0 if grid.same else grid.source[1]), np.float32)
        """The last rows of the blocks above, (classes, rows, width)."""
        self.restart_row()

    def restart_row(self) -> None:
        """Forget the blocks since the last row was ended."""
        self._below = np.zeros_like(self.above)
        self._left = np.zeros((self._classes, 0, 0), np.float32)

    def end_row(self) -> None:
        """Go on with the next row."""
        self.above = self._below
        self.restart_row()

    def add(self, block: Block) -> Iterator[Block]:
        """Yield the image's pixels that became final, in bands."""
        if self._grid.same:
            yield block
            return
        known, top, left = self._with_margins(block)
        rows, columns = self._grid.rows, self._grid.columns
        first, last = rows.final(block.rows.start), rows.final(block.rows.stop)
        across = slice(columns.final(block.columns.start), columns.final(block.columns.stop))
        if across.start == across.stop:
            return
        height = max(_BAND_PIXELS // (across.stop - across.start), 1)
        for start in range(first, last, height):
            band = slice(start, min(start + height, last))
            down, sideways = self._grid.needed(band, across)
            part = known[:, down.start - top : down.stop - top, sideways.start - left : sideways.stop - left]
            yield Block(band, across, self._grid.resample(part, band, across).astype(np.float32, copy=False))

    def _with_margins(self, block: Block) -> tuple[NDArray[np.float32], int, int]:
        """Return a block with what is known above and left of it, and where that begins; note it for the next blocks."""
        above, left = (min(margin, part.start) for margin, part in zip(self._margins, (block.rows, block.columns), strict=True))
        _, height, width = block.logits.shape
        known = np.empty((self._classes, above + height, left + width), np.float32)
        known[:, above:, left:] = block.logits
        if left:
            known[:, above:, :left] = self._left[:, :, -left:]
        depth = self._margins[0]
        known[:, :above] = self.above[:, depth - above :, block.columns.start - left : block.columns.stop]
        kept = min(depth, block.rows.stop)
        self._below[:, depth - kept :, block.columns] = known[:, known.shape[1] - kept :, left:]
        self._left = known[:, above:, max(left + width - self._margins[1], 0) :].copy()
        return known, block.rows.start - above, block.columns.start - left


class Stitcher:
    """From the logits of a plane's tiles to final logits in the image's pixels; holds strips of a tile's width, no plane.

    Parameters
    ----------
    grid : Grid
        From the pixels of the image to those that the network sees.
    classes : int
        Channels of the logits.
    blend : int
        See :class:`Blender`.
    """

    def __init__(self, grid: Grid, classes: int, blend: int) -> None:
        self._blender = Blender(grid.target, classes, blend)
        self._restorer = Restorer(grid.back(), classes)

    @property
    def strips(self) -> Strips:
        """What the rows of tiles that have ended give to the next row."""
        return self._blender.above, self._restorer.above

    @strips.setter
    def strips(self, strips: Strips) -> None:
        self._blender.above, self._restorer.above = strips

    def add(self, tile: Tile, logits: NDArray[np.float32]) -> Iterator[Block]:
        """Add a tile's logits (classes, height, width), from left to right; yield what became final."""
        return self._restorer.add(self._blender.add(tile, logits))

    def restart_row(self) -> None:
        """Forget the tiles since the last row was ended."""
        self._blender.restart_row()
        self._restorer.restart_row()

    def end_row(self) -> None:
        """Go on with the next row."""
        self._blender.end_row()
        self._restorer.end_row()
