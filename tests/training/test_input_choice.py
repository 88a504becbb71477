"""Whole images or crops, and how large: chosen by the images where nobody said, told in the plan, and overruled by the user."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import imageio.v3 as imageio
import numpy as np
import pytest

import napari_resformer as nr
from napari_resformer.events import Notice, TrainingStarted


def write(data: Path, shape: tuple[int, int], side: int | None, count: int = 6) -> Path:
    """Write images with squares of a side, as many as have room in a quarter of the image; None: without masks."""
    generator = np.random.default_rng(0)
    (data / "images").mkdir(parents=True)
    (data / "masks").mkdir()
    lines = ["filename,class"]
    for number in range(count):
        image = generator.integers(0, 60, shape).astype(np.uint8)
        if side is not None:
            mask = np.zeros(shape, np.uint8)
            for top in range(2, shape[0] // 2, side + 9):
                for left in range(2, shape[1] // 2, side + 9):
                    mask[top : top + side, left : left + side] = 1
            image[mask > 0] = 200
            imageio.imwrite(data / "masks" / f"{number}.png", mask)
        imageio.imwrite(data / "images" / f"{number}.png", image)
        lines.append(f"{number}.png,{'ab'[number % 2]}")
    (data / "labels.csv").write_text("\n".join(lines), encoding="utf-8")
    return data


def planned(data: Path, **given: Any) -> tuple[str, int, list[str]]:
    """Return mode, size, and what was said of them, of a training that ends before its first step."""
    said, run = [], data.parent / "run"
    job = nr.iter_train(data, device="cpu", run_folder=run, **({"preset": "tiny"} if "settings" not in given else {}), **given)
    for event in job:
        if isinstance(event, Notice) and "(mode " in event.text:
            said.append(event.text)
        if isinstance(event, TrainingStarted):
            job.close()
            break
    settings = json.loads((run / "settings.json").read_text(encoding="utf-8"))["settings"]
    return settings["mode"], settings["crop_size"], said


@pytest.mark.parametrize(
    ("shape", "side", "mode", "size", "why"),
    [
        ((100, 120), 60, "resize", 160, "a typical object spans 55 % of its image"),
        ((256, 200), 90, "resize", 192, "a typical object spans 40 % of its image"),
        ((256, 256), 12, "native", 128, "a typical object spans 5 % of its image"),
        ((400, 300), 30, "native", 192, "a typical object spans 9 % of its image"),
        ((600, 1200), 220, "native", 224, "a typical object spans 26 % of its image"),  # large, and would lose detail
        ((600, 1200), 290, "resize", 256, "a typical object spans 34 % of its image"),
        ((96, 80), None, "resize", 160, "no objects are annotated, and the images are 96 px long"),
        ((1200, 80), None, "native", 64, "no objects are annotated, and the images are 1200 px long"),
    ],
)
def test_the_images_decide(tmp_path: Path, shape: tuple[int, int], side: int | None, mode: str, size: int, why: str) -> None:
    found, pixels, said = planned(write(tmp_path / "data", shape, side))
    assert (found, pixels) == (mode, size)
    (text,) = said
    assert why in text
    assert f"(mode {mode})" in text


def test_what_was_given_holds(tmp_path: Path) -> None:
    data = write(tmp_path / "data", (100, 120), 60)
    assert planned(data, mode="native", crop_size=64) == ("native", 64, [])
    assert planned(data, crop_size=96)[:2] == ("resize", 96)
    assert planned(data, mode="native")[:2] == ("native", 96)  # as the images: a larger crop would be padding
    mirrored = planned(data, settings=nr.TrainSettings(preset="tiny", padding="reflect"))
    assert mirrored[0] == "native"  # only crops can be continued by their mirror image


def test_a_model_to_start_from_decides_first(tmp_path: Path, random_model: nr.Model) -> None:
    data = write(tmp_path / "data", (100, 120), 60)
    start = random_model.save(tmp_path / "start.safetensors")
    said = []
    job = nr.iter_train(data, start=str(start), device="cpu")
    for event in job:
        said += [event.text] if isinstance(event, Notice) else []
        if isinstance(event, TrainingStarted):
            job.close()
            break
    assert any("training starts from random" in text for text in said)
    assert not any("(mode " in text for text in said)


def test_a_resumed_run_goes_on_with_the_settings_that_it_was_started_with(tmp_path: Path) -> None:
    data = write(tmp_path / "data", (64, 64), 20)
    given: dict[str, Any] = {"epochs": 2, "crop_size": 32, "device": "cpu", "run_folder": tmp_path / "run"}
    job = nr.iter_train(data, preset="tiny", mode="native", lr=1e-3, **given)
    for event in job:
        if isinstance(event, nr.events.EpochDone):
            job.close()
            break
    *_, finished = nr.iter_train(data, resume=True, **given)  # none of preset, mode and learning rate is said again
    model = finished.result
    assert model.card.training["settings"]["lr"] == 1e-3
    assert (model.card.training["settings"]["preset"], model.card.input_mode) == ("tiny", "native")
    assert model.card.training["epochs_done"] == 2
