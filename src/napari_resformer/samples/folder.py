"""Data folders: ``images/``, ``masks/``, ``instances/`` and ``labels.csv`` to samples."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import islice, product
from pathlib import Path

import numpy as np

from napari_resformer.events import Finished, Progress
from napari_resformer.io.names import readable
from napari_resformer.io.read import SUFFIXES
from napari_resformer.samples.appearance import COLOR_TABLE, read_colour_table
from napari_resformer.samples.kinds import decide
from napari_resformer.samples.listing import Listing, find_subfolder, list_files, subfolders, suffix
from napari_resformer.samples.mask_file import read_stored
from napari_resformer.samples.matching import match_files, match_rows
from napari_resformer.samples.names import AmbiguousNameError, ImageNames, looks_like_mask, path_stem, stem_of
from napari_resformer.samples.planes import loops_of
from napari_resformer.samples.rules import MaskKind, MaskRule
from napari_resformer.samples.sample import LastRead, Sample, SampleSet, StackPlace
from napari_resformer.samples.stored import Evidence, look
from napari_resformer.samples.table import CLASS, FOLD, GROUP, find_table, read_table
from napari_resformer.samples.words import counted, named

IMAGES, MASKS, INSTANCES, LABELS = "images", "masks", "instances", "labels.csv"

_THREADS = 4
_CLOSELY = 50
"""So many masks, spread over the folder, are looked at for connected pieces."""


def read_folder(path: str | Path, *, mask_kind: MaskKind = "auto", axes: str | None = None) -> SampleSet:
    """List the samples of a data folder; images are not read, masks are looked at once.

    Parameters
    ----------
    path : str or Path
        Holds ``images/``, and may hold ``masks/`` (files named as their images, with or without an ending such as ``_mask``),
        ``instances/`` (the same, one value an object), ``labels.csv`` with the columns ``filename``, ``class`` and perhaps
        ``group`` and ``fold``, and ``mask_colors.csv`` (``color,value``) where masks are in color.
    mask_kind : {"auto", "classes", "instances", "binary"}
        What the values of all masks stand for: mask classes, objects of one class, or one class wherever there is something.
        "auto" decides by what the masks hold; ``facts`` of the result say how.
    axes : str, optional
        Axes of the image files, for instance ``"CYX"``; overrides what they say.

    Returns
    -------
    SampleSet
        One sample an image, or a plane of an image that is a stack.

    Raises
    ------
    FileNotFoundError
        If the folder or its ``images/`` is not there.
    ValueError
        If there is no image, names are ambiguous, ``labels.csv`` does not fit the images, or masks cannot be used; the message
        names every file at fault, or the first of them.
    """
    for event in iter_read_folder(path, mask_kind=mask_kind, axes=axes):
        if isinstance(event, Finished):
            return event.result
    raise AssertionError("a listing ends with its samples")


def iter_read_folder(
    path: str | Path, *, mask_kind: MaskKind = "auto", axes: str | None = None
) -> Iterator[Progress | Finished[SampleSet]]:
    """Do the same as :func:`read_folder`, step by step."""
    path = Path(path)
    folder = find_subfolder(path, IMAGES) if path.is_dir() else None
    if folder is None:
        raise FileNotFoundError(f"{path} is no data folder: it needs a folder images/ with the images in it")
    listing = list_files(folder)
    told = _Told(warnings=list(listing.notes()))
    if not listing.files:
        others = counted(len(listing.others), "file of another kind", "files of other kinds")
        but = f", but {others} ({suffix(listing.others[0])})" if listing.others else ""
        raise ValueError(f"{folder} holds no image{but}; known formats are {', '.join(sorted(SUFFIXES))}")
    files, beside = _apart(listing)
    images = ImageNames(tuple(files))
    masks, instances = _masks(path, images, beside, told)
    rows = _rows(path, images, told)
    if inner := subfolders(tuple(files)):
        listed = named([f"{name}/ ({count})" for name, count in inner.items()])
        told.facts.append(f"{counted(sum(inner.values()), 'image')} in folders below images/: {listed}")
        if not any(row.get(CLASS) for row in rows.values()):
            told.facts.append("the names of these folders are not image classes; give classes in labels.csv")
    _strangers(path, told)
    if not masks and instances and find_subfolder(path, MASKS) is None:
        told.facts.append("there is no masks/: the objects in instances/ are the masks, all of one mask class")
        masks, mask_kind = instances, "instances"
    colours = read_colour_table(path / COLOR_TABLE) if (path / COLOR_TABLE).is_file() else None
    seen: list[Evidence] = []
    for evidence in _look_at_all(masks):
        seen.append(evidence)
        yield Progress(len(seen), len(masks), "mask looked at")
    verdict = decide(seen, mask_kind, colours)
    if verdict.faults:
        raise ValueError(named(verdict.faults, between="; "))
    rules = dict(zip(masks, verdict.rules, strict=True))
    told.facts += verdict.facts
    told.warnings += verdict.warnings
    samples: list[Sample] = []
    images_read, masks_read = LastRead(), LastRead()
    for name, file in files.items():
        row = rows.get(name, {})
        sample = Sample(
            name=readable(name),
            image=file,
            mask_source=masks.get(name),
            image_class=row.get(CLASS) or None,
            group=row.get(GROUP) or readable(path_stem(name)),
            fold=row.get(FOLD) or None,
            mask_rule=rules.get(name, MaskRule()),
            instance_source=instances.get(name),
            axes=axes,
        )
        samples += _planes(sample, file, images_read, masks_read)
    if len(samples) > len(files):
        told.facts.append(
            f"{len(samples)} planes in {counted(len(files), 'file')}; the planes of a file are one group, and a plane without a "
            "painted pixel has no mask"
        )
    classes = sorted({sample.image_class for sample in samples if sample.image_class is not None})
    yield Finished(SampleSet(path.resolve().name, tuple(samples), tuple(classes), tuple(told.warnings), tuple(told.facts)))


@dataclass
class _Told:
    """What is said of a folder while it is read."""

    facts: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def _apart(listing: Listing) -> tuple[dict[str, Path], dict[str, Path]]:
    """Part the files in ``images/`` from those among them that are masks of others by their names."""
    maybe = {name: file for name, file in listing.files.items() if looks_like_mask(name)}
    files = {name: file for name, file in listing.files.items() if name not in maybe}
    images, beside = ImageNames(tuple(files)), {}
    for name, file in maybe.items():
        try:
            number = images.of_mask(name)
        except AmbiguousNameError:
            number = None
        if number is not None and stem_of(images.names[number]) in stem_of(name):
            beside[name] = file
    files = {name: file for name, file in listing.files.items() if name not in beside}
    stems: dict[str, str] = {}
    for name in files:
        stem = path_stem(name)
        if stem in stems:
            raise ValueError(f"{listing.folder} holds {stems[stem]} and {name}; image and mask are paired by stem: rename one")
        stems[stem] = name
    return files, beside


def _masks(path: Path, images: ImageNames, beside: Mapping[str, Path], told: _Told) -> tuple[dict[str, Path], dict[str, Path]]:
    """Return masks and instance labels by the names of their images."""
    found = []
    for name, what in ((MASKS, "mask"), (INSTANCES, "file of instance labels")):
        folder = find_subfolder(path, name)
        listing = list_files(folder) if folder is not None else Listing(path / name, {})
        matches = match_files(listing.files, images, what=what, place=f"{name}/")
        told.facts += matches.facts
        told.warnings += [*listing.notes(), *matches.warnings]
        found.append(dict(matches.by_image))
    masks, instances = found
    if beside:
        more = match_files(beside, images, what="mask", place="images/").by_image
        if both := sorted(masks.keys() & more.keys()):
            raise ValueError(
                f"{both[0]} has two masks, masks/{masks[both[0]].name} and images/{more[both[0]].name}; keep one "
                f"({counted(len(both), 'such image')})"
            )
        told.facts.append(
            f"{counted(len(more), 'file')} in images/ used as masks, as their names say, for instance {next(iter(beside))}"
        )
        masks |= more
    return {name: masks[name] for name in images.names if name in masks}, instances


def _rows(path: Path, images: ImageNames, told: _Told) -> Mapping[str, dict[str, str]]:
    """Return the lines of the table by the names of their images."""
    file, notes = find_table(path)
    told.warnings += notes
    if file is None:
        return {}
    if file.name.casefold() != LABELS:
        told.facts.append(f"{file.name} is read, since there is no {LABELS}")
    rows = match_rows(read_table(file), file, images)
    told.facts += rows.facts
    told.warnings += rows.warnings
    return rows.by_image


def _strangers(path: Path, told: _Told) -> None:
    """Name folders that hold images and are not read."""
    for folder in sorted(part for part in path.iterdir() if part.is_dir() and not part.name.startswith(".")):
        if folder.name.casefold() in (IMAGES, MASKS, INSTANCES):
            continue
        held = sum(1 for file in islice(folder.iterdir(), 1000) if file.suffix.lower() in SUFFIXES)
        if held:
            told.warnings.append(
                f"{folder.name}/ holds {counted(held, 'image file')} and is not read: images belong in images/, masks in masks/, "
                "instance labels in instances/"
            )


def _look_at_all(masks: Mapping[str, Path]) -> Iterator[Evidence]:
    closely = [place % max(len(masks) // _CLOSELY, 1) == 0 for place in range(len(masks))]
    with ThreadPoolExecutor(min(_THREADS, os.cpu_count() or 1)) as pool:
        yield from pool.map(_look_at, masks.values(), closely)


def _look_at(file: Path, closely: bool) -> Evidence:
    try:
        return look(read_stored(file), pieces=closely)
    except (ValueError, TypeError, OSError, MemoryError) as error:
        said = str(error) or type(error).__name__
        said = said if file.name in said else f"the mask {file.name} cannot be read: {said}"
        return Evidence(file.name, (), np.dtype(np.uint8), fault=said)


def _planes(sample: Sample, file: Path, images: LastRead, masks: LastRead) -> Iterator[Sample]:
    """Yield a sample a plane of a file."""
    axes, sizes = loops_of(file, sample.axes)
    if not sizes:
        yield sample
        return
    for index in product(*map(range, sizes)):
        where = " ".join(f"{axis}{place}" for axis, place, size in zip(axes, index, sizes, strict=True) if size > 1)
        yield replace(sample, name=f"{sample.name} {where}", stack=StackPlace(index, sizes, images, masks))
