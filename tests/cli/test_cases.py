"""Names, places and tables as people have them, on the command line. One test a case."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

import napari_resformer as nr
from napari_resformer.cli import main, predict
from napari_resformer.cli.scores import ScoreTable

CONSOLE = [sys.executable, "-m", "napari_resformer.cli"]


@pytest.fixture
def model(random_model: Any, tmp_path: Path) -> Path:
    return random_model.save(tmp_path / "random.safetensors")


def spots(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 255, (40, 48), np.uint8)


def plain(path: Path | bytes, seed: int = 0) -> Path:
    path = Path(os.fsdecode(path))
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, spots(seed), photometric="minisblack", metadata=None)
    try:
        path.write_bytes(buffer.getvalue())
    except OSError:
        pytest.skip("this file system has no such name")
    return path


def run(model: Path, *arguments: object) -> int:
    return main(["predict", *map(str, arguments), "--model", str(model), "--device", "cpu"])


def rows(folder: Path) -> list[list[str]]:
    with (folder / "scores.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


# ------------------------------------------------------------------------------------------------------------------- names
@pytest.mark.parametrize(("code", "name"), [("cp1252", "細胞"), ("ascii:strict", "клетка"), ("cp437", "😀")])
def test_a_name_that_the_console_has_no_code_for_costs_nothing(model: Path, tmp_path: Path, code: str, name: str) -> None:
    plain(tmp_path / f"{name}.tif")
    done = subprocess.run(
        [*CONSOLE, "predict", f"{name}.tif", "--model", model, "-o", "out", "--device", "cpu"],
        cwd=tmp_path, env={**os.environ, "PYTHONIOENCODING": code}, capture_output=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"1 of 1 image(s) done" in done.stdout
    assert b".tif: Pixel size" in done.stdout  # the notes come, too
    assert rows(tmp_path / "out")[1][0] == f"{name}.tif"


def test_json_stays_json_on_a_console_of_few_letters(random_model: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    card = random_model.card.model_copy(update={"summary": "細胞 😀"})
    path = replace(random_model, card=card).save(tmp_path / "named.safetensors")
    few = io.TextIOWrapper(io.BytesIO(), encoding="cp1252")
    monkeypatch.setattr(sys, "stdout", few)
    assert main(["models", "info", str(path)]) == 0
    few.flush()
    assert json.loads(few.buffer.getvalue().decode("cp1252"))["summary"] == "細胞 😀"  # type: ignore[attr-defined]


@pytest.mark.skipif(os.name == "nt", reason="names are Unicode there")
@pytest.mark.parametrize(
    ("name", "shown"),
    [
        (b"z\xfcrich.tif", "z\\udcfcrich.tif"), (b"tab\there.tif", "tab\\there.tif"), (b"two\nlines.tif", "two\\nlines.tif"),
        (b"bell\x07\x1b[31m.tif", "bell\\x07\\x1b[31m.tif"), (b"\x85.tif", "\\udc85.tif"),
        (b"z\xfcrich.ome.tif", "z\\udcfcrich.ome.tif"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("outputs", ["mask", "mask,probabilities"])
def test_names_of_other_encodings_and_of_control_characters_are_escaped(
    model: Path, tmp_path: Path, name: bytes, shown: str, outputs: str, capsys: Any
) -> None:
    path = plain(os.fsencode(tmp_path) + b"/" + name)
    assert run(model, path, "-o", tmp_path / "out", "--outputs", outputs) == 0
    stem = path.name.removesuffix(".tif").removesuffix(".ome")
    assert tifffile.imread(tmp_path / "out" / f"{stem}_mask.tif").shape == (40, 48)
    assert rows(tmp_path / "out")[1][0] == shown
    assert run(model, path, "-o", tmp_path / "out", "--outputs", outputs, "--resume") == 0
    assert len(rows(tmp_path / "out")) == 2
    out, err = capsys.readouterr()
    assert shown in out
    assert not {"\x07", "\x1b", "\udcfc"} & {*out, *err}


@pytest.mark.skipif(os.name == "nt", reason="names are Unicode there")
@pytest.mark.parametrize("name", [b"z\xfcrich.tif", b"two\nlines.tif"])
def test_an_image_of_such_a_name_that_is_damaged_is_one_line(model: Path, tmp_path: Path, name: bytes, capsys: Any) -> None:
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name)).write_bytes(b"II*\0damaged")
    assert run(model, tmp_path / os.fsdecode(name), "-o", tmp_path / "out") == 1
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1
    assert ("z\\udcfcrich" in said[0]) or "two" in said[0]


@pytest.mark.parametrize("letters", ["L", "é", "細"])
def test_a_long_name_is_no_trouble_as_long_as_the_results_can_have_it(
    model: Path, tmp_path: Path, letters: str, capsys: Any
) -> None:
    size = len(letters.encode())
    image = plain(tmp_path / f"{letters * (239 // size)}.tif")
    assert run(model, image, "-o", tmp_path / "out") == 0
    assert (tmp_path / "out" / f"{image.stem}_mask.tif").exists()
    longer = plain(tmp_path / f"{letters * (250 // size)}.tif")
    other = plain(tmp_path / "short.tif")
    assert run(model, longer, other, "-o", tmp_path / "out2") == 1
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1
    assert "255 are allowed" in said[0]
    assert "rename the image" in said[0]
    assert [row[0] for row in rows(tmp_path / "out2")[1:]] == ["short.tif"]


def stains(path: Path, *names: str) -> np.ndarray:
    pixels = np.stack([spots(seed) for seed in range(len(names))])
    tifffile.imwrite(path, pixels, ome=True, photometric="minisblack", metadata={"axes": "CYX", "Channel": {"Name": list(names)}})
    return pixels


@pytest.mark.parametrize(
    ("names", "chosen", "index"),
    [
        (("1", "2", "3", "4"), "1", 1), (("1", "2", "3", "4"), "2,0,1", [2, 0, 1]), (("1", "2", "3", "4"), "4", 3),
        (("405", "488", "561", "640"), "488", 1), (("DAPI ", "GFP", "β", "x"), "dapi", 0), (("a", "GFP", "u\u0308", "x"), "ü", 2),
    ],
)  # fmt: skip
def test_channels_are_numbers_where_all_are_in_range_and_names_elsewhere(
    model: Path, random_model: Any, tmp_path: Path, names: tuple[str, ...], chosen: str, index: Any
) -> None:
    pixels = stains(tmp_path / "stains.ome.tif", *names)
    assert run(model, tmp_path / "stains.ome.tif", "--channels", chosen, "-o", tmp_path / "out") == 0
    taken = pixels[index]
    expected = nr.predict(random_model, taken, axes="CYX"[-taken.ndim :], device="cpu").mask
    mask = tifffile.imread(tmp_path / "out" / "stains_mask.tif")
    assert (mask != expected).mean() < 0.01  # noise has pixels where two classes are equally likely


@pytest.mark.parametrize("names", [("DAPI", "DAPI", "x"), ("DAPI", "dapi", "x"), ("DAPI ", "DAPI", "x")])
def test_a_name_of_two_channels_is_refused(model: Path, tmp_path: Path, names: tuple[str, ...], capsys: Any) -> None:
    stains(tmp_path / "stains.ome.tif", *names)
    assert run(model, tmp_path / "stains.ome.tif", "--channels", "DAPI", "-o", tmp_path / "out") == 1
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1
    assert "2 channels of stains are called DAPI; give the number: 0 or 1" in said[0]


# ------------------------------------------------------------------------------------------------------------------ places
def test_two_runs_into_one_folder_at_the_same_time_write_one_table(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = [plain(tmp_path / f"p{number}.tif", number) for number in range(4)]
    both, real = threading.Barrier(2, timeout=60), predict.ScoreTable.put

    def put(table: ScoreTable, image: str, found: list[list[str]]) -> None:
        both.wait()  # both have looked at the folder, and now write
        real(table, image, found)

    monkeypatch.setattr(ScoreTable, "put", put)
    status: list[int] = []
    runs = [
        threading.Thread(target=lambda pair=pair: status.append(run(model, *pair, "-o", tmp_path / "out")))
        for pair in (images[:2], images[2:])
    ]
    for one in runs:
        one.start()
    for one in runs:
        one.join()
    assert status == [0, 0]
    assert sorted(row[0] for row in rows(tmp_path / "out")[1:]) == ["p0.tif", "p1.tif", "p2.tif", "p3.tif"]
    assert not list((tmp_path / "out").glob(".*"))


def test_a_lock_that_a_killed_run_has_left_holds_nobody_up_for_long(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / ".scores.csv.lock").touch()
    monkeypatch.setattr("napari_resformer.io.lock.PATIENCE", 0.2)
    assert run(model, plain(tmp_path / "p.tif"), "-o", tmp_path / "out") == 0
    assert [row[0] for row in rows(tmp_path / "out")] == ["image", "p.tif"]


def test_a_later_run_adds_its_images_to_the_table(model: Path, random_model: Any, tmp_path: Path, capsys: Any) -> None:
    first, second = (plain(tmp_path / f"p{number}.tif", number) for number in range(2))
    out = tmp_path / "out"
    assert run(model, first, "-o", out) == 0
    assert run(model, second, "-o", out) == 0
    assert [row[0] for row in rows(out)[1:]] == ["p0.tif", "p1.tif"]
    (out / "p0_mask.tif").unlink()
    before = (out / "scores.csv").read_bytes()
    assert run(model, first, "-o", out) == 1
    assert "has rows of p0.tif already" in capsys.readouterr().err
    card = random_model.card.model_copy(update={"image_classes": ("x", "y", "z")})
    others = replace(random_model, card=card).save(tmp_path / "others.safetensors")
    assert run(others, first, "-o", out) == 1
    assert "has the columns image,plane,predicted,a,b,c" in capsys.readouterr().err
    assert (out / "scores.csv").read_bytes() == before
    assert run(others, first, "-o", out, "--overwrite") == 0
    assert rows(out)[0][3:] == ["x", "y", "z"]
    assert [row[0] for row in rows(out)[1:]] == ["p0.tif"]


def test_what_another_run_has_written_meanwhile_is_not_replaced(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    image, out, real = plain(tmp_path / "p.tif"), tmp_path / "out", predict._run_plan

    def run_plan(*arguments: Any, **named: Any) -> Any:
        out.mkdir(exist_ok=True)
        (out / "p_mask.tif").write_bytes(b"of another run")
        return real(*arguments, **named)

    monkeypatch.setattr(predict, "_run_plan", run_plan)
    assert run(model, image, "-o", out) == 1
    assert "p_mask.tif exists" in capsys.readouterr().err
    assert (out / "p_mask.tif").read_bytes() == b"of another run"


@pytest.mark.parametrize("place", ["results", "results/below", "results/below/it"])
@pytest.mark.parametrize("command", ["predict", "train", "evaluate", "demo"])
def test_a_place_that_is_a_file_is_refused_before_anything_is_computed(
    model: Path, tmp_path: Path, place: str, command: str, capsys: Any
) -> None:
    (tmp_path / "results").write_text("a file")
    image = plain(tmp_path / "p.tif")
    where = tmp_path / place
    arguments: dict[str, list[object]] = {
        "predict": ["predict", image, image, "--model", model, "-o", where, "--device", "cpu"],
        "train": ["train", tmp_path / "none", "-o", where / "m.safetensors"],
        "evaluate": ["evaluate", tmp_path / "none", "--model", model, "-o", where / "report.json"],
        "demo": ["demo", "-o", where / "demo.png", "--device", "cpu"],
    }
    assert main([*map(str, arguments[command])]) == 2
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1
    assert "results is a file, where a folder is needed" in said[0]


@pytest.mark.parametrize("trouble", [PermissionError(13, "Permission denied"), OSError(30, "Read-only file system")])
def test_a_place_that_cannot_be_written_to_is_refused_before_anything_is_computed(
    model: Path, tmp_path: Path, trouble: OSError, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise trouble

    image = plain(tmp_path / "p.tif")
    monkeypatch.setattr("napari_resformer.cli.usage.tempfile.TemporaryFile", refuse)
    assert run(model, image, "-o", tmp_path / "locked" / "out") == 2
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1
    assert str(trouble.strerror) in said[0]
    assert not (tmp_path / "locked").exists()


# ------------------------------------------------------------------------------------------------------------------ tables
@pytest.mark.parametrize(
    ("classes", "columns"),
    [
        (("predicted", "plane", "cell"), ["score of predicted", "score of plane", "cell"]),
        (("Image", "unsure", "familiarity"), ["score of Image", "score of unsure", "score of familiarity"]),
        (("plane", "score of plane", "a, b"), ["score of score of plane", "score of plane", "a, b"]),
    ],
)
def test_columns_of_the_table_have_names_of_their_own(
    random_model: Any, tmp_path: Path, classes: tuple[str, ...], columns: list[str]
) -> None:
    card = random_model.card.model_copy(update={"image_classes": classes})
    named = replace(random_model, card=card).save(tmp_path / "named.safetensors")
    image = plain(tmp_path / "p.tif")
    assert run(named, image, "-o", tmp_path / "out") == 0
    head, row = rows(tmp_path / "out")
    assert head == ["image", "plane", "predicted", *columns]
    assert row[2] == classes[int(np.argmax([float(score) for score in row[3:]]))]
    assert run(named, image, "-o", tmp_path / "out", "--resume") == 0


# --------------------------------------------------------------------------------------------------- what libraries say
def test_what_libraries_say_while_pixels_are_read_is_told_once_and_not_raw(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Any
) -> None:
    import logging

    def late(*arguments: Any, run_plan: Callable[..., Any] = predict._run_plan, **named: Any) -> Any:
        for _ in range(3):  # as tifffile does of pixels that are read late, in whichever thread
            reader = threading.Thread(target=logging.getLogger("tifffile").warning, args=("<tifffile.TiffPage 0 @8> is odd",))
            reader.start()
            reader.join()
        return run_plan(*arguments, **named)

    monkeypatch.setattr(predict, "_run_plan", late)
    assert run(model, plain(tmp_path / "a.tif"), "-o", tmp_path / "out") == 0
    assert capfd.readouterr().err.splitlines() == ["the TIFF reader says: is odd"]


def test_what_libraries_say_of_a_file_is_one_of_its_notes(model: Path, tmp_path: Path, capfd: Any) -> None:
    with tifffile.TiffWriter(tmp_path / "odd.tif") as file:
        for seed in range(2):
            file.write(spots(seed), photometric="minisblack", metadata=None, contiguous=False, extratags=[(65000, 3, 1, 1, True)])
    content = bytearray((tmp_path / "odd.tif").read_bytes())
    place = content.index(bytes([0xE8, 0xFD, 3, 0]))  # a tag whose type is none
    content[place + 2] = 99
    (tmp_path / "odd.tif").write_bytes(content)
    assert run(model, tmp_path / "odd.tif", "-o", tmp_path / "out", "--axes", "ZYX") == 0
    out, err = capfd.readouterr()
    assert "odd.tif: The TIFF reader says: " in out
    assert "TiffTag" in out
    assert "TiffTag" not in err
