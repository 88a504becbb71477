"""Segment and classify images with one network, in napari, on the command line and in Python.

Importing this package loads neither torch nor Qt nor napari; each public name is resolved when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from napari_resformer import events, network
    from napari_resformer.evaluation.evaluate import evaluate, iter_evaluate
    from napari_resformer.images.image import Image
    from napari_resformer.io.read import read_image
    from napari_resformer.metrics import Report
    from napari_resformer.model.file import Model
    from napari_resformer.model.library import download_model, list_models, load_model
    from napari_resformer.prediction.api import iter_predict, predict
    from napari_resformer.prediction.predictor import Predictor
    from napari_resformer.prediction.result import PredictResult
    from napari_resformer.training.api import iter_train, train
    from napari_resformer.training.settings import TrainSettings

__all__ = [
    "Image",
    "Model",
    "PredictResult",
    "Predictor",
    "Report",
    "TrainSettings",
    "download_model",
    "evaluate",
    "events",
    "iter_evaluate",
    "iter_predict",
    "iter_train",
    "list_models",
    "load_model",
    "network",
    "predict",
    "read_image",
    "train",
]

_HOMES = {
    "Image": "images.image",
    "Model": "model.file",
    "PredictResult": "prediction.result",
    "Predictor": "prediction.predictor",
    "Report": "metrics",
    "TrainSettings": "training.settings",
    "download_model": "model.library",
    "evaluate": "evaluation.evaluate",
    "iter_evaluate": "evaluation.evaluate",
    "iter_predict": "prediction.api",
    "iter_train": "training.api",
    "list_models": "model.library",
    "load_model": "model.library",
    "predict": "prediction.api",
    "read_image": "io.read",
    "train": "training.api",
}


def __getattr__(name: str) -> Any:
    if name in ("events", "network"):
        return import_module(f"napari_resformer.{name}")
    if name in _HOMES:
        return getattr(import_module(f"napari_resformer.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
