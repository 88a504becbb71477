"""What can be asked for, in memory and in stores: values, shapes, axes, and runs that go on."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import dask.array
import numpy as np
import pytest
import zarr

import napari_resformer as nr
from napari_resformer.events import MaskOpened, Progress
from napari_resformer.images.image import from_array
from napari_resformer.io.read import read_image
from napari_resformer.model.file import Model
from napari_resformer.prediction.outputs import labels, places, softmax

BOTH = ("mask", "probabilities")


def noise(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 4000, shape, dtype=np.uint16)


def check(result: Any, plane_shape: tuple[int, ...]) -> None:
    """The mask is what the probabilities say, and these are some."""
    probabilities = np.asarray(result.probabilities)
    assert probabilities.shape == (3, *plane_shape)
    assert probabilities.dtype == np.float32
    np.testing.assert_allclose(probabilities.sum(0), 1, atol=1e-5)
    assert probabilities.min() >= 0
    np.testing.assert_array_equal(probabilities.argmax(0), np.asarray(result.mask))


# ---------------------------------------------------------------------------------------------------------------- values
@pytest.mark.parametrize(
    ("axes", "shape"),
    [("YX", (70, 90)), ("ZYX", (6, 40, 50)), ("XY", (90, 70)), ("CXYZ", (3, 50, 40, 2)), ("TCYX", (2, 3, 40, 50))],
)
@pytest.mark.parametrize("zoom", [None, 0.6])
@pytest.mark.parametrize("tile", [None, 64])
def test_probabilities_have_the_axes_of_the_mask(random_model, axes: str, shape, zoom, tile) -> None:
    result = nr.predict(random_model, noise(shape), axes=axes, zoom=zoom, tile=tile, outputs=BOTH, device="cpu")
    check(result, tuple(size for axis, size in zip(axes, shape, strict=True) if axis != "C"))
    alone = nr.predict(random_model, noise(shape), axes=axes, zoom=zoom, tile=tile, device="cpu")
    np.testing.assert_array_equal(result.mask, alone.mask)
    assert result.pixels == alone.pixels
    assert alone.probabilities is alone.objects is alone.heatmap is None
    assert result.provenance["settings"]["outputs"] == ["mask", "probabilities"]


def test_only_what_is_asked_for_is_made(random_model) -> None:
    image = noise((70, 90))
    both = nr.predict(random_model, image, outputs=("probabilities", "mask", "mask"), device="cpu")
    alone = nr.predict(random_model, image, outputs="probabilities", device="cpu")
    nothing = nr.predict(random_model, image, outputs=(), device="cpu")
    assert alone.mask is nothing.mask is nothing.probabilities is None
    assert alone.pixels == nothing.pixels == ()
    np.testing.assert_array_equal(alone.probabilities, both.probabilities)
    np.testing.assert_array_equal(nothing.scores, both.scores)


@pytest.mark.parametrize(
    ("name", "words"), [("objects", "not yet available"), ("heatmap", "not yet available"), ("masks", "no output 'masks'")]
)
def test_what_cannot_be_had_is_told_with_what_can(random_model, name: str, words: str) -> None:
    with pytest.raises(ValueError, match=rf"{words}.*choose mask or probabilities"):
        nr.predict(random_model, noise((70, 90)), outputs=("mask", name), device="cpu")


@pytest.mark.parametrize("classes", [2, 3, 5])
def test_values_of_logits(classes: int) -> None:
    logits = np.random.default_rng(classes).normal(scale=40, size=(classes, 30, 40)).astype(np.float32)
    logits[:, 0, 0] = 3  # all alike: the first
    found = labels(logits)
    np.testing.assert_array_equal(found, logits.argmax(0))
    assert found.dtype == np.uint8
    expected = np.exp(logits.astype(float)) / np.exp(logits.astype(float)).sum(0)
    np.testing.assert_allclose(softmax(logits), expected, atol=1e-6)


# --------------------------------------------------------------------------------------------------------------- stores
def test_further_outputs_lie_beside_the_first() -> None:
    assert places("a/cells.zarr", BOTH) == {"mask": Path("a/cells.zarr"), "probabilities": Path("a/cells_probabilities.zarr")}
    assert places("mask.zarr", BOTH)["probabilities"] == Path("mask_probabilities.zarr")
    assert places("x_mask.ome.zarr", BOTH)["probabilities"] == Path("x_probabilities.ome.zarr")
    assert places("p.zarr", ("probabilities",)) == {"probabilities": Path("p.zarr")}
    with pytest.raises(ValueError, match=r"name it so: p\.zarr"):
        places("p.tif", BOTH)
    with pytest.raises(ValueError, match="no output"):
        places("p.zarr", ())


@pytest.mark.parametrize("name", ["cells.zarr", "cells.ome.zarr"])
@pytest.mark.parametrize(
    ("axes", "shape"), [("YX", (150, 133)), ("ZYX", (2, 90, 80)), ("TZYX", (2, 2, 90, 80)), ("XY", (90, 70))]
)
def test_stored_outputs_are_those_in_memory(random_model, tmp_path, monkeypatch, name: str, axes: str, shape) -> None:
    monkeypatch.setattr("napari_resformer.io.ome_zarr_writer._TOP_SIDE", 64)
    image = from_array(dask.array.from_array(noise(shape), chunks=40), axes, pixel_size=(0.5, 0.25), z_step=2.0)
    options: dict[str, Any] = {"tile": 64, "device": "cpu", "outputs": BOTH}
    plain = nr.predict(random_model, image, **options)
    stored = nr.predict(random_model, image, out=tmp_path / name, **options)
    np.testing.assert_array_equal(stored.mask[:], plain.mask)
    np.testing.assert_array_equal(np.asarray(stored.probabilities), plain.probabilities)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([name, name.replace("cells", "cells_probabilities")])
    again = nr.predict(random_model, image, out=tmp_path / name, resume=True, **options)  # it has ended
    np.testing.assert_array_equal(np.asarray(again.probabilities), plain.probabilities)
    assert again.pixels == plain.pixels
    if name.endswith(".ome.zarr"):
        read = read_image(tmp_path / "cells_probabilities.ome.zarr")
        assert read.channel_names == ("background", "inner", "outer")
        assert read.pixel_size == (0.5, 0.25)
        told = zarr.open(tmp_path / "cells_probabilities.ome.zarr", mode="r").attrs["ome"]["multiscales"][0]
        kinds = [axis["type"] for axis in told["axes"]]
        assert kinds == sorted(kinds, key=["time", "channel", "space"].index)  # the order that OME-Zarr demands
        assert len(told["datasets"]) > 1
        assert read.pyramid[1].shape[-2:] == tuple(-(-size // 2) for size in shape[-2:])


@pytest.mark.parametrize("name", ["cells.zarr", "cells.ome.zarr"])
@pytest.mark.parametrize("tiles", [1, 4, 8])
def test_a_cancelled_run_goes_on_with_all_outputs(random_model, tmp_path, monkeypatch, name: str, tiles: int) -> None:
    monkeypatch.setattr("napari_resformer.prediction.resume.SAVE_SECONDS", 0.0)
    image, out = noise((2, 210, 150)), tmp_path / name
    options: dict[str, Any] = {"axes": "ZYX", "tile": 64, "zoom": 0.9, "device": "cpu", "outputs": BOTH}
    whole = nr.predict(random_model, image, **options)
    job = nr.iter_predict(random_model, image, out=out, **options)
    for event in job:
        if isinstance(event, Progress) and event.done >= tiles:
            break
    job.close()
    with pytest.raises(ValueError, match=r"outputs was \['mask', 'probabilities'\], is \['mask'\]"):
        nr.predict(random_model, image, out=out, resume=True, **options | {"outputs": ("mask",)})
    first, *_, last = nr.iter_predict(random_model, image, out=out, resume=True, **options)
    assert isinstance(first, MaskOpened)
    assert first.resumed == (tiles > 3)  # three tiles a row
    np.testing.assert_array_equal(last.result.mask[:], whole.mask)
    np.testing.assert_array_equal(np.asarray(last.result.probabilities), whole.probabilities)
    assert last.result.pixels == whole.pixels


def test_an_output_that_went_missing_is_named(random_model, tmp_path) -> None:
    image, options = noise((70, 90)), {"device": "cpu", "outputs": BOTH, "out": tmp_path / "cells.zarr"}
    nr.predict(random_model, image, **options)
    shutil.rmtree(tmp_path / "cells_probabilities.zarr")
    with pytest.raises(ValueError, match=r"cells_probabilities\.zarr belongs to .*cells\.zarr and is missing"):
        nr.predict(random_model, image, resume=True, **options)
    nr.predict(random_model, image, overwrite=True, **options)
    shutil.rmtree(tmp_path / "cells.zarr")
    for more in ({}, {"resume": True}):
        with pytest.raises((FileExistsError, ValueError), match=r"cells_probabilities\.zarr"):
            nr.predict(random_model, image, **options, **more)


# ------------------------------------------------------------------------------------------ stores of the first version
def first_version(folder: Path, *, complete: bool) -> None:
    """Make a store look as the first version left it."""
    array = zarr.open(folder, mode="r+")
    told = dict(array.attrs["napari_resformer"])
    told["fingerprint"] = {key: value for key, value in told["fingerprint"].items() if key != "outputs"}
    if complete:
        array.attrs["napari_resformer"] = told | {"format": 1}
        return
    array.attrs["napari_resformer"] = {"format": 1, "complete": False, "fingerprint": told["fingerprint"]}
    (folder / ".resformer").mkdir()
    np.savez(folder / ".resformer" / "state.npz", place=np.array([0, 64, 64]))


def test_finished_stores_of_the_first_version_are_read(random_model, tmp_path) -> None:
    image, options = noise((150, 90)), {"device": "cpu", "tile": 64, "out": tmp_path / "mask.zarr"}
    before = nr.predict(random_model, image, **options)
    first_version(tmp_path / "mask.zarr", complete=True)
    again = nr.predict(random_model, image, resume=True, **options)
    np.testing.assert_array_equal(again.mask[:], before.mask[:])
    np.testing.assert_allclose(again.scores, before.scores, atol=1e-6)
    assert again.pixels == before.pixels


def test_unfinished_stores_of_the_first_version_are_refused_in_words(random_model, tmp_path) -> None:
    image, options = noise((150, 90)), {"device": "cpu", "tile": 64, "out": tmp_path / "mask.zarr"}
    nr.predict(random_model, image, **options)
    first_version(tmp_path / "mask.zarr", complete=False)
    with pytest.raises(FileExistsError, match="exists"):
        nr.predict(random_model, image, **options)
    with pytest.raises(ValueError, match="was begun by an earlier version, whose runs cannot be resumed; allow to overwrite it"):
        nr.predict(random_model, image, resume=True, **options)
    nr.predict(random_model, image, overwrite=True, **options)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 no archive", None], ids=["empty", "damaged", "something else"])
def test_a_damaged_record_is_told(random_model, tmp_path, content: bytes | None) -> None:
    image, options = noise((150, 90)), {"device": "cpu", "tile": 64, "out": tmp_path / "mask.zarr"}
    job = nr.iter_predict(random_model, image, **options)
    next(job)
    job.close()
    record = tmp_path / "mask.zarr" / ".resformer" / "record.npz"
    if content is None:
        np.savez(record, told=np.array("[]"))
    else:
        record.write_bytes(content)
    with pytest.raises(ValueError, match=r"the record of how far the run in .*mask\.zarr was is damaged"):
        nr.predict(random_model, image, resume=True, **options)
    nr.predict(random_model, image, overwrite=True, **options)


def test_other_weights_are_another_model(random_model, tmp_path) -> None:
    image, options = noise((150, 90)), {"device": "cpu", "tile": 64, "out": tmp_path / "mask.zarr"}
    nr.predict(random_model, image, **options)
    other = Model(random_model.card.model_copy(update={"name": "other"}), random_model.network)
    with pytest.raises(ValueError, match="model was"):
        nr.predict(other, image, resume=True, **options)
