"""Training from the pretrained trunk: it starts with the trunk's weights and learns them more slowly."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from napari_resformer.events import Finished
from napari_resformer.images.image import from_array
from napari_resformer.model.file import load_file
from napari_resformer.network import ResFormer, ResFormerConfig, load_trunk
from napari_resformer.samples.pairs import LayerPair, samples_from_pairs
from napari_resformer.training.optim import make_optimizer, make_schedule
from napari_resformer.training.run_folder import RunFolder
from napari_resformer.training.settings import TrainSettings
from napari_resformer.training.trainer import train_samples


def test_each_part_has_its_learning_rate_over_the_whole_schedule() -> None:
    settings = TrainSettings(preset="pretrained", lr=1e-3, trunk_lr_factor=0.1, epochs=2)
    network = ResFormer(ResFormerConfig.preset("pretrained"))
    trunk = {id(parameter) for parameter in network.trunk_parameters()}
    optimizer = make_optimizer(network, settings, torch.device("cpu"))
    schedule = make_schedule(optimizer, settings, steps=10, done=0)
    for _ in range(15):
        for group in optimizer.param_groups:
            own = {id(parameter) in trunk for parameter in group["params"]}
            assert len(own) == 1
            assert group["lr"] == schedule.lr_lambdas[0](schedule.last_epoch) * (1e-4 if own.pop() else 1e-3)
        optimizer.step()
        schedule.step()
    assert sum(len(group["params"]) for group in optimizer.param_groups) == len(list(network.parameters()))
    assert len(make_optimizer(ResFormer(ResFormerConfig.preset("tiny")), settings, torch.device("cpu")).param_groups) == 2


def test_a_training_starts_from_the_trunk(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    pairs = []
    for number in range(4):
        mask = np.zeros((64, 64), np.uint8)
        mask[10:40, 10 : 30 + number] = 1
        pixels = generator.integers(0, 60, (64, 64, 3), dtype=np.uint8) + (mask * 120)[..., None]
        pairs.append(LayerPair(from_array(pixels.astype(np.uint8), "YXC", name=f"i{number}"), mask, {}))
    settings = TrainSettings(preset="pretrained", epochs=1, crop_size=64, batch_size=2, lr=1e-9, ema_decay=0.0)
    events = list(train_samples(samples_from_pairs(pairs, "few"), settings, RunFolder(tmp_path / "run"), name="m", device="cpu"))
    (finished,) = [event for event in events if isinstance(event, Finished)]
    model = load_file(finished.result.save(tmp_path / "m.safetensors"))
    trunk = load_trunk(model.card.network)
    learned = model.network.state_dict()
    kept = [name for name in trunk if name.endswith("weight") and trunk[name].ndim == 4]
    assert len(kept) > 40
    for name in kept:
        torch.testing.assert_close(learned[name], trunk[name], rtol=2e-3, atol=1e-5)
