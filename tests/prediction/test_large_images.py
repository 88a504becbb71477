"""Pixel sizes, pyramids, stores, going on where a run stopped, and short memory."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from typing import Any

import dask.array
import numpy as np
import pytest
import zarr
from scipy.ndimage import gaussian_filter, maximum_filter, minimum_filter

import napari_resformer as nr
from napari_resformer.events import Finished, MaskOpened, Progress
from napari_resformer.images.image import from_array
from napari_resformer.model.file import Model
from napari_resformer.network import ResFormer
from napari_resformer.prediction.fingerprint import fingerprint
from napari_resformer.prediction.plan import HALO, make_plan
from napari_resformer.preprocessing.normalise import measure
from napari_resformer.preprocessing.resample import Grid


@pytest.fixture
def micron_model(random_model) -> Model:
    """The random model, trained at one micrometre a pixel."""
    return Model(random_model.card.model_copy(update={"pixel_size": 1.0}), random_model.network)


@pytest.fixture
def save_each_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("napari_resformer.prediction.resume.SAVE_SECONDS", 0.0)


def smooth(shape: tuple[int, ...], seed: int = 5) -> np.ndarray:
    """Return structures some pixels wide, that a change of the pixel size does not wipe out."""
    values = gaussian_filter(np.random.default_rng(seed).normal(size=shape), (4,) * 2 + (0,) * (len(shape) - 2))
    return ((values - values.min()) / np.ptp(values) * 4000).astype(np.uint16)


# ------------------------------------------------------------------------------------------------------------ pixel size
@pytest.mark.parametrize(
    ("source", "target"), [((90, 77), (31, 50)), ((31, 50), (90, 77)), ((64, 64), (64, 150)), ((200, 300), (7, 8))]
)
def test_resampling_is_that_of_torch_for_any_part(source: tuple[int, int], target: tuple[int, int]) -> None:
    import torch

    x = np.random.default_rng(0).random((2, *source)).astype(np.float32)
    whole = torch.nn.functional.interpolate(torch.from_numpy(x)[None], size=target, mode="bilinear", antialias=True)[0].numpy()
    rows, columns = slice(2, target[0] - 1), slice(1, target[1] - 3)
    part = Grid(source, target).read(lambda down, across: x[:, down, across], rows, columns)
    np.testing.assert_allclose(part, whole[:, rows, columns], atol=1e-4)


def test_the_network_sees_the_models_pixel_size(micron_model) -> None:
    """An image at twice the resolution gets the mask of the one at the model's, on its own pixels."""
    coarse = smooth((120, 140, 3))
    fine = coarse.repeat(2, 0).repeat(2, 1)
    plan = make_plan(micron_model.card, from_array(fine, "YXC", pixel_size=(0.5, 0.5)), device="cpu")
    assert "0.5 µm is resampled to the model's 1 µm (140 × 120 px)" in " ".join(plan.lines())
    expected = nr.predict(micron_model, coarse, pixel_size=1.0, device="cpu")
    result = nr.predict(micron_model, fine, pixel_size=0.5, device="cpu")
    assert result.mask.shape == (240, 280)
    assert len(np.unique(expected.mask)) > 1
    # Borders between classes may move by a pixel; how long they are depends on the random weights, which differ with torch.
    inside = maximum_filter(expected.mask, 3) == minimum_filter(expected.mask, 3)
    different = result.mask[::2, ::2] != expected.mask
    assert inside.mean() > 0.1
    assert different[inside].mean() < 0.002
    assert different.mean() < 0.15
    np.testing.assert_allclose(result.scores, expected.scores, atol=0.02)
    elsewise = nr.predict(micron_model, fine, device="cpu")  # unknown: taken to be equal
    assert (elsewise.mask != result.mask).mean() > 0.1
    assert elsewise.provenance["settings"]["network_sees"] == [240, 280]


def test_unknown_pixel_sizes_are_said_to_be_taken_as_equal(micron_model) -> None:
    plan = make_plan(micron_model.card, from_array(np.zeros((64, 64)), "YX"), device="cpu")
    assert "Pixel size: not given for this image; the model's 1 µm is assumed" in plan.lines()
    assert plan.grid.same


