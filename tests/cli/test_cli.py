"""The command line: results, exit statuses, one line an error."""

from __future__ import annotations

import subprocess
import sys

import imageio.v3 as imageio
import numpy as np
import pytest
import tifffile

from napari_resformer.cli import main


@pytest.fixture
def images(tmp_path, picture):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        imageio.imwrite(tmp_path / folder / "x.png", picture)
    (tmp_path / "broken.png").write_bytes(b"no picture")
    return tmp_path


def test_demo_draws_a_picture_and_prints_scores(tmp_path, capsys) -> None:
    assert main(["demo", "--device", "cpu", "-o", str(tmp_path / "demo.png")]) == 0
    assert imageio.imread(tmp_path / "demo.png").shape[2] == 3
    assert "histology" in capsys.readouterr().out


def test_predict_writes_masks_and_scores(images, capsys) -> None:
    out = images / "out"
    status = main(
        ["predict", *(str(images / name) for name in ("a/x.png", "broken.png", "b/x.png")), "-o", str(out), "--device", "cpu"]
    )
    assert status == 1  # one could not be read, the others are done
    assert "broken.png" in capsys.readouterr().err
    assert tifffile.imread(out / "x_mask.tif").shape == (150, 201)
    np.testing.assert_array_equal(tifffile.imread(out / "x_mask.tif"), tifffile.imread(out / "x-2_mask.tif"))
    lines = (out / "scores.csv").read_text().splitlines()
    assert lines[0] == "image,plane,predicted,brightfield,fluorescence,histology"
    assert len(lines) == 3
    assert main(["predict", str(images / "a/x.png"), "-o", str(out)]) == 1
    assert "--overwrite" in capsys.readouterr().err


def test_what_is_odd_about_images_is_told_once(tmp_path, picture, capsys) -> None:
    for name in ("a", "b"):
        imageio.imwrite(tmp_path / f"{name}.png", picture)
    imageio.imwrite(tmp_path / "blank.png", np.full((64, 64), 7, np.uint8))
    paths = [str(tmp_path / f"{name}.png") for name in ("a", "b", "blank")]
    assert main(["predict", *paths, "-o", str(tmp_path / "out"), "--device", "cpu"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert sum("constant" in line for line in said) == 1
    assert any(line.startswith("blank.png: ") for line in said)
    assert any(line.startswith("a.png and 2 more: ") for line in said)  # no pixel size is known


def test_ctrl_c_says_what_is_kept(images, capsys, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("napari_resformer.prediction.predictor.run_plan", interrupted)
    assert main(["predict", str(images / "a" / "x.png"), "-o", str(images / "out"), "--device", "cpu"]) == 130
    assert "finished results are kept; continue with --resume" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments", [["predict", "x.png", "--model", "nope"], ["models", "info", "nope"], ["predict", "x", "--device", "tpu"]]
)
def test_bad_usage_has_status_2_and_one_line(arguments: list[str], capsys) -> None:
    assert main(arguments) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1


def test_models_list_and_info(capsys) -> None:
    assert main(["models", "list"]) == 0
    assert main(["models", "info", "colon-biopsy"]) == 0
    printed = capsys.readouterr().out
    assert "nuclei" in printed
    assert "Not a diagnostic device" in printed


def test_importing_the_package_loads_nothing_heavy() -> None:
    heavy = {"torch", "napari", "qtpy", "PyQt6"}
    code = f"import napari_resformer, sys; sys.exit(any(name.split('.')[0] in {heavy} for name in sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_predict_takes_folders_patterns_and_single_images_of_a_file(tmp_path, picture) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    for number in (1, 2, 10):
        imageio.imwrite(folder / f"i{number}.png", picture[:64, :64])
    (folder / "notes.txt").write_text("no image")
    with tifffile.TiffWriter(tmp_path / "scan.tif") as file:
        for size in (64, 80):
            file.write(picture[:size, :size], photometric="rgb")
    options = ["-o", str(out), "--device", "cpu"]
    assert main(["predict", str(folder), str(tmp_path / "scan.tif:all"), *options]) == 0
    names = [line.split(",")[0] for line in (out / "scores.csv").read_text().splitlines()[1:]]
    assert names[:3] == ["i1.png", "i2.png", "i10.png"]
    assert len(names) == 5
    sides = {tifffile.imread(path).shape[0] for path in out.glob("scan*_mask.tif")}
    assert sides == {64, 80}
    assert main(["predict", str(folder / "i1*.png"), "-o", str(tmp_path / "some"), "--device", "cpu"]) == 0
    assert sorted(path.name for path in (tmp_path / "some").glob("*.tif")) == ["i10_mask.tif", "i1_mask.tif"]
