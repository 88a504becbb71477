"""Prediction through the Python door: axes, tiles, scores, hostile input, cancelling."""

from __future__ import annotations

import json

import dask.array
import numpy as np
import pytest

import napari_resformer as nr
from napari_resformer.events import Finished, PlaneDone, Progress
from napari_resformer.model.file import Model
from napari_resformer.network import ResFormer


def test_mask_and_scores_of_a_picture(random_model, picture) -> None:
    result = nr.predict(random_model, picture, device="cpu")
    assert result.mask.shape == (150, 201)
    assert result.scores.shape == (3,)
    assert result.scores.sum() == pytest.approx(1, abs=1e-5)
    assert result.predicted == result.classes[int(result.scores.argmax())]
    assert json.loads(json.dumps(result.provenance))["format"] == 1


@pytest.mark.parametrize("tile", [64, 100])
def test_tiles_agree_with_the_whole(random_model, tile: int) -> None:
    noise = np.random.default_rng(1).normal(size=(400, 330, 3)).astype(np.float32)
    whole = nr.predict(random_model, noise, tile=1024, device="cpu")
    tiled = nr.predict(random_model, noise, tile=tile, device="cpu")
    assert (whole.mask != tiled.mask).mean() < 0.02  # untrained weights leave many pixels undecided
    np.testing.assert_allclose(whole.scores, tiled.scores, atol=0.02)


@pytest.mark.parametrize(
    ("value", "shape", "frame"),
    [
        (-1.0, (60, 70), (96, 96)),
        (-1.0, (100, 70), (100, 96)),
        (-1.0, (97, 120), (97, 120)),
        (0.0, (60, 70), (60, 70)),
        (0.0, (8, 70), (32, 70)),
    ],
)
@pytest.mark.parametrize("tile", [64, 1024])
def test_small_planes_are_framed_as_in_training(random_model, monkeypatch, value, shape, frame, tile) -> None:
    network = ResFormer(random_model.network.config.model_copy(update={"padding_value": value})).eval()
    network.load_state_dict(random_model.network.state_dict())
    model = Model(random_model.card.model_copy(update={"network": network.config, "input_size": 96}), network)
    seen, forward = [], ResFormer.forward_tile

    def watched(self, x, owned=None, origin=(0, 0)):
        seen.append((tuple(x.shape[2:]), float(owned.sum()), x[0, 0].numpy().copy()))
        return forward(self, x, owned, origin)

    monkeypatch.setattr(ResFormer, "forward_tile", watched)
    image = np.random.default_rng(0).integers(0, 255, (*shape, 3), dtype=np.uint8)
    result = nr.predict(model, image, tile=tile, device="cpu")
    assert result.mask.shape == shape
    assert sum(owned for _, owned, _ in seen) == shape[0] * shape[1]  # padding counts for no class
    if tile > max(shape):
        ((found, _, pixels),) = seen
        assert found == frame
        assert (pixels[shape[0] :] == -1).all()
        assert (pixels[:, shape[1] :] == -1).all()
    else:
        assert all(found[axis] >= min(frame[axis], 96) for found, _, _ in seen for axis in (0, 1))


@pytest.mark.parametrize("axes", ["ZYX", "TYX", "TZYX", "ZYXC", "CYX", "TZCYX"])
def test_stacks_equal_their_planes(random_model, axes: str) -> None:
    sizes = {"T": 2, "Z": 2, "C": 3, "Y": 40, "X": 48}
    array = np.random.default_rng(2).integers(0, 4000, [sizes[axis] for axis in axes], dtype=np.uint16)
    result = nr.predict(random_model, array, axes=axes, device="cpu")
    assert result.mask.shape == tuple(sizes[axis] for axis in axes if axis != "C")
    moved = np.moveaxis(array, axes.index("C"), -1) if "C" in axes else np.repeat(array[..., None], 3, -1)
    planes = moved.reshape(-1, 40, 48, 3)
    for number, plane in enumerate(planes):
        single = nr.predict(random_model, plane, axes="YXC", device="cpu")
        np.testing.assert_array_equal(result.mask.reshape(-1, 40, 48)[number], single.mask)
        np.testing.assert_allclose(result.scores.reshape(-1, 3)[number], single.scores, atol=1e-6)


def test_dask_and_zarr_output_equal_numpy(random_model, picture, tmp_path) -> None:
    plain = nr.predict(random_model, picture, device="cpu", tile=64)
    lazy = dask.array.from_array(picture, chunks=(50, 50, 3))
    stored = nr.predict(random_model, lazy, axes="YXC", device="cpu", tile=64, out=tmp_path / "mask.zarr")
    np.testing.assert_array_equal(plain.mask, np.asarray(stored.mask))
    with pytest.raises(FileExistsError):
        nr.predict(random_model, picture, out=tmp_path / "mask.zarr")


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int32, np.float32, np.float64])
def test_any_real_dtype_works(random_model, dtype) -> None:
    array = (np.random.default_rng(3).random((64, 64)) * 200 > 80).astype(dtype)
    assert nr.predict(random_model, array, device="cpu").mask.shape == (64, 64)


