"""How many annotated images a model needs, from scratch and from a bundled model: ``python benchmarks/few_images.py DATA``.

A fold is kept for testing; from the others so many images are drawn, a quarter of each class first, and trained on for the
same number of steps. The validation part comes out of the drawn images: they are all that the user has annotated.
"""

from __future__ import annotations

import argparse
import math
import random
from pathlib import Path

import numpy as np
from measuring import balanced_accuracy, judge, mean_dice, trained

import napari_resformer as nr
from napari_resformer.samples.folder import read_folder
from napari_resformer.samples.sample import Sample, SampleSet
from napari_resformer.samples.split import VALIDATION_SHARE, select_folds
from napari_resformer.training.loader import steps_per_epoch
from napari_resformer.training.settings import TrainSettings


def main() -> None:
    """Print a table: images, start, mean and spread of Dice and balanced accuracy over the seeds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--from", dest="starts", default="scratch,colon-biopsy,nuclei", help="models to start from, or scratch")
    parser.add_argument("--images", default="10,20,40,80")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--test-fold", default="0")
    parser.add_argument("--lr", type=float, default=1.5e-3)
    parser.add_argument("--start-lr", type=float, default=1.5e-3, help="learning rate when starting from a model")
    parser.add_argument("--freeze-encoder", action="store_true")
    options = parser.parse_args()
    samples = read_folder(options.data)
    test = select_folds(samples, [options.test_fold])
    pool = [sample for sample in samples.samples if sample.fold != options.test_fold]
    print(f"{'images':>6} {'start':<14} {'Dice':>15} {'balanced accuracy':>18}")
    for number in map(int, options.images.split(",")):
        for name in options.starts.split(","):
            dice, balanced = [], []
            for seed in range(options.seeds):
                chosen = SampleSet(samples.name, draw(pool, number, seed), samples.image_classes)
                start = None if name == "scratch" else nr.load_model(name)
                an_epoch = steps_per_epoch(round(number * (1 - VALIDATION_SHARE)), TrainSettings().batch_size)
                settings = TrainSettings(
                    epochs=math.ceil(options.steps / an_epoch), seed=seed, crop_size=128,
                    lr=options.start_lr if start else options.lr, freeze_encoder=bool(start) and options.freeze_encoder,
                )  # fmt: skip
                rows = judge(trained(chosen, settings, start=start), test)
                classes = [key for key in rows[0].dice if key != "foreground"]
                dice.append(np.mean([mean_dice(rows, key) for key in classes]))
                balanced.append(balanced_accuracy(rows))
            print(
                f"{number:>6} {name:<14} {np.mean(dice):>8.4f} ± {np.std(dice):.3f} "
                f"{np.mean(balanced):>10.3f} ± {np.std(balanced):.3f}",
                flush=True,
            )


def draw(pool: list[Sample], number: int, seed: int) -> tuple[Sample, ...]:
    """Draw images so that classes come in turn: a user who annotates few takes care to have each."""
    generator = random.Random(seed)
    by_class: dict[str, list[Sample]] = {}
    for sample in generator.sample(pool, len(pool)):
        by_class.setdefault(sample.image_class or "", []).append(sample)
    drawn: list[Sample] = []
    while len(drawn) < number and any(by_class.values()):
        for name in sorted(by_class):
            if by_class[name] and len(drawn) < number:
                drawn.append(by_class[name].pop())
    return tuple(drawn)


if __name__ == "__main__":
    main()
