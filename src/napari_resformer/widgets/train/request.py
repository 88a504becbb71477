"""What a training is asked for: taken from the widget's fields and layers on the GUI thread, and where its files lie."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_resformer.images.image import Image
from napari_resformer.widgets.train.annotation import fitting_classes
from napari_resformer.widgets.train.pairs import PairRow, RowState, mask_data

if TYPE_CHECKING:
    from napari_resformer.training.settings import TrainSettings

PlaneIndex = tuple[int, ...]


@dataclass(frozen=True)
class PairData:
    """A row of the table, taken from its layers on the GUI thread; nothing is copied.

    Parameters
    ----------
    image : Image
        The layer's data with its axes.
    labels : array-like, optional
        Label values of ``image.mask_shape``.
    classes : mapping of tuple of int to str
        Image classes by plane.
    """

    image: Image
    labels: Any | None
    classes: Mapping[PlaneIndex, str]


@dataclass(frozen=True)
class TrainRequest:
    """What is asked for, taken from the widget's fields on the GUI thread.

    Parameters
    ----------
    pairs : tuple of PairData
        What to learn from.
    name : str
        Of the model to be, in the user's library.
    base : str, optional
        Name of the model to start from; None to start from scratch.
    settings : TrainSettings
        What to do.
    device : str
        See :func:`~napari_resformer.devices.choose_device`.
    objects : bool
        Whether label values only number objects, which then all are of one mask class.
    replace : bool
        Whether a model of this name may be replaced.
    anew : bool
        Whether to start over where an unfinished run could go on.
    """

    pairs: tuple[PairData, ...]
    name: str
    base: str | None
    settings: TrainSettings
    device: str
    objects: bool = False
    replace: bool = False
    anew: bool = False


def pair_data(rows: Sequence[tuple[PairRow, RowState]]) -> tuple[PairData, ...]:
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
        data.append(PairData(state.image, labels, fitting_classes(row.image, state.image)))
    return tuple(data)


def model_path(name: str) -> Path:
    """Return where a model of this name lies in the user's library."""
    from napari_resformer.model import library
    from napari_resformer.model.file import SUFFIX

    return library.user_folder() / f"{name}{SUFFIX}"


def check_name_is_free(request: TrainRequest) -> None:
    """Refuse to replace a model unasked.

    Raises
    ------
    FileExistsError
        If there is a model of this name that may not be replaced.
    """
    if model_path(request.name).exists() and not request.replace:
        raise FileExistsError(f"there is a model {request.name} in your library; choose another name, or tick to replace it")


def run_folder(name: str) -> Path:
    """Return where the run of a model is kept while it is not finished: beside the user's library."""
    from napari_resformer.model import library

    return library.user_folder().parent / "runs" / name
