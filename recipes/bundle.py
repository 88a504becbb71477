"""Train, measure and write a bundled model: ``python recipes/bundle.py nuclei path/to/data``.

The run lies beside the recipe, in ``runs/<name>``; started again, it goes on where it stopped. A recipe may have several
parts (``[[then]]``), each of which goes on from the weights of the one before with other settings. The metrics on the card
are measured on the test folds, with the weights of the very file that is written; ``--measure`` does only that, for the file
that is there, once a change of the code has changed what it answers.
"""

from __future__ import annotations

import argparse
import json
import os
import tomllib
from pathlib import Path
from typing import Any

os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")  # huge pages for torch's CPU allocator; read when torch starts

from floors import floors

from napari_resformer import Model, evaluate, load_model
from napari_resformer.events import EpochDone, Finished
from napari_resformer.model.card import Card
from napari_resformer.samples.folder import read_folder
from napari_resformer.samples.split import select_folds
from napari_resformer.training.run_folder import RunFolder
from napari_resformer.training.settings import TrainSettings
from napari_resformer.training.trainer import train_samples

HERE = Path(__file__).parent
MODELS = HERE.parent / "src" / "napari_resformer" / "models"


def main() -> None:
    """Run one recipe."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("recipe", choices=sorted(path.stem for path in HERE.glob("*.toml")))
    parser.add_argument("data", type=Path)
    parser.add_argument("--measure", action="store_true", help="train nothing: measure the shipped file anew")
    arguments = parser.parse_args()
    recipe = tomllib.loads((HERE / f"{arguments.recipe}.toml").read_text(encoding="utf-8"))
    if arguments.measure:
        print(json.dumps(measure(arguments.recipe, recipe, arguments.data), indent=1))
        return
    model = None
    for number, changes in enumerate([{}, *recipe.get("then", [])], start=1):
        settings = TrainSettings.model_validate(recipe["settings"] | changes, strict=False)
        run = RunFolder(HERE / "runs" / arguments.recipe / f"part-{number}")
        model = _train(arguments.data, settings, run, arguments.recipe, model)
    assert model is not None
    print(json.dumps(bundle(model, recipe, arguments.recipe, arguments.data), indent=1))


def bundle(model: Model, recipe: dict[str, Any], name: str, data: Path) -> dict[str, Any]:
    """Write the model's file with its whole card; return what was measured."""
    texts = {key: recipe[key] for key in ("version", "summary", "licence", "notice", "limits", "data")} | named_for_people(
        model.card, recipe
    )
    path = MODELS / f"{name}.safetensors"
    path.parent.mkdir(exist_ok=True)
    Model(_with(model.card, texts), model.network).save(path, overwrite=True)

    return measure(name, recipe, data)


def named_for_people(card: Card, recipe: dict[str, Any]) -> dict[str, Any]:
    """Return the image classes by the names that people read, and the data's own names as aliases."""
    names: dict[str, str] = recipe.get("image_classes", {})
    if strange := sorted(names.keys() - set(card.image_classes)):
        raise ValueError(f"the recipe renames {', '.join(strange)}, which the data do not have")
    return {"image_classes": [names.get(name, name) for name in card.image_classes], "class_aliases": names}


def measure(name: str, recipe: dict[str, Any], data: Path) -> dict[str, Any]:
    """Measure a model's file on its test folds and write that on its card; return what was measured.

    The stored weights are rounded to half precision; the card's figures are those of the stored file.
    """
    path = MODELS / f"{name}.safetensors"
    stored = load_model(path)
    report = evaluate(stored, data, folds=recipe["test_folds"])
    samples = read_folder(data)
    learned = select_folds(samples, [*recipe["settings"]["folds"], *recipe["settings"].get("val_folds", [])])
    simple = floors(learned, select_folds(samples, recipe["test_folds"]), recipe.get("image_classes", {}))
    training = stored.card.training | {"recipe": f"recipes/{name}.toml", "test_folds": recipe["test_folds"]}
    metrics = stored.card.metrics | {"test": report.to_dict(), "floors": simple}
    Model(_with(stored.card, {"training": training, "metrics": metrics}), stored.network).save(path, overwrite=True)
    return {"test": report.to_dict(), "floors": simple}


def _train(data: Path, settings: TrainSettings, run: RunFolder, name: str, start: Model | None) -> Model:
    for event in train_samples(read_folder(data), settings, run, name=name, start=start, existing="resume"):
        if isinstance(event, EpochDone):
            print(
                f"epoch {event.epoch}/{event.epochs} loss {event.training.loss:.4f} "
                f"dice {event.validation.mask_mean.dice:.4f} score {event.score:.4f} {event.seconds:.0f} s",
                flush=True,
            )
        if isinstance(event, Finished):
            return event.result
    raise AssertionError("a training run ends with its model")


def _with(card: Card, changes: dict[str, Any]) -> Card:
    return Card.model_validate(card.model_dump() | changes, strict=False)


if __name__ == "__main__":
    main()
