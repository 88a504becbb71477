"""The way from a plane to what the network sees, and back: for any part of it, in both modes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn.functional import interpolate

from napari_resformer.images.image import from_array
from napari_resformer.preprocessing.geometry import padded
from napari_resformer.preprocessing.normalise import Normalisation
from napari_resformer.preprocessing.pipeline import Preprocessor

SHAPES = [(40, 56), (96, 96), (96, 31), (150, 211)]


def preprocessor(mode: str, pixel_size: float | None = None, *, pads: bool = True) -> Preprocessor:
    return Preprocessor(("red", "green", "blue"), Normalisation(), mode, 96, pixel_size, pads_small_planes=pads)  # type: ignore[arg-type]


def image(shape: tuple[int, int], pixel_size: float | None = None):
    values = np.random.default_rng(shape).integers(0, 4000, (*shape, 3), dtype=np.uint16)
    return from_array(values, "YXC", pixel_size=pixel_size and (pixel_size, pixel_size))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("hold", [True, False])
@pytest.mark.parametrize(("mode", "size"), [("native", None), ("native", 0.4), ("native", 1.7), ("resize", None)])
def test_any_part_is_that_of_the_whole(mode: str, size: float | None, hold: bool, shape) -> None:
    plane = preprocessor(mode, 1.0).prepare(image(shape, size).plane(), hold=hold)
    whole = plane.read()
    assert whole.shape == (3, *plane.shape)
    assert whole.dtype == np.float32
    if mode == "native":  # resized noise is grayer
        assert (whole.min(), whole.max()) == (pytest.approx(-1, abs=0.05), pytest.approx(1, abs=0.05))
    rows, columns = slice(3, plane.shape[0] - 2), slice(1, plane.shape[1] // 2)
    np.testing.assert_allclose(plane.read(rows, columns), whole[:, rows, columns], atol=1e-5)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("mode", "size"), [("native", None), ("native", 0.4), ("native", 1.7), ("resize", None)])
def test_planes_are_resampled_as_torch_does(mode: str, size: float | None, shape) -> None:
    """Raw ones to the model's pixel size, normalised ones to the input size."""
    one = image(shape, size)
    plane = preprocessor(mode, 1.0).prepare(one.plane())
    raw = torch.from_numpy(one.plane().read().astype(np.float32))[None]
    to = {"size": plane.shape, "mode": "bilinear", "antialias": True}
    scale = lambda pixels: torch.from_numpy(plane.scaling.apply(pixels[0].numpy()))[None]  # noqa: E731
    expected = scale(interpolate(raw, **to)) if mode == "native" else interpolate(scale(raw), **to)
    np.testing.assert_allclose(plane.read(), expected[0].numpy(), atol=2e-3)


@pytest.mark.parametrize(
    ("mode", "pads", "shape", "frame"),
    [
        ("resize", True, (40, 56), (96, 96)), ("resize", True, (150, 211), (96, 96)),
        ("native", True, (40, 56), (96, 96)), ("native", True, (150, 56), (150, 96)), ("native", True, (150, 211), (150, 211)),
        ("native", False, (40, 56), (40, 56)), ("native", False, (8, 56), (32, 56)),
    ],
)  # fmt: skip
def test_the_frame_is_that_of_training_and_is_marked(mode: str, pads: bool, shape, frame) -> None:
    plane = preprocessor(mode, pads=pads).prepare(image(shape).plane())
    pixels, valid = plane.tensor()
    assert pixels.shape == (1, 3, *frame)
    assert valid.shape == (1, 1, *frame)
    assert valid.sum() == np.prod(plane.shape)
    np.testing.assert_array_equal(pixels[0, :, : plane.shape[0], : plane.shape[1]], plane.read())
    assert (pixels[0][:, valid[0, 0] == 0] == -1).all()


def test_a_tile_is_padded_only_where_it_is_the_whole_plane() -> None:
    native = preprocessor("native")
    assert native.frame((60, 60), (60, 500)) == (96, 32)
    assert native.frame((60, 500), (60, 500)) == (96, 32)
    assert preprocessor("resize").frame((60, 60), (60, 96)) == (96, 96)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("mode", "size"), [("native", None), ("native", 0.4), ("native", 1.7), ("resize", None)])
def test_an_answer_comes_back_to_the_planes_pixels(mode: str, size: float | None, shape) -> None:
    plane = preprocessor(mode, 1.0).prepare(image(shape, size).plane())
    _, valid = plane.tensor()
    answer = np.random.default_rng(0).normal(size=(2, *valid.shape[2:])).astype(np.float32)
    back = plane.restore(answer)
    cut = torch.from_numpy(answer[:, : plane.shape[0], : plane.shape[1]])[None]
    expected = interpolate(cut, size=shape, mode="bilinear", antialias=True)[0].numpy()
    assert back.shape == (2, *shape)
    np.testing.assert_allclose(back, expected, atol=1e-3)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("mode", "size"), [("native", None), ("native", 0.4), ("native", 1.7), ("resize", None)])
def test_a_mask_is_brought_to_the_nearest_pixels(mode: str, size: float | None, shape) -> None:
    plane = preprocessor(mode, 1.0).prepare(image(shape, size).plane())
    mask = np.random.default_rng(0).integers(0, 5, shape, dtype=np.uint8)
    expected = interpolate(torch.from_numpy(mask)[None, None].float(), size=plane.shape, mode="nearest-exact")[0, 0]
    assert (plane.labels(mask) != expected.numpy()).mean() < 0.02  # but for pixels that are equally near


def test_statistics_that_are_known_are_not_taken_again() -> None:
    prepare = preprocessor("native").prepare
    dark, bright = image((40, 56)), from_array(np.full((40, 56, 3), 4000, np.uint16), "YXC")
    known = prepare(dark.plane()).scaling
    np.testing.assert_allclose(prepare(bright.plane(), scaling=known).read(), 1)
    assert (prepare(bright.plane()).read() == -1).all()


@pytest.mark.parametrize("size", [(0.001, "would become"), (40.0, "check the pixel size")])
def test_a_pixel_size_that_must_be_wrong_is_refused(size) -> None:
    with pytest.raises(ValueError, match=size[1]):
        preprocessor("native", 1.0).grid(image((100, 100), size[0]))


@pytest.mark.parametrize(
    ("mode", "zoom", "words"), [("native", 30, "out of range"), ("native", 0.07, "become"), ("resize", 1, "leave it out")]
)
def test_a_zoom_that_cannot_be_used_is_refused(mode: str, zoom: float, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        preprocessor(mode).grid(image((100, 100)), zoom)


def test_channels_lie_last_in_memory() -> None:
    stacked = padded([np.ones((3, 4, 5), np.float32)] * 2, (8, 2))
    assert stacked.shape == (2, 3, 8, 5)
    assert torch.from_numpy(stacked).is_contiguous(memory_format=torch.channels_last)
    assert (stacked[:, :, 4:] == -1).all()
