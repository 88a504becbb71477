"""Bad files on the command line: one line that says what is wrong, status 1 or 2, and nothing written."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import tifffile
import zarr

from napari_resformer.cli import main

PIXELS = {
    "empty": (np.zeros((0, 10)), "empty"),
    "one pixel": (np.zeros((1, 1)), "at least"),
    "all NaN": (np.full((40, 40), np.nan), "finite"),
    "all infinite": (np.full((40, 40), np.inf), "finite"),
    "complex": (np.zeros((40, 40), complex), "complex"),
    "text": (np.full((40, 40), "a"), "text"),
    "objects": (np.full((40, 40), None), "Python objects"),
    "two channels": (np.zeros((2, 40, 40)), "ambiguous"),
    "five dimensions": (np.zeros((5, 6, 7, 40, 40)), "ambiguous"),
}


@pytest.mark.parametrize("kind", PIXELS)
def test_pixels_that_cannot_work(kind: str, tmp_path: Path, capsys) -> None:
    array, words = PIXELS[kind]
    np.save(tmp_path / "bad.npy", array, allow_pickle=True)
    assert main(["predict", str(tmp_path / "bad.npy"), "-o", str(tmp_path / "out"), "--device", "cpu"]) == 1
    said = capsys.readouterr().err.strip().splitlines()
    assert len(said) == 1
    assert "bad.npy" in said[0]
    assert words in said[0]
    assert not list(tmp_path.glob("out/*"))


def test_a_wrong_channel_count_is_told_with_the_channels(tmp_path: Path, capsys) -> None:
    np.save(tmp_path / "bad.npy", np.zeros((2, 40, 40)))
    assert main(["predict", str(tmp_path / "bad.npy"), "--axes", "CYX", "-o", str(tmp_path / "out")]) == 1
    assert "2 channels" in capsys.readouterr().err


@pytest.mark.parametrize(
    "content", [b"", b"hello", pickle.dumps([1]), b"\xff" * 8 + b"{}", b"\x10\0\0\0\0\0\0\0" + b"[" * 16], ids=range(5)
)
def test_files_that_are_no_model(content: bytes, tmp_path: Path, capsys) -> None:
    (tmp_path / "bad.safetensors").write_bytes(content)
    np.save(tmp_path / "good.npy", np.eye(40))
    for arguments in (["predict", str(tmp_path / "good.npy"), "-o", str(tmp_path / "out"), "--model"], ["models", "info"]):
        assert main([*arguments, str(tmp_path / "bad.safetensors")]) in (1, 2)
        said = capsys.readouterr().err.strip().splitlines()
        assert len(said) == 1
        assert "bad.safetensors" in said[0]
    assert not list(tmp_path.glob("out/*"))


def damaged(folder: Path, kind: str) -> Path:
    """Write an image that opens, or nearly, and cannot be decoded."""
    pixels = np.random.default_rng(0).integers(0, 255, (64, 64), dtype=np.uint8)
    path = folder / ("bad.tif" if "TIFF" in kind else "bad.npy" if kind == "npy" else "bad.zarr")
    if "TIFF" in kind:
        tifffile.imwrite(path, pixels, compression="zlib", tile=(32, 32))
        content = bytearray(path.read_bytes())
        if kind == "TIFF with a bad tag":
            content[10:14] = b"\xff\xff\xff\xff"
        else:
            content[600:1200] = bytes(600)
        path.write_bytes(content)
    elif kind == "npy":
        with path.open("wb") as file:
            np.lib.format.write_array_header_1_0(file, {"descr": "<f8", "fortran_order": False, "shape": (-5, 10)})
            file.write(bytes(100))
    elif kind == "zarr":
        zarr.save_array(path, pixels)
        for chunk in path.rglob("c/*/*"):
            chunk.write_bytes(b"garbage")
    else:
        zarr.create_group(path).attrs.update({"ome": [1]} if kind == "OME-Zarr" else {"ome": {"multiscales": "none"}})
    return path


@pytest.mark.parametrize("kind", ["TIFF", "TIFF with a bad tag", "npy", "zarr", "OME-Zarr", "OME-Zarr without levels"])
def test_a_damaged_file_costs_no_other(kind: str, random_model, tmp_path: Path, capsys) -> None:
    bad = damaged(tmp_path, kind)
    np.save(tmp_path / "good.npy", np.eye(40))
    model = random_model.save(tmp_path / "random.safetensors")
    arguments = ["--model", str(model), "-o", str(tmp_path / "out"), "--device", "cpu"]
    assert main(["predict", str(bad), str(tmp_path / "good.npy"), *arguments]) == 1
    said = capsys.readouterr().err.strip().splitlines()
    assert len(said) == 1
    assert bad.name in said[0]
    assert [row.partition(",")[0] for row in (tmp_path / "out" / "scores.csv").read_text().splitlines()] == ["image", "good.npy"]
    assert (tmp_path / "out" / "good_mask.tif").exists()


def test_debug_shows_where_an_image_failed(random_model, tmp_path: Path, capsys) -> None:
    bad = damaged(tmp_path, "zarr")
    model = random_model.save(tmp_path / "random.safetensors")
    assert main(["predict", str(bad), "--model", str(model), "-o", str(tmp_path / "out"), "--device", "cpu", "--debug"]) == 1
    assert "Traceback" in capsys.readouterr().err


def test_a_constant_image_is_no_error(tmp_path: Path, capsys) -> None:
    np.save(tmp_path / "constant.npy", np.full((64, 64), 7.0))
    assert main(["predict", str(tmp_path / "constant.npy"), "-o", str(tmp_path / "out"), "--device", "cpu"]) == 0
    assert len((tmp_path / "out" / "scores.csv").read_text().splitlines()) == 2
