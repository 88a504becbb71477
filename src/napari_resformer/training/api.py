"""Training by one call: a data folder in, a model out."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from napari_resformer.events import Finished, Notice
from napari_resformer.model.file import Model
from napari_resformer.model.library import load_model
from napari_resformer.network.config import PresetName
from napari_resformer.samples.folder import read_folder
from napari_resformer.samples.rules import MaskKind
from napari_resformer.training.run_folder import RunFolder
from napari_resformer.training.settings import TrainSettings, make_settings
from napari_resformer.training.trainer import TrainEvent, train_samples


def train(
    data: str | Path,
    *,
    settings: TrainSettings | None = None,
    name: str | None = None,
    start: Model | str | Path | None = None,
    preset: PresetName | None = None,
    epochs: int | None = None,
    batch_size: int | None = None,
    crop_size: int | None = None,
    mode: Literal["native", "resize"] | None = None,
    lr: float | None = None,
    seed: int | None = None,
    folds: Sequence[int | str] | None = None,
    val_folds: Sequence[int | str] | None = None,
    mask_classes: Sequence[str] | None = None,
    freeze_encoder: bool | None = None,
    patience: int | None = None,
    instance_labels: bool = False,
    mask_kind: MaskKind = "auto",
    axes: str | None = None,
    device: str = "auto",
    run_folder: str | Path | None = None,
    resume: bool = False,
) -> Model:
    """Train a model on a data folder.

    Parameters
    ----------
    data : str or Path
        A data folder: ``images/``, ``masks/``, ``labels.csv``.
    settings : TrainSettings, optional
        All settings at once; see :class:`~napari_resformer.training.settings.TrainSettings`.
    name : str, optional
        Name of the model; the folder's when left out.
    start : Model, str or Path, optional
        A model to start from, or its name or path. Its network is taken, and ``preset`` has no meaning then; only what its
        classes and channels do not fit is replaced.
    preset, epochs, batch_size, crop_size, mode, lr, seed, folds, val_folds, mask_classes, freeze_encoder, patience
        The settings that are changed most often, by the names and with the defaults of
        :class:`~napari_resformer.training.settings.TrainSettings`. Crop size (pixels) and mode follow the model to start from
        when left out. Folds may be numbers.
    instance_labels : bool
        Whether each object has a label value of its own; then all objects are of one mask class.
    mask_kind : {"auto", "classes", "instances", "binary"}
        What the values of the masks stand for; "auto" decides by what they hold and says so.
    axes : str, optional
        Axes of the image files, for instance ``"CYX"``, where they do not say.
    device : str
        ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
    run_folder : str or Path, optional
        Where checkpoints, metrics and curves are kept; a temporary folder when left out.
    resume : bool
        Go on from the run folder's last checkpoint, if there is one.

    Returns
    -------
    Model
        Of the best epoch; keep it by :meth:`~napari_resformer.Model.save`. ``model.notes`` says what was found in the data.

    Raises
    ------
    ValueError
        If these images cannot be trained on, or a setting is out of range or given twice with different values; the message
        says what to do.
    FileExistsError
        If ``run_folder`` holds a run already and ``resume`` is False.

    Warns
    -----
    UserWarning
        Of what will work badly, for instance few images.

    Examples
    --------
    >>> import napari_resformer as nr
    >>> model = nr.train("my-data", epochs=2, crop_size=64, device="cpu")
    >>> path = model.save("my-model.safetensors")
    """
    notes: list[str] = []
    for event in iter_train(
        data, settings=settings, name=name, start=start, preset=preset, epochs=epochs, batch_size=batch_size,
        crop_size=crop_size, mode=mode, lr=lr, seed=seed, folds=folds, val_folds=val_folds, mask_classes=mask_classes,
        freeze_encoder=freeze_encoder, patience=patience, instance_labels=instance_labels,
        mask_kind=mask_kind, axes=axes, device=device, run_folder=run_folder, resume=resume,
    ):  # fmt: skip
        if isinstance(event, Notice):
            notes.append(event.text)
            if event.kind == "warning":
                warnings.warn(event.text, stacklevel=2)
        if isinstance(event, Finished):
            return replace(event.result, notes=tuple(notes))
    raise AssertionError("a training run ends with its model")


def iter_train(
    data: str | Path,
    *,
    settings: TrainSettings | None = None,
    name: str | None = None,
    start: Model | str | Path | None = None,
    preset: PresetName | None = None,
    epochs: int | None = None,
    batch_size: int | None = None,
    crop_size: int | None = None,
    mode: Literal["native", "resize"] | None = None,
    lr: float | None = None,
    seed: int | None = None,
    folds: Sequence[int | str] | None = None,
    val_folds: Sequence[int | str] | None = None,
    mask_classes: Sequence[str] | None = None,
    freeze_encoder: bool | None = None,
    patience: int | None = None,
    instance_labels: bool = False,
    mask_kind: MaskKind = "auto",
    axes: str | None = None,
    device: str = "auto",
    run_folder: str | Path | None = None,
    resume: bool = False,
) -> Iterator[TrainEvent]:
    """Do the same as :func:`train`, step by step; closing the generator cancels the run within one step.

    Parameters and errors are those of :func:`train`.

    Yields
    ------
    Progress, Notice, TrainingStarted, StepDone, EpochDone
        What happens; see :mod:`napari_resformer.events`.
    Finished
        Last, with the model of the best epoch.

    Examples
    --------
    >>> import napari_resformer as nr
    >>> for event in nr.iter_train("my-data", epochs=2, crop_size=64, device="cpu"):
    ...     if isinstance(event, nr.events.Finished):
    ...         model = event.result
    >>> model.card.name
    'my-data'
    """
    given = {
        "preset": preset, "epochs": epochs, "batch_size": batch_size, "crop_size": crop_size, "mode": mode, "lr": lr,
        "seed": seed, "folds": _texts(folds), "val_folds": _texts(val_folds), "mask_classes": _texts(mask_classes),
        "freeze_encoder": freeze_encoder, "patience": patience,
    }  # fmt: skip
    chosen = _settings(settings, {key: value for key, value in given.items() if value is not None})
    samples = read_folder(data, mask_kind="instances" if instance_labels else mask_kind, axes=axes)
    origin = start if isinstance(start, Model) or start is None else load_model(start)
    with tempfile.TemporaryDirectory(prefix="napari-resformer-") as temporary:
        folder = RunFolder(Path(run_folder or temporary))
        yield from train_samples(
            samples, chosen, folder, name=name or samples.name, device=device,
            existing="resume" if resume else "refuse", start=origin,
        )  # fmt: skip


def _settings(settings: TrainSettings | None, given: dict[str, Any]) -> TrainSettings:
    """Return the settings, or those that the keywords make; refuse two values for one."""
    if settings is None:
        return make_settings(given)
    for key, value in given.items():
        if value != getattr(settings, key):
            raise ValueError(
                f"{key} is {value!r}, but settings.{key} is {getattr(settings, key)!r}; give it once, as a keyword or in settings"
            )
    return settings


def _texts(values: Sequence[int | str] | None) -> tuple[str, ...] | None:
    return None if values is None else tuple(str(value) for value in values)
