"""What each data set is trained with, the same for every row; written down before the first run, and not changed by any."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from napari_resformer.training.settings import TrainSettings


@dataclass(frozen=True)
class Budget:
    """How the rows of a set are trained and tested.

    Parameters
    ----------
    folds : tuple of str
        Each is a test fold once; all others are trained on, without a validation part: the last epoch counts.
    epochs, batch, size : int
        Epochs, images a step, and the side in pixels that whole images are scaled to.
    seeds : tuple of int
        Of weights, order and augmentation.
    """

    folds: tuple[str, ...]
    epochs: int
    batch: int
    seeds: tuple[int, ...]
    size: int = 160

    def as_json(self) -> dict[str, Any]:
        """Return what decides a cell, beside its own seed and fold."""
        told = asdict(self)
        return {key: told[key] for key in ("epochs", "batch", "size")}


BUDGETS: dict[str, Budget] = {
    "wbc1": Budget(("0", "1", "2", "3", "4"), epochs=40, batch=4, seeds=(0,)),
    "isic2017": Budget(("4",), epochs=8, batch=8, seeds=(0, 1)),
    "ebhi": Budget(("3",), epochs=8, batch=8, seeds=(0, 1)),
    "busi": Budget(("0",), epochs=20, batch=8, seeds=(0, 1)),
}
"""By the name of the folder in the data root."""


def settings_of(budget: Budget, preset: str, seed: int, fold: str) -> TrainSettings:
    """Return the package's settings for a cell; all that a budget does not say is the package's default.

    Parameters
    ----------
    budget : Budget
        Of the set.
    preset : str
        Whose card is planned; a row may then use another network.
    seed : int
        Of the cell.
    fold : str
        To test on; all others are trained on. It plays the part of the validation fold, by which nothing is chosen.
    """
    return TrainSettings.model_validate(
        {
            "preset": preset, "epochs": budget.epochs, "batch_size": budget.batch, "crop_size": budget.size, "mode": "resize",
            "seed": seed, "val_folds": (fold,), "keep": "last",
        }
    )  # fmt: skip