@pytest.mark.parametrize("size", [(0.4, 0.7), (1.7, 1.7), (1.0, 0.5)], ids=["finer, unlike", "coarser", "one axis"])
def test_tiles_agree_with_the_whole_at_another_pixel_size(micron_model, size: tuple[float, float]) -> None:
    side = (500, 420) if size[0] < 1.5 else (210, 190)
    image = from_array(smooth((*side, 3)), "YXC", pixel_size=size)
    whole = nr.predict(micron_model, image, tile=1024, device="cpu")
    tiled = nr.predict(micron_model, image, tile=64, device="cpu")
    assert tiled.provenance["settings"]["network_sees"] == [round(side[0] * size[0]), round(side[1] * size[1])]
    assert whole.mask.shape == side
    assert (whole.mask != tiled.mask).mean() < 0.02
    np.testing.assert_allclose(whole.scores, tiled.scores, atol=0.02)


def test_a_pixel_size_that_must_be_a_mistake_is_refused(micron_model) -> None:
    for size in (0.001, 40.0):
        with pytest.raises(ValueError, match="check the pixel size and its unit"):
            nr.predict(micron_model, np.zeros((300, 300)), axes="YX", pixel_size=size, device="cpu")


def test_missing_pixels_do_not_spread_when_the_size_changes(micron_model) -> None:
    image = smooth((200, 200)).astype(np.float32)
    image[50:60, 50:60] = np.nan
    result = nr.predict(micron_model, image, pixel_size=0.5, device="cpu")
    assert np.isfinite(result.scores).all()


@pytest.mark.parametrize("shape", [(230, 170), (60, 41), (96, 96)])
def test_resized_planes_take_the_way_of_torch_there_and_back(random_model, shape: tuple[int, int]) -> None:
    import torch
    from torch.nn.functional import interpolate, pad

    card = random_model.card.model_copy(update={"input_mode": "resize", "input_size": 96})
    image = from_array(smooth((*shape, 3)), "YXC")
    result = nr.predict(Model(card, random_model.network), image, device="cpu", outputs=("mask", "probabilities"))
    plane = image.plane()
    rule = card.preprocessor.rule(image)
    pixels = torch.from_numpy(measure(plane, rule, card.normalisation).apply(rule.apply(plane.read())))[None]
    fitted = tuple(round(side * 96 / max(shape)) for side in shape)
    seen = interpolate(pixels, size=fitted, mode="bilinear", antialias=True)
    margins = (0, 96 - fitted[1], 0, 96 - fitted[0])
    valid = pad(torch.ones(1, 1, *fitted), margins)
    with torch.inference_mode():
        output = random_model.network(pad(seen, margins, value=-1), valid)
        logits = interpolate(output.mask_logits[..., : fitted[0], : fitted[1]], size=shape, mode="bilinear", antialias=True)
    np.testing.assert_allclose(result.probabilities, torch.softmax(logits, 1)[0].numpy(), atol=1e-3)
    assert (result.mask != logits[0].argmax(0).numpy()).mean() < 1e-3
    np.testing.assert_allclose(result.scores, torch.softmax(output.class_logits, 1)[0].numpy(), atol=1e-4)


# -------------------------------------------------------------------------------------------------------------- pyramids
@pytest.mark.parametrize(("size", "level"), [(0.1, 3), (0.3, 1), (0.5, 1), (0.6, 0), (2.0, 0), (None, 0)])
def test_the_level_is_the_coarsest_that_is_fine_enough(micron_model, size: float | None, level: int) -> None:
    full = smooth((512, 640))
    levels = [full[::step, ::step] for step in (1, 2, 4, 8)]
    image = from_array(full, "YX", pixel_size=(size, size) if size else None, pyramid=levels)
    plan = make_plan(micron_model.card, image, device="cpu")
    assert plan.image.level == level
    assert plan.image.plane_shape == levels[level].shape
    if size:
        assert plan.image.pixel_size == pytest.approx((size * 2**level, size * 2**level))
        assert f"level {level} is" in " ".join(plan.lines())
    else:
        assert "full resolution is used because the pixel size of the model or the image is not known" in " ".join(plan.lines())


def test_a_level_is_predicted_as_if_it_were_the_image(micron_model) -> None:
    full = smooth((256, 320))
    image = from_array(full, "YX", pixel_size=(0.25, 0.25), pyramid=[full, full[::2, ::2], full[::4, ::4]])
    result = nr.predict(micron_model, image, device="cpu")
    alone = nr.predict(micron_model, full[::4, ::4], axes="YX", pixel_size=1, device="cpu")
    np.testing.assert_array_equal(result.mask, alone.mask)
    assert result.provenance["image"]["level"] == 2
    assert result.provenance["image"]["pixel_size"] == [1, 1]


