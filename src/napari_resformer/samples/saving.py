"""Samples to a data folder, so that annotations drawn anywhere are kept as plain files."""

from __future__ import annotations

import csv
import io
import re
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_resformer.events import Finished, Progress
from napari_resformer.images.image import Plane
from napari_resformer.io.atomic import atomic_write
from napari_resformer.io.write import write_tiff
from napari_resformer.samples.folder import IMAGES, LABELS, MASKS
from napari_resformer.samples.listing import list_files
from napari_resformer.samples.mask_file import ignored_note
from napari_resformer.samples.matching import match_files, match_rows
from napari_resformer.samples.names import ImageNames, looks_like_mask, path_stem, stem_of
from napari_resformer.samples.sample import SampleSet
from napari_resformer.samples.table import COLUMNS, find_table, read_table

_LONGEST = 150
"""Bytes of a file stem; all file systems take 255 for a name, and endings are added."""
_DEVICES = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?$", re.IGNORECASE)
"""Names that Windows keeps for devices, with any ending."""


def save_folder(samples: SampleSet, path: str | Path, *, overwrite: bool = False) -> Iterator[Progress | Finished[Path]]:
    """Write the annotated samples as a data folder, from which ``read_folder`` reads them back equal.

    Planes that have neither a mask nor a class are left out. Each file is written whole or not at all, ``labels.csv`` last.

    Parameters
    ----------
    samples : SampleSet
        What to write; values and dtypes are kept, but for images of bool, which become 0 and 1 in uint8.
    path : str or Path
        The data folder; made if needed.
    overwrite : bool
        Whether a data folder that is there is updated: images of the same name are replaced with what is known of them,
        all others stay as they are.

    Yields
    ------
    Progress
        After each sample.
    Finished
        With the folder.

    Raises
    ------
    FileExistsError
        If there is a data folder already and ``overwrite`` is False.
    ValueError
        If no sample is annotated.
    """
    path = Path(path)
    taken = [part for part in (path / IMAGES, path / MASKS, path / LABELS) if part.exists()]
    if taken and not overwrite:
        raise FileExistsError(f"{path} is a data folder already ({taken[0].name} is there); choose another or allow to update it")
    rows, masks = _earlier(path)
    annotated = 0
    stems = _stems(samples)
    for number, (sample, stem) in enumerate(zip(samples.samples, stems, strict=True), start=1):
        mask = sample.mask()
        if mask is not None or sample.image_class is not None:
            annotated += 1
            image = _write_image(sample.plane(), path / IMAGES, stem)
            _write_mask(mask, path / MASKS, stem)
            if (earlier := masks.get(stem)) is not None and earlier.stem != stem:
                earlier.unlink(missing_ok=True)  # a mask by another name, which the new one replaces
            rows[stem] = {
                "filename": image.name,
                "class": sample.image_class or "",
                "group": sample.group,
                "fold": sample.fold or "",
            }
        yield Progress(number, len(samples.samples), "image")
    if not annotated:
        raise ValueError(f"nothing in {samples.name} has a mask or an image class; annotate something before saving it")
    _write_rows(rows, path / LABELS)
    yield Finished(path)


def _earlier(path: Path) -> tuple[dict[str, dict[str, str]], dict[str, Path]]:
    """Return lines and masks of the folder as it is, by file stem; images without a line get one, whose group is their own."""
    files = list_files(path / IMAGES).files if (path / IMAGES).is_dir() else {}
    if not files:
        return {}, {}
    images = ImageNames(tuple(files))
    table, _ = find_table(path)
    known = match_rows(read_table(table), table, images).by_image if table is not None else {}
    listed = list_files(path / MASKS).files if (path / MASKS).is_dir() else {}
    masks = match_files(listed, images, what="mask", place="masks/").by_image
    rows = {path_stem(name): {"group": path_stem(name)} | known.get(name, {}) | {"filename": name} for name in files}
    return rows, {path_stem(name): mask for name, mask in masks.items()}


def _stems(samples: SampleSet) -> list[str]:
    """Return a file stem a sample: its name as far as every file system takes it, made unique."""
    taken: set[str] = set()
    stems = []
    names = [
        portable(stem_of(sample.name) if isinstance(sample.image, Path) and sample.stack is None else sample.name)
        for sample in samples.samples
    ]
    for base in names:
        if looks_like_mask(base) and any(other != base and other in base for other in names):
            base += "-image"  # beside the other such a name says that it is its mask
        stem, number = base, 1
        while stem_of(f"{stem}.tif").casefold() in taken:
            number += 1
            stem = f"{base}-{number}"
        taken.add(stem_of(f"{stem}.tif").casefold())
        stems.append(stem)
    return stems


def portable(name: str) -> str:
    """Return a name that every file system takes for a file, as like as can be; it may be one that is taken already."""
    kept = "".join("_" if unicodedata.category(letter) in ("Cc", "Cs", "Cf", "Zl", "Zp") else letter for letter in name)
    kept = re.sub(r'[<>:"/\\|?*]+', "_", unicodedata.normalize("NFC", kept))
    kept = kept.encode()[:_LONGEST].decode(errors="ignore").strip(" .")
    kept = f"_{kept}" if _DEVICES.match(kept) else kept
    return kept or "image"


def _write_image(plane: Plane, folder: Path, stem: str) -> Path:
    pixels, image = plane.read(), plane.image
    axes, names = "CYX", image.channel_names if len(image.channel_names) == len(pixels) else ()
    if image.rgb and pixels.shape[0] in (3, 4):
        pixels, axes, names = np.moveaxis(pixels, 0, -1), "YXS", ()
    elif pixels.shape[0] == 1:
        pixels, axes, names = pixels[0], "YX", ()
    target = folder / f"{stem}.tif"
    write_tiff(target, pixels, axes, pixel_size=image.pixel_size, channel_names=names)
    _remove_others(folder, target)
    return target


def _write_mask(mask: NDArray[Any] | None, folder: Path, stem: str) -> None:
    target = folder / f"{stem}.tif"
    if mask is not None:
        write_tiff(target, mask, "YX", note=ignored_note(mask))
    elif folder.is_dir():
        target.unlink(missing_ok=True)
    if folder.is_dir():
        _remove_others(folder, target)


def _remove_others(folder: Path, kept: Path) -> None:
    """Remove files of the same stem and another format: image and mask are paired by stem."""
    for other in folder.glob("*"):
        if other.stem == kept.stem and other.name != kept.name and other.is_file():
            other.unlink()


def _write_rows(rows: dict[str, dict[str, str]], path: Path) -> None:
    others = sorted({key for row in rows.values() for key in row if key and key not in COLUMNS})
    text = io.StringIO()
    writer = csv.DictWriter(text, [*COLUMNS, *others], restval="", lineterminator="\n", extrasaction="ignore")
    writer.writeheader()
    writer.writerows(rows.values())
    with atomic_write(path) as file:
        file.write(text.getvalue().encode(errors="backslashreplace"))  # names of files may be no Unicode
