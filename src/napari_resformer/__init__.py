"""Segment and classify images with one network, in napari, on the command line and in Python.

Importing this package loads neither torch nor Qt nor napari; each public name is resolved when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from napari_resformer import network
    from napari_resformer.evaluation.evaluate import evaluate
    from napari_resformer.model.file import Model
    from napari_resformer.model.library import download_model, list_models, load_model
    from napari_resformer.prediction.job import iter_predict, predict
    from napari_resformer.prediction.result import PredictResult
    from napari_resformer.training.api import iter_train, train

__all__ = [
    "Model",
    "PredictResult",
    "download_model",
    "evaluate",
    "iter_predict",
    "iter_train",
    "list_models",
    "load_model",
    "network",
    "predict",
    "train",
]

_HOMES = {
    "Model": "model.file",
    "PredictResult": "prediction.result",
    "download_model": "model.library",
    "evaluate": "evaluation.evaluate",
    "iter_predict": "prediction.job",
    "iter_train": "training.api",
    "list_models": "model.library",
    "load_model": "model.library",
    "predict": "prediction.job",
    "train": "training.api",
}


def __getattr__(name: str) -> Any:
    if name == "network":
        return import_module("napari_resformer.network")
    if name in _HOMES:
        return getattr(import_module(f"napari_resformer.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
