"""Data folders as other programs and people write them: names, tables, and kinds of masks. One test a case."""

from __future__ import annotations

import codecs
import json
import unicodedata
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

import napari_resformer as nr
from napari_resformer.cli import main
from napari_resformer.events import EpochDone, Finished
from napari_resformer.images.image import from_array
from napari_resformer.metrics import IGNORE
from napari_resformer.samples.content import content_of
from napari_resformer.samples.folder import read_folder
from napari_resformer.samples.pairs import LayerPair, samples_from_pairs, with_rules
from napari_resformer.samples.saving import save_folder
from napari_resformer.samples.survey import iter_survey
from napari_resformer.training.check import iter_preflight
from napari_resformer.training.loader import PlaneReader
from napari_resformer.training.plan import make_plan
from napari_resformer.training.settings import TrainSettings

SIDE, COUNT = 64, 6
PAINTED = pytest.approx(0.08, abs=0.03)


def scene(seed: int, shape=(SIDE, SIDE)):
    """A picture of three bright discs on a dark ground, and their instance labels."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    labels = np.zeros(shape, np.uint8)
    while labels.max() < 3:
        y, x = (rng.integers(8, side - 8) for side in shape)
        disc = np.hypot(rows - y, columns - x)
        if not labels[disc < 9].any():
            labels[disc < 6] = labels.max() + 1
    return (20 + 150 * (labels > 0) + rng.integers(0, 9, shape)).astype(np.uint8), labels


def png(path: Path, pixels) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def tiff(path: Path, pixels, **more) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    tifffile.imwrite(path, pixels, **more)


def indexed(path: Path, pixels, colours) -> None:
    picture = Image.fromarray(pixels, "P")
    picture.putpalette([value for colour in colours for value in colour])
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path)


def binary(labels):
    return (labels > 0).astype(np.uint8)


def made(root, *, image="img{}.png", mask="img{}.png", labels=None, stored=binary, save=png, image_save=png) -> Path:
    """Write a data folder; ``stored`` turns instance labels into what the mask files hold."""
    for number in range(1, COUNT + 1):
        pixels, numbers = scene(number)
        image_save(root / "images" / image.format(number), pixels)
        if mask is not None:
            save(root / "masks" / mask.format(number), stored(numbers))
    if labels is not None:
        (root / "labels.csv").write_bytes(labels if isinstance(labels, bytes) else labels.encode())
    return root


def table(head="filename,class", name="img{}.png", classes="ab", between=",") -> str:
    rows = [f"{name.format(number)}{between}{classes[number % len(classes)]}" for number in range(1, COUNT + 1)]
    return "\n".join([head.replace(",", between), *rows, ""])


def surveyed(path, **options):
    samples = read_folder(path, **options)
    *_, event = iter_survey(samples)
    assert isinstance(event, Finished)
    return samples, event.result


def assert_one_class(path, **options) -> None:
    """All masks are there and hold the discs as one mask class."""
    samples, found = surveyed(path, **options)
    assert not [fact.fault for fact in found.facts if fact.fault]
    assert (found.masks, set(found.mask_values)) == (len(samples.samples), {1})
    for number, sample in enumerate(samples.samples, start=1):
        np.testing.assert_array_equal(sample.mask(), binary(scene(number)[1]))


# ------------------------------------------------------------------------------------------------------------------- names
@pytest.mark.parametrize(
    "mask",
    [
        "img{}_mask.png", "img{}-masks.png", "img{}_seg.png", "img{} label.png", "img{}_labels.png", "img{}_GT.png",
        "img{}_cp_masks.png", "mask_img{}.png", "IMG{}.png", "img{}.ome.png", "img00{}_segmentation.png", "labels-{}.png",
    ],
)  # fmt: skip
def test_masks_are_found_by_the_names_that_people_give_them(tmp_path, mask) -> None:
    assert_one_class(made(tmp_path, mask=mask))


@pytest.mark.parametrize("image", ["img{}.ome.tif", "a.b.{}.tif", "cell {} (x).tif", "day.1/img{}.tif", "image_{}.tif"])
def test_images_keep_their_masks_whatever_their_names_hold(tmp_path, image) -> None:
    mask = image.replace(".ome.tif", ".png").replace(".tif", ".png").replace("image_", "mask_")
    assert_one_class(made(tmp_path, image=image, mask=mask, image_save=tiff))


def test_letters_of_one_or_of_two_characters_are_the_same(tmp_path) -> None:
    composed, apart = (unicodedata.normalize(form, "drüse{}.png") for form in ("NFC", "NFD"))
    assert composed != apart
    assert_one_class(made(tmp_path, image=apart, mask=composed, labels=table(name=composed)))


def test_masks_beside_their_images_are_masks(tmp_path) -> None:
    made(tmp_path, mask=None)
    for number in range(1, COUNT + 1):
        png(tmp_path / "images" / f"img{number}_masks.png", binary(scene(number)[1]))
    assert_one_class(tmp_path)
    assert any("6 files in images/ used as masks" in fact for fact in read_folder(tmp_path).facts)


def test_images_and_masks_in_subfolders_count(tmp_path) -> None:
    made(tmp_path, image="day2/img{}.png", mask="day2/img{}_mask.png")
    made(tmp_path / "more", image="day1/img{}.png", mask="day1/img{}_mask.png")
    (tmp_path / "more/images/day1").rename(tmp_path / "images/day1")
    (tmp_path / "more/masks/day1").rename(tmp_path / "masks/day1")
    samples, found = surveyed(tmp_path)
    assert found.masks == 2 * COUNT
    assert len({sample.group for sample in samples.samples}) == 2 * COUNT  # of one name, and not one image
    assert any("12 images in folders below images/: day1/ (6), day2/ (6)" in fact for fact in samples.facts)


def test_masks_that_fit_no_image_are_listed_with_the_nearest_name(tmp_path) -> None:
    made(tmp_path)
    png(tmp_path / "masks" / "imgg7.png", scene(1)[1])
    png(tmp_path / "masks" / "notes.svg.png", scene(1)[1])
    (note,) = read_folder(tmp_path).notes
    assert "2 masks in masks/ without an image" in note
    assert "imgg7.png (the nearest name is img" in note


def test_masks_of_which_none_fits_are_refused_by_the_command_line(tmp_path, capsys) -> None:
    made(tmp_path, mask="tumour{}x.png", labels=table())
    command = ["train", str(tmp_path), "-o", str(tmp_path / "m.safetensors"), "--epochs", "1", "--device", "cpu"]
    assert main(command) == 1
    said = capsys.readouterr().err
    assert "masks/tumour1x.png" in said
    assert "images/img1.png" in said
    assert "Traceback" not in said


@pytest.mark.parametrize(
    ("extra", "words"),
    [("masks/img1_mask.tif", "img1.png and masks/img1_mask.tif both fit"), ("images/sub/img2.png", None)],
)
def test_two_files_for_one_place_are_refused(tmp_path, extra, words) -> None:
    made(tmp_path)
    (tiff if extra.endswith("tif") else png)(tmp_path / extra, binary(scene(1)[1]))
    if words is None:
        assert len(read_folder(tmp_path).samples) == COUNT + 1  # masks/img2.png lies as images/img2.png does
        return
    with pytest.raises(ValueError, match=words):
        read_folder(tmp_path)


def test_what_is_not_read_is_named(tmp_path) -> None:
    made(tmp_path)
    (tmp_path / "masks" / "img1.json").write_text("{}")
    (tmp_path / "images" / "Thumbs.db").write_bytes(b"stray")
    (tmp_path / "masks" / ".DS_Store").write_bytes(b"stray")
    np.save(tmp_path / "masks" / "img1_seg.npy", np.array({"masks": 1}, dtype=object), allow_pickle=True)
    png(tmp_path / "labels" / "img1.png", scene(1)[1])
    text = "\n".join(read_folder(tmp_path).notes)
    assert "masks/ holds 2 files of a kind that is not read (.json, .npy)" in text
    assert "labels/ holds 1 image file and is not read" in text
    assert "Thumbs" not in text


# ------------------------------------------------------------------------------------------------------------------ tables
@pytest.mark.parametrize(
    "content",
    [
        table("filename,Class"),
        table("File Name,Label"),
        table(between=";"),
        table(between="\t"),
        "sep=;\n" + table(between=";"),
        codecs.BOM_UTF8 + table().encode(),
        table().encode("utf-16"),
        codecs.BOM_UTF16_BE + table().encode("utf-16-be"),
        table().encode("utf-16-le"),
        table().replace("\n", "\r\n") + "\r\n,\r\n",
        table().replace(",", " , ").replace("filename , class", "filename, class "),
        table(name='"img{}.png"'),
        table(name="images\\img{}.png"),
        table(name="C:\\Users\\x\\Pictures\\img{}.tiff"),
        table(name="./images/img{}.png"),
        table(name="IMG{}"),
        table() + "img1.png,b\n",
        table("filename,class,stain").replace("a\n", "a,HE\n"),
        table().replace("\n", ",,,\n"),
    ],
    ids=[
        "capital", "synonyms", "semicolon", "tab", "excel", "utf-8 mark", "utf-16", "utf-16-be", "utf-16 without a mark",
        "windows lines", "spaces", "quotes", "backslashes", "windows path", "slashes", "no suffix", "twice the same",
        "other columns", "empty columns",
    ],
)  # fmt: skip
def test_tables_are_read_as_spreadsheets_write_them(tmp_path, content) -> None:
    samples = read_folder(made(tmp_path, labels=content)).samples
    assert [sample.image_class for sample in samples] == ["b", "a"] * (COUNT // 2)


def test_columns_in_capitals_and_folds_of_a_spreadsheet_count(tmp_path) -> None:
    text = "Filename,CLASS,Group,Fold\n" + "".join(f"img{number}.png,a,p{number % 2},{number % 3}.0\n" for number in range(1, 7))
    samples = read_folder(made(tmp_path, labels=text)).samples
    assert {sample.group for sample in samples} == {"p0", "p1"}
    assert {sample.fold for sample in samples} == {"0", "1", "2"}


def test_a_table_of_another_name_is_read_and_named(tmp_path) -> None:
    made(tmp_path)
    (tmp_path / "labels.tsv").write_text(table(between="\t"), encoding="utf-8")
    samples = read_folder(tmp_path)
    assert samples.image_classes == ("a", "b")
    assert any("labels.tsv is read" in fact for fact in samples.facts)
    (tmp_path / "labels.csv").write_text(table(classes="xy"), encoding="utf-8")
    samples = read_folder(tmp_path)
    assert samples.image_classes == ("x", "y")
    assert any("labels.tsv is not read" in note for note in samples.notes)
    (tmp_path / "labels.csv").unlink()
    (tmp_path / "labels.tsv").rename(tmp_path / "labels.txt")
    assert read_folder(tmp_path).image_classes == ("a", "b")
    (tmp_path / "labels.txt").write_text("nucleus\ncytoplasm\n", encoding="utf-8")
    assert read_folder(tmp_path).image_classes == ()


def test_letters_with_accents_of_an_old_spreadsheet_are_read_and_told(tmp_path) -> None:
    samples = read_folder(made(tmp_path, labels=table(classes=("größer", "müde")).encode("cp1252")))
    assert samples.image_classes == ("größer", "müde")
    assert any("Windows-1252" in note for note in samples.notes)


def test_zeros_that_a_spreadsheet_took_are_no_matter(tmp_path) -> None:
    samples = read_folder(made(tmp_path, image="00{}.png", mask="00{}.png", labels=table(name="{}")))
    assert samples.image_classes == ("a", "b")
    assert any("6 names in labels.csv written in another way, for instance 1 for 001.png" in fact for fact in samples.facts)


def test_names_with_dots_need_no_suffix_in_a_table(tmp_path) -> None:
    samples = read_folder(made(tmp_path, image="a.b.{}.png", mask="a.b.{}.png", labels=table(name="a.b.{}"))).samples
    assert [sample.image_class for sample in samples] == ["b", "a"] * (COUNT // 2)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("filename,class,group\nimg1.png,adenoma, tubular,p1\n", "line 2.*4 values.*3 columns.*quotes"),
        (table() + "img1.png,a\n", "names img1.png twice, in lines 2 and 8"),
        (table() + "imgg1.png,a\n", "imgg1.png in line 8 .the nearest name is img1.png"),
        (table("sample,class"), "no column filename"),
        (table().replace(",b", ',"b', 1), "line 2.*quote"),
        ("filename,label,category\nimg1.png,a,b\n", "columns label and category, each of which may be the class"),
        ("filename,class\n,a\n", "line 2.*names no file"),
        ("", "is empty"),
        (b"filename,class\nimg1.png,a\0b\n", "zero bytes"),
    ],
    ids=["comma", "twice", "unknown", "no column", "open quote", "two columns", "no name", "empty", "binary"],
)  # fmt: skip
def test_tables_with_faults_are_refused_with_the_line(tmp_path, text, words) -> None:
    with pytest.raises(ValueError, match=words):
        read_folder(made(tmp_path, labels=text))


def test_odd_classes_and_lost_groups_are_told(tmp_path) -> None:
    classes = ["tumour", "Tumour", "nan", "normal", "normal", ""]
    text = "filename,class,patient\n" + "".join(f"img{place}.png,{name},p1\n" for place, name in enumerate(classes, start=1))
    text = "\n".join(read_folder(made(tmp_path, labels=text)).notes)
    assert "Tumour (1) and tumour (1) differ in capitals" in text
    assert "the image class nan counts as a class" in text
    assert "a column patient, which is ignored" in text


# ----------------------------------------------------------------------------------------------------------- kinds of masks
def white(labels):
    return np.where(labels > 0, 255, 0).astype(np.uint8)


def alpha(labels):
    return np.dstack([np.full((*labels.shape, 3), 255, np.uint8), white(labels)])


def black_ink(labels):
    return np.dstack([np.zeros((*labels.shape, 3), np.uint8), white(labels)])


def red(labels):
    return np.dstack([white(labels), np.zeros((*labels.shape, 2), np.uint8)])


def gray_tiff(path, pixels) -> None:
    tiff(path, pixels, photometric="minisblack")


VOC = ((0, 0, 0), (128, 0, 0), (0, 128, 0), (128, 128, 0))


@pytest.mark.parametrize(
    ("stored", "save", "mask"),
    [
        (white, png, "img{}.png"),
        (lambda labels: labels > 0, png, "img{}.png"),
        (lambda labels: np.dstack([white(labels)] * 3), png, "img{}.png"),
        (lambda labels: white(labels).astype(np.uint16), tiff, "img{}.tif"),
        (lambda labels: white(labels).astype(np.uint16) * 257, tiff, "img{}.tif"),
        (lambda labels: white(labels) // 2, png, "img{}.png"),
        (lambda labels: binary(labels).astype(np.float32), tiff, "img{}.tif"),
        (lambda labels: white(labels).astype(np.float64), tiff, "img{}.tif"),
        (lambda labels: binary(labels)[np.newaxis], gray_tiff, "img{}.tif"),
        (binary, lambda path, pixels: tiff(path, pixels, photometric="miniswhite"), "img{}.tif"),
        (binary, lambda path, pixels: indexed(path, pixels, ((255, 255, 255), (0, 0, 0))), "img{}.png"),
        (alpha, png, "img{}.png"),
        (black_ink, png, "img{}.png"),
        (red, png, "img{}.png"),
    ],
    ids=[
        "0 and 255", "1 bit", "gray as rgb", "16 bits, 255", "16 bits, 65535", "127", "floats", "floats, 255", "one plane",
        "white is zero", "palette, white first", "white ink", "black ink", "red on black",
    ],
)  # fmt: skip
def test_black_and_white_is_one_mask_class_however_it_is_stored(tmp_path, stored, save, mask) -> None:
    assert_one_class(made(tmp_path, mask=mask, stored=stored, save=save))


def test_of_a_palette_the_indices_are_the_label_values(tmp_path) -> None:
    made(tmp_path, stored=lambda labels: labels, save=lambda path, pixels: indexed(path, pixels, VOC))
    assert surveyed(tmp_path)[1].mask_values == {1: COUNT, 2: COUNT, 3: COUNT}


def test_few_instance_labels_are_asked_about(tmp_path) -> None:
    samples = read_folder(made(tmp_path, stored=lambda labels: labels))
    assert any("--instance-labels" in note and "1 to 3" in note for note in samples.notes)
    assert_one_class(tmp_path, mask_kind="instances")
    *_, event = iter_survey(samples.with_instance_labels())
    assert set(event.result.mask_values) == {1}


def test_many_instance_labels_are_known_and_told(tmp_path) -> None:
    grid = np.zeros((SIDE, SIDE), np.uint16)
    for number, (y, x) in enumerate(np.ndindex(6, 6), start=1):
        grid[10 * y + 1 : 10 * y + 7, 10 * x + 1 : 10 * x + 7] = number
    samples, found = surveyed(made(tmp_path, mask="img{}.tif", stored=lambda _: grid, save=tiff))
    assert set(found.mask_values) == {1}
    assert any("instance labels: up to 36 values" in fact and "--mask-kind classes" in fact for fact in samples.facts)
    np.testing.assert_array_equal(samples.samples[0].instances(), grid)
    assert len(surveyed(tmp_path, mask_kind="classes")[1].mask_values) == 36


def ignoring(labels, dtype=np.uint8):
    values = np.where(labels == 2, 2, binary(labels)).astype(dtype)
    values[:5] = np.iinfo(dtype).max
    return values


@pytest.mark.parametrize(("dtype", "mask", "save"), [(np.uint8, "img{}.png", png), (np.uint16, "img{}.tif", tiff)])
def test_the_largest_value_beside_classes_means_ignored(tmp_path, dtype, mask, save) -> None:
    samples, found = surveyed(made(tmp_path, mask=mask, stored=lambda labels: ignoring(labels, dtype), save=save))
    assert set(found.mask_values) == {1, 2}
    mask = samples.samples[0].mask()
    assert mask.dtype == np.uint8
    assert (mask[:5] == IGNORE).all()
    assert IGNORE not in mask[5:]
    assert found.facts[0].ignored == 5 * SIDE
    assert any(f"{np.iinfo(dtype).max} means ignored, in 6 masks" in fact for fact in samples.facts)


def test_ignored_pixels_count_neither_in_training_nor_in_figures(tmp_path) -> None:
    def half(labels):
        mask = binary(labels)
        mask[:24] = 255
        return mask

    made(tmp_path, stored=half)
    model = nr.load_model("nuclei")
    dice = []
    for number in range(1, COUNT + 1):
        pixels, labels = scene(number)
        truth, found = (binary(mask)[24:] for mask in (labels, nr.predict(model, pixels, axes="YX", device="cpu").mask))
        if truth.any() or found.any():
            dice.append(2 * (truth & found).sum() / (truth.sum() + found.sum()))
    assert nr.evaluate(model, tmp_path, device="cpu").mask["nucleus"].dice == pytest.approx(np.mean(dice))
    blank = np.full((SIDE, SIDE), 255, np.uint8)
    blank[0, :2] = 0, 1
    for number in range(1, COUNT + 1):
        png(tmp_path / "masks" / f"img{number}.png", blank)
    for event in nr.iter_train(tmp_path, preset="tiny", epochs=1, crop_size=64, device="cpu", run_folder=tmp_path / "run"):
        if isinstance(event, EpochDone):
            assert np.isfinite(event.training.loss)
            assert np.isfinite(event.held_out.mask_loss)


def test_a_mask_of_black_and_white_among_masks_with_ignored_pixels_is_told(tmp_path) -> None:
    made(tmp_path, stored=ignoring)
    png(tmp_path / "masks" / "img1.png", white(scene(1)[1]))
    samples = read_folder(tmp_path)
    assert any("img1.png" in note and "taken as ignored in all of them" in note for note in samples.notes)
    assert set(np.unique(samples.samples[0].mask())) == {0, IGNORE}
    made(tmp_path, stored=white)
    png(tmp_path / "masks" / "img1.png", ignoring(scene(1)[1]))
    samples = read_folder(tmp_path)
    assert any("mask class 1 in the former" in note for note in samples.notes)
    np.testing.assert_array_equal(samples.samples[1].mask(), binary(scene(2)[1]))


def test_ignored_pixels_alone_are_saved_so_that_they_are_read_back_as_ignored(tmp_path) -> None:
    """Beside a mask that has classes, one with ignored pixels and background alone must not become black and white."""
    image, plain = scene(1)
    unsure = np.where(plain > 0, 255, 0).astype(np.uint8)
    classes = np.where(plain == 1, 255, binary(plain)).astype(np.uint8)
    for name, masks in (("few", [classes, unsure]), ("most", [classes, unsure, unsure, unsure]), ("alone", [unsure])):
        layer = np.stack([classes, *masks])  # one layer: 255 means the same on each of its planes
        stack = np.stack([np.roll(image, step, 0) for step in range(len(layer))])
        samples = with_rules(samples_from_pairs([LayerPair(from_array(stack, "ZYX", name="stack"), layer)], name))
        for sample, mask in zip(samples.samples, layer, strict=True):
            np.testing.assert_array_equal(sample.mask(), mask)
        kept = samples.subset(samples.samples[1:])
        *_, _ = save_folder(kept, tmp_path / name)
        for sample, mask in zip(read_folder(tmp_path / name).samples, masks, strict=True):
            np.testing.assert_array_equal(sample.mask(), mask)
            assert sample.mask().dtype == np.uint8


def test_what_has_no_mask_is_told_once(tmp_path) -> None:
    made(tmp_path, labels=table())
    for number in (2, 5):
        (tmp_path / "masks" / f"img{number}.png").unlink()
    *_, event = iter_preflight(read_folder(tmp_path), TrainSettings(crop_size=32))
    facts = [fact for fact in event.result.facts if "mask" in fact and "img2.png" in fact]
    assert facts == ["4 of 6 images have a mask; without one: img2.png, img5.png"]
    (tmp_path / "labels.csv").unlink()
    *_, event = iter_preflight(read_folder(tmp_path), TrainSettings(crop_size=32))
    assert [fact for fact in event.result.facts if "img2.png" in fact] == [
        "2 images with neither a mask nor a class are left out: img2.png, img5.png"
    ]


def test_black_and_white_layers_are_one_mask_class_as_before() -> None:
    image, plain = scene(1)
    layers = [LayerPair(from_array(image, "YX", name=f"{number}"), white(plain)) for number in range(2)]
    for sample in with_rules(samples_from_pairs(layers, "layers")).samples:
        np.testing.assert_array_equal(sample.mask(), binary(plain))


def test_values_that_no_mask_holds_are_warned_of(tmp_path) -> None:
    made(tmp_path, stored=lambda labels: np.array([0, 1, 2, 7], np.uint8)[labels])
    *_, event = iter_preflight(read_folder(tmp_path), TrainSettings(crop_size=64))
    assert any("no mask holds the label values 3, 4, 5, 6" in text for text in event.result.warnings)
    seven = tuple("abcdefg")
    *_, event = iter_preflight(read_folder(tmp_path), TrainSettings(crop_size=64, mask_classes=seven))
    assert not any("no mask holds" in text for text in event.result.warnings)


def smooth(labels):
    picture = Image.fromarray(white(labels)).resize((32, 32), Image.Resampling.BILINEAR)
    return np.asarray(picture.resize((SIDE, SIDE), Image.Resampling.BILINEAR))


def soft_ink(labels):
    return np.dstack([np.zeros((SIDE, SIDE, 3), np.uint8), smooth(labels)])


def probability(labels):
    return smooth(labels).astype(np.float32) / 255


@pytest.mark.parametrize(
    ("stored", "save", "mask", "words"),
    [
        (smooth, png, "img{}.png", "grays between black and white.*resizing.*--mask-kind binary"),
        (probability, tiff, "img{}.tif", "fractions, as probabilities do.*--mask-kind binary"),
        (smooth, png, "img{}.jpg", "JPEG.*PNG or TIFF"),
        (soft_ink, png, "img{}.png", "half transparent"),
    ],
    ids=["resized", "probabilities", "jpeg", "soft edges of ink"],
)
def test_smooth_masks_are_refused_and_cut_at_half_where_that_is_said(tmp_path, stored, save, mask, words) -> None:
    made(tmp_path, mask=mask, stored=stored, save=save)
    with pytest.raises(ValueError, match=words):
        read_folder(tmp_path)
    for number, sample in enumerate(read_folder(tmp_path, mask_kind="binary").samples, start=1):
        assert (sample.mask() != binary(scene(number)[1])).mean() < 0.03


def colours(labels):
    return np.array([(0, 0, 0), (0, 0, 255), (255, 0, 0), (0, 0, 255)], np.uint8)[labels]


@pytest.mark.parametrize(
    ("stored", "save", "mask", "words"),
    [
        (binary, png, "img{}.jpg", "JPEG, which changes label values"),
        (lambda labels: np.where(labels, np.inf, 0), tiff, "img{}.tif", "infinite values"),
        (lambda labels: np.where(labels, np.nan, 0), tiff, "img{}.tif", "NaN"),
        (lambda labels: -binary(labels).astype(np.int16), tiff, "img{}.tif", "negative values"),
        (lambda labels: labels * np.float32(0.5), tiff, "img{}.tif", "fractions"),
        (lambda labels: np.array([0, 85, 170, 255], np.uint8)[labels], png, "img{}.png", "grays.*0, 1, 2"),
        (colours, png, "img{}.png", r"in color .#000000, #0000ff, #ff0000.*mask_colors.csv"),
        (lambda labels: np.stack([binary(labels), labels]), lambda path, pixels: tiff(path, pixels, metadata={"axes": "CYX"}),
         "img{}.tif", "2 channels that differ"),
        (lambda labels: np.dstack([scene(1)[0] + shift for shift in range(3)]), png, "img{}.jpg", "more than 64 colors|JPEG"),
    ],
    ids=["jpeg", "infinite", "nan", "negative", "halves", "gray levels", "colours", "two channels", "photograph"],
)  # fmt: skip
def test_masks_that_may_mean_anything_are_refused_with_what_to_do(tmp_path, stored, save, mask, words) -> None:
    with pytest.raises(ValueError, match=words) as caught:
        read_folder(made(tmp_path, mask=mask, stored=stored, save=save))
    assert "img1" in str(caught.value)
    assert len(str(caught.value)) < 600


def test_a_table_says_which_colour_is_which_class(tmp_path) -> None:
    made(tmp_path, stored=colours)
    (tmp_path / "mask_colors.csv").write_text("color,value\n#0000FF,2\n#ff0000,1\n", encoding="utf-8")
    samples, found = surveyed(tmp_path)
    assert found.mask_values == {1: COUNT, 2: COUNT}
    np.testing.assert_array_equal(samples.samples[0].mask(), np.array([0, 2, 1, 2])[scene(1)[1]])
    for text, words in (
        ("#0000ff,2\n", "holds a color that has no value.*#ff0000"),
        ("blue,2\n", "line 1"),
        ("#0000ff,2\n" * 2, "twice"),
    ):
        (tmp_path / "mask_colors.csv").write_text(text, encoding="utf-8")
        with pytest.raises(ValueError, match=words):
            read_folder(tmp_path)


def test_masks_of_other_sizes_and_damaged_files_are_named_all_at_once(tmp_path) -> None:
    made(tmp_path, image_save=lambda path, pixels: png(path, pixels[:, :40]))
    png(tmp_path / "masks" / "img2.png", np.zeros((40, SIDE), np.uint8))
    facts = surveyed(tmp_path)[1].facts
    assert all("they must be equal" in fact.fault for fact in facts)
    assert "lies on its side" in facts[1].fault
    for number in (3, 5):
        (tmp_path / "masks" / f"img{number}.png").write_bytes(b"\x89PNG\r\n\x1a\nrubbish")
    with pytest.raises(ValueError, match=r"img3\.png.*img5\.png"):
        read_folder(tmp_path)


# ------------------------------------------------------------------------------------------------------ stacks, instances
def test_a_stack_with_a_stack_of_masks_is_a_sample_a_plane(tmp_path) -> None:
    planes = [scene(number) for number in range(4)]
    pixels, labels = np.stack([plane[0] for plane in planes]), np.stack([binary(plane[1]) for plane in planes])
    labels[2] = 0
    for name in ("one", "two"):
        tiff(tmp_path / "images" / f"{name}.tif", pixels, metadata={"axes": "ZYX"}, ome=True)
        tiff(tmp_path / "masks" / f"{name}_mask.tif", labels, metadata={"axes": "ZYX"}, ome=True)
    samples, found = surveyed(tmp_path)
    assert [sample.name for sample in samples.samples][:2] == ["one.tif Z0", "one.tif Z1"]
    assert {sample.group for sample in samples.samples} == {"one", "two"}
    assert found.masks == 6  # blank planes are those that nobody has annotated
    np.testing.assert_array_equal(samples.samples[7].plane().read()[0], pixels[3])
    np.testing.assert_array_equal(samples.samples[7].mask(), labels[3])
    assert any("8 planes in 2 files" in fact for fact in samples.facts)
    tiff(tmp_path / "masks" / "two_mask.tif", labels[:3], metadata={"axes": "ZYX"}, ome=True)
    faults = [fact.fault for fact in surveyed(tmp_path)[1].facts if fact.fault]
    assert len(faults) == 4
    assert "the mask two_mask.tif holds 3 planes, its image 4" in faults[0]


def test_a_set_of_ome_tiff_files_is_a_sample_a_file(tmp_path) -> None:
    """As an acquisition writes it: each file holds a page, and the names of all files."""
    names = [f"img{number}.ome.tif" for number in range(1, COUNT + 1)]
    where = "".join(
        f'<TiffData FirstT="{place}" IFD="0" PlaneCount="1"><UUID FileName="{name}">urn:uuid:{place:032}</UUID></TiffData>'
        for place, name in enumerate(names)
    )
    for number, name in enumerate(names, start=1):
        pixels, numbers = scene(number)
        told = (
            f'<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" UUID="urn:uuid:{number - 1:032}">'
            f'<Image ID="Image:0"><Pixels ID="Pixels:0" DimensionOrder="XYCZT" Type="uint8" SizeX="{SIDE}" SizeY="{SIDE}" '
            f'SizeZ="1" SizeC="1" SizeT="{COUNT}"><Channel ID="Channel:0:0"/>{where}</Pixels></Image></OME>'
        )
        tiff(tmp_path / "images" / name, pixels, description=told, metadata=None)
        png(tmp_path / "masks" / f"img{number}.png", binary(numbers))
    assert_one_class(tmp_path)
    _, found = surveyed(tmp_path)
    for number, fact in enumerate(found.facts, start=1):
        assert fact.content.checksum == content_of(from_array(scene(number)[0], "YX").plane()).checksum
    assert any("one of a set of 6 OME-TIFF files" in note for note in found.notes)


@pytest.mark.parametrize("command", ["train", "evaluate"])
def test_axes_that_are_ambiguous_are_one_line_that_names_the_files(tmp_path, capsys, command) -> None:
    made(
        tmp_path,
        image="img{}.tif",
        image_save=lambda path, pixels: tiff(path, np.stack([pixels] * 3), photometric="minisblack", metadata=None),
    )
    where = ["-o", str(tmp_path / "m.safetensors")] if command == "train" else ["--model", "nuclei", "--device", "cpu"]
    assert main([command, str(tmp_path), *where]) == 1
    said = [line for line in capsys.readouterr().err.splitlines() if "ambiguous" in line]
    assert len(said) == 1
    assert said[0].count("ambiguous") == 1
    assert "img1.tif" in said[0]
    assert "--axes" in said[0]
    assert ("the same with img2.tif, img3.tif" in said[0]) == (command == "train")


def test_axes_of_images_can_be_said(tmp_path) -> None:
    def three_pages(path, pixels) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tifffile.TiffWriter(path) as file:
            for shift in range(3):
                file.write(pixels + np.uint8(shift), photometric="minisblack", metadata=None, contiguous=False)

    made(tmp_path, image="img{}.tif", image_save=three_pages)
    faults = [fact.fault for fact in surveyed(tmp_path)[1].facts]
    assert all("axes" in fault for fault in faults)
    found = surveyed(tmp_path, axes="CYX")[1]
    assert [fact.channels for fact in found.facts] == [3] * COUNT
    command = ["train", str(tmp_path), "-o", str(tmp_path / "m.safetensors"), "--epochs", "1", "--size", "64", "--device", "cpu"]
    assert main([*command, "--axes", "CYX"]) == 0
    assert nr.load_model(tmp_path / "m.safetensors").card.network.in_channels == 3


def test_channels_are_ordered_by_their_names(tmp_path) -> None:
    """In half of the files the stains are stored the other way round."""

    def two_stains(path, pixels) -> None:
        swap = path.stem[3] in "456"
        stains, names = [pixels, np.zeros_like(pixels)], ["nuclei", "Membrane" if swap else "membrane"]
        metadata = {"axes": "CYX", "Channel": {"Name": names[::-1] if swap else names}}
        tiff(path, np.stack(stains[::-1] if swap else stains), ome=True, metadata=metadata)

    made(tmp_path, image="img{}.ome.tif", image_save=two_stains)
    samples, found = surveyed(tmp_path)
    plan = make_plan(samples, found, TrainSettings(crop_size=64), name="m")
    assert plan.card.channels == ("nuclei", "membrane")
    reader = PlaneReader(plan.card.preprocessor)
    for sample in samples.samples:
        nuclei, membrane = reader.read(sample)[0]
        assert np.ptp(nuclei) > 1
        assert np.ptp(membrane) == 0
    two_stains(tmp_path / "images" / "img1.ome.tif", scene(1)[0])
    tiff(tmp_path / "images" / "img2.ome.tif", np.zeros((2, SIDE, SIDE), np.uint8), ome=True,
         metadata={"axes": "CYX", "Channel": {"Name": ["DAPI", "actin"]}})  # fmt: skip
    *_, event = iter_preflight(read_folder(tmp_path), TrainSettings(crop_size=64))
    assert any("nuclei, membrane in img" in text and "DAPI, actin in img2" in text for text in event.result.warnings)


def test_instance_labels_lie_in_a_folder_of_their_own(tmp_path) -> None:
    made(tmp_path)
    for number in range(1, COUNT + 1):
        tiff(tmp_path / "instances" / f"img{number}_instances.tif", scene(number)[1].astype(np.uint32))
    assert_one_class(tmp_path)
    np.testing.assert_array_equal(read_folder(tmp_path).samples[2].instances(), scene(3)[1])
    for mask in (tmp_path / "masks").iterdir():
        mask.unlink()
    (tmp_path / "masks").rmdir()
    assert_one_class(tmp_path)
    assert any("there is no masks/" in fact for fact in read_folder(tmp_path).facts)


# ----------------------------------------------------------------------------------------------------------------- leakage
def evaluated(folder, model, capsys) -> tuple[dict, str]:
    assert main(["evaluate", str(folder), "--model", str(model), "--device", "cpu"]) == 0
    said = capsys.readouterr()
    return json.loads(said.out), said.err


@pytest.mark.parametrize("form", ["suffix", "ome", "unicode", "turned"])
def test_evaluate_finds_the_masks_and_says_how(tmp_path, capsys, form) -> None:
    def turned(path, pixels) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        picture, exif = Image.fromarray(np.rot90(pixels)), Image.Exif()
        exif[0x0112] = 6  # to be shown turned by 90 degrees clockwise
        picture.save(path, exif=exif, quality=95)

    options = {
        "suffix": {"mask": "img{}_mask.png"},
        "ome": {"image": "img{}.ome.tif", "image_save": tiff},
        "unicode": {"image": unicodedata.normalize("NFD", "drüse{}.png"), "mask": "drüse{}.png"},
        "turned": {"image": "img{}.jpg", "image_save": turned},
    }
    report, said = evaluated(made(tmp_path, **options[form]), "nuclei", capsys)
    assert report["mask"]["nucleus"]["n"] == COUNT
    assert report["mask"]["nucleus"]["dice"] > 0.85
    assert "the values of the masks are mask classes: 1" in said
    assert ("img1_mask.png for img1.png" in said) == (form == "suffix")


def test_evaluate_on_what_was_learned_from_warns(tmp_path, capsys) -> None:
    folder, model = made(tmp_path / "data"), tmp_path / "m.safetensors"
    assert main(["train", str(folder), "-o", str(model), "--epochs", "1", "--size", "64", "--device", "cpu"]) == 0
    capsys.readouterr()
    _, said = evaluated(folder, model, capsys)
    assert "warning: m was trained on 5 of these 6 images" in said
    with pytest.warns(UserWarning, match="was trained on 5 of these 6 images"):
        nr.evaluate(nr.load_model(model), folder, device="cpu")


def trained(folder, path, **options):
    model = None
    for event in nr.iter_train(folder, preset="tiny", epochs=1, crop_size=64, device="cpu", run_folder=path, **options):
        model = event.result if isinstance(event, Finished) else model
    return model


def warned(folder, model) -> str:
    *_, event = iter_preflight(read_folder(folder), TrainSettings(crop_size=64), start=model.card)
    return "\n".join(event.result.warnings)


def test_images_that_a_model_has_learned_from_are_known_by_content(tmp_path) -> None:
    model = trained(made(tmp_path / "a", labels=table()), tmp_path / "run")
    renamed, other = made(tmp_path / "b", image="x{}.tif", mask="x{}.png", image_save=tiff), tmp_path / "c"
    for name in model.card.training["validation_names"]:
        for part in ("images", "masks"):
            next((renamed / part).glob(f"x{name[3]}.*")).unlink()
    assert "was trained on" in warned(renamed, model)
    for number, name in enumerate(model.card.training["learned_names"], start=101):
        pixels, labels = scene(number)
        png(other / "images" / name, pixels)
        png(other / "masks" / name, binary(labels))
    assert "was trained on" not in warned(other, model)
    old = {key: value for key, value in model.card.training.items() if key != "learned_contents"}
    by_name = nr.Model(model.card.model_copy(update={"training": old}), model.network)
    assert "was trained on" in warned(other, by_name)


def test_a_run_is_not_resumed_with_other_images_or_masks(tmp_path) -> None:
    folder = made(tmp_path / "data", labels=table())
    run = nr.iter_train(folder, preset="tiny", epochs=3, crop_size=64, device="cpu", run_folder=tmp_path / "run")
    for event in run:
        if isinstance(event, EpochDone):
            run.close()
            break
    png(folder / "images" / "img1.png", scene(99)[0])
    png(folder / "masks" / "img2.png", binary(scene(2)[1])[::-1].copy())
    again = nr.iter_train(folder, preset="tiny", epochs=3, crop_size=64, device="cpu", run_folder=tmp_path / "run", resume=True)
    with pytest.raises(ValueError, match=r"the image or mask of img1\.png, img2\.png"):
        list(again)


# ------------------------------------------------------------------------------------------------------------------- saving
def test_names_that_some_system_refuses_are_saved_as_others(tmp_path) -> None:
    pixels, labels = scene(1)
    names = ["CON", "aux.txt", "lpt1", "end. ", "a\x07b", "ü" * 300, "Cell", "cell", "cell_mask", "x.ome", "x", "a/b", "\udcfc"]
    pairs = []
    for place, name in enumerate(names):
        image = from_array(pixels + np.uint8(place), "YX", name=name)
        pairs.append(LayerPair(image, binary(labels), {(): "k"}))
    *_, _ = save_folder(samples_from_pairs(pairs, "odd"), tmp_path)
    files = [file.name for file in (tmp_path / "images").iterdir()]
    assert len({unicodedata.normalize("NFC", name).casefold() for name in files}) == len(names)
    for name in files:
        assert name.split(".")[0].casefold() not in {"con", "aux", "lpt1"}
        assert name.isprintable()
        assert len(name.encode()) < 200
        assert not name.removesuffix(".tif").endswith((".", " "))
    read = read_folder(tmp_path)
    assert len(read.samples) == len(names)
    assert all(sample.mask() is not None and sample.image_class == "k" for sample in read.samples)
    assert {int(sample.plane().read().min()) for sample in read.samples} == set(range(20, 20 + len(names)))


def test_a_saved_mask_replaces_one_by_another_name(tmp_path) -> None:
    made(tmp_path, mask="img{}_mask.png")
    pixels, labels = scene(1)
    pair = LayerPair(from_array(pixels, "YX", name="img1"), binary(labels)[::-1], {})
    *_, _ = save_folder(samples_from_pairs([pair], "s"), tmp_path, overwrite=True)
    samples = {sample.name: sample for sample in read_folder(tmp_path).samples}
    assert len(samples) == COUNT
    np.testing.assert_array_equal(samples["img1.tif"].mask(), binary(labels)[::-1])
    np.testing.assert_array_equal(samples["img2.png"].mask(), binary(scene(2)[1]))


def test_what_was_decided_is_said_by_the_command_line(tmp_path, capsys) -> None:
    made(tmp_path, mask="img{}_mask.png", stored=white)
    command = ["train", str(tmp_path), "-o", str(tmp_path / "m.safetensors"), "--epochs", "1", "--size", "64", "--device", "cpu"]
    assert main(command) == 0
    said = capsys.readouterr()
    assert "in black and white (0 and 255)" in said.err + said.out
    assert "img1_mask.png for img1.png" in said.err + said.out
    assert main([*command, "--overwrite", "--instance-labels", "--mask-kind", "classes"]) == 2
    assert "contradict" in capsys.readouterr().err