# --------------------------------------------------------------------------------------------------------------- stores
@pytest.mark.parametrize("name", ["mask.zarr", "mask.ome.zarr"])
@pytest.mark.parametrize("size", [1.0, 0.6])
def test_a_stored_mask_is_that_in_memory(micron_model, tmp_path, name: str, size: float) -> None:
    image = from_array(dask.array.from_array(smooth((2, 300, 333)), chunks=(1, 100, 100)), "ZYX", pixel_size=(size, size))
    plain = nr.predict(micron_model, image, tile=64, device="cpu")
    stored = nr.predict(micron_model, image, tile=64, device="cpu", out=tmp_path / name)
    assert isinstance(stored.mask, zarr.Array)
    np.testing.assert_array_equal(plain.mask, stored.mask[:])
    np.testing.assert_array_equal(plain.scores, stored.scores)
    assert plain.pixels == stored.pixels == tuple(np.bincount(plain.mask.reshape(-1), minlength=3))
    assert stored.provenance["store"] == str(tmp_path / name)
    assert sorted(path.name for path in (tmp_path / name).iterdir() if path.name.startswith(".")) == []


def test_a_large_mask_is_a_pyramid(random_model, tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("napari_resformer.io.ome_zarr_writer._TOP_SIDE", 64)
    image = from_array(smooth((211, 301)), "YX", pixel_size=(0.5, 0.25))
    result = nr.predict(random_model, image, tile=80, device="cpu", out=tmp_path / "mask.ome.zarr")
    group = zarr.open(tmp_path / "mask.ome.zarr", mode="r")
    told = group.attrs["ome"]["multiscales"][0]
    assert [axis["name"] for axis in told["axes"]] == ["y", "x"]
    assert [axis["unit"] for axis in told["axes"]] == ["micrometer", "micrometer"]
    assert len(result.levels) == len(told["datasets"]) == 4
    for level, dataset in enumerate(told["datasets"]):
        np.testing.assert_array_equal(group[dataset["path"]][:], result.mask[:][:: 2**level, :: 2**level])
        assert dataset["coordinateTransformations"][0]["scale"] == [0.5 * 2**level, 0.25 * 2**level]


def test_a_store_is_never_taken_from_something_else(random_model, tmp_path, picture) -> None:
    (tmp_path / "thesis.zarr").mkdir()
    (tmp_path / "thesis.zarr" / "chapter.txt").write_text("two years")
    for options in ({"overwrite": True}, {"resume": True}, {}):
        with pytest.raises(FileExistsError, match="no zarr store"):
            nr.predict(random_model, picture, device="cpu", out=tmp_path / "thesis.zarr", **options)
    assert (tmp_path / "thesis.zarr" / "chapter.txt").exists()
    with pytest.raises(ValueError, match=r"mask\.zarr"):
        nr.predict(random_model, picture, device="cpu", out=tmp_path / "mask.tif")


# ------------------------------------------------------------------------------------------------------------- going on
def cancelled(job: Any, tiles: int) -> None:
    """Run a job until so many tiles are done, and cancel it."""
    for event in job:
        if isinstance(event, Progress) and event.done >= tiles:
            break
    job.close()


@pytest.mark.parametrize("size", [1.0, 0.55])
@pytest.mark.parametrize("tiles", [1, 8, 17])
@pytest.mark.usefixtures("save_each_row")
def test_a_cancelled_run_goes_on_to_the_same_end(micron_model, tmp_path, size: float, tiles: int) -> None:
    image = from_array(smooth((2, 210, 150) if size == 1 else (2, 380, 270), seed=1), "ZYX", pixel_size=(size, size))
    options: dict[str, Any] = {"tile": 64, "device": "cpu"}
    whole = nr.predict(micron_model, image, **options)
    out = tmp_path / "mask.zarr"
    everything = make_plan(micron_model.card, image, tile=64, device="cpu").tiles
    assert everything == 2 * 4 * 3
    cancelled(nr.iter_predict(micron_model, image, out=out, **options), tiles)
    with pytest.raises(FileExistsError, match="resume"):
        nr.predict(micron_model, image, out=out, **options)
    events = list(nr.iter_predict(micron_model, image, out=out, resume=True, **options))
    assert isinstance(events[0], MaskOpened)
    again = sum(isinstance(event, Progress) for event in events)
    assert again <= everything - tiles + 3  # the row that was begun
    result = events[-1].result
    np.testing.assert_array_equal(result.mask[:], whole.mask)
    np.testing.assert_allclose(result.scores, whole.scores, atol=1e-6)
    assert result.pixels == whole.pixels
    done = nr.predict(micron_model, image, out=out, resume=True, **options)  # it has ended: its answer again
    np.testing.assert_allclose(done.scores, whole.scores, atol=1e-6)
    assert done.pixels == whole.pixels


@pytest.mark.usefixtures("save_each_row")
def test_blank_planes_of_a_stack_that_goes_on_are_told_in_its_result(random_model, monkeypatch, tmp_path) -> None:
    monkeypatch.setattr("napari_resformer.prediction.plan._LOOKED_THROUGH", 0)  # too much to read before the start
    stack = np.random.default_rng(0).integers(0, 255, (9, 40, 48), np.uint8)
    stack[1:8] = 3
    options: dict[str, Any] = {"axes": "TYX", "device": "cpu", "out": tmp_path / "mask.zarr"}
    plan = make_plan(random_model.card, from_array(stack, "TYX"), device="cpu")
    assert not any("lank" in note for note in plan.notes)
    cancelled(nr.iter_predict(random_model, stack, **options), 4)
    result = nr.predict(random_model, stack, resume=True, **options)
    assert result.blank.tolist() == [False, *[True] * 7, False]
    assert any(
        note.startswith("7 of 9 planes are blank") and "T1, T2, T3, T4, T5, T6 and 1 more" in note for note in result.notes
    )
    assert nr.predict(random_model, stack, resume=True, **options).notes == result.notes  # it has ended: its answer again


@pytest.mark.usefixtures("save_each_row")
def test_other_settings_are_refused_by_name(random_model, tmp_path) -> None:
    image = smooth((300, 200))
    out = tmp_path / "mask.zarr"
    cancelled(nr.iter_predict(random_model, image, out=out, tile=64, device="cpu"), 5)
    with pytest.raises(ValueError, match="tile was 64, is 128"):
        nr.predict(random_model, image, out=out, tile=128, resume=True, device="cpu")
    with pytest.raises(ValueError, match="brightness was"):
        nr.predict(random_model, image * 2, out=out, tile=64, resume=True, device="cpu")
    other = Model(replace_name(random_model, "other"), random_model.network)
    with pytest.raises(ValueError, match="model was"):
        nr.predict(other, image, out=out, tile=64, resume=True, device="cpu")
    zarr.create_array(tmp_path / "foreign.zarr", shape=(300, 200), dtype="uint8")
    with pytest.raises(ValueError, match="was not made by a run that can be resumed"):
        nr.predict(random_model, image, out=tmp_path / "foreign.zarr", resume=True, device="cpu")
    nr.predict(random_model, image * 2, out=out, tile=64, overwrite=True, device="cpu")


@pytest.mark.parametrize("changed", ["first", "middle", "last", "large"])
def test_another_image_of_the_same_brightness_is_refused(random_model, tmp_path, changed: str, monkeypatch) -> None:
    """Whatever its pixels are read from, and NaN among them."""
    image = smooth((5, 64, 72)) if changed != "large" else smooth((1, 400, 500))
    image = image.astype(np.float32)
    image[0, 30, 30] = np.nan
    if changed == "large":
        monkeypatch.setattr("napari_resformer.prediction.fingerprint._WHOLE_VALUES", 1000)
    options: dict[str, Any] = {"axes": "ZYX", "tile": 64, "device": "cpu", "out": tmp_path / "mask.zarr", "resume": True}
    whole = nr.predict(random_model, image, **options)
    zarr.save_array(tmp_path / "image.zarr", image)
    for same in (zarr.open(tmp_path / "image.zarr", mode="r"), dask.array.from_array(image, chunks=(1, 32, 32))):
        assert nr.predict(random_model, same, **options).pixels == whole.pixels
    other = image.copy()
    plane = {"first": 0, "middle": 2, "last": 4, "large": 0}[changed]
    other[plane] = other[plane, ::-1]
    with pytest.raises(ValueError, match="asked for: pixels are those of another image;"):
        nr.predict(random_model, other, **options)


def test_what_an_image_was_made_of_is_known_after_a_few_blocks(random_model) -> None:
    class Counted:
        shape, dtype, ndim, read = (20, 30_000, 30_000), np.dtype(np.uint16), 3, 0

        def __getitem__(self, key: tuple[Any, ...]) -> np.ndarray:
            rows, columns = (len(range(*part.indices(30_000))) for part in key[1:])
            self.read += rows * columns
            return np.arange(rows * columns, dtype=np.uint16).reshape(rows, columns)

    counted = Counted()
    plan = make_plan(random_model.card, from_array(counted, "ZYX"), device="cpu", tile=64)
    before = counted.read
    fingerprint(random_model, plan)
    assert 0 < counted.read - before <= 3 * 9 * 128**2


def test_a_tile_that_nobody_chose_is_kept(random_model, tmp_path, monkeypatch) -> None:
    """Memory may be short, or not, when a run goes on."""
    image, out = smooth((300, 200)), tmp_path / "mask.zarr"
    options: dict[str, Any] = {"out": out, "resume": True, "device": "cpu"}
    with monkeypatch.context() as patch:
        patch.setattr("napari_resformer.prediction.plan.DEFAULT_TILE", 64)
        whole = nr.predict(random_model, image, device="cpu")
        cancelled(nr.iter_predict(random_model, image, **options), 5)
    assert make_plan(random_model.card, from_array(image, "YX"), device="cpu").tile != 64
    with pytest.raises(ValueError, match="tile was 64, is 1024"):
        nr.predict(random_model, image, tile=1024, **options)
    result = nr.predict(random_model, image, **options)
    assert result.provenance["settings"]["tile"] == 64
    np.testing.assert_array_equal(result.mask[:], whole.mask)
    assert nr.predict(random_model, image, **options).pixels == whole.pixels  # it has ended


def replace_name(model: Model, name: str) -> Any:
    return model.card.model_copy(update={"name": name})


def test_two_runs_do_not_write_to_one_store(random_model, tmp_path) -> None:
    image, out = smooth((300, 200)), tmp_path / "mask.zarr"
    first = nr.iter_predict(random_model, image, out=out, tile=64, device="cpu")
    next(first)
    for options in ({"resume": True}, {"overwrite": True}):
        with pytest.raises(FileExistsError, match="another run writes to"):
            nr.predict(random_model, image, out=out, tile=64, device="cpu", **options)
    assert isinstance(list(first)[-1], Finished)


_KILLED = """
import sys, zarr, napari_resformer as nr
from napari_resformer.prediction import resume
resume.SAVE_SECONDS = 0.0
for event in nr.iter_predict(nr.load_model(sys.argv[1]), zarr.open(sys.argv[2], mode="r"), axes="YX", tile=64, device="cpu",
                             out=sys.argv[3], resume=True):
    print(type(event).__name__, getattr(event, "done", ""), flush=True)
"""


def test_a_killed_run_loses_a_row_at_most(random_model, tmp_path) -> None:
    model = random_model.save(tmp_path / "random.safetensors")
    image = smooth((520, 400))
    zarr.save_array(tmp_path / "image.zarr", image)
    out = tmp_path / "mask.zarr"
    command = [sys.executable, "-c", _KILLED, str(model), str(tmp_path / "image.zarr"), str(out)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("Progress") and int(line.split()[1]) >= 15:
                process.send_signal(signal.SIGKILL)
                break
    loaded = nr.load_model(str(model))
    events = list(nr.iter_predict(loaded, zarr.open(tmp_path / "image.zarr", mode="r"), axes="YX", tile=64, device="cpu",
                                  out=out, resume=True))  # fmt: skip
    first = next(event for event in events if isinstance(event, Progress))
    assert first.done >= 15 - 6 - 6 + 1  # five or six tiles a row; the last row's note may not be written yet
    whole = nr.predict(loaded, image, axes="YX", tile=64, device="cpu")
    np.testing.assert_array_equal(events[-1].result.mask[:], whole.mask)
    np.testing.assert_allclose(events[-1].result.scores, whole.scores, atol=1e-6)


@pytest.mark.parametrize("resume", [True, False])
@pytest.mark.parametrize("left", ["group", "arrays"])
def test_a_run_that_was_killed_while_it_made_its_store_starts_again(random_model, tmp_path, left: str, resume: bool) -> None:
    image, out = smooth((300, 200)), tmp_path / "mask.ome.zarr"
    cancelled(nr.iter_predict(random_model, image, out=out, tile=64, device="cpu"), 1)
    (out / ".resformer" / "record.npz").unlink()  # which is written last
    if left == "arrays":
        (out / "zarr.json").unlink()
    else:
        zarr.open_group(out).attrs.clear()
    result = nr.predict(random_model, image, out=out, tile=64, device="cpu", resume=resume)
    np.testing.assert_array_equal(result.mask[:], nr.predict(random_model, image, tile=64, device="cpu").mask)


# --------------------------------------------------------------------------------------------------------- short memory
@pytest.mark.parametrize(
    "error",
    [RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 1 bytes"), MemoryError()],
    ids=["torch", "numpy"],
)
@pytest.mark.parametrize("out", [None, "mask.zarr"])
def test_short_memory_halves_the_tiles(random_model, tmp_path, monkeypatch, error: Exception, out: str | None) -> None:
    image = smooth((300, 700, 3))
    expected = nr.predict(random_model, image, tile=128, device="cpu")
    forward, calls = ResFormer.forward_tile, []

    def short(self: Any, x: Any, *rest: Any) -> Any:
        calls.append(x.shape)
        if x.shape[2] * x.shape[3] > 300 * 420 and len(calls) > 1:  # tiles of 128 px see less, with all their halo
            raise error
        return forward(self, x, *rest)

    monkeypatch.setattr(ResFormer, "forward_tile", short)
    result = nr.predict(random_model, image, tile=256, device="cpu", out=out and tmp_path / out)
    assert result.provenance["settings"]["tile"] == 128
    assert sum(result.pixels) == 300 * 700
    assert (np.asarray(result.mask) != expected.mask).mean() < 0.02
    np.testing.assert_allclose(result.scores, expected.scores, atol=0.02)


def test_memory_that_stays_short_is_told(random_model, monkeypatch) -> None:
    def short(*_: Any) -> Any:
        raise RuntimeError("CUDA out of memory. Tried to allocate 2 GiB")

    monkeypatch.setattr(ResFormer, "forward_tile", short)
    with pytest.raises(RuntimeError, match="out of memory"):
        nr.predict(random_model, smooth((300, 700, 3)), device="cpu")


class Watched:
    """An array that notes how much of it is asked for at once, and that can fail."""

    def __init__(self, array: Any) -> None:
        self.array, self.largest, self.fail_after = array, 0, None
        self.shape, self.dtype, self.ndim = array.shape, array.dtype, array.ndim

    def __getitem__(self, key: Any) -> Any:
        part = np.asarray(self.array[key])
        self.largest = max(self.largest, part.size)
        if self.fail_after is not None:
            self.fail_after -= 1
            if self.fail_after < 0:
                raise OSError("the disk was unplugged")
        return part


def test_never_more_than_a_tile_is_read_at_once(random_model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("napari_resformer.preprocessing.normalise.measure.__defaults__", (100_000,))
    image = Watched(smooth((700, 600)))
    nr.predict(random_model, image, axes="YX", tile=128, device="cpu")
    assert image.largest <= (128 + 2 * HALO) ** 2


# --------------------------------------------------------------------------------------------------------------- threads
def our_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("resformer")]


def test_no_thread_outlives_its_job(random_model) -> None:
    image = smooth((300, 300))
    job = nr.iter_predict(random_model, image, tile=64, device="cpu")
    assert isinstance(next(job), Progress)
    assert our_threads()
    job.close()
    assert not our_threads()
    failing = Watched(image)
    failing.fail_after = 4
    with pytest.raises(OSError, match="unplugged"):
        nr.predict(random_model, failing, axes="YX", tile=64, device="cpu")
    assert not our_threads()


def test_a_mask_that_cannot_be_written_is_told(random_model, tmp_path, monkeypatch) -> None:
    from napari_resformer.prediction.outputs import Target

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Target, "write", full)
    with pytest.raises(OSError, match="No space left"):
        nr.predict(random_model, smooth((300, 300)), tile=64, device="cpu", out=tmp_path / "mask.zarr")
    assert not our_threads()
    monkeypatch.undo()
    nr.predict(random_model, smooth((300, 300)), tile=64, device="cpu", out=tmp_path / "mask.zarr", resume=True)
