"""Image files: their axes, pixel sizes and levels, and the results on the command line."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import imageio.v3 as imageio
import numpy as np
import pytest
import tifffile
import zarr

import napari_resformer as nr
from napari_resformer.cli import main
from napari_resformer.images.units import micrometres
from napari_resformer.io import tiff_pixels
from napari_resformer.io.read import read_image

RNG = np.random.default_rng(0)
STACK = RNG.integers(0, 4000, (2, 3, 3, 40, 48), dtype=np.uint16)


@pytest.fixture
def model(random_model: Any, tmp_path: Path) -> str:
    return str(random_model.save(tmp_path / "random.safetensors"))


def write_ome_zarr(path: Path, array: np.ndarray, version: str, axes: str = "tczyx", pixel: float = 0.5) -> None:
    kinds = {"t": "time", "c": "channel"}
    told = [{"name": axis, "type": kinds.get(axis, "space")} for axis in axes]
    for axis in told:
        if axis["type"] == "space":
            axis["unit"] = "nanometer" if axis["name"] == "z" else "micrometer"
    group = zarr.create_group(path, zarr_format=2 if version == "0.4" else 3)
    datasets = []
    for level, step in enumerate((1, 2)):
        small = array[..., ::step, ::step]
        stored = group.create_array(str(level), shape=small.shape, dtype=small.dtype, chunks=(1,) * (array.ndim - 2) + (20, 20))
        stored[...] = small
        scale = [{"t": 1.0, "c": 1.0, "z": 2000.0}.get(axis, pixel * step) for axis in axes]
        datasets.append({"path": str(level), "coordinateTransformations": [{"type": "scale", "scale": scale}]})
    multiscales = {"multiscales": [{"axes": told, "datasets": datasets, "version": version}]}
    multiscales["omero"] = {"channels": [{"label": name} for name in ("DAPI", "GFP", "Cy5")]}
    group.attrs.update(multiscales if version == "0.4" else {"ome": multiscales | {"version": version}})


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_ome_zarr_tells_axes_levels_and_pixel_size(tmp_path: Path, version: str) -> None:
    write_ome_zarr(tmp_path / "a.ome.zarr", STACK.swapaxes(1, 2), version)
    image = read_image(tmp_path / "a.ome.zarr")
    assert (image.name, image.axes, image.pixel_size, image.z_step) == ("a", "TCZYX", (0.5, 0.5), 2.0)
    assert image.channel_names == ("DAPI", "GFP", "Cy5")
    assert [level.shape[-2:] for level in image.pyramid] == [(40, 48), (20, 24)]
    assert isinstance(image.data, zarr.Array)
    np.testing.assert_array_equal(image.plane((1, 2)).read(), STACK[1, 2])
    assert read_image(tmp_path / "a.ome.zarr", axes="PCZYX").axes == "PCZYX"


def test_tiff_tells_axes_and_pixel_size(tmp_path: Path) -> None:
    sizes = {"PhysicalSizeX": 250, "PhysicalSizeXUnit": "nm", "PhysicalSizeY": 0.5, "PhysicalSizeZ": 2}
    names = {"Channel": {"Name": ["DAPI", "GFP", "Cy5"]}}
    tifffile.imwrite(tmp_path / "a.ome.tif", STACK, metadata={"axes": "TZCYX"} | sizes | names)
    image = read_image(tmp_path / "a.ome.tif")
    assert (image.axes, image.pixel_size, image.z_step) == ("TZCYX", (0.5, 0.25), 2)
    assert image.channel_names == ("DAPI", "GFP", "Cy5")
    tifffile.imwrite(
        tmp_path / "imagej.tif", STACK, imagej=True, resolution=(4, 2), metadata={"axes": "TZCYX", "unit": "um", "spacing": 3}
    )
    image = read_image(tmp_path / "imagej.tif")
    assert (image.axes, image.pixel_size, image.z_step) == ("TZCYX", (0.5, 0.25), 3)
    tifffile.imwrite(tmp_path / "plain.tif", STACK[0, :, 0], photometric="minisblack")
    with pytest.raises(ValueError, match="ambiguous"):
        read_image(tmp_path / "plain.tif")


@pytest.mark.parametrize(
    ("shape", "options", "offered", "axes"),
    [
        ((5, 40, 48, 3), {}, "ZYXC, TYXC", "TYXC"),
        ((2, 40, 48, 3), {"metadata": None}, "ZYXC, TYXC", "zyxc"),
        ((5, 40, 48, 3), {"imagej": True}, "ZYXC, TYXC", "PYXC"),
        ((2, 5, 40, 48, 3), {}, "TZYXC", "PTYXC"),
        ((5, 3, 40, 48), {"planarconfig": "separate"}, "ZCYX, TCYX", "TCYX"),
    ],
)
def test_colour_stacks_in_tiff_ask_for_other_axes(tmp_path: Path, shape: Any, options: Any, offered: str, axes: str) -> None:
    pixels = RNG.integers(0, 255, shape, dtype=np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="rgb", **options)
    with pytest.raises(ValueError, match=f"ambiguous.*for instance {offered}$"):
        read_image(tmp_path / "a.tif")
    image = read_image(tmp_path / "a.tif", axes)
    assert (image.axes, image.rgb, image.channels) == (axes.upper(), True, 3)
    np.testing.assert_array_equal(image.data, pixels)


def test_samples_in_tiff_are_channels_and_colour_where_the_file_says_so(tmp_path: Path) -> None:
    planar = RNG.integers(0, 255, (3, 40, 48), dtype=np.uint8)
    tifffile.imwrite(tmp_path / "planar.tif", planar, photometric="rgb", planarconfig="separate")
    image = read_image(tmp_path / "planar.tif")
    assert (image.axes, image.rgb) == ("CYX", True)
    assert not read_image(tmp_path / "planar.tif", "TYX").rgb
    tifffile.imwrite(tmp_path / "stains.tif", planar, photometric="minisblack", planarconfig="separate")
    image = read_image(tmp_path / "stains.tif")
    assert (image.axes, image.rgb) == ("CYX", False)
    tifffile.imwrite(tmp_path / "two.tif", STACK[0, :, :2].transpose(0, 2, 3, 1), photometric="minisblack", planarconfig="contig")
    assert read_image(tmp_path / "two.tif", needed_channels=2).axes == "ZYXC"  # there the model settles it, as elsewhere
    tifffile.imwrite(tmp_path / "one.tif", planar.transpose(1, 2, 0)[np.newaxis], photometric="rgb")
    image = read_image(tmp_path / "one.tif")
    assert (image.axes, image.rgb) == ("PYXC", True)


@pytest.mark.parametrize("size", [0, -1.0, "INF"])
def test_a_pixel_size_that_is_none_is_unknown(tmp_path: Path, size: Any) -> None:
    sizes = {"PhysicalSizeX": size, "PhysicalSizeY": 0.5, "PhysicalSizeZ": size}
    tifffile.imwrite(tmp_path / "a.ome.tif", STACK, metadata={"axes": "TZCYX"} | sizes)
    image = read_image(tmp_path / "a.ome.tif")
    assert (image.pixel_size, image.z_step) == (None, None)


@pytest.mark.parametrize(
    ("unit", "size"),
    [("µm", 1), ("\u03bcm", 1), ("um", 1), ("NM", 1e-3), ("micrometer", 1), ("mm", 1e3), ("pixel", None), ("", None)],
)
def test_units_of_length(unit: str, size: float | None) -> None:
    assert micrometres(unit) == size


def test_pictures_of_any_mode_are_gray_or_colour(tmp_path: Path) -> None:
    """Ink is no alpha, transparency no channel, and the frames of a GIF are time."""
    from PIL import Image

    colour = np.zeros((40, 50, 3), np.uint8)
    colour[:20] = (250, 20, 20)
    picture = Image.fromarray(colour)
    picture.convert("CMYK").save(tmp_path / "ink.jpg", quality=95)
    image = read_image(tmp_path / "ink.jpg")
    assert (image.axes, image.data.shape) == ("YXC", (40, 50, 3))
    assert np.abs(image.data.astype(int) - colour).mean() < 10
    picture.convert("LA").save(tmp_path / "transparent.png")
    image = read_image(tmp_path / "transparent.png")
    assert image.axes == "YX"
    np.testing.assert_array_equal(image.data, np.asarray(picture.convert("L")))
    picture.save(tmp_path / "one.gif")
    assert (read_image(tmp_path / "one.gif").axes, read_image(tmp_path / "one.gif").data.shape) == ("YXC", (40, 50, 3))
    other = Image.fromarray(colour[::-1].copy())
    picture.save(tmp_path / "two.gif", save_all=True, append_images=[other])
    image = read_image(tmp_path / "two.gif")
    assert (image.axes, image.loop_shape, image.rgb) == ("TYXC", (2,), True)


@pytest.mark.parametrize(("axes", "kept"), [("XY", "YX"), ("YXZ", "ZYX"), ("CXYZ", "ZYX"), ("PTYX", "PTYX")])
def test_masks_of_any_axes_are_files_that_say_so(model: str, tmp_path: Path, axes: str, kept: str) -> None:
    sizes = {"P": 2, "T": 3, "Z": 2, "C": 3, "Y": 40, "X": 48}
    array = RNG.integers(0, 255, [sizes[axis] for axis in axes], dtype=np.uint8)
    np.save(tmp_path / "a.npy", array)
    zarr.save_array(tmp_path / "a.zarr", array)
    options = ["--axes", axes, "--pixel-size", "0.5,0.25", "--model", model, "-o", tmp_path / "out"]
    assert run(tmp_path / "a.npy", tmp_path / "a.zarr", *options) == 0
    stored, turned = read_image(tmp_path / "out" / "a-2_mask.ome.zarr"), read_image(tmp_path / "out" / "a_mask.tif")
    assert (stored.axes, stored.pixel_size) == (axes.replace("C", ""), (0.5, 0.25))
    assert (turned.axes, turned.pixel_size) == (kept, (0.5, 0.25))
    np.testing.assert_array_equal(turned.data, stored.data[:].transpose([stored.axes.index(axis) for axis in kept]))
    assert len(np.unique(turned.data)) > 1


@pytest.mark.parametrize("compression", [None, "zlib", "lzw"])
def test_large_tiff_files_are_read_in_parts(random_model, tmp_path, monkeypatch, compression: str | None) -> None:
    picture = RNG.integers(0, 255, (300, 320, 3), dtype=np.uint8)
    tiled = {"tile": (64, 64)} if compression else {}
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        file.write(picture, subifds=1, photometric="rgb", compression=compression, **tiled)
        file.write(picture[::2, ::2], subfiletype=1, photometric="rgb", compression=compression, **tiled)
    whole = read_image(tmp_path / "a.tif")
    monkeypatch.setattr(tiff_pixels, "LAZY_BYTES", 1000)
    image = read_image(tmp_path / "a.tif")
    assert isinstance(image.data, np.memmap if compression is None else zarr.Array)
    assert image.axes == "YXC"
    assert [level.shape for level in image.pyramid] == [(300, 320, 3), (150, 160, 3)]
    results = [nr.predict(random_model, one, tile=128, device="cpu") for one in (whole, image)]
    np.testing.assert_array_equal(results[0].mask, results[1].mask)
    (tmp_path / "cut.tif").write_bytes((tmp_path / "a.tif").read_bytes()[:200])
    with pytest.raises(ValueError, match="cannot be read"):
        read_image(tmp_path / "cut.tif")


def run(*arguments: Any) -> int:
    return main(["predict", *map(str, arguments), "--device", "cpu"])


def table(folder: Path) -> list[list[str]]:
    with (folder / "scores.csv").open(encoding="utf-8") as file:
        return list(csv.reader(file))


def test_results_keep_axes_and_pixel_size(tmp_path: Path, model: str) -> None:
    write_ome_zarr(tmp_path / "a.ome.zarr", STACK.swapaxes(1, 2), "0.5")
    tifffile.imwrite(tmp_path / "b.ome.tif", STACK, metadata={"axes": "TZCYX", "PhysicalSizeX": 0.25, "PhysicalSizeY": 0.5})
    np.save(tmp_path / "c.npy", STACK[0, :, 0])
    imageio.imwrite(tmp_path / "d.jpg", RNG.integers(0, 255, (64, 50, 3), dtype=np.uint8))
    imageio.imwrite(tmp_path / "e.png", RNG.integers(0, 255, (64, 50), dtype=np.uint8))
    out = tmp_path / "out"
    assert run(tmp_path / "a.ome.zarr", tmp_path / "b.ome.tif", "--model", model, "-o", out) == 0
    assert run(tmp_path / "c.npy", "--axes", "TYX", "--pixel-size", "0.5,0.25", "--model", model, "-o", tmp_path / "c") == 0
    assert run(tmp_path / "d.jpg", tmp_path / "e.png", "--model", model, "-o", tmp_path / "de") == 0
    mask = read_image(out / "a_mask.ome.zarr")
    assert (mask.axes, mask.data.shape, mask.pixel_size, mask.z_step) == ("TZYX", (2, 3, 40, 48), (0.5, 0.5), 2.0)
    again = read_image(out / "b_mask.tif")
    assert (again.axes, again.data.shape, again.pixel_size) == ("TZYX", (2, 3, 40, 48), (0.5, 0.25))
    np.testing.assert_array_equal(mask.data[:], again.data)
    single = read_image(tmp_path / "c" / "c_mask.tif")  # three planes, which are not red, green and blue
    assert (single.axes, single.pixel_size, single.rgb) == ("TYX", (0.5, 0.25), False)
    assert tifffile.imread(tmp_path / "de" / "d_mask.tif").shape == (64, 50)
    rows = table(out)
    assert [row[1] for row in rows[1:7]] == ["T0 Z0", "T0 Z1", "T0 Z2", "T1 Z0", "T1 Z1", "T1 Z2"]
    assert [row[2:] for row in rows[1:7]] == [row[2:] for row in rows[7:]]


def test_a_large_mask_goes_through_a_store(tmp_path: Path, model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    np.save(tmp_path / "a.npy", RNG.integers(0, 255, (2, 1100, 60), dtype=np.uint8))
    assert run(tmp_path / "a.npy", "--axes", "ZYX", "--model", model, "-o", tmp_path / "plain") == 0
    monkeypatch.setattr("napari_resformer.prediction.plan.LARGE_MASK", 1000)
    assert run(tmp_path / "a.npy", "--axes", "ZYX", "--model", model, "-o", tmp_path / "stored") == 0
    masks = [tifffile.imread(tmp_path / name / "a_mask.tif") for name in ("plain", "stored")]
    np.testing.assert_array_equal(*masks)
    assert masks[0].shape == (2, 1100, 60)
    assert sorted(path.name for path in (tmp_path / "stored").iterdir()) == ["a_mask.tif", "scores.csv"]


def test_resume_keeps_what_is_done(tmp_path: Path, model: str, capsys: pytest.CaptureFixture[str], monkeypatch: Any) -> None:
    from napari_resformer.prediction import predictor

    paths = [tmp_path / name for name in ("a.npy", "b.npy", "c.zarr")]
    for path in paths[:2]:
        np.save(path, RNG.integers(0, 255, (70, 60), dtype=np.uint8))
    zarr.save_array(paths[2], RNG.integers(0, 255, (300, 200), dtype=np.uint8))
    arguments = [*paths, "--model", model, "--tile", 64]
    assert run(*arguments, "-o", tmp_path / "whole") == 0

    real, tiles = predictor.run_plan, []

    def cut_off(*rest: Any, **options: Any) -> Any:
        for event in real(*rest, **options):
            tiles.append(event)
            if len(tiles) > 12:
                raise KeyboardInterrupt
            yield event

    monkeypatch.setattr("napari_resformer.prediction.resume.SAVE_SECONDS", 0.0)
    with monkeypatch.context() as patch:
        patch.setattr(predictor, "run_plan", cut_off)
        assert run(*arguments, "-o", tmp_path / "parts") == 130
    assert not (tmp_path / "parts" / "c_mask.tif").exists()
    before = (tmp_path / "parts" / "a_mask.tif").stat().st_mtime_ns
    assert run(*arguments, "-o", tmp_path / "parts") == 1
    assert run(*arguments, "-o", tmp_path / "parts", "--resume", "--overwrite") == 2
    assert run(*paths, "--model", model, "--tile", 128, "-o", tmp_path / "parts", "--resume") == 1
    assert "tile was 64, is 128" in capsys.readouterr().err
    assert run(*arguments, "-o", tmp_path / "parts", "--resume") == 0
    assert (tmp_path / "parts" / "a_mask.tif").stat().st_mtime_ns == before
    assert table(tmp_path / "parts") == table(tmp_path / "whole")
    stored = [zarr.open(tmp_path / name / "c_mask.ome.zarr", mode="r")["0"][:] for name in ("parts", "whole")]
    np.testing.assert_array_equal(*stored)


@pytest.mark.parametrize("large", [False, True])
def test_resume_keeps_the_tile_that_nobody_chose(
    tmp_path: Path, model: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, large: bool
) -> None:
    path, out = tmp_path / "a.npy", tmp_path / "out"
    np.save(path, RNG.integers(0, 255, (300, 200), dtype=np.uint8))
    if large:
        monkeypatch.setattr("napari_resformer.prediction.plan.LARGE_MASK", 1000)
    with monkeypatch.context() as patch:
        patch.setattr("napari_resformer.prediction.plan.DEFAULT_TILE", 64)
        if large:  # cut off once the mask is whole in its store

            def cut_off(*_: Any, **__: Any) -> None:
                raise KeyboardInterrupt

            with monkeypatch.context() as inner:
                inner.setattr("napari_resformer.io.write.write_tiff", cut_off)
                assert run(path, "--model", model, "-o", out) == 130
        else:
            assert run(path, "--model", model, "-o", out) == 0
    for _ in range(2):
        assert run(path, "--model", model, "-o", out, "--resume") == 0
    capsys.readouterr()
    assert run(path, "--model", model, "-o", out, "--resume", "--tile", 1024) == 1
    assert "tile was 64, is 1024" in capsys.readouterr().err
    (out / "scores.csv").unlink()  # done anew, and as before
    mask = tifffile.imread(out / "a_mask.tif")
    assert run(path, "--model", model, "-o", out, "--resume") == 0
    np.testing.assert_array_equal(tifffile.imread(out / "a_mask.tif"), mask)


def test_images_of_one_name_are_told_apart_in_the_table(tmp_path: Path, model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    paths = [Path("A/x.npy"), Path("B/x.npy"), Path("y.npy")]
    for path in paths:
        path.parent.mkdir(exist_ok=True)
        np.save(path, RNG.integers(0, 255, (70, 60), dtype=np.uint8))
    assert run(*paths, "--model", model, "-o", "out") == 0
    first = table(Path("out"))
    assert [row[0] for row in first] == ["image", str(paths[0]), str(paths[1]), "y.npy"]
    before = [path.stat().st_mtime_ns for path in sorted(Path("out").glob("*.tif"))]
    assert run(*paths, "--model", model, "-o", "out", "--resume") == 0
    assert [path.stat().st_mtime_ns for path in sorted(Path("out").glob("*.tif"))] == before
    assert table(Path("out")) == first


def test_resume_drops_no_row_of_an_earlier_run(
    tmp_path: Path, model: str, random_model: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from napari_resformer.model.file import Model
    from napari_resformer.prediction import predictor

    paths = [tmp_path / f"{name}.npy" for name in "abcd"]
    for path in paths:
        np.save(path, RNG.integers(0, 255, (70, 60), dtype=np.uint8))
    a, b, c, d = paths
    out = tmp_path / "out"
    options = ["--model", model, "-o", out]
    assert run(a, b, c, *options) == 0
    first = table(out)
    assert run(d, *options, "--resume") == 0
    assert table(out)[:4] == first
    assert [row[0] for row in table(out)[4:]] == ["d.npy"]

    whole = table(out)
    (out / "a_mask.tif").unlink()  # to be done anew, while b fails and the run is cut off before c
    np.save(b, np.full((70, 60), np.nan))
    real = predictor.run_plan

    def cut_off(model: Any, plan: Any, **rest: Any) -> Any:
        if plan.image.name == "c":
            raise KeyboardInterrupt
        return real(model, plan, **rest)

    (out / "c_mask.tif").unlink()
    with monkeypatch.context() as patch:
        patch.setattr(predictor, "run_plan", cut_off)
        assert run(a, b, c, *options, "--resume") == 130
    assert table(out) == whole

    card = random_model.card.model_copy(update={"image_classes": ("d", "e", "f")})
    other = Model(card, random_model.network).save(tmp_path / "other.safetensors")
    capsys.readouterr()
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    np.save(tmp_path / "new.npy", np.eye(64))
    assert run(tmp_path / "new.npy", "--model", other, "-o", out, "--resume") == 1
    said = capsys.readouterr().err.strip().splitlines()
    assert len(said) == 1
    assert "image,plane,predicted,a,b,c" in said[0]
    assert "image,plane,predicted,d,e,f" in said[0]
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
