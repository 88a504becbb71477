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
