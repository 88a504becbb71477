"""Any layer: its axes, kind of array and dtype; the labels are those of each plane alone, and lie on their pixels."""

from __future__ import annotations

from typing import Any

import dask.array
import numpy as np
import pytest

pytest.importorskip("napari")

import zarr
from napari.components import ViewerModel

from napari_resformer import load_model, predict

pytestmark = pytest.mark.filterwarnings("ignore:Conversion from CIE-LAB")
SIZES = {"T": 2, "Z": 3, "C": 3, "Y": 32, "X": 40}
UNITS = {"T": "second", "Z": "micrometer", "C": "pixel", "Y": "micrometer", "X": "nanometer"}
AXES = ["YX", "ZYX", "TYX", "TZYX", "CYX", "YXC", "TZCYX", "ZCYX", "rgb YXC", "rgb ZYXC"]
KINDS = ["numpy", "dask", "zarr", "multiscale"]
DTYPES = [np.uint8, np.uint16, np.int32, np.float32, bool]
# All axes meet all kinds of arrays, and each of these all dtypes.
CASES = [
    (axes, kind, DTYPES[(number + step) % len(DTYPES)]) for number, axes in enumerate(AXES) for step, kind in enumerate(KINDS)
]


def pixels(axes: str, dtype: Any) -> np.ndarray:
    values = np.random.default_rng(4).random([SIZES[axis] for axis in axes])
    if dtype is bool:
        return values > 0.6
    most = {np.uint8: 255, np.uint16: 4000, np.int32: 9e6, np.float32: 1}[dtype]
    return (values * most - (dtype is np.int32) * 1e6).astype(dtype)


def wrapped(array: np.ndarray, axes: str, kind: str) -> Any:
    chunks = tuple(1 if axis in "TZ" else 20 for axis in axes)
    if kind == "dask":
        return dask.array.from_array(array, chunks=chunks)
    if kind == "zarr":
        return zarr.array(array, chunks=chunks)
    if kind == "multiscale":
        half = tuple(slice(None, None, 2) if axis in "YX" else slice(None) for axis in axes)
        return [zarr.array(array, chunks=chunks), dask.array.from_array(array[half])]
    return array


def place(axes: str) -> dict[str, Any]:
    """Return a place in the world that nothing agrees with by chance."""
    ndim = len(axes)
    turn = np.deg2rad(20)
    rotate, shear, affine = np.eye(ndim), np.eye(ndim), np.eye(ndim + 1)
    rotate[-2:, -2:] = [[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]
    shear[-2, -1] = 0.3
    affine[:ndim, -1] = np.arange(ndim) - 2.5
    return {
        "scale": np.linspace(0.4, 2, ndim), "translate": np.arange(ndim) * 7.0, "rotate": rotate, "shear": shear,
        "affine": affine, "units": [UNITS[axis] for axis in axes], "axis_labels": tuple(axes.lower()),
    }  # fmt: skip


@pytest.mark.parametrize(("axes", "kind", "dtype"), CASES, ids=lambda value: getattr(value, "__name__", value))
def test_labels_are_those_of_each_plane_and_lie_on_it(make_widget: Any, run: Any, axes: str, kind: str, dtype: Any) -> None:
    rgb, axes = axes.startswith("rgb "), axes.removeprefix("rgb ")
    shown = axes[:-1] if rgb else axes
    array, viewer = pixels(axes, dtype), ViewerModel()
    image = viewer.add_image(
        wrapped(array, axes, kind), multiscale=kind == "multiscale", rgb=rgb, name="any", contrast_limits=(0, 1), **place(shown)
    )
    widget = make_widget(viewer)
    assert widget.axes.value == axes
    run(widget)
    assert widget.message.startswith("Done"), widget.message
    labels = viewer.layers[-1]
    assert not labels.multiscale
    kept = shown.removeprefix("C")
    assert labels.ndim == len(kept)
    stored = labels.metadata["napari_resformer"]
    scores, loops = np.asarray(stored["scores"]), stored["plane_axes"]
    assert loops == "".join(axis for axis in axes if axis in "TZ")
    model = load_model("tiny")
    for index in np.ndindex(*(SIZES[axis] for axis in loops)):
        at = dict(zip(loops, index, strict=True))
        plane = array[tuple(at.get(axis, slice(None)) for axis in axes)]
        alone = predict(model, plane, axes="".join(axis for axis in axes if axis not in loops), device="cpu")
        np.testing.assert_allclose(scores[index], alone.scores, atol=1e-5)
        for channel in range(SIZES["C"] if "C" in kept else 1):
            found = np.asarray(labels.data[tuple((at | {"C": channel}).get(axis, slice(None)) for axis in kept)])
            assert (found != alone.mask).mean() < 2e-3  # passes of several planes round otherwise
    rng = np.random.default_rng(5)
    for _ in range(4):
        pixel = {axis: int(rng.integers(SIZES[axis])) for axis in shown}
        in_image = image.data_to_world([pixel[axis] for axis in shown])
        assert np.allclose(labels.data_to_world([pixel[axis] for axis in kept]), np.asarray(in_image)[-labels.ndim :])
    assert labels.units == image.units[-labels.ndim :]
    assert labels.axis_labels == image.axis_labels[-labels.ndim :]
