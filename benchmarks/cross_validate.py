"""Cross-validation over the folds of a data folder: ``python benchmarks/cross_validate.py DATA [--epochs 60] [--only 0]``.

Each fold is tested by a model that was trained on the others; its validation part, which picks the epoch, comes from inside
those. Figures are pooled over the test folds, with 95 % intervals over resampled groups. Settings are those of the command
line unless given.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from pathlib import Path

from measuring import accuracy, balanced_accuracy, judge, line, mean_dice, trained

from napari_resformer.samples.folder import read_folder
from napari_resformer.samples.split import select_folds
from napari_resformer.training.settings import TrainSettings

NUMBERS = (
    "lr", "class-loss-weight", "balance", "average-decay", "weight-decay", "colour-jitter", "stain-jitter", "warmup", "rotation"
)  # fmt: skip


def main() -> None:
    """Print the figures of each fold and of all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--only", help="test these folds only, for instance 0,3")
    parser.add_argument("--device", default="auto")
    for name in ("epochs", "size", "batch", "seed", "patience"):
        parser.add_argument(f"--{name}", type=int)
    for name in NUMBERS:
        parser.add_argument(f"--{name}", type=float)
    parser.add_argument("--mode", choices=("native", "resize"))
    parser.add_argument("--mask-classes", type=lambda text: tuple(text.split(",")))
    parser.add_argument("--zoom", type=lambda text: tuple(map(float, text.split(","))))
    options = parser.parse_args()
    given = {key: value for key, value in vars(options).items() if key in TrainSettings.model_fields and value is not None}

    samples = read_folder(options.data)
    folds = sorted({sample.fold for sample in samples.samples if sample.fold is not None})
    counts = Counter(sample.image_class for sample in samples.samples)
    rows, seconds = [], []
    for fold in options.only.split(",") if options.only else folds:
        begin = time.perf_counter()
        settings = TrainSettings(**given, folds=tuple(other for other in folds if other != fold))
        model = trained(samples, settings, device=options.device)
        seconds.append(time.perf_counter() - begin)
        found = judge(model, select_folds(samples, [fold]), device=options.device)
        rows += found
        figures = [f"{name} {mean_dice(found, name):.4f}" for name in (*model.card.mask_classes, "foreground")]
        print(
            f"fold {fold}  {seconds[-1]:.0f} s  best epoch {model.card.training['best_epoch']}  {'  '.join(figures)}  "
            f"accuracy {accuracy(found):.3f}  balanced {balanced_accuracy(found):.3f}",
            flush=True,
        )
    least = {name for name, count in counts.items() if count > 1}
    common = [row for row in rows if row.true_class in least]
    print(f"{len(rows)} images, {len({row.group for row in rows})} groups, at most {max(seconds):.0f} s of training a fold")
    for name in (*model.card.mask_classes, "foreground"):
        print(line(f"mean Dice, {name}", rows, lambda part, name=name: mean_dice(part, name)))
    print(line("accuracy", rows, accuracy))
    print(line(f"balanced accuracy, {len(least)} classes of > 1 image", common, balanced_accuracy))


if __name__ == "__main__":
    main()
