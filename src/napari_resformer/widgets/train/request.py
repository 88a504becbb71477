"""From the fields and rows of Fine-tune to what a training session takes, on the GUI thread; nothing is copied."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from napari_resformer.samples.pairs import LayerPair
from napari_resformer.training.session import TrainRequest, library_request
from napari_resformer.training.settings import make_settings
from napari_resformer.widgets.train.annotation import fitting_classes
from napari_resformer.widgets.train.fields import AUTOMATIC, INSTANCE_LABELS, SCRATCH, name_trouble
from napari_resformer.widgets.train.pairs import PairRow, RowState, mask_data

NO_PAIRS = "Open images, then paint a Labels layer for each or give it a class. The table above lists them."


def make_request(form: Any, *, start_over: bool = False) -> TrainRequest:
    """Take from the fields what a training session needs.

    Parameters
    ----------
    form : FineTune
        Its fields are read by their names.
    start_over : bool
        Whether an unfinished training of the same name is not resumed.

    Raises
    ------
    ValueError, TypeError
        If something is missing, or does not fit.
    """
    used = [(row, state) for row, state in _rows(form.pairs) if row.use]
    if not used:
        raise ValueError(f"no image is ticked. {NO_PAIRS}")
    data = pair_data(used)
    name = form.model_name.value.strip()
    if fault := name_trouble(name):
        raise ValueError(fault)
    more, scratch = form.more, form.model.value == SCRATCH
    settings = make_settings(
        {
            "preset": more.preset.value,
            "epochs": form.epochs.value,
            "batch_size": more.batch.value,
            **chosen_input(more),
            "mask_classes": tuple(part.strip() for part in form.mask_names.value.split(",") if part.strip()),
            "freeze_encoder": more.freeze_encoder.value and not scratch,
        }
    )
    return library_request(
        data,
        name,
        settings,
        start=None if scratch else form.model.value,
        device=more.device.value,
        instance_labels=more.label_values.value == INSTANCE_LABELS,
        replace=bool(form.replace.value),
        start_over=start_over,
    )


def chosen_input(more: Any) -> dict[str, Any]:
    """Return mode and size where the user has chosen them, as settings."""
    mode = {} if more.mode.value == AUTOMATIC else {"mode": more.mode.value}
    return mode | ({"crop_size": more.crop.value} if more.crop.value else {})


def cost_key(form: Any) -> tuple[Any, ...]:
    """Return what the time of an epoch depends on."""
    more = form.more
    images = tuple((row.image.unique_id, state.planes) for row, state in _rows(form.pairs) if row.use)
    fields = (more.preset, more.crop, more.batch, more.mode, more.freeze_encoder, more.device)
    return (images, form.model.value, *(field.value for field in fields))


def annotated_pairs(pairs: Any) -> tuple[LayerPair, ...]:
    """Return what there is in rows with labels or a class, ticked or not.

    Raises
    ------
    ValueError
        If there is nothing, or the labels of a row do not fit.
    """
    found = [(row, state) for row, state in _rows(pairs) if row.labels is not None or state.classified]
    if not found:
        raise ValueError(f"nothing is annotated. {NO_PAIRS}")
    return pair_data(found)


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


def _rows(pairs: Any) -> list[tuple[PairRow, RowState]]:
    return list(zip(pairs.value, pairs.states, strict=True))
