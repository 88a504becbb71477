"""Any image: axes, kinds of arrays and dtypes; the answer is that of each plane alone."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import dask.array
import numpy as np
import pytest
import zarr

import napari_resformer as nr
from napari_resformer.cli import main
from napari_resformer.images.axes import guess_axes
from napari_resformer.images.image import from_array
from napari_resformer.images.layers import from_layer
from napari_resformer.model.file import Model
from napari_resformer.network import ResFormer
from napari_resformer.prediction.plan import make_plan

SIZES = {"T": 2, "Z": 3, "C": 3, "Y": 40, "X": 48}
AXES = ["YX", "ZYX", "TYX", "TZYX", "CYX", "YXC", "TZCYX", "ZYXC", "CZYX"]
KINDS = ["numpy", "dask", "zarr", "multiscale"]
DTYPES = [np.uint8, np.uint16, np.int32, np.float32, bool]


def pixels(axes: str, dtype: Any) -> np.ndarray:
    values = np.random.default_rng(4).random([SIZES[axis] for axis in axes])
    if dtype is bool:
        return values > 0.6
    return (values * {np.uint8: 255, np.uint16: 4000, np.int32: 9e6, np.float32: 3.5}[dtype] - (dtype is np.int32) * 1e6).astype(
        dtype
    )


def wrapped(array: np.ndarray, axes: str, kind: str) -> Any:
    """Return the array, or the image, as a kind of array that is not read before it must be."""
    chunks = tuple(1 if axis in "TZ" else 20 for axis in axes)
    if kind == "dask":
        return dask.array.from_array(array, chunks=chunks)
    if kind == "zarr":
        return zarr.array(array, chunks=chunks)
    if kind == "multiscale":
        half = tuple(slice(None, None, 2) if axis in "YX" else slice(None) for axis in axes)
        levels = [zarr.array(array, chunks=chunks), dask.array.from_array(array[half])]
        return from_array(levels[0], axes, pyramid=levels)
    return array


# Each kind of array meets each dtype, and each axes meet several of both.
CASES = [
    (axes, KINDS[(number + step) % len(KINDS)], DTYPES[(2 * number + step) % len(DTYPES)])
    for number, axes in enumerate(AXES)
    for step in (0, 1, 2, 5)
]


@pytest.mark.parametrize(("axes", "kind", "dtype"), CASES, ids=lambda value: getattr(value, "__name__", value))
def test_every_plane_gets_its_own_answer(random_model, axes: str, kind: str, dtype: Any) -> None:
    array = pixels(axes, dtype)
    result = nr.predict(random_model, wrapped(array, axes, kind), axes=axes, device="cpu")
    loops = tuple(SIZES[axis] for axis in axes if axis in "TZ")
    assert result.mask.shape == (*loops, 40, 48)
    assert result.scores.shape == (*loops, 3)
    assert result.provenance["plane_axes"] == "".join(axis for axis in axes if axis in "TZ")
    assert sum(result.pixels) == result.mask.size
    channels = np.moveaxis(array, axes.index("C"), -1) if "C" in axes else np.repeat(array[..., None], 3, -1)
    planes = channels.reshape(-1, 40, 48, 3)
    for number, plane in enumerate(planes[:: max(len(planes) - 1, 1)]):  # the first and the last
        alone = nr.predict(random_model, plane, axes="YXC", device="cpu")
        place = number * (len(planes) - 1)
        assert (result.mask.reshape(-1, 40, 48)[place] != alone.mask).mean() < 1e-3  # passes of several planes round otherwise
        np.testing.assert_allclose(result.scores.reshape(-1, 3)[place], alone.scores, atol=1e-5)
    assert len({tuple(scores) for scores in result.scores.reshape(-1, 3).round(7)}) == len(planes)  # none twice


def test_axes_of_one_entry_do_not_matter(random_model) -> None:
    plane = pixels("YX", np.uint16)
    alone = nr.predict(random_model, plane, device="cpu")
    for shape in [(1, 40, 48), (1, 1, 40, 48), (1, 1, 1, 40, 48)]:
        result = nr.predict(random_model, plane.reshape(shape), device="cpu")
        np.testing.assert_array_equal(np.squeeze(result.mask), alone.mask)


def test_channels_by_name_and_in_another_order(random_model) -> None:
    array = pixels("CYX", np.uint8)
    named = from_array(array, "CYX", channel_names=("DAPI", "GFP", "Cy5"))
    plan = make_plan(random_model.card, named, channels=["cy5", "1", 0], device="cpu")
    assert plan.channels.take == (2, 1, 0)
    assert "Cy5 as red, GFP as green, DAPI as blue" in plan.lines()[1]
    chosen = nr.predict(random_model, named, channels=["Cy5", 1, "dapi"], device="cpu")
    np.testing.assert_array_equal(chosen.mask, nr.predict(random_model, array[::-1], axes="CYX", device="cpu").mask)
    with pytest.raises(ValueError, match=r"no channel 'RFP'.*DAPI, GFP, Cy5"):
        nr.predict(random_model, named, channels=["RFP", "GFP", "DAPI"], device="cpu")


@pytest.mark.parametrize("axes", ["XY", "YXZ", "XYC", "TYXZ", "CXYZ"])
def test_axes_may_have_any_order(random_model, axes: str) -> None:
    array = pixels(axes, np.uint16)
    usual = sorted(axes, key="TZYXC".index)
    expected = nr.predict(random_model, array.transpose([axes.index(axis) for axis in usual]), axes="".join(usual), device="cpu")
    result = nr.predict(random_model, array, axes=axes, device="cpu")
    loops, kept = [axis for axis in usual if axis != "C"], axes.replace("C", "")
    np.testing.assert_array_equal(result.mask, expected.mask.transpose([loops.index(axis) for axis in kept]))
    np.testing.assert_array_equal(result.scores, expected.scores)


@pytest.mark.parametrize(
    ("shape", "axes"),
    [
        ((64, 64, 1), "YXC"), ((1, 64, 64, 1), "PYXC"), ((1, 64, 64, 3), "PYXC"), ((64, 1, 64), "YPX"), ((64, 64, 3), "YXC"),
        ((1, 1, 9, 64, 64), "PTZYX"), ((9, 1, 64, 64), "ZPYX"), ((5, 1, 9, 64, 64), "TPZYX"), ((1, 1), "YX"), ((1, 64), "YX"),
    ],
)  # fmt: skip
def test_axes_of_one_entry_do_not_matter_to_the_guess(shape: tuple[int, ...], axes: str) -> None:
    assert guess_axes(shape) == axes


@pytest.mark.parametrize("shape", [(1,) * 5 + (64, 64), (1, 3, 64, 64), (5, 6, 7, 64, 64), (2, 1, 64, 64)])
def test_what_the_shape_does_not_tell_is_never_guessed(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="ambiguous"):
        guess_axes(shape)


def layer(shape: tuple[int, ...], units: tuple[str, ...], scale: tuple[float, ...], labels: tuple[str, ...] = ()) -> Any:
    """Return what is read of a napari layer."""
    ndim = len(units)
    labels = labels or tuple(f"axis {place - ndim}" for place in range(ndim))
    return SimpleNamespace(
        data=np.zeros(shape, np.uint8), multiscale=False, rgb=len(shape) > ndim, ndim=ndim, name="layer",
        axis_labels=labels, units=units, scale=scale,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("shape", "units", "scale", "axes"),
    [
        ((3, 40, 48), ("second", "pixel", "pixel"), (1, 1, 1), "TYX"),
        ((9, 40, 48), ("millisecond", "nanometer", "nanometer"), (1, 1, 1), "TYX"),
        ((3, 40, 48), ("micrometer",) * 3, (2, 0.5, 0.5), "ZYX"),
        ((2, 3, 40, 48), ("second", *("micrometer",) * 3), (1, 2, 0.5, 0.5), "TZYX"),
        ((2, 40, 48, 3), ("second", "pixel", "pixel"), (1, 1, 1), "TYXC"),
        ((3, 40, 48), ("micrometer",) * 3, (1, 0.5, 0.5), None),  # channels could have been given the unit of the layer
        ((3, 40, 48), ("pixel",) * 3, (2, 0.5, 0.5), None),
        ((2, 3, 40, 48), ("second", *("pixel",) * 3), (1, 1, 1, 1), None),
    ],
)
def test_units_name_the_axes_that_the_shape_does_not(shape, units, scale, axes: str | None) -> None:
    if axes is None:
        with pytest.raises(ValueError, match="ambiguous"):
            from_layer(layer(shape, units, scale))
    else:
        assert from_layer(layer(shape, units, scale)).axes == axes


@pytest.mark.parametrize(
    ("labels", "axes"),
    [
        (("Z", "Y", "X"), "ZYX"), (("channel", "y", "x"), "CYX"), (("time", "row", "column"), "TYX"), (("ch", "y", "x"), "CYX"),
        ((" t ", "Y", "X"), "TYX"), (("y", "x", "wavelength"), "YXC"), (("position", "height", "width"), "PYX"),
    ],
)  # fmt: skip
def test_axis_labels_in_other_spellings(labels: tuple[str, ...], axes: str) -> None:
    shape = (40, 48, 3) if axes.endswith("C") else (3, 40, 48)
    assert from_layer(layer(shape, ("second", "pixel", "pixel"), (1, 1, 1), labels)).axes == axes  # labels come first


@pytest.mark.parametrize(("unit", "size"), [("pixel", None), ("micrometer", 0.5), ("nanometer", 5e-4)])
def test_the_pixel_size_is_the_layers(unit: str, size: float | None) -> None:
    image = from_layer(layer((9, 40, 48), (unit,) * 3, (2, 0.5, -0.5)))
    assert image.pixel_size == (None if size is None else (size, size))
    assert image.z_step == (None if size is None else 4 * size)


@pytest.mark.parametrize("size", [np.float32(0.5), np.array([0.5, 0.5]), [0.5, 0.5]])
def test_a_pixel_size_in_any_number(random_model, size: Any) -> None:
    result = nr.predict(random_model, pixels("YX", np.uint8), pixel_size=size, device="cpu")
    assert result.provenance["image"]["pixel_size"] == [0.5, 0.5]


@pytest.mark.parametrize("size", [(1, 2, 3), (0.5,), "0.5", -1, float("nan"), 0, (1, float("inf"))])
def test_a_pixel_size_that_is_none_is_refused_in_words(random_model, size: Any) -> None:
    with pytest.raises(ValueError, match="pixel size"):
        nr.predict(random_model, pixels("YX", np.uint8), pixel_size=size, device="cpu")


def test_a_tensor_is_refused_in_words(random_model) -> None:
    import torch

    with pytest.raises(TypeError, match=r"torch\.float32; give a numpy, dask or zarr array"):
        nr.predict(random_model, torch.zeros(40, 48), device="cpu")


# ------------------------------------------------------------------------------------------------------ values of pixels
@pytest.mark.parametrize("size", [None, 0.8], ids=["as it is", "resampled"])
@pytest.mark.parametrize(
    ("dtype", "offset", "factor"),
    [("u4", 2**31, 1), ("i8", -(2**45), 1), ("f8", 1e12, 1), ("f8", 0, 1e300), (">u2", 0, 1), (">f4", 0, 1)],
)  # fmt: skip
def test_large_values_that_differ_by_little_are_told_apart(random_model, dtype, offset, factor, size) -> None:
    model = Model(random_model.card.model_copy(update={"pixel_size": 1.0}), random_model.network)
    values = np.random.default_rng(7).integers(0, 1000, (40, 48))
    expected = nr.predict(model, values.astype(np.uint16), pixel_size=size, device="cpu")
    given = values.astype(dtype) * factor + np.dtype(dtype).type(offset)
    given.flags.writeable = False
    result = nr.predict(model, given, pixel_size=size, device="cpu")
    assert (result.mask != expected.mask).mean() < 2e-3
    np.testing.assert_allclose(result.scores, expected.scores, atol=1e-4)


@pytest.mark.parametrize("where", ["all but the middle", "the corner", "between the samples"])
def test_a_large_image_may_have_missing_parts(random_model, where: str) -> None:
    part = {"all but the middle": (slice(400, 700),) * 2, "the corner": (slice(400, None), slice(None)),
            "between the samples": (slice(1400, 1450), slice(1450, 1500))}[where]  # fmt: skip
    shape = (2200, 2200) if where == "between the samples" else (1100, 1100)
    image = np.full(shape, np.nan, np.float32)
    image[part] = np.random.default_rng(8).random(image[part].shape)
    plan = make_plan(random_model.card, from_array(image, "YX"), device="cpu")
    assert plan.brightness[0] == pytest.approx(0, abs=0.01)
    assert plan.brightness[-1] == pytest.approx(1, abs=0.01)
    assert "of the pixels are NaN or infinite" in " ".join(plan.notes)
    image[part] = np.nan
    with pytest.raises(ValueError, match="no finite pixel"):
        make_plan(random_model.card, from_array(image, "YX"), device="cpu")


def test_a_black_corner_makes_no_image_constant(random_model) -> None:
    image = np.zeros((1000, 1000), np.uint16)
    image[600:, 600:] = np.random.default_rng(9).integers(0, 4000, (400, 400))
    assert "constant" not in " ".join(make_plan(random_model.card, from_array(image, "YX"), device="cpu").notes)


@pytest.mark.parametrize("blank", [0, 1, 2])
def test_a_plane_without_pixels_costs_no_other(random_model, blank: int) -> None:
    stack = pixels("ZYX", np.float32)
    expected = [nr.predict(random_model, plane, device="cpu") for plane in stack]
    stack[blank] = np.nan
    result = nr.predict(random_model, stack, axes="ZYX", device="cpu")
    for number, alone in enumerate(expected):
        if number != blank:
            assert (result.mask[number] != alone.mask).mean() < 1e-3
            np.testing.assert_allclose(result.scores[number], alone.scores, atol=1e-5)
    notes = " ".join(make_plan(random_model.card, from_array(stack, "ZYX"), device="cpu").notes)
    assert ("The first plane has no finite pixel" in notes) == (blank == 0)
    with pytest.raises(ValueError, match="no finite pixel"):
        nr.predict(random_model, np.full_like(stack, np.nan), axes="ZYX", device="cpu")


@pytest.mark.parametrize(
    ("shape", "choices"), [((3, 40, 48), "CYX, ZYX, TYX"), ((2, 5, 40, 48), "TZYX, ZCYX"), ((4, 3, 9, 40, 48), "TZCYX, TCZYX")]
)
def test_what_is_ambiguous_is_one_question_with_its_answers(random_model, shape: tuple[int, ...], choices: str) -> None:
    with pytest.raises(ValueError, match=rf"ambiguous.*one letter per dimension.*{choices}"):
        nr.predict(random_model, np.zeros(shape, np.uint8), device="cpu")


@pytest.mark.parametrize(
    ("shape", "axes"),
    [
        ((2, 40, 48), "CYX"), ((40, 48, 2), "YXC"), ((2, 3, 40, 48), "CZYX"), ((3, 2, 40, 48), "ZCYX"),
        ((4, 3, 2, 40, 48), "TZCYX"), ((1, 2, 40, 48), "PCYX"), ((40, 48), "YX"), ((9, 40, 48), "ZYX"),
    ],
)  # fmt: skip
def test_a_model_of_two_channels_settles_the_axes(shape: tuple[int, ...], axes: str) -> None:
    assert guess_axes(shape, channels=2) == axes


@pytest.mark.parametrize("shape", [(2, 2, 40, 48), (2, 40, 48, 2), (3, 40, 48), (5, 4, 3, 2, 40, 48)])
def test_a_model_of_two_channels_does_not_settle_all(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="ambiguous"):
        guess_axes(shape, channels=2)


def test_the_channels_that_a_model_needs(random_model, tmp_path) -> None:
    config = random_model.card.network.model_copy(update={"in_channels": 2})
    card = random_model.card.model_copy(update={"network": config, "channels": ("DAPI", "GFP")})
    pair = Model(card, ResFormer(config).eval())
    assert (card.needed_channels, random_model.card.needed_channels) == (2, 0)
    stack = np.random.default_rng(0).random((2, 40, 48))
    named, found = (nr.predict(pair, stack, axes=axes, device="cpu") for axes in ("CYX", None))
    assert found.mask.shape == (40, 48)
    np.testing.assert_array_equal(found.scores, named.scores)
    with pytest.raises(ValueError, match="ambiguous"):  # two channels of some: which of the axes has them?
        nr.predict(pair, stack, channels=[1, 0], device="cpu")
    pair.save(tmp_path / "pair.safetensors")
    np.save(tmp_path / "stack.npy", stack)
    command = ["predict", tmp_path / "stack.npy", "--model", tmp_path / "pair.safetensors", "-o", tmp_path / "out"]
    assert main([*map(str, command), "--device", "cpu"]) == 0


# ------------------------------------------------------------------------------------------------------------ blank planes
@pytest.mark.parametrize("nothing", [7, np.nan])
@pytest.mark.parametrize(("axes", "shape"), [("ZYX", (4, 40, 48)), ("TZYX", (2, 2, 40, 48)), ("ZCYX", (4, 3, 40, 48))])
def test_a_plane_that_shows_nothing_is_told_in_plan_and_result(
    random_model, axes: str, shape: tuple[int, ...], nothing: Any
) -> None:
    stack = np.random.default_rng(0).random(shape).astype(np.float32)
    stack.reshape(4, -1)[2] = nothing
    where = {"ZYX": "Z2", "TZYX": "T1 Z0", "ZCYX": "Z2"}[axes]
    plan = make_plan(random_model.card, from_array(stack, axes), device="cpu")
    result = nr.predict(random_model, stack, axes=axes, device="cpu")
    for notes in (plan.notes, result.notes):
        told = f"1 of 4 planes is blank (one value throughout, or no finite pixel): {where}; its mask and scores mean nothing"
        assert notes.count(told) == 1
    assert result.blank.ravel().tolist() == [False, False, True, False]
    assert result.blank.shape == result.scores.shape[:-1]
    assert not nr.predict(random_model, stack[:1], axes=axes, device="cpu").blank.any()
