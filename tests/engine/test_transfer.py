"""Arrays of the caller in a worker process, and results on their way back."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dask.array as da
import jobs_for_tests as jobs
import numpy as np
import psutil
import pytest
import zarr
from hearing import Heard, wait_until

from napari_resformer.engine.job import Job
from napari_resformer.engine.process import ProcessEngine
from napari_resformer.engine.shelf import Shelf
from napari_resformer.images.lazy import Window
from napari_resformer.io.colour import as_shown
from napari_resformer.io.lazy import turned
from napari_resformer.io.metadata import Found, Samples

KEYS: list[Any] = [
    (), ..., 3, -1, slice(None), slice(5, 50, 7), slice(50, 5, -7), slice(None, None, -1), slice(9, 9),
    (1, 2), (slice(2, 40), 5), (..., 5), (3, ...), (slice(-10, None), slice(None, -10)),
    (slice(None, None, 3), slice(None, None, -2)), np.int64(4), (np.uint8(3), np.int32(-2)), (1, 2, ...),
]  # fmt: skip


class Custom:
    """An array of nobody's library, which knows whole keys only."""

    def __init__(self, array: np.ndarray) -> None:
        self.shape, self.dtype, self._array = array.shape, array.dtype, array
        self.asked: list[Any] = []

    def __getitem__(self, key: tuple[int | slice, ...]) -> np.ndarray:
        assert len(key) == len(self.shape)
        self.asked.append(key)
        return self._array[key]

    def __reduce__(self) -> Any:
        raise AssertionError("an array must not be pickled")


def plain(dtype: Any = np.uint16, shape: tuple[int, ...] = (300, 260)) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 200, shape).astype(dtype)


def check(engine: ProcessEngine, array: Any, expected: np.ndarray, kind: str = "ServedArray") -> tuple[Any, ...]:
    keys = [key for key in KEYS if not isinstance(key, tuple) or len(key) <= expected.ndim + (Ellipsis in key)]
    facts, parts, whole = Heard(engine, Job.of(jobs.reading, array, keys)).result
    assert facts[:3] == (kind, expected.shape, str(expected.dtype))
    np.testing.assert_array_equal(whole, expected)
    assert whole.dtype == expected.dtype
    for key, part in zip(keys, parts, strict=True):
        wanted = expected[key]
        assert type(part) is type(wanted), key
        assert part.dtype == wanted.dtype, key
        np.testing.assert_array_equal(part, wanted, err_msg=str(key))
    return facts


@pytest.mark.parametrize("dtype", ["uint8", "bool", ">u2", "<i8", "float16", ">f8", "complex64", "M8[s]", "S5", "u1,>f4"])
def test_numpy_of_any_type(shared: ProcessEngine, dtype: str) -> None:
    array = plain("u1").astype(np.float32).astype("i8").astype("u1" if dtype == "u1,>f4" else dtype)
    if dtype == "u1,>f4":
        fields = np.zeros(array.shape, dtype)
        fields["f0"], fields["f1"] = array, array / 3
        array = fields
    assert array.nbytes > 2**16
    check(shared, array, array)


@pytest.mark.parametrize("what", ["Fortran", "strided", "backwards", "broadcast", "transposed", "read-only", "memmap"])
def test_numpy_however_it_lies_in_memory(shared: ProcessEngine, what: str, tmp_path: Path) -> None:
    array = {
        "Fortran": lambda: np.asfortranarray(plain()),
        "strided": lambda: plain(shape=(900, 600))[::3, ::2],
        "backwards": lambda: plain()[::-1, ::-1],
        "broadcast": lambda: np.broadcast_to(plain(shape=(1, 260)), (300, 260)),
        "transposed": lambda: plain(shape=(20, 300, 30)).transpose(1, 2, 0),
        "read-only": plain,
        "memmap": lambda: np.memmap(tmp_path / "file", np.uint16, "w+", shape=(300, 260)),
    }[what]()
    if what == "read-only":
        array.flags.writeable = False
    check(shared, array, np.asarray(array))


@pytest.mark.parametrize("array", [np.float32(3.5) * np.ones(()), np.zeros((0, 4)), np.arange(5), np.ma.masked_equal(plain(), 3)])
def test_small_and_special_arrays_are_copied(shared: ProcessEngine, array: np.ndarray) -> None:
    (back,) = Heard(shared, Job.of(jobs.echo, array)).result
    assert type(back) is type(array)
    np.testing.assert_array_equal(back, array)
    assert back.shape == array.shape


def test_an_array_without_dimensions(shared: ProcessEngine) -> None:
    array = Custom(np.array(5, np.int16))
    facts, parts, whole = Heard(shared, Job.of(jobs.reading, array, [(), ...])).result
    assert facts[:2] == ("ServedArray", ())
    assert parts == [5, np.array(5)]
    assert whole == 5


def test_large_pieces_that_are_not_contiguous(shared: ProcessEngine) -> None:
    array = plain("u1", (2, 6000, 4000))[:, :, ::2]  # its second dimension, too, is sent in blocks
    _, (part,), whole = Heard(shared, Job.of(jobs.reading, array, [(slice(None), slice(1, -1))])).result
    np.testing.assert_array_equal(part, array[:, 1:-1])
    np.testing.assert_array_equal(whole, array)


