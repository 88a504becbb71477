"""The network: tensors in, tensors out; nothing here knows files, arrays with axes, or napari.

The configuration is importable without torch, so that a model list or a widget can read a card
without paying for it; the torch modules are resolved on first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from napari_resformer.network.config import ResFormerConfig

if TYPE_CHECKING:
    from napari_resformer.network.inference import PreparedNetwork, for_inference
    from napari_resformer.network.resformer import ClassHead, ResFormer, ResFormerOutput, TileOutput
    from napari_resformer.network.trunk import load_trunk, start_from_trunk

__all__ = [
    "ClassHead",
    "PreparedNetwork",
    "ResFormer",
    "ResFormerConfig",
    "ResFormerOutput",
    "TileOutput",
    "for_inference",
    "load_trunk",
    "start_from_trunk",
]

_LAZY = {
    "ClassHead": "napari_resformer.network.resformer",
    "PreparedNetwork": "napari_resformer.network.inference",
    "ResFormer": "napari_resformer.network.resformer",
    "ResFormerOutput": "napari_resformer.network.resformer",
    "TileOutput": "napari_resformer.network.resformer",
    "for_inference": "napari_resformer.network.inference",
    "load_trunk": "napari_resformer.network.trunk",
    "start_from_trunk": "napari_resformer.network.trunk",
}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
