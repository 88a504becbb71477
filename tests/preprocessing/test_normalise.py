"""Brightness statistics: counted or sorted they are the same, and so are pixels that were looked up or computed."""

from __future__ import annotations

import numpy as np
import pytest

from napari_resformer.preprocessing.channels import ChannelRule
from napari_resformer.preprocessing.normalise import Normalisation, Scaling, measure
from napari_resformer.preprocessing.pipeline import HeldPlane

RGB = ChannelRule((0, 1, 2), "as is", "")
RULES = {
    "rgb": RGB,
    "other order": ChannelRule((2, 0), "as is", ""),
    "gray to colour": ChannelRule((1, 1, 1), "gray to colour", ""),
    "colour to gray": ChannelRule((0, 1, 2), "colour to gray", ""),
}


def plane(dtype: str, side: int = 40) -> HeldPlane:
    values = np.random.default_rng(5).gamma(2, 20, (3, side, side + 3)) * np.array([1, 2, 3])[:, None, None]
    return HeldPlane(values.clip(0, 255).astype(dtype), "a plane")


@pytest.mark.parametrize("per_channel", [True, False])
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize(
    ("dtype", "side"), [("uint8", 40), ("uint8", 9), ("uint16", 300), (">u2", 300), ("int16", 40), ("f4", 40)]
)
def test_percentiles_are_those_of_numpy(dtype: str, side: int, rule: str, per_channel: bool) -> None:
    one, how = plane(dtype, side), RULES[rule]
    normalisation = Normalisation(low=1, high=98.7, per_channel=per_channel)
    found = measure(one, how, normalisation)
    pixels = how.apply(one.pixels).reshape(1 if rule == "colour to gray" else len(how.take), -1)
    low, high = np.percentile(pixels.astype(float), (1, 98.7), axis=1 if per_channel else None)
    np.testing.assert_allclose(found.low, np.broadcast_to(low, len(pixels)), rtol=1e-6)
    np.testing.assert_allclose(found.high, np.broadcast_to(high, len(pixels)), rtol=1e-6)
    assert (found.nonfinite, found.sampled) == (0, 1)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "f4"])
def test_pixels_that_are_looked_up_are_those_computed(dtype: str, rule: str) -> None:
    one, how = plane(dtype), RULES[rule]
    scaling = measure(one, how, Normalisation(per_channel=True))
    found = scaling.of_raw(one.pixels, how)
    np.testing.assert_array_equal(found, scaling.apply(how.apply(one.pixels)))
    assert found.dtype == np.float32
    assert (found.min(), found.max()) == (-1, 1)


def test_a_constant_plane_is_background() -> None:
    constant = HeldPlane(np.full((3, 40, 40), 7, np.uint8), "constant")
    scaling = measure(constant, RGB, Normalisation())
    assert (scaling.of_raw(constant.pixels, RGB) == -1).all()


def test_a_sample_of_a_large_plane_spans_it() -> None:
    """And is counted as it would be sorted."""
    one = plane("uint8", 400)
    whole, sampled = measure(one, RGB, Normalisation()), measure(one, RGB, Normalisation(), 10_000)
    assert whole.sampled == 1
    assert 0.03 < sampled.sampled < 0.1
    as_floats = measure(HeldPlane(one.pixels.astype(np.float32), ""), RGB, Normalisation(), 10_000)
    np.testing.assert_allclose(sampled.high, as_floats.high, rtol=1e-6)
    np.testing.assert_allclose(sampled.high, whole.high, rtol=0.2)


def test_scaling_is_the_same_for_any_part() -> None:
    one = plane("uint8")
    scaling = Scaling(np.full(3, 10.0), np.full(3, 90.0), 0, 1, np.zeros(3), np.full(3, 255.0), np.ones(3, bool))
    whole = scaling.of_raw(one.pixels, RGB)
    np.testing.assert_array_equal(scaling.of_raw(one.pixels[:, 3:9, 4:5], RGB), whole[:, 3:9, 4:5])  # fewer pixels than values
