"""Settings of a training: one home for defaults, ranges and words, and the names of version 0.1."""

from __future__ import annotations

import doctest
import json
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import napari_resformer as nr
from napari_resformer.events import EpochDone, Finished, Notice, TrainingStarted
from napari_resformer.model.library import list_models
from napari_resformer.training import api, settings
from napari_resformer.training.run_folder import RunFolder
from napari_resformer.training.settings import TrainSettings, describe_setting, make_settings

pytestmark = pytest.mark.filterwarnings("ignore:only .* images? to (train|validate) on:UserWarning")  # few are made up

EARLIER = {  # what version 0.1 wrote for settings that were all left at their defaults
    "preset": "tiny", "epochs": 40, "batch": 4, "size": 128, "mode": "native", "seed": 0, "folds": None, "val_folds": None,
    "lr": 0.0015, "weight_decay": 0.01, "warmup": 0.05, "class_loss_weight": 1.0, "label_smoothing": 0.1, "balance": 0.5,
    "masked_share": 0.5, "average_decay": 0.995, "rotation": 180.0, "zoom": [0.8, 1.25], "surround": "blank",
    "colour_jitter": 0.1, "stain_jitter": 0.0, "precision": "auto", "mask_classes": [], "colour": None, "patience": 0,
    "keep": "best", "freeze_encoder": False,
}  # fmt: skip


def test_settings_load_no_torch() -> None:
    code = "import sys, napari_resformer.training.settings, napari_resformer.cli.settings; assert 'torch' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("name", TrainSettings.model_fields)
