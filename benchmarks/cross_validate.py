"""Cross-validation over the folds of a data folder: ``python benchmarks/cross_validate.py DATA [--epochs 60] [--only 0]``.

Each fold is tested by a model that was trained on the others; its validation part, which picks the epoch, comes from inside
those. Figures are pooled over the test folds, with 95 % intervals over resampled groups. Settings are those of the command
line unless given. With ``--rows FILE`` the figures of each image are kept in a file, folds that are in it are not trained
again, and several processes may share it, each with its own ``--only``; the last call pools them all. With ``--models DIR`` the
models are kept too, and tested again without a training once the file of figures is gone.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path

from measuring import Row, accuracy, balanced_accuracy, judge, line, mean_dice, trained

import napari_resformer as nr
from napari_resformer.cli.settings import add_settings, given_settings
from napari_resformer.samples.folder import read_folder
from napari_resformer.samples.split import select_folds
from napari_resformer.training.settings import TrainSettings


def main() -> None:
    """Print the figures of each fold and of all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--only", help="test these folds only, for instance 0,3")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--rows", type=Path, metavar="FILE", help="keep the figures of each image here")
    parser.add_argument(
        "--models", type=Path, metavar="DIR", help="keep the models here; a fold whose model is there is not trained"
    )
    add_settings(parser, [name for name in TrainSettings.model_fields if name not in ("folds", "val_folds")])
    options = parser.parse_args()
    given = given_settings(options)

    samples = read_folder(options.data)
    folds = sorted({sample.fold for sample in samples.samples if sample.fold is not None})
    counts = Counter(sample.image_class for sample in samples.samples)
    done = read(options.rows)
    for fold in options.only.split(",") if options.only else folds:
        if fold not in done:
            begin = time.perf_counter()
            settings = given.model_copy(update={"folds": tuple(other for other in folds if other != fold)})
            kept = options.models and options.models / f"fold-{fold}.safetensors"
            model = nr.load_model(kept) if kept and kept.exists() else trained(samples, settings, device=options.device)
            if kept and not kept.exists():
                model.save(kept)
            spent = time.perf_counter() - begin
            found = judge(model, select_folds(samples, [fold]), device=options.device)
            done[fold] = Fold(fold, spent, model.card.training["best_epoch"], found)
            write(options.rows, done[fold])
        print(done[fold].line(), flush=True)
    rows = [row for part in done.values() for row in part.rows]
    least = {name for name, count in counts.items() if count > 1}
    common = [row for row in rows if row.true_class in least]
    longest = max(part.seconds for part in done.values())
    print(f"folds {', '.join(sorted(done))}: {len(rows)} images, {len({row.group for row in rows})} groups, "
          f"at most {longest:.0f} s of training a fold")  # fmt: skip
    for name in rows[0].dice:
        print(line(f"mean Dice, {name}", rows, lambda part, name=name: mean_dice(part, name)))
    print(line("accuracy", rows, accuracy))
    for name in sorted(counts, key=str):
        taken = Counter(row.predicted for row in rows if row.true_class == name)
        print(f"  {name} ({taken.total()}): " + ", ".join(f"{count} as {found}" for found, count in taken.most_common()))
    print(line(f"balanced accuracy, {len(least)} classes of > 1 image", common, balanced_accuracy))


@dataclass(frozen=True)
class Fold:
    """What came of a test fold."""

    name: str
    seconds: float
    best_epoch: int
    rows: list[Row]

    def line(self) -> str:
        figures = [f"{name} {mean_dice(self.rows, name):.4f}" for name in self.rows[0].dice]
        return (
            f"fold {self.name}  {self.seconds:.0f} s  best epoch {self.best_epoch}  {'  '.join(figures)}  "
            f"accuracy {accuracy(self.rows):.3f}  balanced {balanced_accuracy(self.rows):.3f}"
        )


def read(path: Path | None) -> dict[str, Fold]:
    """Return the folds that are in the file, by their names."""
    lines = path.read_text(encoding="utf-8").splitlines() if path is not None and path.exists() else []
    parts = [json.loads(text) for text in lines]
    return {part["name"]: Fold(**part | {"rows": [Row(**row) for row in part["rows"]]}) for part in parts}


def write(path: Path | None, fold: Fold) -> None:
    if path is not None:
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(fold)) + "\n")


if __name__ == "__main__":
    main()
