"""Training on an accelerator, in the number formats that it is fast at."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from napari_resformer.devices import choose_device
from napari_resformer.events import EpochDone, Finished
from napari_resformer.samples.folder import read_folder
from napari_resformer.training.run_folder import RunFolder
from napari_resformer.training.settings import TrainSettings
from napari_resformer.training.trainer import train_samples

pytestmark = pytest.mark.gpu


@pytest.mark.parametrize("precision", ["auto", "16-mixed", "32-true"])
def test_an_epoch_in_each_number_format(folder: Path, tmp_path: Path, precision: str) -> None:
    device = choose_device("auto").name
    if precision == "16-mixed" and not device.startswith("cuda"):
        pytest.skip("half precision with a scaled loss is CUDA's")
    settings = TrainSettings.model_validate(
        {"preset": "pretrained", "epochs": 1, "crop_size": 64, "mode": "native", "precision": precision}
    )
    events = list(train_samples(read_folder(folder), settings, RunFolder(tmp_path / "run"), name="gpu", device=device))
    (epoch,) = (event for event in events if isinstance(event, EpochDone))
    assert np.isfinite(epoch.loss)
    assert 0 <= epoch.score <= 1
    assert isinstance(events[-1], Finished)
    weights = events[-1].result.network.state_dict()
    assert all(tensor.device.type == "cpu" and torch.isfinite(tensor.float()).all() for tensor in weights.values())