def test_each_setting_says_what_it_does_and_allows_its_default(name: str) -> None:
    info = describe_setting(name)
    assert info.help.endswith(".")
    assert len(info.help) > 20
    assert make_settings({name: info.default}) == TrainSettings()
    for bound, beyond in ((info.minimum, -1), (info.maximum, 1)):
        if bound is not None:
            kind = int if info.kind is int else float
            make_settings({name: kind(bound)})
            with pytest.raises(ValueError, match=f"^{name} is .*; it must be .* or (more|less)$"):
                make_settings({name: kind(bound + beyond)})


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"batch_size": 1}, "batch_size is 1; it must be 2 or more"),
        ({"seed": 2**70}, f"seed is {2**70}; it must be {2**63 - 1} or less"),
        ({"preset": "huge"}, "preset is 'huge'; choose tiny, pretrained, small or paper"),
        ({"epochs": 1.5}, "epochs is 1.5; it must be a whole number"),
        ({"lr": 0.0}, "lr is 0.0; it must be more than 0.0"),
        ({"lr": float("nan")}, "lr is nan; it must be a finite number"),
        ({"epoch": 3}, "there is no setting epoch; do you mean epochs?"),
        ({"nonsense": 3}, "there is no setting nonsense"),
        ({"zoom": (1.0, 0.2)}, "zoom is (1.0, 0.2); give two positive numbers, the smaller first"),
        ({"batch": 4, "batch_size": 4}, "batch is the earlier name of batch_size; give it once"),
        ({"keep": "last", "patience": 3}, "a run that keeps its last epoch cannot stop at its best one"),
        ({"mode": "resize", "padding": "reflect"}, "resized planes are padded as in prediction"),
        ({"epochs": 0, "seed": -1}, "epochs is 0; it must be 1 or more; seed is -1; it must be 0 or more"),
    ],
)  # fmt: skip
def test_a_wrong_value_is_one_plain_sentence(values: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the whole message is compared
        make_settings(values)
    assert str(caught.value).startswith(words)
    assert "\n" not in str(caught.value)


def test_the_names_of_the_first_release_are_understood() -> None:
    assert TrainSettings.model_validate(EARLIER, strict=False) == TrainSettings(preset="tiny")
    mirrored = TrainSettings.model_validate({"surround": "mirror", "size": 64, "colour": True, "colour_jitter": 0.2})
    assert mirrored == TrainSettings(padding="reflect", crop_size=64, rgb=True, color_jitter=0.2)
    assert mirrored.model_fields_set == {"padding", "crop_size", "rgb", "color_jitter"}  # which is what does not follow a model


def test_recipes_and_bundled_cards_hold_settings_that_can_be_read() -> None:
    recipes = sorted((Path(__file__).parents[2] / "recipes").glob("*.toml"))
    assert recipes
    for path in recipes:
        recipe = tomllib.loads(path.read_text(encoding="utf-8"))
        for part in [{}, *recipe.get("then", [])]:
            TrainSettings.model_validate(recipe["settings"] | part, strict=False)
        assert set(recipe["settings"]) <= set(TrainSettings.model_fields)  # by their present names
    for entry in list_models():
        TrainSettings.model_validate(entry.card.training["settings"], strict=False)


# ------------------------------------------------------------------------------------------------------------ a run of 0.1
def test_a_run_of_the_first_release_is_resumed_to_the_same_place(make_folder: Callable[[Path], Path], tmp_path: Path) -> None:
    """Its settings and its checkpoint are made as that release wrote them."""
    data = make_folder(tmp_path / "data")
    given = {"epochs": 3, "crop_size": 64, "device": "cpu"}
    then = {"preset": "tiny", "mode": "native"}  # defaults of that release
    whole = nr.train(data, run_folder=tmp_path / "whole", **given, **then)

    folder = RunFolder(tmp_path / "earlier")
    job = nr.iter_train(data, run_folder=folder.path, **given, **then)
    next(event for event in job if isinstance(event, EpochDone))
    job.close()
    stored = json.loads(folder.settings.read_text(encoding="utf-8"))
    del stored["started"]
    stored["settings"] = EARLIER | {"epochs": 3, "size": 64}
    folder.settings.write_text(json.dumps(stored, indent=1), encoding="utf-8")
    checkpoint = torch.load(folder.checkpoint, weights_only=True)
    del checkpoint["report"]
    assert set(checkpoint) == {
        "epoch", "network", "average", "optimizer", "precision", "best_epoch", "top_epoch", "best_score", "best", "history"
    }  # fmt: skip
    torch.save(checkpoint, folder.checkpoint)

    with pytest.raises(ValueError, match="other settings: batch_size; use the same"):
        list(nr.iter_train(data, run_folder=folder.path, resume=True, batch_size=6, **given))
    events = list(nr.iter_train(data, run_folder=folder.path, resume=True, **given))
    assert [event.epoch for event in events if isinstance(event, EpochDone)] == [2, 3]
    assert [event.best for event in events if isinstance(event, TrainingStarted)] == [None]  # nobody knows any more
    assert any("resuming the run in" in event.text for event in events if isinstance(event, Notice))
    assert isinstance(events[-1], Finished)
    ours, theirs = events[-1].result.card.metrics["validation"], whole.card.metrics["validation"]
    assert ours["loss"] == pytest.approx(theirs["loss"], rel=1e-4)


# ------------------------------------------------------------------------------------------------------------ through Python
def test_settings_and_keywords_are_two_ways_to_say_the_same(make_folder: Callable[[Path], Path], tmp_path: Path) -> None:
    data = make_folder(tmp_path / "data")
    chosen = TrainSettings(preset="tiny", mode="native", epochs=1, crop_size=64, folds=("1",), ema_decay=0.9)
    with pytest.raises(ValueError, match=r"^epochs is 3, but settings\.epochs is 1; give it once"):
        nr.train(data, settings=chosen, epochs=3)
    with pytest.raises(ValueError, match="has no fold 1"):  # said twice, alike
        nr.train(data, settings=chosen, epochs=1, folds=[1])
    with pytest.raises(ValueError, match="batch_size is 1; it must be 2 or more"):
        nr.train(data, batch_size=1)
    model = nr.train(data, settings=chosen.model_copy(update={"folds": None}), name="mine", device="cpu")
    assert model.card.name == "mine"
    assert model.card.training["settings"]["ema_decay"] == 0.9
    given: dict[str, Any] = {"preset": "tiny", "mode": "native", "epochs": 1, "crop_size": 64}
    by_keywords = nr.train(data, **given, device="cpu")
    assert by_keywords.card.training["settings"] == TrainSettings(**given).model_dump(mode="json")


@pytest.mark.parametrize("thing", [api.train, settings.TrainSettings], ids=["train", "TrainSettings"])
def test_the_examples_run(
    thing: Any, make_folder: Callable[[Path], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_folder(tmp_path / "my-data")
    monkeypatch.chdir(tmp_path)
    (example,) = doctest.DocTestFinder(recurse=False).find(thing, thing.__name__, globs=dict(vars(settings)))
    assert example.examples
    assert doctest.DocTestRunner().run(example).failed == 0
