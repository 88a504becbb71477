"""Any image: axes, kinds of arrays and dtypes; the answer is that of each plane alone."""

from __future__ import annotations

from typing import Any

import dask.array
import numpy as np
import pytest
import zarr

import napari_resformer as nr
from napari_resformer.images.image import from_array
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


@pytest.mark.parametrize(
    ("shape", "choices"), [((3, 40, 48), "CYX, ZYX, TYX"), ((2, 5, 40, 48), "TZYX, ZCYX"), ((4, 3, 9, 40, 48), "TZCYX, TCZYX")]
)
def test_what_is_ambiguous_is_one_question_with_its_answers(random_model, shape: tuple[int, ...], choices: str) -> None:
    with pytest.raises(ValueError, match=rf"ambiguous.*one letter a dimension.*{choices}"):
        nr.predict(random_model, np.zeros(shape, np.uint8), device="cpu")
