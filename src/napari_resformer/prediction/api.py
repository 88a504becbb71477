"""Prediction by one call: a model and an image in, a result out."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any

from napari_resformer.images.image import PixelSize
from napari_resformer.model.file import Model
from napari_resformer.prediction.predictor import PredictEvent, Predictor
from napari_resformer.prediction.result import PredictResult


def predict(
    model: Model,
    array: Any,
    *,
    axes: str | None = None,
    channels: Sequence[int | str] | None = None,
    pixel_size: float | PixelSize | None = None,
    device: str = "auto",
    tile: int | None = None,
    zoom: float | None = None,
    outputs: Sequence[str] = ("mask",),
    out: str | Path | None = None,
    overwrite: bool = False,
    resume: bool = False,
) -> PredictResult:
    """Segment and classify an image.

    The network is prepared once for a model and a device; :class:`~napari_resformer.Predictor` says so by name.

    Parameters
    ----------
    model : Model
        From :func:`~napari_resformer.load_model`.
    array : array-like or Image
        numpy, dask or zarr array of real numbers, of any shape that the axes explain.
    axes : str, optional
        One letter a dimension: T, Z, P for loops, C for channels, Y, X. May be left out where the shape allows one
        answer only.
    channels : sequence of int or str, optional
        Channels of the image in the model's order, by number or name.
    pixel_size : float or (float, float), optional
        Micrometres, or micrometres in Y and X. Where it is not the model's, the image is brought to the model's and the
        mask back; where one of them is unknown, they are taken to be equal.
    device : str
        ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
    tile : int, optional
        Pixels on a side that one pass of the network owns; when left out, as many as memory allows, 1024 at most.
    zoom : float, optional
        How many times as large, on a side, the network is to see the image, 1/16 to 16; overrides the pixel sizes. 0.5 where
        objects are twice as large, in pixels, as those that the model was trained on.
    outputs : sequence of str
        What is wanted of ``"mask"`` and ``"probabilities"``; scores are always there.
    out : str or Path, optional
        A zarr store that the mask is written to, tile by tile, instead of memory: ``.zarr`` makes an array, ``.ome.zarr``
        an OME-Zarr pyramid. Further outputs are written beside it: ``cells_probabilities.zarr`` beside ``cells.zarr``.
    overwrite : bool
        Whether existing stores may be replaced.
    resume : bool
        Whether to go on in existing stores where an earlier run of the same model, image and settings was cancelled or
        killed; it loses one row of tiles at most. A run that had ended gives its result again. Without a store the run
        starts from the beginning.

    Returns
    -------
    PredictResult
        Mask, scores, and what else was asked for; ``result.notes`` says what should be known of the image.

    Raises
    ------
    TypeError
        If this is no array of real numbers.
    ValueError
        If the image does not fit the model, its axes are ambiguous, an output is unknown, or ``out`` was begun with something
        else.
    FileExistsError
        If ``out`` exists and neither ``overwrite`` nor ``resume`` is True, or another run writes to it.

    Examples
    --------
    >>> import numpy as np
    >>> import napari_resformer as nr
    >>> image = np.random.default_rng(0).integers(0, 255, (120, 150), dtype=np.uint8)
    >>> result = nr.predict(nr.load_model("nuclei"), image, axes="YX")
    >>> result.mask.shape, result.mask.dtype.name, result.mask_classes
    ((120, 150), 'uint8', ('nucleus',))
    >>> result.classes, result.scores.shape
    (('brightfield', 'fluorescence', 'histology'), (3,))
    """
    return Predictor(model, device).predict(
        array, axes=axes, channels=channels, pixel_size=pixel_size, tile=tile, zoom=zoom, outputs=outputs, out=out,
        overwrite=overwrite, resume=resume,
    )  # fmt: skip


def iter_predict(
    model: Model,
    array: Any,
    *,
    axes: str | None = None,
    channels: Sequence[int | str] | None = None,
    pixel_size: float | PixelSize | None = None,
    device: str = "auto",
    tile: int | None = None,
    zoom: float | None = None,
    outputs: Sequence[str] = ("mask",),
    out: str | Path | None = None,
    overwrite: bool = False,
    resume: bool = False,
) -> Generator[PredictEvent]:
    """Do the same as :func:`predict`, step by step; closing the generator cancels the job within one tile.

    Parameters and errors are those of :func:`predict`.

    Yields
    ------
    MaskOpened
        First, where the mask is written to a store.
    Progress
        After each tile.
    PlaneDone
        After each plane.
    Finished
        Last, with the :class:`~napari_resformer.PredictResult`.

    Examples
    --------
    >>> import numpy as np
    >>> import napari_resformer as nr
    >>> image = np.random.default_rng(0).integers(0, 255, (120, 150), dtype=np.uint8)
    >>> for event in nr.iter_predict(nr.load_model("nuclei"), image, axes="YX"):
    ...     if isinstance(event, nr.events.Finished):
    ...         result = event.result
    >>> result.mask.shape
    (120, 150)
    """
    yield from Predictor(model, device).iter(
        array, axes=axes, channels=channels, pixel_size=pixel_size, tile=tile, zoom=zoom, outputs=outputs, out=out,
        overwrite=overwrite, resume=resume,
    )  # fmt: skip
