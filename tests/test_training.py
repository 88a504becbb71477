"""Training on a small made-up data folder: it learns, goes on where it stopped, and refuses what cannot work."""

from __future__ import annotations

import imageio.v3 as imageio
import numpy as np
import pytest

import napari_resformer as nr
from napari_resformer.events import EpochDone, Finished


@pytest.fixture
def folder(tmp_path):
    generator = np.random.default_rng(0)
    data = tmp_path / "data"
    (data / "images").mkdir(parents=True)
    (data / "masks").mkdir()
    lines = ["filename,class,group"]
    for number in range(12):
        bright = number % 2
        image = generator.integers(0, 30, (64, 64)).astype(np.uint8)
        mask = np.zeros((64, 64), np.uint8)
        top, left = generator.integers(4, 30, 2)
        mask[top : top + 24, left : left + 24] = 1
        image[mask > 0] = 220 if bright else 120
        image[::8] = 255  # keeps the brightness statistics of both classes apart from the objects'
        imageio.imwrite(data / "images" / f"i{number}.png", image)
        if number != 3:
            imageio.imwrite(data / "masks" / f"i{number}.png", mask)
        lines.append(f"i{number}.png,{('dark', 'bright')[bright]},{number}")
    (data / "labels.csv").write_text("\n".join(lines))
    return data


def run(folder, run_folder, **changes):
    return list(nr.iter_train(folder, epochs=3, size=64, batch=4, device="cpu", run_folder=run_folder, **changes))


def test_a_run_learns_and_its_model_predicts(folder, tmp_path) -> None:
    events = run(folder, tmp_path / "run")
    epochs = [event for event in events if isinstance(event, EpochDone)]
    assert epochs[-1].loss < epochs[0].loss
    assert isinstance(events[-1], Finished)
    path = events[-1].result.save(tmp_path / "m.safetensors")
    report = nr.evaluate(nr.load_model(path), folder, device="cpu")
    assert report["n"] == 12
    assert report["mask"]["class 1"]["n"] == 11
    assert set(report["class"]) >= {
        "accuracy",
        "balanced_accuracy",
        "auroc",
        "sensitivity",
        "specificity",
        "confusion",
        "classes",
    }


def test_a_cancelled_run_goes_on_to_the_same_place(folder, tmp_path) -> None:
    unbroken = [event.loss for event in run(folder, tmp_path / "one") if isinstance(event, EpochDone)]
    job = nr.iter_train(folder, epochs=3, size=64, batch=4, device="cpu", run_folder=tmp_path / "two")
    losses = []
    for event in job:
        if isinstance(event, EpochDone):
            losses.append(event.loss)
            job.close()
            break
    losses += [event.loss for event in run(folder, tmp_path / "two", resume=True) if isinstance(event, EpochDone)]
    np.testing.assert_allclose(losses, unbroken, rtol=1e-4)
    with pytest.raises(ValueError, match="seed"):
        run(folder, tmp_path / "two", resume=True, seed=5)
    with pytest.raises(FileExistsError):
        run(folder, tmp_path / "two")


def test_what_cannot_be_trained_on_is_refused(folder, tmp_path) -> None:
    imageio.imwrite(folder / "masks" / "i3.png", np.zeros((10, 10), np.uint8))
    with pytest.raises(ValueError, match=r"i3\.png"):
        run(folder, tmp_path / "run")
    imageio.imwrite(folder / "masks" / "i3.png", np.eye(64, dtype=np.uint8)[..., None] * np.uint8([1, 2, 3]))
    with pytest.raises(ValueError, match="colour"):
        run(folder, tmp_path / "run")
    with (folder / "labels.csv").open("a") as file:
        file.write("\nnowhere.png,dark,9")
    with pytest.raises(ValueError, match="nowhere"):
        run(folder, tmp_path / "run")
