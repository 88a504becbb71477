"""From the rows of the table to what a training session takes, on the GUI thread; nothing is copied."""

from __future__ import annotations

from collections.abc import Sequence

from napari_resformer.samples.pairs import LayerPair
from napari_resformer.widgets.train.annotation import fitting_classes
from napari_resformer.widgets.train.pairs import PairRow, RowState, mask_data


def pair_data(rows: Sequence[tuple[PairRow, RowState]]) -> tuple[LayerPair, ...]:
    """Take from layers what a job needs.

    Raises
    ------
    ValueError
        If a row cannot be used.
    """
    if trouble := [state.trouble for _, state in rows if state.trouble]:
        raise ValueError("; ".join(trouble))
    data = []
    for row, state in rows:
        assert state.image is not None, "a row without trouble has its axes"
        labels = None if row.labels is None else mask_data(state.image, row.labels)
        data.append(LayerPair(state.image, labels, fitting_classes(row.image, state.image)))
    return tuple(data)
