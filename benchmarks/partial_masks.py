"""Whether images without a mask help: ``python benchmarks/partial_masks.py DATA`` (breast ultrasound, most without a mask).

One model learns from all images of the training folds, those without a mask for the class only; another from those that
have a mask, seen as often each; a third from those too, for as many steps as the first. All are tested on the same fold,
over several seeds; intervals are over resampled groups of the pooled seeds.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from measuring import accuracy, balanced_accuracy, judge, line, mean_dice, trained

from napari_resformer.samples.folder import read_folder
from napari_resformer.samples.split import select_folds
from napari_resformer.training.settings import TrainSettings

ARMS = ("all", "masked", "masked, as many steps")


def main() -> None:
    """Print the figures of each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--test-fold", default="0")
    parser.add_argument("--epochs", type=int, default=40, help="of the models that see each image as often")
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--only", choices=ARMS, help="train one of the three, so that several processes share the work")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--masked-fraction", type=float, default=TrainSettings().masked_fraction, help="0: drawn as they come")
    options = parser.parse_args()
    samples = read_folder(options.data)
    test = select_folds(samples, [options.test_fold])
    pool = [sample for sample in samples.samples if sample.fold != options.test_fold]
    masked = [sample for sample in pool if sample.mask_source is not None]
    lesions = {sample.name for sample in test.samples if (mask := sample.mask()) is not None and mask.any()}
    longer = round(options.epochs * len(pool) / len(masked))
    runs = ((pool, options.epochs), (masked, options.epochs), (masked, longer))
    for arm, (chosen, epochs) in zip(ARMS, runs, strict=True):
        if options.only not in (None, arm):
            continue
        rows = []
        for seed in range(options.seeds):
            settings = TrainSettings(
                mode="resize", crop_size=options.size, seed=seed, epochs=epochs, masked_fraction=options.masked_fraction
            )
            rows += judge(trained(samples.subset(chosen), settings), test)
        print(f"{arm}: {len(chosen)} images, {epochs} epochs, {options.seeds} seeds")
        print(line("  mean Dice, images with a lesion", [row for row in rows if row.name in lesions], lesion_dice))
        print(line("  mean Dice, all with a mask", rows, lesion_dice))
        print(line("  accuracy", rows, accuracy))
        print(line("  balanced accuracy", rows, balanced_accuracy), flush=True)


def lesion_dice(rows: list) -> float | None:
    """Return the mean Dice of the foreground."""
    return mean_dice(rows, "foreground")


if __name__ == "__main__":
    main()
