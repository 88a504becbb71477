"""Samples: layer pairs, data folders there and back, the split, and what a pre-flight says."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import dask.array as da
import imageio.v3 as imageio
import numpy as np
import pytest
import tifffile
import zarr

from napari_resformer.events import Finished
from napari_resformer.images.image import from_array
from napari_resformer.samples.folder import read_folder
from napari_resformer.samples.pairs import LayerPair, pair_faults, samples_from_pairs
from napari_resformer.samples.sample import Sample, SampleSet
from napari_resformer.samples.saving import save_folder
from napari_resformer.samples.split import split_samples
from napari_resformer.samples.survey import iter_survey
from napari_resformer.training.check import iter_preflight
from napari_resformer.training.plan import make_plan
from napari_resformer.training.settings import TrainSettings

RNG = np.random.default_rng(0)


def last(job):
    *_, event = job
    assert isinstance(event, Finished)
    return event.result


def blobs(shape=(64, 80), dtype=np.uint16, value=1):
    """A noisy image and its mask."""
    mask = np.zeros(shape, np.uint8)
    top, left = RNG.integers(4, 30, 2)
    mask[top : top + 20, left : left + 20] = value
    return (RNG.integers(0, 200, shape) + 1000 * (mask > 0) + 500).astype(dtype), mask


def pair(name="a", classes=None, **changes):
    pixels, mask = blobs(**changes)
    return LayerPair(from_array(pixels, "YX", name=name), mask, classes or {})


def several(classes=("one", "two"), number=8):
    return [pair(f"im{place}", {(): classes[place % len(classes)]}) for place in range(number)]


# ------------------------------------------------------------------------------------------------------------ layer pairs
@pytest.mark.parametrize("wrap", [np.asarray, da.from_array, zarr.array], ids=["numpy", "dask", "zarr"])
def test_a_stack_gives_a_sample_a_plane_of_one_group(wrap) -> None:
    planes = [blobs() for _ in range(4)]
    stack, labels = (np.stack(part) for part in zip(*planes, strict=True))
    labels[2] = 0  # not painted: no mask, rather than background all over
    image = from_array(wrap(stack), "ZYX", name="stack")
    samples = samples_from_pairs([LayerPair(image, wrap(labels), {(1,): "mitosis"})], "mine")
    assert [sample.name for sample in samples.samples] == ["stack Z0", "stack Z1", "stack Z2", "stack Z3"]
    assert {sample.group for sample in samples.samples} == {"stack"}
    assert [sample.image_class for sample in samples.samples] == [None, "mitosis", None, None]
    assert samples.samples[2].mask() is None
    np.testing.assert_array_equal(samples.samples[3].mask(), labels[3])
    np.testing.assert_array_equal(samples.samples[3].plane().read()[0], stack[3])


@pytest.mark.parametrize("axes", ["XY", "XYZ", "ZXY"])
def test_masks_lie_on_their_images_also_where_x_comes_first(axes) -> None:
    sizes = {"X": 50, "Y": 40, "Z": 2}
    labels = np.zeros([sizes[axis] for axis in axes], np.uint8)
    labels[tuple({"X": slice(20, 30), "Y": slice(3, 9), "Z": slice(None)}[axis] for axis in axes)] = 1
    samples = samples_from_pairs([LayerPair(from_array(labels * 200, axes, name="turned"), labels)], "mine")
    for sample in samples.samples:
        np.testing.assert_array_equal(sample.plane().read()[0] > 0, sample.mask() > 0)
        assert sample.mask().shape == (40, 50)


def test_labels_may_have_or_lack_axes_that_hold_nothing() -> None:
    pixels = RNG.integers(0, 255, (5, 2, 40, 50)).astype(np.uint8)  # ZCYX
    labels = RNG.integers(0, 3, (5, 40, 50)).astype(np.uint8)
    image = from_array(pixels, "ZCYX", name="z")
    for given in (labels, np.broadcast_to(labels[:, None], pixels.shape), labels[:, None]):
        samples = samples_from_pairs([LayerPair(image, given, {})], "s")
        np.testing.assert_array_equal(samples.samples[4].mask(), labels[4])
    single = from_array(pixels[:1, 0], "ZYX", name="one")
    np.testing.assert_array_equal(samples_from_pairs([LayerPair(single, labels[0], {})], "s").samples[0].mask(), labels[0])


def test_pairs_that_do_not_fit_are_all_named() -> None:
    image = from_array(np.zeros((40, 50), np.uint8), "YX", name="good")
    wrong = LayerPair(image, np.zeros((50, 40), np.uint8), {})
    stack = LayerPair(from_array(np.zeros((9, 40, 50), np.uint8), "ZYX", name="deep"), None, {(9,): "x"})
    assert pair_faults(LayerPair(image, np.zeros((40, 50), np.uint8), {(): "x"})) == ()
    with pytest.raises(
        ValueError,
        match=r"good are 40 × 50 px, the image is 50 × 40 px.*deep has a class for the plane 9, but its planes are Z 0 to 8",
    ):
        samples_from_pairs([wrong, stack], "s")
    with pytest.raises(ValueError, match="no pair"):
        samples_from_pairs([], "s")


# ----------------------------------------------------------------------------------------------------------- data folders
def test_saved_samples_are_read_back_equal(tmp_path) -> None:
    colour = RNG.integers(0, 255, (40, 50, 3)).astype(np.uint8)
    stack = RNG.normal(size=(6, 2, 40, 50)).astype(np.float32)
    labels = np.zeros((6, 40, 50), np.uint16)
    labels[1, 5:20, 5:20], labels[4, 5:9, 5:9] = 300, 2
    pairs = [
        LayerPair(from_array(colour, "YXC", name="a/b: c?"), (colour[..., 0] > 99).astype(np.int32), {(): 'größer, "x"'}),
        LayerPair(from_array(colour > 9, "YXC", name="bits"), None, {(): "細胞"}),
        LayerPair(from_array(stack, "TCYX", name="deep", pixel_size=(0.25, 0.5)), labels, {(2,): "late"}),
    ]
    samples = samples_from_pairs(pairs, "mine")
    path = last(save_folder(samples, tmp_path / "d"))
    (path / "images" / "Thumbs.db").write_bytes(b"stray")
    read = {sample.name: sample for sample in read_folder(path).samples}
    kept = [sample for sample in samples.samples if sample.image_class or sample.mask() is not None]
    assert len(read) == len(kept) == 5
    for sample, again in zip(sorted(kept, key=lambda s: s.name), [read[name] for name in sorted(read)], strict=True):
        assert (again.image_class, again.group) == (sample.image_class, sample.group)
        ours, theirs = sample.plane(), again.plane()
        assert theirs.image.data.dtype == (np.uint8 if ours.image.data.dtype == bool else ours.image.data.dtype)
        assert theirs.image.pixel_size == ours.image.pixel_size
        assert theirs.image.rgb == ours.image.rgb
        np.testing.assert_array_equal(theirs.read(), ours.read())
        np.testing.assert_equal(again.mask(), sample.mask())
        assert sample.mask() is None or again.mask().dtype == sample.mask().dtype


def test_an_existing_folder_is_updated_only_if_asked(tmp_path) -> None:
    first, second = pair("one", {(): "x"}), pair("two", {(): "y"})
    last(save_folder(samples_from_pairs([first, second], "s"), tmp_path))
    newer = LayerPair(first.image, None, {(): "z"})
    with pytest.raises(FileExistsError, match="update"):
        last(save_folder(samples_from_pairs([newer], "s"), tmp_path))
    last(save_folder(samples_from_pairs([newer], "s"), tmp_path, overwrite=True))
    read = {sample.group: sample for sample in read_folder(tmp_path).samples}
    assert (read["one"].image_class, read["one"].mask()) == ("z", None)
    np.testing.assert_array_equal(read["two"].mask(), second.labels)


def test_masks_are_read_where_they_leave_no_doubt(tmp_path) -> None:
    mask = blobs()[1]
    files = {
        "gray.png": mask, "rgb.png": np.dstack([mask] * 3), "white.png": mask * 255, "whole.tif": mask.astype(np.float32),
        "signed.tif": mask.astype(np.int64),
    }  # fmt: skip
    for name, pixels in files.items():
        (tifffile if name.endswith("tif") else imageio).imwrite(tmp_path / name, pixels)
        found = Sample("x", tmp_path / name, tmp_path / name, None, "x").mask()
        np.testing.assert_array_equal(found, mask)
    for name, pixels, words in (
        ("colour.png", np.dstack([mask, mask * 2, mask[::-1]]), "in color"),
        ("half.tif", mask * np.float32(0.5), "fractions"),
        ("below.tif", -mask.astype(np.int16), "negative"),
        ("deep.tif", np.stack([mask] * 9), "9 planes|axes"),
    ):
        (tifffile if name.endswith("tif") else imageio).imwrite(tmp_path / name, pixels)
        with pytest.raises(ValueError, match=words):
            Sample("x", tmp_path / name, tmp_path / name, None, "x").mask()


# ------------------------------------------------------------------------------------------------------------------ split
def made(classes, groups=None, masked=()):
    samples = [
        Sample(
            f"s{place}",
            from_array(np.zeros((32, 32)), "YX").plane(),
            Path() if place in masked else None,
            name,
            str(groups[place] if groups else place),
        )
        for place, name in enumerate(classes)
    ]
    return SampleSet("made", tuple(samples), tuple(sorted({name for name in classes if name})))


@pytest.mark.parametrize("seed", range(3))
def test_the_split_is_by_group_stratified_and_never_empty(seed) -> None:
    masked = range(0, 44, 4)
    samples = made(["a"] * 30 + ["b"] * 12 + ["c"] * 2, [place // 2 for place in range(44)], masked)
    training, validation = split_samples(samples, seed=seed)
    assert not {sample.group for sample in training.samples} & {sample.group for sample in validation.samples}
    assert {sample.image_class for sample in training.samples} == {"a", "b", "c"}
    assert {sample.image_class for sample in validation.samples} == {"a", "b"}
    assert 0.1 < len(validation.samples) / 44 < 0.34
    assert {sample.name for sample in validation.samples} & {f"s{place}" for place in masked}
    assert split_samples(samples, seed=seed) == (training, validation)


def test_few_images_of_many_classes_leave_enough_to_train_on() -> None:
    training, validation = split_samples(made(["a", "a", "b", "b", "c", "c", "d", "d"]))
    assert len(validation.samples) == 2
    assert len(training.samples) == 6
    assert len(split_samples(made(["a", "b"]))[1].samples) == 1


@pytest.mark.parametrize("seed", range(4))
def test_what_the_model_to_start_from_has_learned_from_stays_in_training(seed) -> None:
    samples = made(["a"] * 20 + ["b"] * 20)
    earlier, kept = split_samples(samples, seed=seed)
    more = SampleSet("more", (*samples.samples, *(replace(one, name=f"new {one.name}", group=f"new {one.group}")
                                                  for one in samples.samples)), samples.image_classes)  # fmt: skip
    learned = {sample.name for sample in earlier.samples}
    _, validation = split_samples(more, seed=seed + 1, learned=learned)
    names = {sample.name for sample in validation.samples}
    assert len(names) > len(kept.samples)
    assert {sample.image_class for sample in validation.samples} == {"a", "b"}
    assert not names & learned
    assert names - {sample.name for sample in kept.samples}  # those that are new may validate too
    _, validation = split_samples(earlier, seed=seed, learned=learned)
    assert validation.samples  # where all was learned from, some must validate all the same


# -------------------------------------------------------------------------------------------------------------- preflight
def test_a_large_group_is_left_to_train_on() -> None:
    stack = [Sample(f"a{place}", None, None, "x", "a") for place in range(30)]
    for name in "bA":
        samples = SampleSet("s", (*stack, Sample(name, None, None, "x", name)), ("x",))
        training, validation = split_samples(samples)
        assert (len(training.samples), len(validation.samples)) == (30, 1)


@pytest.mark.parametrize("seed", range(4))
def test_a_large_group_takes_no_class_out_of_the_validation(seed) -> None:
    stack = [Sample(f"a{place}", None, None, "x", "a") for place in range(30)]
    singles = [Sample(name, None, None, kind, name) for name, kind in (("b", "x"), ("c", "y"), ("d", "y"))]
    _, validation = split_samples(SampleSet("s", (*stack, *singles), ("x", "y")), seed=seed)
    assert {sample.image_class for sample in validation.samples} == {"x", "y"}
    assert "a" not in {sample.group for sample in validation.samples}


def test_what_would_end_a_training_is_refused_before_it() -> None:
    pixels = RNG.integers(0, 255, (64, 80, 3), dtype=np.uint8)
    colour = LayerPair(from_array(pixels, "YXC", name="colour", rgb=True), None, {(): "one"})
    two = LayerPair(from_array(pixels[..., :2], "YXC", name="stains"), None, {(): "two"})
    assert any("stains has 2 channels" in text for text in preflight([colour, two, *several()]).refusals)
    blank = LayerPair(from_array(np.full((64, 80), np.nan, np.float32), "YX", name="lost"), None, {(): "one"})
    assert any("lost has no finite pixel" in text for text in preflight([blank, *several()]).refusals)
    spot = np.full((2100, 2100), np.nan, np.float32)
    spot[1001:1003, 1001:1003] = 1
    few = LayerPair(from_array(spot, "YX", name="spot"), None, {(): "one"})
    assert not preflight([few, *several()]).refusals


def preflight(pairs, **settings):
    return last(iter_preflight(samples_from_pairs(pairs, "mine"), TrainSettings(crop_size=64, **settings)))


def test_preflight_tells_what_there_is() -> None:
    found = preflight(several(number=40))
    text = "\n".join(found.facts)
    for words in ("40 annotated", "40 of 40 images have a mask", "one 20, two 20", "80 × 64 px, uint16", "for validation"):
        assert words in text
    assert not found.refusals
    assert not found.warnings


@pytest.mark.parametrize(
    ("pairs", "settings", "words"),
    [
        (several(number=1), {}, "at least 2 groups"),
        (several(("one",)), {}, "every image has the image class one"),
        ([pair("a", value=3), pair("b")], {"mask_classes": ("cell", "nucleus")}, r"up to 3.*2 mask classes.*cell, nucleus"),
        ([pair("a"), LayerPair(from_array(np.full((40, 40), np.nan), "YX", name="b"), None, {})], {"folds": ("7",)}, "no fold 7"),
        (several(), {"freeze_encoder": True}, "model to start from"),
    ],
    ids=["no validation", "one class", "values", "fold", "freeze"],
)
def test_preflight_refuses_what_cannot_work(pairs, settings, words) -> None:
    (refusal,) = preflight(pairs, **settings).refusals
    assert re.search(words, refusal)


def test_preflight_warns_of_what_will_work_badly() -> None:
    pixels, mask = blobs()
    same = [LayerPair(from_array(pixels + place, "YX", name=f"same{place}"), mask, {}) for place in range(6)]
    numbered = [pair(f"v{place}", {(): "odd"}, value=place + 1) for place in range(25)]
    text = "\n".join(preflight(same + numbered + [pair("rare", {(): "rare"})]).warnings)
    for words in ("near-duplicates", "different values", "few training images have the class rare", "largest class"):
        assert words in text, words


def test_going_on_from_a_model_keeps_what_it_has_learned_from_out_of_the_validation() -> None:
    samples = samples_from_pairs(several(number=20), "s")
    found = last(iter_preflight(samples, TrainSettings()))
    first = make_plan(samples, found.survey, TrainSettings(), name="first")
    again = make_plan(samples, found.survey, TrainSettings(seed=5), name="again", start=first.card)
    assert again.validation.samples == first.validation.samples
    assert again.card.training["learned_names"] == sorted(sample.name for sample in first.training.samples)
    nothing_new = "\n".join(last(iter_preflight(first.training, TrainSettings(), start=again.card)).warnings)
    assert re.search(r"again was trained on [2-4] of the validation images, for instance im\d", nothing_new)
    something_new = "\n".join(last(iter_preflight(samples, TrainSettings(), start=again.card)).warnings)
    assert "was trained on" not in something_new


def test_planes_without_paint_teach_no_mask() -> None:
    """They have labels, but a training must know that these hold no mask, to draw those that do more often."""
    stacks = []
    for name in ("one", "two", "three", "four"):
        stack, labels = (np.stack(part) for part in zip(*[blobs() for _ in range(6)], strict=True))
        labels[2:] = 0
        classes = {(place,): name for place in range(6)}
        stacks.append(LayerPair(from_array(stack, "ZYX", name=name), labels, classes))
    samples = samples_from_pairs(stacks, "mine")
    plan = make_plan(samples, last(iter_survey(samples)), TrainSettings(), name="m")
    used = [*plan.training.samples, *plan.validation.samples]
    assert len(used) == 24
    assert {one.name[-1] for one in used if one.mask_source is not None} == {"0", "1"}


def test_a_folder_with_odd_files_says_so(tmp_path) -> None:
    last(save_folder(samples_from_pairs(several(), "s"), tmp_path))
    imageio.imwrite(tmp_path / "masks" / "else.png", np.zeros((64, 80), np.uint8))
    imageio.imwrite(tmp_path / "images" / "new.png", np.zeros((64, 80), np.uint8))
    found = last(iter_preflight(read_folder(tmp_path), TrainSettings(crop_size=64)))
    assert any("else.png" in text for text in found.warnings)
    assert any("1 image with neither" in text for text in found.facts)
    imageio.imwrite(tmp_path / "masks" / "new.png", np.zeros((8, 8), np.uint8))
    found = last(iter_preflight(read_folder(tmp_path), TrainSettings(crop_size=64)))
    assert "new.png: its mask is 8 × 8 px, the image 80 × 64 px" in found.refusals[0]
    good = (tmp_path / "labels.csv").read_text(encoding="utf-8")
    for text, words in (
        (good + "gone.png,one,\n", r"gone\.png"),
        (good + "im1.tif,two,\n", "twice"),
        (good.replace("filename", "sample"), "no column filename"),
        (good.replace("im3.tif,", 'im3.tif,"'), "quote"),
    ):
        (tmp_path / "labels.csv").write_bytes(text if isinstance(text, bytes) else text.encode())
        with pytest.raises(ValueError, match=words):
            read_folder(tmp_path)
