"""What files of other programs say of themselves: values, planes, sizes and places as every viewer shows them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import zarr
from PIL import Image, ImageOps

import napari_resformer as nr
from napari_resformer.cli import main
from napari_resformer.images.image import from_array
from napari_resformer.images.units import is_time, micrometres
from napari_resformer.io import ome_zarr, tiff_pixels
from napari_resformer.io.find import find_images
from napari_resformer.io.pixels import read_pixels
from napari_resformer.io.read import image_stem, read_image
from napari_resformer.prediction.plan import make_plan
from napari_resformer.preprocessing.channels import COLOUR, match_channels

PLAIN: dict[str, Any] = {"photometric": "minisblack", "metadata": None}


def scene(seed: int = 0, shape: tuple[int, int] = (48, 60)) -> np.ndarray:
    """Return a smooth gray picture of the whole range, different for each seed and in all four corners."""
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    picture = np.sin(rows / (5 + seed)) + np.cos(columns / 7) + rows / 40 + columns / 90
    return ((picture - picture.min()) / np.ptp(picture) * 255).astype(np.uint8)


def colour(shape: tuple[int, int] = (48, 60)) -> np.ndarray:
    return np.dstack([scene(number, shape) for number in range(3)])


def ome(
    planes: dict[str, int] | None = None,
    *,
    images: int = 1,
    sizes: str = "",
    names: tuple[str, ...] = ("",),
    data: str | None = None,
) -> bytes:
    """Return the OME-XML of a file whose pages are the planes of its images, one after the other."""
    many = {"Z": 1, "C": len(names), "T": 1} | (planes or {})
    pages = many["Z"] * many["C"] * many["T"]
    nodes = []
    for number in range(images):
        channels = "".join(f'<Channel ID="Channel:{number}:{place}" Name="{name}"/>' for place, name in enumerate(names))
        where = data if data is not None else f'<TiffData IFD="{number * pages}" PlaneCount="{pages}"/>'
        nodes.append(
            f'<Image ID="Image:{number}" Name="field{number}"><Pixels ID="Pixels:{number}" DimensionOrder="XYCZT" Type="uint8" '
            f'SizeX="60" SizeY="48" SizeZ="{many["Z"]}" SizeC="{many["C"]}" SizeT="{many["T"]}" {sizes}>'
            f"{channels}{where}</Pixels></Image>"
        )
    head = '<?xml version="1.0" encoding="UTF-8"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06">'
    return f"{head}{''.join(nodes)}</OME>".encode()


def write_pages(path: Path, planes: list[np.ndarray], description: bytes | None = None) -> Path:
    with tifffile.TiffWriter(path) as file:
        for number, plane in enumerate(planes):
            file.write(plane, **PLAIN, contiguous=False, description=None if number else description)
    return path


def said(image: Any, *words: str) -> bool:
    """Return whether one note holds all of these words."""
    return any(all(word in note for word in words) for note in image.notes)


# ------------------------------------------------------------------------------------------------------- what samples mean
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16, np.float32, bool])
def test_white_is_zero_is_inverted_as_viewers_do(tmp_path: Path, dtype: type) -> None:
    pixels = scene() > 99 if dtype is bool else scene().astype(dtype)
    most = {np.uint8: 255, np.uint16: 65535}.get(dtype)
    stored = ~pixels if dtype is bool else most - pixels if most else -1 - pixels if dtype is np.int16 else -pixels
    tifffile.imwrite(tmp_path / "a.tif", stored.astype(dtype), photometric="miniswhite", metadata=None)
    image = read_image(tmp_path / "a.tif")
    np.testing.assert_array_equal(image.data, pixels)
    assert said(image, "White is stored as zero")
    raw = read_pixels(tmp_path / "a.tif")  # of a mask, the stored values are the labels
    np.testing.assert_array_equal(raw.values, stored)
    assert raw.white_is_zero
    assert raw.bits == (1 if dtype is bool else np.dtype(dtype).itemsize * 8)


def test_inks_become_red_green_and_blue(tmp_path: Path) -> None:
    picture = Image.fromarray(colour())
    for name, options in (("a.tif", {}), ("b.jpg", {"quality": 100})):
        picture.convert("CMYK").save(tmp_path / name, **options)
        image = read_image(tmp_path / name)
        assert (image.axes, image.rgb) == ("YXC", True)
        assert np.abs(image.data.astype(int) - colour()).mean() < 3
        raw = read_pixels(tmp_path / name)
        assert (raw.kind, raw.values.shape, raw.lossy) == ("rgb", (48, 60, 3), name == "b.jpg")
    deep = np.dstack([65535 - colour().astype(np.uint16) * 257, np.zeros((48, 60), np.uint16)])
    tifffile.imwrite(tmp_path / "deep.tif", deep, photometric="separated", metadata=None)
    np.testing.assert_array_equal(read_image(tmp_path / "deep.tif").data, colour().astype(np.uint16) * 257)


def test_other_colour_spaces_become_red_green_and_blue(tmp_path: Path) -> None:
    Image.fromarray(colour()).convert("YCbCr").save(tmp_path / "luma.tif")
    assert np.abs(read_image(tmp_path / "luma.tif").data.astype(int) - colour()).max() <= 4
    tifffile.imwrite(tmp_path / "jpeg.tif", colour(), photometric="rgb", compression="jpeg", metadata=None)
    assert np.abs(read_image(tmp_path / "jpeg.tif").data.astype(int) - colour()).mean() < 4
    assert read_pixels(tmp_path / "jpeg.tif").lossy
    lab = np.dstack([scene(), np.zeros((48, 60, 2), np.uint8)])  # without chroma: gray
    tifffile.imwrite(tmp_path / "lab.tif", lab, photometric="cielab", metadata=None)
    image = read_image(tmp_path / "lab.tif")
    assert np.ptp(image.data.astype(int), axis=-1).max() <= 1
    assert (image.data.min(), image.data.max()) == (0, 255)


def test_palettes_are_colours_of_pictures_and_labels_of_masks(tmp_path: Path) -> None:
    picture = Image.fromarray(colour()).quantize(16)
    for name in ("a.png", "a.tif", "a.bmp", "a.gif"):
        picture.save(tmp_path / name)
        image = read_image(tmp_path / name)
        assert (image.axes, image.rgb) == ("YXC", True)
        np.testing.assert_array_equal(image.data, np.asarray(picture.convert("RGB")))
        raw = read_pixels(tmp_path / name)
        assert raw.kind == "palette"
        assert raw.palette is not None
        np.testing.assert_array_equal(raw.palette[raw.values], image.data)
    table = np.stack([np.arange(256) * 257, np.zeros(256), np.zeros(256)]).astype(np.uint16)
    tifffile.imwrite(
        tmp_path / "lut.tif",
        scene(),
        photometric="palette",
        colormap=table,
        description="ImageJ=1.53t\nimages=1\n",
        metadata=None,
    )
    image = read_image(tmp_path / "lut.tif")  # a microscope's gray values, shown in red
    np.testing.assert_array_equal(image.data, scene())
    assert said(image, "for display only")
    gray = Image.fromarray(scene()).convert("P")
    gray.save(tmp_path / "gray.png")
    np.testing.assert_array_equal(read_image(tmp_path / "gray.png").data, scene())


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_gray_with_transparency_is_gray(tmp_path: Path, name: str) -> None:
    pixels = np.dstack([scene(), np.full((48, 60), 255, np.uint8)])
    Image.fromarray(pixels, "LA").save(tmp_path / name)
    image = read_image(tmp_path / name)
    assert (image.axes, image.notes, image.data.dtype) == ("YX", (), np.uint8)
    np.testing.assert_array_equal(image.data, scene())


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.webp"])
def test_transparent_pixels_say_nothing(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    alpha = np.full((48, 60), 255, np.uint8)
    alpha[:, :15] = 0
    alpha[:, 15:20] = 100
    options = {"lossless": True, "exact": True} if name == "a.webp" else {}
    Image.fromarray(np.dstack([colour(), alpha])).save(tmp_path / name, **options)
    image = read_image(tmp_path / name)
    assert (image.axes, image.rgb, image.data.shape) == ("YXC", True, (48, 60, 3))
    np.testing.assert_array_equal(image.data, np.where(alpha[..., None] > 0, colour(), np.nan))
    assert said(image, "25.0%", "transparent")
    raw = read_pixels(tmp_path / name)
    np.testing.assert_array_equal(raw.alpha, alpha)
    np.testing.assert_array_equal(raw.values[alpha > 0], colour()[alpha > 0])
    Image.fromarray(np.dstack([colour(), alpha * 0])).save(tmp_path / name, **options)
    image = read_image(tmp_path / name)
    assert said(image, "all pixels transparent")
    assert image.data.dtype == np.uint8
    Image.fromarray(np.dstack([colour(), np.maximum(alpha, 9)])).save(tmp_path / name, **options)
    assert said(read_image(tmp_path / name), "partly transparent")
    monkeypatch.setattr(tiff_pixels, "LAZY_BYTES", 10)
    if name == "a.tif":
        Image.fromarray(np.dstack([colour(), alpha])).save(tmp_path / name)
        lazy = read_image(tmp_path / name)
        assert not isinstance(lazy.data, np.ndarray)
        np.testing.assert_array_equal(lazy.plane().read()[0], np.where(alpha > 0, colour()[..., 0], np.nan))


def test_what_is_missing_looks_like_the_ground_around_it(random_model: Any) -> None:
    """A section on paper white is the same whether white or nothing lies beside it; so is a bright cell on black."""
    for picture in (235 - scene() // 3, scene() // 3):
        ground = picture.max() if picture.mean() > 99 else picture.min()
        plain = picture.astype(np.float32)
        plain[:, :20] = ground
        plain[:, 40:] = ground
        missing = plain.copy()
        missing[:, :20] = np.nan
        answers = [nr.predict(random_model, one, axes="YX", device="cpu") for one in (plain, missing)]
        np.testing.assert_allclose(answers[0].scores, answers[1].scores, atol=0.02)


def test_transparent_colours_of_other_modes(tmp_path: Path) -> None:
    picture = Image.fromarray(scene() // 128 * 200)
    picture.save(tmp_path / "key.png", transparency=0)
    np.testing.assert_array_equal(np.isnan(read_image(tmp_path / "key.png").data), scene() < 128)
    few = Image.fromarray(colour()).quantize(4)
    few.save(tmp_path / "palette.png", transparency=bytes([0, 255, 255, 255]))
    np.testing.assert_array_equal(np.isnan(read_image(tmp_path / "palette.png").data[..., 0]), np.asarray(few) == 0)
    np.testing.assert_array_equal(read_pixels(tmp_path / "palette.png").values, np.asarray(few))


@pytest.mark.parametrize("samples", [1, 2, 3, 4])
def test_sixteen_bits_of_a_png_are_kept(tmp_path: Path, samples: int) -> None:
    from imagecodecs import png_encode

    deep = scene().astype(np.uint16) + 30000
    opaque = [np.full((48, 60), 65535, np.uint16)] if samples in (2, 4) else []
    stored = deep if samples == 1 else np.dstack([deep] * (3 if samples > 2 else 1) + opaque)
    (tmp_path / "a.png").write_bytes(png_encode(stored))
    image = read_image(tmp_path / "a.png")
    assert image.data.dtype == np.uint16
    np.testing.assert_array_equal(image.data, np.dstack([deep] * 3) if samples > 2 else deep)
    assert read_pixels(tmp_path / "a.png").bits == 16


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_few_bits_are_whole_numbers(tmp_path: Path, bits: int) -> None:
    values = scene() // (256 >> bits)
    Image.fromarray(values.astype(bool) if bits == 1 else values * (255 // (2**bits - 1))).save(tmp_path / "a.png", bits=bits)
    raw = read_pixels(tmp_path / "a.png")
    assert raw.values.max() == 2**raw.bits - 1
    if raw.bits == bits:  # Pillow writes some modes with more
        np.testing.assert_array_equal(raw.values, values)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("kind", ["u1", "i1", "u2", "i2", "i4", "f2", "f4", "f8"])
def test_types_and_byte_orders(tmp_path: Path, order: str, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = (scene().astype(float) / 2 - 20 if kind[0] != "u" else scene()).astype(kind)
    tifffile.imwrite(tmp_path / "a.tif", pixels, byteorder=order, **PLAIN)
    for limit in (2**28, 10):  # in memory, and mapped
        monkeypatch.setattr(tiff_pixels, "LAZY_BYTES", limit)
        np.testing.assert_array_equal(read_image(tmp_path / "a.tif").plane().read()[0], pixels)


# -------------------------------------------------------------------------------------------------------------- orientation
@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif"])
def test_pictures_are_turned_as_they_say(tmp_path: Path, suffix: str, orientation: int, monkeypatch: pytest.MonkeyPatch) -> None:
    exif = Image.Exif()
    exif[274] = orientation
    path = tmp_path / f"a.{suffix}"
    if suffix == "tif":
        tags = [(274, "H", 1, orientation, True)]
        tifffile.imwrite(path, colour(), photometric="rgb", metadata=None, tile=(16, 16), compression="zlib", extratags=tags)
        Image.fromarray(colour()).save(tmp_path / "a.png", exif=exif)
    else:
        Image.fromarray(colour()).save(path, exif=exif)
    shown = np.asarray(ImageOps.exif_transpose(Image.open(tmp_path / "a.png" if suffix == "tif" else path)))
    image = read_image(path)
    np.testing.assert_array_equal(image.data, shown)
    np.testing.assert_array_equal(read_pixels(path).values, shown)
    assert said(image, f"({orientation})") == (orientation > 1)
    if suffix == "tif":
        monkeypatch.setattr(tiff_pixels, "LAZY_BYTES", 10)
        lazy = read_image(path)
        assert isinstance(lazy.data, np.ndarray) is False
        np.testing.assert_array_equal(lazy.plane().read(slice(3, 30, 2), slice(5, 41)), shown[3:30:2, 5:41].transpose(2, 0, 1))
        np.testing.assert_array_equal(np.asarray(lazy.data), shown)


# ---------------------------------------------------------------------------------------------------- what else a file holds
def test_a_file_of_several_images_names_and_gives_them(tmp_path: Path, random_model: Any, capsys: Any) -> None:
    path = write_pages(tmp_path / "positions.ome.tif", [scene(number) for number in range(3)], ome(images=3))
    image = read_image(path)
    assert said(image, "3 images", "field1", "60 × 48", "positions.ome.tif:1", "positions.ome.tif:all")
    np.testing.assert_array_equal(image.data, scene(0))
    third = read_image(f"{path}:2")
    np.testing.assert_array_equal(third.data, scene(2))
    assert (third.name, third.notes) == ("positions_2", ())
    np.testing.assert_array_equal(read_pixels(f"{path}:2").values, scene(2))
    with pytest.raises(ValueError, match=r"no image 3; its images are 0 \(field0"):
        read_image(f"{path}:3")
    with pytest.raises(FileNotFoundError):
        read_image(f"{tmp_path / 'other.tif'}:1")
    assert find_images(f"{path}:all").paths == tuple(path.with_name(f"{path.name}:{number}") for number in range(3))
    model = random_model.save(tmp_path / "m.safetensors")
    assert main(["predict", str(path), "--model", str(model), "-o", str(tmp_path / "out"), "--device", "cpu"]) == 0
    assert "holds 3 images" in capsys.readouterr().out
    assert (tmp_path / "out" / "positions_mask.tif").exists()
    assert main(["predict", f"{path}:all", "--model", str(model), "-o", str(tmp_path / "all"), "--device", "cpu"]) == 0
    assert sorted(mask.name for mask in (tmp_path / "all").glob("*.tif")) == [
        f"positions_{number}_mask.tif" for number in range(3)
    ]


def test_a_number_behind_a_colon_never_hides_a_file(tmp_path: Path) -> None:
    write_pages(tmp_path / "a.tif", [scene()])
    if sys.platform != "win32":
        write_pages(tmp_path / "a.tif:1", [scene(1)])
        np.testing.assert_array_equal(read_image(tmp_path / "a.tif:1").data, scene(1))
    assert image_stem(Path("C:1")) == "C:1"  # a drive
    assert image_stem(tmp_path / "a.tif") == "a"
    assert image_stem(tmp_path / "a.tif:0") == "a_0"
    for name, stem in (("x.ome.tif", "x"), ("x.ome.tiff", "x"), ("x.ome.btf", "x"), ("x.ome.zarr", "x"), ("x.ome.png", "x.ome")):
        assert image_stem(tmp_path / name) == stem
    np.save(tmp_path / "b.npy", scene())
    with pytest.raises(ValueError, match="no image 1"):
        read_image(f"{tmp_path / 'b.npy'}:1")


def test_a_thumbnail_in_front_is_not_the_image(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "slide.tif") as file:
        file.write(np.ascontiguousarray(scene()[::4, ::4]), subfiletype=1, **PLAIN)
        file.write(scene(), **PLAIN)
    image = read_image(tmp_path / "slide.tif")
    np.testing.assert_array_equal(image.data, scene())
    assert said(image, "reduced copy", "only 1 was read")
    assert read_image(tmp_path / "slide.tif:0").plane_shape == (12, 15)


@pytest.mark.parametrize("suffix", ["png", "gif", "webp"])
def test_frames_are_time(tmp_path: Path, suffix: str) -> None:
    frames = [Image.fromarray(scene(number)) for number in range(5)]
    options = {"lossless": True} if suffix == "webp" else {}
    frames[0].save(tmp_path / f"movie.{suffix}", save_all=True, append_images=frames[1:], **options)
    image = read_image(tmp_path / f"movie.{suffix}")
    assert (image.axes, image.loop_shape, image.rgb) == ("TYX", (5,), False)
    np.testing.assert_array_equal(image.data, np.stack([scene(number) for number in range(5)]))


def test_further_pictures_in_a_photograph_are_named(tmp_path: Path) -> None:
    Image.fromarray(colour()).save(
        tmp_path / "a.jpg", format="MPO", save_all=True, append_images=[Image.fromarray(colour()[::2, ::2])]
    )
    image = read_image(tmp_path / "a.jpg")
    assert (image.axes, image.plane_shape) == ("YXC", (48, 60))
    assert said(image, "1 further picture")


@pytest.mark.parametrize("suffix", ["btf", "tf8", "qptiff", "lsm", "svs", "scn", "flex", "dat", "png"])
def test_content_decides_what_reads_a_file(tmp_path: Path, suffix: str) -> None:
    tifffile.imwrite(tmp_path / f"a.{suffix}", scene(), bigtiff=suffix in ("btf", "tf8"), **PLAIN)
    np.testing.assert_array_equal(read_image(tmp_path / f"a.{suffix}").data, scene())
    Image.fromarray(scene()).save(tmp_path / "b.tif", format="PNG")
    np.testing.assert_array_equal(read_image(tmp_path / "b.tif").data, scene())


def test_a_file_of_a_set_stands_for_its_own_planes(tmp_path: Path) -> None:
    def where(number: int) -> str:
        return (
            f'<TiffData FirstT="{number}" IFD="0" PlaneCount="1"><UUID FileName="img{number}.ome.tif">'
            f"urn:uuid:00000000-0000-0000-0000-{number:012d}</UUID></TiffData>"
        )

    for number in range(4):
        words = ome({"T": 4}, data="".join(map(where, range(4))))
        write_pages(tmp_path / f"img{number}.ome.tif", [scene(number)], words)
    (tmp_path / "img0.ome.tif").unlink()  # the others stand for themselves all the same
    for number in range(1, 4):
        image = read_image(tmp_path / f"img{number}.ome.tif")
        np.testing.assert_array_equal(image.data.reshape(48, 60), scene(number))
        assert max(image.loop_shape, default=1) == 1
        assert said(image, "set of 4", "its own 1 of 4 planes")


# ---------------------------------------------------------------------------------------------------------------- channels
def test_channels_are_meant_by_number_or_by_a_name_of_one(tmp_path: Path) -> None:
    planes = [scene(number) for number in range(3)]
    numbered = read_image(write_pages(tmp_path / "a.ome.tif", planes, ome(names=("1", "2", "3"))))
    for chosen in (("0", "1", "2"), (0, 1, 2), ("2", "0", "1")):
        assert match_channels(numbered, COLOUR, chosen).take == tuple(map(int, chosen))
    assert match_channels(numbered, COLOUR, ("3", "1", "2")).take == (2, 0, 1)  # 3 can only be a name
    named = read_image(write_pages(tmp_path / "b.ome.tif", planes, ome(names=("DAPI", "dapi", "GFP"))))
    with pytest.raises(ValueError, match=r"2 channels of b are called DAPI; give the number: 0 or 1"):
        match_channels(named, COLOUR, ("DAPI",))
    assert match_channels(named, COLOUR, ("GFP",)).take == (2, 2, 2)


# ----------------------------------------------------------------------------------------------------------- broken off
def test_an_acquisition_that_was_stopped_has_the_planes_it_has(tmp_path: Path) -> None:
    image = read_image(write_pages(tmp_path / "a.ome.tif", [scene(number) for number in range(3)], ome({"T": 8})))
    assert (image.axes, image.data.shape) == ("TYX", (3, 48, 60))
    assert said(image, "announces 8 planes and holds 3")
    names = ("DAPI", "GFP")
    image = read_image(write_pages(tmp_path / "b.ome.tif", [scene(number) for number in range(5)], ome({"T": 8}, names=names)))
    assert (image.axes, image.data.shape, image.channel_names) == ("TCYX", (2, 2, 48, 60), names)
    np.testing.assert_array_equal(image.data[1, 1], scene(3))
    assert said(image, "holds 5", "4 are read")


@pytest.mark.parametrize("kind", ["imagej", "shaped", "compressed", "lazy"])
def test_a_copy_that_broke_off_has_the_planes_that_are_whole(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = np.stack([scene(number) for number in range(8)])
    options: dict[str, Any] = (
        {"imagej": True, "metadata": {"axes": "TYX"}} if kind in ("imagej", "lazy") else {"metadata": {"axes": "TYX"}}
    )
    if kind == "compressed":
        write_pages(tmp_path / "a.tif", list(pixels))
    else:
        tifffile.imwrite(tmp_path / "a.tif", pixels, **options)
    content = (tmp_path / "a.tif").read_bytes()
    (tmp_path / "a.tif").write_bytes(content[: len(content) * 55 // 100])
    if kind == "lazy":
        monkeypatch.setattr(tiff_pixels, "LAZY_BYTES", 10)
    image = read_image(tmp_path / "a.tif", "TYX")
    assert image.data.shape == (4, 48, 60)
    np.testing.assert_array_equal(np.asarray(image.data), pixels[:4])
    if kind != "compressed":
        assert said(image, "cut off", "8 planes")
    (tmp_path / "a.tif").write_bytes(content[: len(content) * 5 // 100])
    with pytest.raises(ValueError, match=r"a\.tif cannot be read as an image: "):
        read_image(tmp_path / "a.tif", "TYX")


def test_what_the_bytes_cannot_hold_is_refused(tmp_path: Path) -> None:
    """A TIFF of a few kB whose tags claim 12 million rows, and a PNG of a claim as large."""
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, scene(), compression="zlib", **PLAIN)
    with tifffile.TiffFile(path, mode="r+") as file:
        for name in ("ImageLength", "RowsPerStrip"):
            file.pages[0].tags[name].overwrite(12_000_000)
    with pytest.raises(ValueError, match=r"a\.tif .* 60 × 12000000 px, which its \d+ bytes cannot hold"):
        read_image(path)
    Image.fromarray(scene()).save(tmp_path / "b.png")
    content = bytearray((tmp_path / "b.png").read_bytes())
    content[16:24] = (2**28).to_bytes(4, "big") * 2
    (tmp_path / "b.png").write_bytes(content)
    with pytest.raises(ValueError, match=r"b\.png cannot be read as an image"):
        read_image(tmp_path / "b.png")


def test_a_large_picture_that_is_honest_is_read(tmp_path: Path) -> None:
    Image.new("1", (13400, 13400)).save(tmp_path / "large.png")
    image = read_image(tmp_path / "large.png")
    assert image.plane_shape == (13400, 13400)
    assert image.data.dtype == bool


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.gif", "a.bmp", "a.webp", "a.tif", "a.npy"])
def test_half_a_file_is_one_sentence(tmp_path: Path, name: str) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (64, 64), dtype=np.uint8)
    if name == "a.npy":
        np.save(tmp_path / name, noise)
    else:
        Image.fromarray(noise).save(tmp_path / name)
    content = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match=f"^{name} cannot be read as an image: "):
        read_image(tmp_path / name)


# ---------------------------------------------------------------------------------------------------- words for numbers
@pytest.mark.parametrize(
    ("sizes", "pixel_size", "note"),
    [
        ('PhysicalSizeX="0,5" PhysicalSizeY="0,25"', (0.25, 0.5), ""),
        ('PhysicalSizeX="wide" PhysicalSizeY="0.5"', None, "'wide'"),
        ('PhysicalSizeX="-1" PhysicalSizeY="0.5"', None, "'-1'"),
        ('PhysicalSizeX="nan" PhysicalSizeY="inf"', None, "pixel size"),
        ('PhysicalSizeX="0" PhysicalSizeY="0"', None, ""),
        ('PhysicalSizeX="500" PhysicalSizeXUnit="nm" PhysicalSizeY="5" PhysicalSizeYUnit="smoot"', None, "'smoot'"),
    ],
)
def test_damaged_sizes_cost_no_pixel(tmp_path: Path, sizes: str, pixel_size: Any, note: str) -> None:
    image = read_image(write_pages(tmp_path / "a.ome.tif", [scene()], ome(sizes=sizes)))
    np.testing.assert_array_equal(image.data, scene())
    assert image.pixel_size == pixel_size
    assert said(image, note) == bool(note)


@pytest.mark.parametrize(
    "damage",
    [
        (b'SizeT="1"', b'SizeT="x"'),
        (b"</OME>", b"</OM>"),
        (b"<Channel", b"<Chan nel"),
        (b"XYCZT", b"ABCDE"),
        (b"PlaneCount", b"P<aneCount"),
    ],
)
def test_damaged_ome_xml_costs_no_pixel(tmp_path: Path, damage: tuple[bytes, bytes]) -> None:
    words = ome().replace(*damage)
    assert words != ome()
    image = read_image(write_pages(tmp_path / "a.ome.tif", [scene()], words))
    np.testing.assert_array_equal(image.data, scene())
    assert image.notes


@pytest.mark.parametrize(
    ("words", "pixel_size", "z_step"),
    [
        ("unit=um\nspacing=unknown\n", (0.5, 0.5), None),
        ("unit=um\nimages=one\nslices=5\n", (0.5, 0.5), None),
        ("unit=um\nslices=-3\nframes=0\n", (0.5, 0.5), None),
        ("unit=um\nspacing=-2.0\n", (0.5, 0.5), 2.0),
        ("unit=um\nspacing=nan\n", (0.5, 0.5), None),
        ("unit=um\nspacing=3\n", (0.5, 0.5), 3.0),
    ],
)
def test_imagej_words_for_numbers_count_as_unknown(tmp_path: Path, words: str, pixel_size: Any, z_step: float | None) -> None:
    tifffile.imwrite(tmp_path / "a.tif", scene(), description=f"ImageJ=1.53t\n{words}", resolution=(2, 2), **PLAIN)
    image = read_image(tmp_path / "a.tif")
    np.testing.assert_array_equal(image.data.reshape(48, 60), scene())
    assert (image.pixel_size, image.z_step) == (pixel_size, z_step)


@pytest.mark.parametrize(
    ("unit", "size"),
    [
        ("um", 0.5), ("micrometers", 0.5), ("micrometre", 0.5), ("micrometres", 0.5), ("microns", 0.5), ("\\u00B5m", 0.5),
        ("nm", 5e-4), ("inches", 12700.0), ("inch", 12700.0), ("Millimeter", 500.0), ("metre", 5e5), ("pixel", None),
        ("pixels", None), ("", None),
    ],
)  # fmt: skip
def test_units_as_people_write_them(tmp_path: Path, unit: str, size: float | None) -> None:
    tifffile.imwrite(
        tmp_path / "a.tif", scene(), description=f"ImageJ=1.53t\nimages=1\nunit={unit}\n", resolution=(2, 2), **PLAIN
    )
    assert read_image(tmp_path / "a.tif").pixel_size == (None if size is None else (pytest.approx(size), pytest.approx(size)))


def test_lengths_and_times_are_told_apart() -> None:
    assert micrometres("meter") == 1e6
    assert all(micrometres(unit) is None for unit in ("second", "s", "frame", "um2", "metric"))
    assert all(is_time(unit) for unit in ("second", "seconds", "sec", "ms", "µs", "minutes", "h"))
    assert not any(is_time(unit) for unit in ("um", "m", "pixels", ""))


def test_a_damaged_block_of_a_picture_costs_no_pixel(tmp_path: Path) -> None:
    Image.fromarray(scene()).save(tmp_path / "a.png", exif=b"Exif\0\0damaged")
    image = read_image(tmp_path / "a.png")
    np.testing.assert_array_equal(image.data, scene())
    assert said(image, "EXIF", "ignored")
    content = bytearray((tmp_path / "a.png").read_bytes())
    content[content.index(b"eXIf") + 5] ^= 255  # its checksum is wrong now
    (tmp_path / "a.png").write_bytes(content)
    image = read_image(tmp_path / "a.png")
    np.testing.assert_array_equal(image.data, scene())
    assert said(image, "damaged", "ignored")


def test_what_tifffile_says_is_a_note(tmp_path: Path) -> None:
    path = write_pages(tmp_path / "a.tif", [scene(), scene(1)])
    content = bytearray(path.read_bytes())
    with tifffile.TiffFile(path) as file:
        place = file.pages[1].offset + 2 + 12 * len(file.pages[1].tags)
    content[place : place + 4] = (10**7).to_bytes(4, "little")  # a third page far beyond the end
    path.write_bytes(content)
    image = read_image(path, "TYX")
    assert image.data.shape == (2, 48, 60)
    assert said(image, "TIFF reader says", "invalid page offset")


# ------------------------------------------------------------------------------------------------------------------- zarr
def write_zarr(
    path: Path, *, unit: str | None = "micrometer", version: str = "0.5", more: Any = (), levels: int = 1, start: Any = None
) -> Any:
    steps: list[dict[str, Any]] = [{"type": "scale", "scale": [0.5, 0.25]}]
    if start is not None:
        steps.append({"type": "translation", "translation": list(start)})
    group = zarr.create_group(path, zarr_format=3 if version == "0.5" else 2)
    group.create_array("0", shape=(48, 60), dtype=np.uint8, chunks=(16, 16))[...] = scene()
    axes: list[dict[str, Any]] = [{"name": axis, "type": "space"} | ({"unit": unit} if unit else {}) for axis in "yx"]
    sets = [{"path": str(level), "coordinateTransformations": steps} for level in range(levels)]
    told = {"multiscales": [{"axes": axes, "datasets": sets, "version": version, "name": "first"}, *more]}
    group.attrs.update({"ome": told | {"version": version}} if version == "0.5" else told)
    return group


@pytest.mark.parametrize("version", ["0.4", "0.5"])
@pytest.mark.parametrize("unit", ["micrometer", None])
def test_an_ome_zarr_keeps_its_place(tmp_path: Path, version: str, unit: str | None) -> None:
    group = write_zarr(tmp_path / "a.ome.zarr", unit=unit, version=version, start=(100, 200))
    image = read_image(tmp_path / "a.ome.zarr")
    assert image.pixel_size == ((0.5, 0.25) if unit else None)
    place = image.mask_place
    assert place is not None
    assert (place.scale, place.translate, place.units) == ((0.5, 0.25), (100, 200), (unit or "",) * 2)
    part = image.part({"Y": slice(10, 40)})
    assert part.mask_place is not None
    assert part.mask_place.translate == (105, 200)
    told = group.attrs["ome"] if version == "0.5" else dict(group.attrs)
    told["multiscales"][0]["coordinateTransformations"] = [
        {"type": "scale", "scale": [2, 2]},
        {"type": "translation", "translation": [1, 1]},
    ]
    group.attrs.update({"ome": told} if version == "0.5" else told)
    place = read_image(tmp_path / "a.ome.zarr").mask_place  # what is said of the whole image comes after
    assert place is not None
    assert (place.scale, place.translate) == ((1.0, 0.5), (201, 401))
    assert read_image(tmp_path / "a.ome.zarr", pixel_size=(1, 1)).mask_place is None


@pytest.mark.parametrize(("unit", "start"), [("micrometer", (100.0, 200.0)), ("nanometer", None), (None, (7.0, -3.0))])
def test_a_mask_lies_where_its_image_does(tmp_path: Path, random_model: Any, unit: str | None, start: Any) -> None:
    write_zarr(tmp_path / "tile.ome.zarr", unit=unit, version="0.4", start=start)
    model = random_model.save(tmp_path / "m.safetensors")
    assert (
        main(["predict", str(tmp_path / "tile.ome.zarr"), "--model", str(model), "-o", str(tmp_path / "out"), "--device", "cpu"])
        == 0
    )
    told = zarr.open_group(tmp_path / "out" / "tile_mask.ome.zarr", mode="r").attrs["ome"]["multiscales"][0]
    steps = [{"type": "scale", "scale": [0.5, 0.25]}]
    assert told["datasets"][0]["coordinateTransformations"] == steps + (
        [{"type": "translation", "translation": list(start)}] if start else []
    )
    assert [axis.get("unit") for axis in told["axes"]] == [unit, unit]


def test_a_coarse_level_lies_over_the_pixels_that_it_covers(tmp_path: Path) -> None:
    group = write_zarr(tmp_path / "a.ome.zarr", start=(10, 20), levels=2)
    group.create_array("1", shape=(24, 30), dtype=np.uint8, chunks=(16, 16))[...] = scene()[::2, ::2]
    told = dict(group.attrs)
    told["ome"]["multiscales"][0]["datasets"][1]["coordinateTransformations"] = [{"type": "scale", "scale": [1.0, 0.5]}]
    group.attrs.update(told)
    place = read_image(tmp_path / "a.ome.zarr").at_level(1).mask_place
    assert place is not None
    assert (place.scale, place.translate) == ((1.0, 0.5), (10.25, 20.125))


def test_a_damaged_place_costs_no_pixel(tmp_path: Path) -> None:
    write_zarr(tmp_path / "a.ome.zarr", start=("far", None))
    image = read_image(tmp_path / "a.ome.zarr")
    assert (image.pixel_size, image.mask_place) == (None, None)
    assert said(image, "translation", "ignored")


def test_images_in_a_converted_file_a_plate_and_a_group(tmp_path: Path) -> None:
    root = zarr.create_group(tmp_path / "converted.zarr", attributes={"ome": {"version": "0.5", "bioformats2raw.layout": 3}})
    write_zarr(tmp_path / "converted.zarr" / "0")
    root.create_group("OME")
    image = read_image(tmp_path / "converted.zarr")
    np.testing.assert_array_equal(image.data[:], scene())
    assert (image.pixel_size, image.notes) == ((0.5, 0.25), ())
    write_zarr(tmp_path / "converted.zarr" / "1")
    assert said(read_image(tmp_path / "converted.zarr"), "2 images", "converted.zarr:1")
    assert read_image(f"{tmp_path / 'converted.zarr'}:1").name == "converted_1"
    plate = {"wells": [{"path": "A/1"}], "columns": [], "rows": []}
    root = zarr.create_group(tmp_path / "plate.zarr", attributes={"ome": {"version": "0.5", "plate": plate}})
    root.create_group("A/1", attributes={"ome": {"well": {"images": [{"path": "0"}, {"path": "1"}]}}})
    for field in "01":
        write_zarr(tmp_path / "plate.zarr" / "A" / "1" / field)
    assert said(read_image(tmp_path / "plate.zarr"), "A/1/0", "A/1/1", "plate.zarr:1")
    second = {"axes": [{"name": "y"}, {"name": "x"}], "datasets": [{"path": "0"}], "name": "second"}
    write_zarr(tmp_path / "two.zarr", more=[second])
    assert said(read_image(tmp_path / "two.zarr"), "0 (first), 1 (second)")
    assert read_image(f"{tmp_path / 'two.zarr'}:1").pixel_size is None
    assert len(find_images(f"{tmp_path / 'two.zarr'}:all").paths) == 2


def test_a_group_without_an_image_says_what_is_in_it(tmp_path: Path) -> None:
    zarr.create_group(tmp_path / "a.zarr").create_array("raw", shape=(48, 60), dtype=np.uint8)
    with pytest.raises(ValueError, match=r"no OME-Zarr image .* a\.zarr/raw"):
        read_image(tmp_path / "a.zarr")
    assert read_image(tmp_path / "a.zarr" / "raw").axes == "YX"
    zarr.create_group(tmp_path / "b.zarr").create_group("inner")
    with pytest.raises(ValueError, match=r"b\.zarr/inner"):
        read_image(tmp_path / "b.zarr")
    (tmp_path / "c.zarr").mkdir()
    with pytest.raises(ValueError, match="without zarr metadata"):
        read_image(tmp_path / "c.zarr")
    with pytest.raises(ValueError, match="is a folder of files"):
        read_image(tmp_path)


def test_a_copy_of_a_store_that_is_not_complete(tmp_path: Path) -> None:
    write_zarr(tmp_path / "a.ome.zarr", levels=2)
    image = read_image(tmp_path / "a.ome.zarr")
    np.testing.assert_array_equal(image.data[:], scene())
    assert said(image, "levels, 1 (missing)")
    next((tmp_path / "a.ome.zarr" / "0").rglob("c/*/*")).unlink()
    assert said(read_image(tmp_path / "a.ome.zarr"), "1 of its 12 chunks")


def test_a_store_that_is_all_claim_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ome_zarr, "_COUNTED", 10)
    array = zarr.create_array(tmp_path / "a.zarr", shape=(2**20, 2**20), chunks=(64, 64), dtype=np.uint8)
    array[:64, :64] = 1
    with pytest.raises(ValueError, match="1048576 × 1048576 px, but 1 of its"):
        read_image(tmp_path / "a.zarr")


def test_labels_beside_an_image_are_named(tmp_path: Path) -> None:
    group = write_zarr(tmp_path / "a.ome.zarr")
    group.create_group("labels", attributes={"ome": {"labels": ["nuclei"]}})
    assert said(read_image(tmp_path / "a.ome.zarr"), "labels/nuclei")


@pytest.mark.parametrize("version", [2, 3])
def test_names_of_dimensions_are_axes(tmp_path: Path, version: int) -> None:
    named: dict[str, Any] = (
        {"dimension_names": ["z", "y", "x"]} if version == 3 else {"attributes": {"_ARRAY_DIMENSIONS": ["z", "y", "x"]}}
    )
    zarr.create_array(tmp_path / "a.zarr", data=np.stack([scene()] * 3), zarr_format=version, **named)
    assert read_image(tmp_path / "a.zarr").axes == "ZYX"


# -------------------------------------------------------------------------------------------------------- files and folders
def test_folders_and_patterns_mean_their_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folder = Path("pictures")
    folder.mkdir()
    for number in (1, 2, 10):
        write_pages(folder / f"s{number}.tif", [scene()])
    write_zarr(folder / "z.ome.zarr")
    for stray in ("Thumbs.db", ".hidden.tif", "notes.txt"):
        (folder / stray).write_text("stray")
    (folder / "day2").mkdir()
    write_pages(folder / "day2" / "t.tif", [scene()])
    found = find_images("pictures")
    assert [path.name for path in found.paths] == ["s1.tif", "s2.tif", "s10.tif", "z.ome.zarr"]
    assert any("1 image(s) in subfolders" in note for note in found.notes)
    assert any("2 other file(s)" in note for note in found.notes)
    assert [path.name for path in find_images("pictures/s*.tif").paths] == ["s1.tif", "s2.tif", "s10.tif"]
    assert [path.name for path in find_images("pictures/**").paths] == ["t.tif", "s1.tif", "s2.tif", "s10.tif", "z.ome.zarr"]
    twice = find_images([folder / "s2.tif", "pictures/s?.tif"])
    assert [path.name for path in twice.paths] == ["s2.tif", "s1.tif"]
    write_pages(folder / "b[1].tif", [scene()])
    assert find_images("pictures/b[1].tif").paths == (folder / "b[1].tif",)
    assert find_images(["nothing.tif", "pictures/s1.tif"]).paths == (Path("nothing.tif"), folder / "s1.tif")
    (tmp_path / "empty").mkdir()
    for nothing in ("empty", "none*.tif"):
        with pytest.raises(FileNotFoundError, match="no image"):
            find_images(nothing)


def test_results_of_this_program_are_no_images(tmp_path: Path, random_model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    model = str(random_model.save(tmp_path / "m.safetensors"))
    write_pages(tmp_path / "a.tif", [scene()])
    write_pages(tmp_path / "other_mask.tif", [scene()])
    write_zarr(tmp_path / "b.ome.zarr")
    assert main(["predict", "a.tif", "b.ome.zarr", "--model", model, "--device", "cpu"]) == 0
    found = find_images(sorted([*Path().glob("*.tif"), *Path().glob("*.zarr")]))
    assert [path.name for path in found.paths] == ["a.tif", "b.ome.zarr", "other_mask.tif"]
    assert any("2 result(s) of this program" in note for note in found.notes)
    with pytest.raises(ValueError, match="no image but results"):
        find_images("a_mask.tif")


# ------------------------------------------------------------------------------------------------------------- brightness
def test_an_image_is_constant_only_if_it_is(random_model: Any) -> None:
    def notes(pixels: np.ndarray, axes: str = "YX") -> str:
        return " ".join(make_plan(random_model.card, from_array(pixels, axes), device="cpu").notes)

    dot = np.zeros((300, 300), np.uint8)
    assert "The image is constant" in notes(dot)
    dot[100:104, 100:104] = 200  # beyond the 99.9th percentile
    assert "constant" not in notes(dot)
    masks = [nr.predict(random_model, one, axes="YX", device="cpu").mask[90:114, 90:114] for one in (dot, dot * 0)]
    assert (masks[0] != masks[1]).any()  # the dot is there for the network, too
    large = np.zeros((2000, 2000), np.uint8)
    large[700:720, 650:690] = 99  # between the blocks that are sampled
    assert "constant" not in notes(large)
    assert "1 of 2 planes is blank (one value throughout" in notes(np.stack([np.zeros((40, 40)), np.eye(40)]), "ZYX")


def test_a_bright_spot_alone_is_told_to_be_clipped(random_model: Any) -> None:
    noise = np.random.default_rng(0).normal(10, 2, (300, 300)).clip(0).astype(np.uint8)
    assert not said(make_plan(random_model.card, from_array(noise, "YX"), device="cpu"), "clipped")
    noise[100:108, 100:109] = 190
    assert said(make_plan(random_model.card, from_array(noise, "YX"), device="cpu"), "clipped", "crop")


def test_masked_pixels_are_missing_pixels(random_model: Any) -> None:
    hidden = np.zeros((48, 60), bool)
    hidden[:20, :20] = True
    pixels = np.where(hidden, 255, scene())
    masked = np.ma.masked_array(pixels, hidden)
    results = [nr.predict(random_model, one, axes="YX", device="cpu") for one in (masked, np.where(hidden, np.nan, pixels))]
    np.testing.assert_array_equal(results[0].mask, results[1].mask)
    assert said(from_array(masked, "YX"), "masked")
    assert from_array(np.ma.masked_array(pixels, False), "YX").data.dtype == pixels.dtype


# -------------------------------------------------------------------------------------------------------- the cases themselves
CASES = Path(__file__).resolve().parents[3] / "shared" / "cases" / "make_cases.py"


@pytest.mark.skipif(not CASES.exists(), reason="the cases are not there")
def test_every_image_of_the_cases_can_be_read(tmp_path: Path) -> None:
    subprocess.run([sys.executable, CASES, tmp_path], check=True, capture_output=True)
    folders = sorted(path for path in tmp_path.iterdir() if path.is_dir())
    reference = read_image(next(tmp_path.glob("14-*/reference.tif"))).data
    for name in (
        "08-*/a.*f",
        "08-*/a.lsm",
        "14-*/white.tif",
        "16-*/alpha.*",
        "31-*/*.tif",
        "32-*/*.png",
        "30-*/*.tif",
        "52-*/*.zarr",
    ):
        for path in tmp_path.glob(name):
            np.testing.assert_array_equal(np.asarray(read_image(path).data).reshape(96, 96), reference, err_msg=str(path))
    assert len(folders) > 60
