"""Training by one call: a data folder in, a model out."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

from napari_resformer.events import Finished, Notice
from napari_resformer.model.file import Model
from napari_resformer.model.library import load_model
from napari_resformer.network.config import PresetName
from napari_resformer.samples.folder import read_folder
from napari_resformer.training.run_folder import RunFolder
from napari_resformer.training.settings import TrainSettings
from napari_resformer.training.trainer import TrainEvent, train_samples


def train(
    data: str | Path,
    *,
    name: str | None = None,
    start: Model | str | Path | None = None,
    preset: PresetName = "tiny",
    epochs: int = 40,
    batch: int = 4,
    size: int | None = None,
    mode: Literal["native", "resize"] | None = None,
    lr: float = 1.5e-3,
    seed: int = 0,
    folds: Sequence[int | str] | None = None,
    val_folds: Sequence[int | str] | None = None,
    mask_classes: Sequence[str] = (),
    object_numbers: bool = False,
    freeze_encoder: bool = False,
    patience: int = 0,
    device: str = "auto",
    run_folder: str | Path | None = None,
    resume: bool = False,
) -> Model:
    """Train a model on a data folder.

    Parameters
    ----------
    data : str or Path
        A data folder: ``images/``, ``masks/``, ``labels.csv``.
    name : str, optional
        Name of the model; the folder's when left out.
    start : Model, str or Path, optional
        A model to start from, or its name or path. Its network is taken, and ``preset`` has no meaning then; only what its
        classes and channels do not fit is replaced.
    preset, epochs, batch, lr, seed, mask_classes, freeze_encoder, patience
        See :class:`~napari_resformer.training.settings.TrainSettings`, which has more of them.
    size, mode : int, str, optional
        The same; when left out, those of the model to start from, else 128 and ``native``.
    folds, val_folds : sequence of int or str, optional
        Folds to train on (default: all but ``val_folds``) and to validate on (default: a part of the training images, drawn
        by group and stratified by class).
    object_numbers : bool
        Whether label values number objects, which then all are of one mask class.
    device : str
        ``auto``, ``cpu``, ``cuda`` or ``mps``.
    run_folder : str or Path, optional
        Where checkpoints, metrics and curves are kept; a temporary folder when left out.
    resume : bool
        Go on from the run folder's last checkpoint, if there is one.

    Returns
    -------
    Model
        Of the best epoch; keep it by :meth:`~napari_resformer.Model.save`.

    Raises
    ------
    ValueError
        If the samples do not allow to train; the message says what is missing.

    Warns
    -----
    UserWarning
        For what will work badly, for instance few images.
    """
    for event in iter_train(
        data, name=name, start=start, preset=preset, epochs=epochs, batch=batch, size=size, mode=mode, lr=lr, seed=seed,
        folds=folds, val_folds=val_folds, mask_classes=mask_classes, object_numbers=object_numbers,
        freeze_encoder=freeze_encoder, patience=patience, device=device, run_folder=run_folder, resume=resume,
    ):  # fmt: skip
        if isinstance(event, Notice) and event.kind == "warning":
            warnings.warn(event.text, stacklevel=2)
        if isinstance(event, Finished):
            return event.result
    raise AssertionError("a training run ends with its model")


def iter_train(
    data: str | Path,
    *,
    name: str | None = None,
    start: Model | str | Path | None = None,
    preset: PresetName = "tiny",
    epochs: int = 40,
    batch: int = 4,
    size: int | None = None,
    mode: Literal["native", "resize"] | None = None,
    lr: float = 1.5e-3,
    seed: int = 0,
    folds: Sequence[int | str] | None = None,
    val_folds: Sequence[int | str] | None = None,
    mask_classes: Sequence[str] = (),
    object_numbers: bool = False,
    freeze_encoder: bool = False,
    patience: int = 0,
    device: str = "auto",
    run_folder: str | Path | None = None,
    resume: bool = False,
) -> Iterator[TrainEvent]:
    """Do the same as :func:`train`, step by step; closing the generator cancels the run within one step."""
    samples = read_folder(data)
    if object_numbers:
        samples = samples.with_instance_labels()
    told = {"size": size, "mode": mode, "folds": _names(folds), "val_folds": _names(val_folds)}
    settings = TrainSettings(
        preset=preset, epochs=epochs, batch=batch, lr=lr, seed=seed, mask_classes=tuple(mask_classes),
        freeze_encoder=freeze_encoder, patience=patience,
        **{key: value for key, value in told.items() if value is not None},  # type: ignore[arg-type]
    )  # fmt: skip
    origin = start if isinstance(start, Model) or start is None else load_model(start)
    with tempfile.TemporaryDirectory(prefix="napari-resformer-") as temporary:
        run = RunFolder(Path(run_folder or temporary))
        yield from train_samples(samples, settings, run, name=name or samples.name, device=device, resume=resume, start=origin)


def _names(folds: Sequence[int | str] | None) -> tuple[str, ...] | None:
    return None if folds is None else tuple(str(fold) for fold in folds)
