"""What several tests need: a small model with random weights, a library folder of one's own."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import numpy as np
import pytest

if "PYTEST_XDIST_WORKER" in os.environ:  # each worker has a core; read when torch starts
    os.environ.setdefault("OMP_NUM_THREADS", "1")

# Settings of napari's own for each process of the tests: two that write one file at a time leave a broken one, and the user's
# are none of our business. Read when napari is imported.
_settings = tempfile.TemporaryDirectory(prefix="resformer-settings-", ignore_cleanup_errors=True)
os.environ["NAPARI_CONFIG"] = str(Path(_settings.name) / "settings.yaml")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    marked = [item for item in items if item.get_closest_marker("gpu")]
    if marked:
        import torch

        if not (torch.cuda.is_available() or torch.backends.mps.is_available()):
            for item in marked:
                item.add_marker(pytest.mark.skip(reason="needs a CUDA or MPS device"))


@pytest.fixture(autouse=True)
def user_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keep the user's own models out of the tests, in this process and in workers."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))  # Linux; elsewhere workers see the user's own models
    folder = tmp_path / "data" / "napari-resformer" / "models"
    monkeypatch.setattr("napari_resformer.model.library.user_folder", lambda: folder)
    return folder


@pytest.fixture(scope="session")
def random_model():
    """A tiny model with random weights, three image classes and two mask classes."""
    import torch

    from napari_resformer.model.card import Card
    from napari_resformer.model.file import Model
    from napari_resformer.network import ResFormer, ResFormerConfig

    torch.manual_seed(0)
    config = ResFormerConfig.preset("tiny", mask_classes=2, image_classes=3)
    card = Card(
        name="random",
        network=config,
        mask_classes=("inner", "outer"),
        image_classes=("a", "b", "c"),
        channels=("red", "green", "blue"),
    )
    return Model(card, ResFormer(config).eval())


@pytest.fixture
def picture() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (150, 201, 3), dtype=np.uint8)
