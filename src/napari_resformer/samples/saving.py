"""Samples to a data folder, so that annotations drawn anywhere are kept as plain files."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_resformer.events import Finished, Progress
from napari_resformer.images.image import Plane
from napari_resformer.io.atomic import atomic_write
from napari_resformer.io.write import write_tiff
from napari_resformer.samples.folder import IMAGES, LABELS, MASKS, files_by_stem, read_labels
from napari_resformer.samples.sample import SampleSet

_COLUMNS = ("filename", "class", "group", "fold")


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
    rows = _earlier_rows(path)
    annotated = 0
    stems = _stems(samples)
    for number, (sample, stem) in enumerate(zip(samples.samples, stems, strict=True), start=1):
        mask = sample.mask()
        if mask is not None or sample.image_class is not None:
            annotated += 1
            image = _write_image(sample.plane(), path / IMAGES, stem)
            _write_mask(mask, path / MASKS, stem)
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


def _earlier_rows(path: Path) -> dict[str, dict[str, str]]:
    """Return the lines of the folder as it is; images without a line get one, since their group is their own."""
    images = files_by_stem(path / IMAGES) if (path / IMAGES).is_dir() else {}
    known = read_labels(path / LABELS, images) if (path / LABELS).exists() else {}
    return {stem: {"filename": image.name, "group": stem} | known.get(stem, {}) for stem, image in images.items()}


def _stems(samples: SampleSet) -> list[str]:
    """Return a file stem a sample: its name as far as every file system takes it, made unique."""
    taken: set[str] = set()
    stems = []
    for sample in samples.samples:
        base = Path(sample.name).stem if isinstance(sample.image, Path) else sample.name
        base = re.sub(r'[\x00-\x1f<>:"/\\|?*]+', "_", base).strip(" .") or "image"
        base = base[:120]
        stem, number = base, 1
        while stem.casefold() in taken:
            number += 1
            stem = f"{base}-{number}"
        taken.add(stem.casefold())
        stems.append(stem)
    return stems


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
        write_tiff(target, mask, "YX")
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
    others = sorted({key for row in rows.values() for key in row if key and key not in _COLUMNS})
    text = io.StringIO()
    writer = csv.DictWriter(text, [*_COLUMNS, *others], restval="", lineterminator="\n", extrasaction="ignore")
    writer.writeheader()
    writer.writerows(rows.values())
    with atomic_write(path) as file:
        file.write(text.getvalue().encode())
