"""What pretrained weights are worth: ``python benchmarks/trunk_trial.py DATA --folds 1,2,3,4 --judge 0 [--epochs 12]``.

Trains each network on the same folds, with the same steps, crops and augmentation, and prints after every epoch what its averaged
weights say of the images of the judged folds. Nothing is picked by these: the last line is the result. Networks are presets;
``pretrained:random`` leaves its trunk at random, ``pretrained:plain`` has neither transformer nor feature enhancement nor a head
over several levels. Seconds are those of the processor, so that a busy machine does not count.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path

os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")  # as the command line does; read when torch starts

import torch

from napari_resformer.events import EpochDone
from napari_resformer.model.card import Card
from napari_resformer.model.file import Model
from napari_resformer.network import ResFormer, ResFormerConfig, start_from_trunk
from napari_resformer.preprocessing.channels import COLOUR
from napari_resformer.samples.folder import read_folder
from napari_resformer.training.run_folder import RunFolder
from napari_resformer.training.settings import TrainSettings
from napari_resformer.training.trainer import train_samples

CHANGES: dict[str, dict[str, object]] = {
    "": {},
    "random": {"trunk": None},
    "plain": {"transformer": False, "dfe": False, "multi_scale_head": False},
    "no-transformer": {"transformer": False},
    "no-dfe": {"dfe": False},
    "last-level": {"multi_scale_head": False},
}


def main() -> None:
    """Train one network after the other."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--networks", default="tiny,pretrained", help="presets, each with a change after a colon if any")
    parser.add_argument("--folds", required=True, help="folds to train on")
    parser.add_argument("--judge", required=True, help="folds to judge on")
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--mode", choices=("native", "resize"), default="native")
    parser.add_argument("--lr", type=float, default=1.5e-3, help="peak learning rate of a network from scratch")
    parser.add_argument("--pretrained-lr", type=float, default=2e-3, help="of what is new around a pretrained trunk")
    parser.add_argument("--trunk-factor", type=float, default=0.12, help="share of that which the trunk gets")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    for name in options.networks.split(","):
        train(name, options)


def train(name: str, options: argparse.Namespace) -> None:
    """Train a network, and print a line an epoch."""
    samples = read_folder(options.data)
    preset, _, change = name.partition(":")
    start = starting_model(preset, change, samples.image_classes, options)
    settings = TrainSettings(
        epochs=options.epochs, crop_size=options.size, batch_size=options.batch, seed=options.seed, mode=options.mode,
        keep="last", lr=options.pretrained_lr if start.card.network.trunk else options.lr, trunk_lr_factor=options.trunk_factor,
        folds=tuple(options.folds.split(",")), val_folds=tuple(options.judge.split(",")),
    )  # fmt: skip
    begin = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        for event in train_samples(samples, settings, RunFolder(Path(folder)), name="trial", start=start, device="cpu"):
            if isinstance(event, EpochDone):
                report = event.validation
                dice = "  ".join(f"{key} {value.dice:.4f}" for key, value in report.mask.items() if value.dice is not None)
                known = report.image_class
                classes = f"balanced {known.balanced_accuracy:.3f}  auroc {known.auroc:.3f}" if known and known.auroc else ""
                print(
                    f"{name:22} epoch {event.epoch:3}  loss {event.loss:.3f}  {dice}  {classes}  "
                    f"{time.process_time() - begin:6.0f} s",
                    flush=True,
                )


def starting_model(preset: str, change: str, image_classes: tuple[str, ...], options: argparse.Namespace) -> Model:
    """Return a network before its training, as a model; its heads are made anew by the trainer."""
    config = ResFormerConfig.preset(preset, image_classes=len(image_classes), **CHANGES[change])  # type: ignore[arg-type]
    with torch.random.fork_rng([]):
        torch.manual_seed(options.seed)
        network = ResFormer(config)
    if config.trunk:
        start_from_trunk(network)
    card = Card(
        name=preset, network=config, mask_classes=("class 1",), image_classes=image_classes, channels=COLOUR,
        input_mode=options.mode, input_size=options.size,
    )  # fmt: skip
    return Model(card, network.eval())


if __name__ == "__main__":
    main()
