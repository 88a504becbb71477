"""Data folders: ``images/``, ``masks/`` and ``labels.csv`` to samples."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from napari_resformer.io.read import SUFFIXES
from napari_resformer.samples.sample import Sample, SampleSet

IMAGES, MASKS, LABELS = "images", "masks", "labels.csv"


def read_folder(path: str | Path) -> SampleSet:
    """List the samples of a data folder; no pixel is read.

    Parameters
    ----------
    path : str or Path
        Holds ``images/``, and may hold ``masks/`` (same file stem) and ``labels.csv`` with the columns ``filename``, ``class``
        and perhaps ``group`` and ``fold``.

    Raises
    ------
    FileNotFoundError
        If the folder or its ``images/`` is not there.
    ValueError
        If there is no image, two images have the same stem, or ``labels.csv`` does not fit the images.
    """
    path = Path(path)
    images_folder = path / IMAGES
    if not images_folder.is_dir():
        raise FileNotFoundError(f"{path} is no data folder: it needs a folder images/ with the images in it")
    images = files_by_stem(images_folder)
    if not images:
        raise ValueError(f"{images_folder} holds no image; known formats are {', '.join(sorted(SUFFIXES))}")
    masks = files_by_stem(path / MASKS) if (path / MASKS).is_dir() else {}
    labels = read_labels(path / LABELS, images) if (path / LABELS).exists() else {}
    samples = []
    for stem, image in images.items():
        row = labels.get(stem, {})
        samples.append(
            Sample(
                name=image.name,
                image=image,
                mask_source=masks.get(stem),
                image_class=row.get("class") or None,
                group=row.get("group") or stem,
                fold=row.get("fold") or None,
            )
        )
    classes = sorted({sample.image_class for sample in samples if sample.image_class is not None})
    return SampleSet(path.resolve().name, tuple(samples), tuple(classes), _orphans(masks, images))


def _orphans(masks: dict[str, Path], images: dict[str, Path]) -> tuple[str, ...]:
    if not (orphans := sorted(masks.keys() - images.keys())):
        return ()
    first = masks[orphans[0]].name
    return (
        f"{len(orphans)} mask(s) fit no image and are not used, for instance {first}: a mask needs the file stem of its image",
    )


def files_by_stem(folder: Path) -> dict[str, Path]:
    """Return the image files of a folder by their stem; other files are passed over."""
    found: dict[str, Path] = {}
    for file in sorted(folder.iterdir()):
        if file.suffix.lower() not in SUFFIXES or file.name.startswith("."):
            continue  # a stray file, for instance a desktop's index, is nobody's fault
        if file.stem in found:
            raise ValueError(
                f"{folder} holds {found[file.stem].name} and {file.name}; image and mask are paired by stem: rename one"
            )
        found[file.stem] = file
    return found


def read_labels(path: Path, images: dict[str, Path]) -> dict[str, dict[str, str]]:
    """Return the lines of ``labels.csv`` by file stem; each must name an image that is there."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not in UTF-8 ({error}); save it as CSV in UTF-8") from error
    reader = csv.DictReader(io.StringIO(text, newline=""))
    if "filename" not in (reader.fieldnames or ()):
        raise ValueError(
            f"{path} has no column filename (its first line: {text.splitlines()[0] if text else 'nothing'}); that line must "
            "name the columns, with commas between them: filename,class[,group][,fold]"
        )
    rows = [{key: (value or "").strip() for key, value in row.items() if isinstance(value, str)} for row in reader]
    rows = [row for row in rows if row.get("filename")]
    by_stem: dict[str, dict[str, str]] = {}
    for row in rows:
        stem = Path(row["filename"]).stem
        if stem in by_stem:
            raise ValueError(f"{path} names {row['filename']} twice; keep one line an image")
        by_stem[stem] = row
    unknown = [row["filename"] for stem, row in by_stem.items() if stem not in images]
    if unknown:
        raise ValueError(
            f"{path} names {len(unknown)} file(s) that are not in images/, for instance {unknown[0]}; "
            "add them or take their lines out"
        )
    return by_stem