@pytest.mark.parametrize(
    ("array", "axes", "error", "words"),
    [
        (np.zeros((0, 10)), None, ValueError, "empty"),
        (np.zeros((1, 1)), None, ValueError, "at least"),
        (np.full((40, 40), np.nan), None, ValueError, "finite"),
        (np.full((40, 40), np.inf), None, ValueError, "finite"),
        (np.zeros((40, 40), complex), None, TypeError, "complex"),
        (np.zeros((40, 40), object), None, TypeError, "objects"),
        (np.full((40, 40), "a"), None, TypeError, "text"),
        (np.zeros((2, 40, 40)), "CYX", ValueError, "2 channels"),
        (np.zeros((5, 6, 7, 40, 40)), None, ValueError, "ambiguous"),
        (np.zeros((3, 40, 40)), None, ValueError, "CYX"),
        (np.zeros((40, 40)), "YQ", ValueError, "unknown letter"),
        (np.zeros((40, 40)), "ZYX", ValueError, "one letter per dimension"),
        ([[1, 2], [3, 4]], None, TypeError, "numpy"),
    ],
)
def test_bad_input_is_refused_in_words(random_model, array, axes, error, words: str) -> None:
    with pytest.raises(error, match=words):
        nr.predict(random_model, array, axes=axes, device="cpu")


def test_a_constant_image_and_some_nan_have_an_answer(random_model, picture) -> None:
    assert nr.predict(random_model, np.full((64, 64), 7.0), device="cpu").scores.sum() == pytest.approx(1, abs=1e-5)
    holes = picture.astype(np.float32)
    holes[:20, :20] = np.nan
    assert np.isfinite(nr.predict(random_model, holes, device="cpu").scores).all()


def test_a_zoom_is_what_a_pixel_size_would_be(random_model, picture) -> None:
    sized = Model(random_model.card.model_copy(update={"pixel_size": 1.0}), random_model.network)
    by_size = nr.predict(sized, picture, pixel_size=0.5, device="cpu")
    by_zoom = nr.predict(random_model, picture, zoom=0.5, device="cpu")
    assert by_zoom.mask.shape == picture.shape[:2]
    assert by_zoom.provenance["settings"]["network_sees"] == [75, 100]
    np.testing.assert_array_equal(by_zoom.mask, by_size.mask)
    np.testing.assert_allclose(by_zoom.scores, by_size.scores, atol=1e-6)
    as_it_is = nr.predict(sized, picture, pixel_size=0.5, zoom=1, device="cpu")
    np.testing.assert_array_equal(as_it_is.mask, nr.predict(random_model, picture, device="cpu").mask)


@pytest.mark.parametrize("zoom", [0, -1, 0.001, 100, float("nan"), 0.07])
def test_a_zoom_that_cannot_work_is_refused(random_model, zoom: float) -> None:
    with pytest.raises(ValueError, match="zoom"):
        nr.predict(random_model, np.zeros((20, 20)), zoom=zoom, device="cpu")


def test_closing_the_generator_cancels(random_model, picture) -> None:
    job = nr.iter_predict(random_model, picture, tile=64, device="cpu")
    assert isinstance(next(job), Progress)
    job.close()
    with pytest.raises(StopIteration):
        next(job)


def test_events_end_with_the_result(random_model, picture) -> None:
    events = list(nr.iter_predict(random_model, picture, tile=64, device="cpu"))
    assert [event.done for event in events if isinstance(event, Progress)][-1] == 3 * 3
    assert sum(isinstance(event, PlaneDone) for event in events) == 1
    assert isinstance(events[-1], Finished)


def test_where_a_small_plane_is_cut_there_is_no_black_beyond_the_cut(random_model, monkeypatch) -> None:
    network = ResFormer(random_model.network.config.model_copy(update={"padding_value": -1.0})).eval()
    model = Model(random_model.card.model_copy(update={"network": network.config, "input_size": 640}), network)
    seen, forward = [], ResFormer.forward_tile

    def watched(self, x, owned=None, origin=(0, 0)):
        seen.append(tuple(x.shape[2:]))
        return forward(self, x, owned, origin)

    monkeypatch.setattr(ResFormer, "forward_tile", watched)
    nr.predict(model, np.random.default_rng(0).integers(0, 255, (600, 70), dtype=np.uint8), axes="YX", tile=128, device="cpu")
    assert {width for _, width in seen} == {640}  # the whole width, as in training
    assert max(height for height, _ in seen) < 600


def test_notes_of_a_plan_reach_all_who_ask(random_model, tmp_path, capsys) -> None:
    import imageio.v3 as imageio

    from napari_resformer.cli import main

    imageio.imwrite(tmp_path / "flat.png", np.full((40, 56, 3), 9, np.uint8))
    model = random_model.save(tmp_path / "m.safetensors")
    image = nr.read_image(tmp_path / "flat.png")
    plan = nr.Predictor(random_model, "cpu").plan(image)
    assert any("constant" in note for note in plan.notes)
    result = nr.predict(random_model, image, device="cpu")
    assert result.notes == plan.notes
    assert result.provenance["notes"] == list(plan.notes)
    assert list(nr.iter_predict(random_model, image, device="cpu", out=tmp_path / "mask.zarr"))[-1].result.notes == plan.notes
    again = nr.predict(random_model, image, device="cpu", out=tmp_path / "mask.zarr", resume=True)
    assert again.notes == plan.notes
    assert main(["predict", str(tmp_path / "flat.png"), "--model", str(model), "--device", "cpu", "-o", str(tmp_path / "o")]) == 0
    told = capsys.readouterr().out
    assert all(note in told for note in plan.notes)
