"""Arrays that are read where they are asked for answer as numpy does."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest

from napari_resformer.images.lazy import LargestAlong, LazyArray, SparsePlanes, Window

RNG = np.random.default_rng(0)
VALUES = RNG.integers(0, 1000, (3, 4, 30, 31))
KEYS: list[Any] = [
    (0, 1),
    -1,
    ...,
    (2, ..., slice(0, 3)),
    (slice(None), 2, slice(3, None, 4), -1),
    (1, slice(1, 3), slice(5, 90), slice(4, 4)),
    (np.int64(2), 3, 4, 5),
]


def window() -> tuple[LazyArray, np.ndarray]:
    parts = (slice(0, 3), slice(0, 4), slice(2, 29), slice(5, 31))
    return Window(VALUES, parts), VALUES[parts]


def largest() -> tuple[LazyArray, np.ndarray]:
    deep = RNG.integers(0, 9, (3, 2, 4, 30, 31))
    return LargestAlong(deep, 1), deep.max(axis=1)


def sparse() -> tuple[LazyArray, np.ndarray]:
    plain = np.zeros_like(VALUES)
    planes = SparsePlanes(VALUES.shape, (2, 3))
    for index in np.ndindex(3, 4):
        plain[index] = VALUES[index] * (sum(index) % 2)
        planes.put(index, plain[index])
    return planes, plain


@pytest.mark.parametrize("key", KEYS, ids=str)
@pytest.mark.parametrize("make", [window, largest, sparse])
def test_any_part_is_that_of_the_plain_array(make: Any, key: Any) -> None:
    array, plain = make()
    assert (array.shape, array.ndim) == (plain.shape, plain.ndim)
    assert np.array_equal(array[key], plain[key])
    assert np.array_equal(pickle.loads(pickle.dumps(array))[key], plain[key])


@pytest.mark.parametrize("make", [window, largest, sparse])
def test_numpy_takes_the_whole(make: Any) -> None:
    array, plain = make()
    assert np.array_equal(np.asarray(array), plain)
    assert np.asarray(array, dtype=float).dtype == float


@pytest.mark.parametrize("key", [(3,), (0, 0, 0, 0, 0), (slice(None, None, -1),), (0, -5)], ids=str)
def test_what_is_not_there_is_an_index_error(key: Any) -> None:
    array, _ = window()
    with pytest.raises(IndexError):
        array[key]


def test_planes_are_copied_and_blank_ones_take_no_memory() -> None:
    labels = np.zeros((5, 40, 41), np.int64)
    labels[2, 4, 4], labels[4, 0, 0] = 3, 1000
    copy = SparsePlanes(labels.shape, (1, 2))
    for index in range(5):
        copy.put((index,), labels[index])
    before = labels.copy()
    labels[:] = 7
    assert np.array_equal(copy[...], before)
    assert len(pickle.dumps(copy)) < 30_000  # of 65,600 bytes: one plane of single bytes, one of int64