def test_dask(shared: ProcessEngine) -> None:
    array = plain()
    facts = check(shared, da.from_array(array, chunks=(100, 130)), array)
    assert facts[3] == ((100, 100, 100), (130, 130))


def test_zarr_in_a_folder_is_opened_by_the_worker(shared: ProcessEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    array = plain()
    for version in (2, 3):
        group = zarr.create_group(tmp_path / f"{version}.zarr", zarr_format=version)
        stored = group.create_array("a/b", shape=array.shape, chunks=(100, 130), dtype=array.dtype)
        stored[:] = array
        monkeypatch.setattr(Shelf, "region", None)
        facts, parts, whole = Heard(shared, Job.of(jobs.reading, stored, [(3, 4), slice(2)])).result
        assert facts == ("Array", (300, 260), "uint16", (100, 130))
        np.testing.assert_array_equal(whole, array)
        np.testing.assert_array_equal(parts[1], array[:2])


def in_colour(source: Any) -> Any:
    """An image with a palette: an index a pixel, of which three samples are made."""
    palette = np.random.default_rng(1).integers(0, 255, (256, 3), dtype=np.uint8)
    return as_shown(Found((source,), "YX", samples=Samples("palette", palette=palette))).levels[0]


LAZY: dict[str, Callable[[Any], Any]] = {
    "Window": lambda source: Window(source, (slice(20, 290), slice(3, 250))),
    "Turned": lambda source: turned(source, 6, 0, 1),
    "Converted": in_colour,
}


@pytest.mark.parametrize("kind", LAZY)
def test_parts_of_a_zarr_array_in_a_folder_are_read_by_the_worker(
    shared: ProcessEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    stored = zarr.create_array(tmp_path / "a.zarr", shape=(300, 260), chunks=(100, 130), dtype="u1")
    stored[:] = plain("u1")
    expected = np.asarray(LAZY[kind](stored[:]))
    monkeypatch.setattr(Shelf, "region", None)
    facts, (part,), whole = Heard(shared, Job.of(jobs.reading, LAZY[kind](stored), [(slice(5, 9), slice(7, 90))])).result
    assert facts[:3] == (kind, expected.shape, "uint8")
    np.testing.assert_array_equal(part, expected[5:9, 7:90])
    np.testing.assert_array_equal(whole, expected)


@pytest.mark.parametrize("kind", LAZY)
def test_parts_of_other_arrays_are_asked_for(shared: ProcessEngine, kind: str) -> None:
    array = Custom(plain("u1"))
    lazy = LAZY[kind](array)
    _, (part,), _ = Heard(shared, Job.of(jobs.reading, lazy, [(slice(5, 9), slice(7, 90))])).result
    np.testing.assert_array_equal(part, lazy[5:9, 7:90])
    rows, columns = array.asked[0][:2]
    assert (rows.stop - rows.start) * (columns.stop - columns.start) == 4 * 83  # no more of it than is needed


def test_zarr_in_memory_is_read_by_the_caller(shared: ProcessEngine) -> None:
    array = plain()
    facts = check(shared, zarr.array(array, chunks=(100, 130)), array)
    assert facts[3] == (100, 130)


def test_an_array_of_any_class(shared: ProcessEngine) -> None:
    array = plain()
    check(shared, Custom(array), array)


def test_only_what_is_needed_is_asked_for(shared: ProcessEngine) -> None:
    array = Custom(plain())
    assert len(Heard(shared, Job.of(jobs.reading, array, [(slice(9, 2, -3), -1), slice(4, 4)])).result[1]) == 2
    assert array.asked == [(slice(3, 10, 3), 259), (slice(0, 300, None), slice(0, 260, None))]


def test_regions_can_be_written_into(shared: ProcessEngine) -> None:
    array = plain()
    part = Heard(shared, Job.of(jobs.writable, array)).result
    assert (part == 7).all()
    part[:] = 8  # on this side, too
    assert not (array[:10] == 7).all()


def test_keys_that_cannot_be_served_are_refused_in_words(shared: ProcessEngine) -> None:
    keys = [300, (0, -261), (1, 2, 3), None, [1, 2], np.ones(300, bool), True, 1.5, (..., ...), "x"]
    answers = Heard(shared, Job.of(jobs.failing_keys, plain(), keys)).result
    assert all(answer.startswith("IndexError: ") for answer in answers), answers
    assert answers[0] == "IndexError: index 300 is out of bounds for axis 0 with size 300"


def test_an_image_that_cannot_be_read_is_an_error_of_the_system(shared: ProcessEngine) -> None:
    def broken(block: np.ndarray) -> np.ndarray:
        raise RuntimeError("the file is\n damaged")

    array = da.from_array(plain(), chunks=100).map_blocks(broken, meta=np.empty((0, 0), np.uint16))
    (answer,) = Heard(shared, Job.of(jobs.failing_keys, array, [0])).result
    assert answer == "OSError: the image could not be read (RuntimeError: the file is damaged)"
    fault = Heard(shared, Job.of(jobs.reading, array, [])).fault
    assert fault.kind == "refused"
    assert fault.text == "This cannot run: the image could not be read (RuntimeError: the file is damaged)"


def test_an_array_that_gives_something_else_is_refused(shared: ProcessEngine) -> None:
    class Liar(Custom):
        def __getitem__(self, key: Any) -> np.ndarray:
            return super().__getitem__(key)[:-1]

    assert (
        "asked for a region of shape (300, 260), the array gave"
        in Heard(shared, Job.of(jobs.reading, Liar(plain()), [])).fault.text
    )


def test_regions_are_kept_up_to_a_budget(shared: ProcessEngine) -> None:
    array = Custom(plain("u1", (10, 100, 100)))
    first, again = Heard(shared, Job.of(jobs.keeping, array, 25_000)).result  # two planes
    assert [key[0] for key in array.asked] == [0, 1, 2, 3, 0]
    np.testing.assert_array_equal(first[0], array._array[0])
    np.testing.assert_array_equal(again, array._array[0])  # what was read may be changed, what is kept may not


def test_what_comes_back_is_the_same_object(shared: ProcessEngine, tmp_path: Path) -> None:
    stored = zarr.create_array(tmp_path / "a.zarr", shape=(5, 6), dtype="u1")
    arrays = [plain(), da.zeros((400, 400)), Custom(plain()), zarr.array(plain()), stored, Custom(np.zeros(3))]
    back = Heard(shared, Job.of(jobs.echo, *arrays, {"within": (arrays[0],)})).result
    assert all(one is other for one, other in zip(arrays, back[:-1], strict=True))
    assert back[-1]["within"][0] is arrays[0]


def test_an_array_that_is_given_twice_is_one_array(shared: ProcessEngine) -> None:
    array = plain()
    assert Heard(shared, Job.of(jobs.same, array, {"a": array})).result


def test_results_can_be_written_into(shared: ProcessEngine) -> None:
    made = Heard(shared, Job.of(jobs.made, 4)).result
    np.testing.assert_array_equal(made["values"], np.arange(4 * 2**20, dtype=np.uint8))
    assert made["strided"].tolist() == list(range(0, 20, 2))
    for array in made.values():
        array[:] = 1


def test_a_store_that_a_job_made_is_opened_here(shared: ProcessEngine, tmp_path: Path) -> None:
    array = Heard(shared, Job.of(jobs.zarr_made, str(tmp_path / "made.zarr"))).result
    assert isinstance(array, zarr.Array)
    assert array.read_only
    assert (array[:] == 3).all()
    assert array.shape == (20, 30)


def test_full_pipes_both_ways_hold_up_nobody(shared: ProcessEngine) -> None:
    array = plain("u1", (2000, 4000))
    several = [Heard(shared, Job.of(jobs.flood, array, 6)) for _ in range(3)]
    for heard in several:
        heard.ended()
        assert [number for number, _ in heard.events] == list(range(6))
        assert all((part == array).all() for _, part in heard.events)


class Growth:
    """How much memory this process takes more than in the beginning, at the most."""

    def __enter__(self) -> Growth:
        gc.collect()
        self._process, self._stop, self.most = psutil.Process(), threading.Event(), 0
        self._before = self._process.memory_info().rss
        self._watcher = threading.Thread(target=self._watch)
        self._watcher.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._watcher.join()

    def _watch(self) -> None:
        while not self._stop.wait(0.005):
            self.most = max(self.most, self._process.memory_info().rss - self._before)


@pytest.mark.parametrize("how", ["rows", "columns"])  # the second is copied to be sent
def test_memory_of_the_caller_stays_flat_while_the_worker_reads(shared: ProcessEngine, how: str) -> None:
    array = np.ones((4096, 400, 256), np.uint8)  # 400 MB
    view = array if how == "rows" else array.transpose(2, 0, 1)
    Heard(shared, Job.of(jobs.by_region, view[:, :64], 64)).ended()
    with Growth() as growth:
        assert Heard(shared, Job.of(jobs.by_region, view, 64)).result == array.size
    assert growth.most < 20e6


def test_arrays_are_let_go_when_the_job_has_ended(shared: ProcessEngine) -> None:
    import weakref

    array = Custom(plain())
    gone = weakref.ref(array)
    Heard(shared, Job.of(jobs.reading, array, [])).ended()
    del array
    gc.collect()
    wait_until(lambda: gone() is None, "the array is still held")


def test_cancelling_ends_the_wait_for_a_region(shared: ProcessEngine) -> None:
    asked, go_on = threading.Event(), threading.Event()

    class Slow(Custom):
        def __getitem__(self, key: Any) -> np.ndarray:
            asked.set()
            assert go_on.wait(60)
            return super().__getitem__(key)

    heard = Heard(shared, Job.of(jobs.reading, Slow(plain()), []))
    pid = shared.pid
    assert asked.wait(60)
    heard.handle.cancel()
    heard.ended()
    go_on.set()
    assert heard.ends == [True]
    assert heard.events == []
    assert Heard(shared, Job.of(jobs.trivial)).result == 1
    assert shared.pid == pid
