"""Bad files on the command line: one line that says what is wrong, status 1 or 2, and nothing written."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

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


def test_a_constant_image_is_no_error(tmp_path: Path, capsys) -> None:
    np.save(tmp_path / "constant.npy", np.full((64, 64), 7.0))
    assert main(["predict", str(tmp_path / "constant.npy"), "-o", str(tmp_path / "out"), "--device", "cpu"]) == 0
    assert len((tmp_path / "out" / "scores.csv").read_text().splitlines()) == 2
