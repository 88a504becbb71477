"""Evaluation: the report holds what its contract says, and figures that can be worked out by hand."""

from __future__ import annotations

import json

import imageio.v3 as imageio
import numpy as np
import pytest

import napari_resformer as nr
from napari_resformer.cli import main
from napari_resformer.evaluation.bootstrap import group_intervals
from napari_resformer.metrics import auroc, tally_image


@pytest.fixture
def truth(tmp_path, random_model):
    """A data folder that says what the model says, but for one image's class and one image's mask."""
    for part in ("images", "masks"):
        (tmp_path / part).mkdir()
    lines = ["filename,class,group,fold"]
    for number in range(4):
        image = np.random.default_rng(number).integers(0, 255, (64, 72, 3), dtype=np.uint8)
        result = nr.predict(random_model, image, axes="YXC", device="cpu")
        imageio.imwrite(tmp_path / "images" / f"{number}.png", image)
        mask, predicted = np.asarray(result.mask).astype(np.uint8), str(result.predicted)
        if number == 0:
            predicted = next(name for name in random_model.card.image_classes if name != predicted)
        if number != 1:
            imageio.imwrite(tmp_path / "masks" / f"{number}.png", mask)
        lines.append(f"{number}.png,{predicted},g{number // 2},{number % 2}")
    (tmp_path / "labels.csv").write_text("\n".join(lines))
    return tmp_path


def test_the_report_keeps_its_contract(truth, random_model, tmp_path, capsys) -> None:
    model, out = random_model.save(tmp_path / "m.safetensors"), tmp_path / "report.json"
    arguments = ["evaluate", str(truth), "--model", str(model), "--device", "cpu", "-o", str(out)]
    assert main(arguments) == 0
    report = json.loads(out.read_text(encoding="utf-8"))
    assert report["n"] == 4
    for score in report["mask"].values():
        assert set(score) >= {"dice", "iou", "n", "dice_pooled", "iou_pooled"}
        assert score["n"] <= 3  # one image has no mask
        assert score["dice"] is None or score["dice"] > 0.99  # stored weights are rounded
    assert report["mask_mean"]["dice"] > 0.99
    assert report["class"]["accuracy"] == 0.75
    assert np.sum(report["class"]["confusion"]) == 4
    assert report["class"]["classes"] == ["a", "b", "c"]
    assert set(report["class"]) >= {"balanced_accuracy", "auroc", "sensitivity", "specificity", "ece", "nll"}
    assert report["intervals"]["class"]["accuracy"] == [0.5, 1.0]  # two groups of two: one with an error
    assert report["intervals"]["groups"] == 2
    assert main(arguments) == 1
    assert "--overwrite" in capsys.readouterr().err
    assert nr.evaluate(random_model, truth, folds=[1], device="cpu").n == 2


def test_notes_reach_all_who_ask(truth, random_model, tmp_path, capsys) -> None:
    constant = np.full((64, 72, 3), 9, np.uint8)
    imageio.imwrite(truth / "images" / "flat.png", constant)
    imageio.imwrite(truth / "masks" / "nobody.png", np.zeros((64, 72), np.uint8))
    model = random_model.save(tmp_path / "m.safetensors")
    with pytest.warns(UserWarning, match="nobody.png"):
        report = nr.evaluate(random_model, truth, device="cpu")
    said = "\n".join(report.notes)
    assert "flat" in said
    assert "The image is constant" in said
    assert "nobody.png" in said
    assert main(["evaluate", str(truth), "--model", str(model), "--device", "cpu"]) == 0
    out, err = capsys.readouterr()
    assert all(note in err for note in report.notes)
    assert "notes" not in json.loads(out)


def test_the_zoom_is_that_of_predict(truth, random_model, tmp_path, capsys) -> None:
    model, image = random_model.save(tmp_path / "m.safetensors"), imageio.imread(truth / "images" / "3.png")
    for path in (truth / "masks").iterdir():
        path.unlink()
    seen = nr.predict(nr.load_model(model), image, axes="YXC", zoom=0.5, device="cpu")
    imageio.imwrite(truth / "masks" / "3.png", np.asarray(seen.mask).astype(np.uint8))
    arguments = ["evaluate", str(truth), "--model", str(model), "--device", "cpu"]
    dice = []
    for zoom in ([], ["--zoom", "0.5"]):
        assert main([*arguments, *zoom]) == 0
        dice.append(json.loads(capsys.readouterr().out)["mask_mean"]["dice_pooled"])
    assert dice[1] == 1.0
    assert dice[0] < 0.99


