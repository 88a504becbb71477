"""Outputs beside the mask on the command line: files, axes, resume; and notes on what was evaluated."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import imageio.v3 as imageio
import numpy as np
import pytest
import tifffile
import zarr

from napari_resformer.cli import main
from napari_resformer.io.read import read_image

RNG = np.random.default_rng(0)
NAMES = ("mask", "probabilities")


@pytest.fixture
def model(random_model, tmp_path: Path) -> Path:
    return random_model.save(tmp_path / "random.safetensors")


def predict(model: Path, out: Path, *arguments: Any) -> int:
    return main(["predict", *map(str, arguments), "--model", str(model), "-o", str(out), "--device", "cpu"])


@pytest.mark.parametrize("axes", ["YX", "ZYX", "TZYX", "PZYX"])
@pytest.mark.parametrize("large", [False, True])
def test_probabilities_are_a_file_with_the_classes_first(model, tmp_path, monkeypatch, axes: str, large: bool) -> None:
    shape = {"YX": (1100, 60), "ZYX": (3, 64, 60), "TZYX": (2, 3, 64, 60), "PZYX": (2, 3, 64, 60)}[axes]
    if large:
        monkeypatch.setattr("napari_resformer.prediction.plan.LARGE_MASK", 1000)
    np.save(tmp_path / "a.npy", RNG.integers(0, 255, shape, dtype=np.uint8))
    status = predict(
        model, tmp_path / "out", tmp_path / "a.npy", "--axes", axes, "--pixel-size", 0.5, "--outputs", ",".join(NAMES)
    )
    assert status == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a_mask.tif", "a_probabilities.tif", "scores.csv"]
    probabilities = tifffile.imread(tmp_path / "out" / "a_probabilities.tif")
    assert probabilities.shape == (3, *shape)
    assert probabilities.dtype == np.float32
    np.testing.assert_array_equal(probabilities.argmax(0), tifffile.imread(tmp_path / "out" / "a_mask.tif"))
    read = read_image(tmp_path / "out" / "a_probabilities.tif")
    assert read.pixel_size == (0.5, 0.5)
    assert read.axes == f"C{axes}"
    assert read.channel_names == ("background", "inner", "outer")


def test_the_outputs_of_a_zarr_image_are_ome_zarr(model, tmp_path) -> None:
    zarr.save_array(tmp_path / "a.zarr", RNG.integers(0, 255, (90, 80), dtype=np.uint8))
    assert predict(model, tmp_path / "out", tmp_path / "a.zarr", "--outputs", "mask,probabilities") == 0
    mask, probabilities = (read_image(tmp_path / "out" / f"a_{name}.ome.zarr") for name in NAMES)
    assert (mask.axes, probabilities.axes) == ("YX", "CYX")
    np.testing.assert_array_equal(probabilities.data[:].argmax(0), mask.data[:])


def test_one_output_alone(model, tmp_path) -> None:
    np.save(tmp_path / "a.npy", RNG.integers(0, 255, (64, 60), dtype=np.uint8))
    assert predict(model, tmp_path / "out", tmp_path / "a.npy", "--outputs", "probabilities") == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a_probabilities.tif", "scores.csv"]


@pytest.mark.parametrize(("outputs", "words"), [("mask,objects", "not yet available"), ("masc", "no output 'masc'")])
def test_an_output_that_cannot_be_had_is_bad_usage(model, tmp_path, capsys, outputs: str, words: str) -> None:
    np.save(tmp_path / "a.npy", RNG.integers(0, 255, (64, 60), dtype=np.uint8))
    assert predict(model, tmp_path / "out", tmp_path / "a.npy", "--outputs", outputs) == 2
    said = capsys.readouterr().err.strip().splitlines()
    assert len(said) == 1
    assert words in said[0]
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("missing", NAMES)
@pytest.mark.parametrize("large", [False, True])
def test_resume_makes_what_is_missing(model, tmp_path, monkeypatch, missing: str, large: bool) -> None:
    if large:
        monkeypatch.setattr("napari_resformer.prediction.plan.LARGE_MASK", 1000)
    np.save(tmp_path / "a.npy", RNG.integers(0, 255, (300, 200), dtype=np.uint8))
    out, options = tmp_path / "out", ["--outputs", "mask,probabilities", "--tile", 64]
    assert predict(model, out, tmp_path / "a.npy", *options) == 0
    before = {name: tifffile.imread(out / f"a_{name}.tif") for name in NAMES}
    (out / f"a_{missing}.tif").unlink()
    assert predict(model, out, tmp_path / "a.npy", *options, "--resume") == 0
    for name in NAMES:
        np.testing.assert_array_equal(tifffile.imread(out / f"a_{name}.tif"), before[name])
    times = {path: path.stat().st_mtime_ns for path in out.iterdir() if path.suffix == ".tif"}
    assert predict(model, out, tmp_path / "a.npy", *options, "--resume") == 0
    assert {path: path.stat().st_mtime_ns for path in times} == times


def test_resume_adds_an_output_to_a_finished_mask(model, tmp_path, capsys) -> None:
    np.save(tmp_path / "a.npy", RNG.integers(0, 255, (300, 200), dtype=np.uint8))
    assert predict(model, tmp_path / "out", tmp_path / "a.npy", "--tile", 64) == 0
    assert predict(model, tmp_path / "out", tmp_path / "a.npy", "--outputs", "mask,probabilities", "--resume") == 0
    assert (tmp_path / "out" / "a_probabilities.tif").exists()
    np.save(tmp_path / "a.npy", RNG.integers(0, 255, (300, 200), dtype=np.uint8))
    assert predict(model, tmp_path / "out", tmp_path / "a.npy", "--outputs", "mask,probabilities", "--resume") == 1
    assert "was made of something else" in capsys.readouterr().err


@pytest.mark.parametrize("written", [0, 1])
def test_a_large_run_that_was_cut_off_while_it_wrote_its_files_goes_on(model, tmp_path, monkeypatch, written: int) -> None:
    from napari_resformer.io import write

    monkeypatch.setattr("napari_resformer.prediction.plan.LARGE_MASK", 1000)
    np.save(tmp_path / "a.npy", RNG.integers(0, 255, (300, 200), dtype=np.uint8))
    options = ["--outputs", "mask,probabilities", "--tile", 64]
    assert predict(model, tmp_path / "whole", tmp_path / "a.npy", *options) == 0
    real, calls = write.write_tiff, []

    def cut_off(*rest: Any, **more: Any) -> None:
        if len(calls) == written:
            raise KeyboardInterrupt
        calls.append(rest)
        real(*rest, **more)

    with monkeypatch.context() as patch:
        patch.setattr(write, "write_tiff", cut_off)
        assert predict(model, tmp_path / "out", tmp_path / "a.npy", *options) == 130
    left = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert left == [".a_mask.zarr", ".a_probabilities.zarr", *["a_mask.tif"][:written]]
    assert predict(model, tmp_path / "out", tmp_path / "a.npy", *options, "--resume") == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a_mask.tif", "a_probabilities.tif", "scores.csv"]
    for name in NAMES:
        found, expected = (tifffile.imread(tmp_path / where / f"a_{name}.tif") for where in ("out", "whole"))
        np.testing.assert_array_equal(found, expected)


def test_evaluate_tells_what_is_odd_about_the_images_once(model, tmp_path, capsys) -> None:
    for part in ("images", "masks"):
        (tmp_path / "data" / part).mkdir(parents=True)
    for name in ("a", "b", "blank"):
        pixels = RNG.integers(0, 255, (64, 72), dtype=np.uint8) if name != "blank" else np.full((64, 72), 7, np.uint8)
        imageio.imwrite(tmp_path / "data" / "images" / f"{name}.png", pixels)
        imageio.imwrite(tmp_path / "data" / "masks" / f"{name}.png", (pixels > 200).astype(np.uint8))
    imageio.imwrite(tmp_path / "data" / "masks" / "stray.png", np.zeros((64, 72), np.uint8))
    assert main(["evaluate", str(tmp_path / "data"), "--model", str(model), "--device", "cpu"]) == 0
    said = capsys.readouterr()
    assert json.loads(said.out)["n"] == 3  # nothing else is printed there
    lines = said.err.splitlines()
    assert sum("constant" in line for line in lines) == 1
    assert any(line.startswith("blank.png: The image is constant") for line in lines)
    assert any(line.startswith("a.png and 2 more: Pixel size") for line in lines)
    assert any("stray" in line for line in lines)