def test_what_cannot_be_compared_is_refused(truth, random_model) -> None:
    with pytest.raises(ValueError, match="no fold 9; there are 0, 1"):
        nr.evaluate(random_model, truth, folds=[9])
    imageio.imwrite(truth / "masks" / "1.png", np.full((64, 72), 7, np.uint8))
    with pytest.raises(ValueError, match=r"1\.png holds the value 7; random knows 1 to 2"):
        nr.evaluate(random_model, truth, device="cpu")
    (truth / "labels.csv").write_text("filename,class\n0.png,unheard of\n")
    with pytest.raises(ValueError, match="unheard of"):
        nr.evaluate(random_model, truth, device="cpu")


def test_images_of_one_group_count_as_one() -> None:
    """Copies of an image in its own group narrow nothing; the same copies as groups of their own would."""
    generator = np.random.default_rng(0)

    def tally(name, right):
        scores = np.array([0.9, 0.1]) if right else np.array([0.1, 0.9])
        return tally_image(name, mask_classes=1, true_mask=None, predicted_mask=None, true_class=0, scores=scores)

    right = generator.random(20) < 0.7
    tallies = [tally(str(place), hit) for place, hit in enumerate(right) for _ in range(10)]
    together = group_intervals(tallies, [str(place // 10) for place in range(200)], ("m",), ("x", "y"))
    apart = group_intervals(tallies, [str(place) for place in range(200)], ("m",), ("x", "y"))
    wide, narrow = (np.ptp(found["class"]["accuracy"]) for found in (together, apart))
    assert wide > 2 * narrow
    assert together == group_intervals(tallies, [str(place // 10) for place in range(200)], ("m",), ("x", "y"))
    assert "class" not in group_intervals(tallies, ["one"] * 200, ("m",), ("x", "y"))


def test_classes_are_found_by_the_names_that_the_data_have(truth, random_model, tmp_path) -> None:
    """A card may name its classes for people, and still be measured on data that say ``high_grade`` or ``High-grade``."""
    names = ("high-grade dysplasia", "low-grade dysplasia", "normal")
    aliases = {"high_grade_in": names[0], "low_grade_in": names[1]}
    card = type(random_model.card).model_validate(
        random_model.card.model_dump() | {"image_classes": names, "class_aliases": aliases}, strict=False
    )
    model = nr.load_model(nr.Model(card, random_model.network).save(tmp_path / "named.safetensors"))
    table = (truth / "labels.csv").read_text()
    before = nr.evaluate(random_model, truth, device="cpu").image_class
    for spelled in (("high_grade_in", "low_grade_in", "normal"), ("High-Grade_dysplasia", "low grade IN", "Normal"), names):
        changed = table
        for letter, name in zip("abc", spelled, strict=True):
            changed = changed.replace(f".png,{letter},", f".png,{name},")
        (truth / "labels.csv").write_text(changed)
        found = nr.evaluate(model, truth, device="cpu").image_class
        assert found.confusion == before.confusion
        assert found.classes == list(names)
    (truth / "labels.csv").write_text(table.replace(".png,a,", ".png,dysplasia,"))
    with pytest.raises(ValueError, match=r"has the image class .*rename the classes in labels\.csv"):
        nr.evaluate(model, truth, device="cpu")


def test_auroc_counts_ties_half() -> None:
    scores = np.array([0.1, 0.4, 0.4, 0.8, 0.4, 0.2])
    positive = np.array([False, True, False, True, True, False])
    wins = [(one > other) + (one == other) / 2 for one in scores[positive] for other in scores[~positive]]
    assert auroc(positive, scores) == pytest.approx(sum(wins) / len(wins))
    assert auroc(~positive, scores) == pytest.approx(1 - sum(wins) / len(wins))
    assert auroc(np.ones(6, bool), scores) is None
    scores[0] = np.nan  # a network that gives no numbers must not look as if it did
    assert np.isnan(auroc(positive, scores))
