"""Files and lines of a table to the images that they belong to; what stays over is named."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from napari_resformer.samples.names import AmbiguousNameError, ImageNames, stem_of
from napari_resformer.samples.table import FILENAME, Table
from napari_resformer.samples.words import counted, named


@dataclass(frozen=True)
class Matches:
    """What belongs to which image.

    Parameters
    ----------
    by_image : mapping of str to Path or dict
        A file, or a line of a table, by the name of its image.
    facts, warnings : tuple of str
        How names were matched, and what fits no image.
    """

    by_image: Mapping[str, Path] = field(default_factory=dict)
    facts: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def match_files(files: Mapping[str, Path], images: ImageNames, *, what: str, place: str) -> Matches:
    """Match masks with the images that they are named after.

    Parameters
    ----------
    files : mapping of str to Path
        By their name below their folder.
    images : ImageNames
        Of the data folder.
    what, place : str
        What the files are, and where they lie, for messages: "mask" and "masks/".

    Raises
    ------
    ValueError
        If a file fits several images, several files fit an image, or no file fits any.
    """
    found: dict[str, list[str]] = defaultdict(list)
    over, faults = [], []
    for name in files:
        try:
            number = images.of_mask(name)
        except AmbiguousNameError as error:
            faults.append(f"{place}{name} fits {' and '.join(error.images)}: put the name of its image into its own")
            continue
        if number is None:
            over.append(name)
        else:
            found[images.names[number]].append(name)
    faults += [
        f"{' and '.join(f'{place}{name}' for name in names)} both fit the image {image}: keep one {what} an image"
        for image, names in found.items()
        if len(names) > 1
    ]
    if faults:
        raise ValueError(named(faults, between="; "))
    if over and not found:
        raise ValueError(
            f"none of {counted(len(over), 'file')} in {place} fits an image, for instance {place}{over[0]} and images/"
            f"{images.names[0]}: name each {what} as its image, with or without an ending such as _mask"
        )
    other = [(image, names[0]) for image, names in found.items() if stem_of(names[0]) != stem_of(image)]
    facts, warnings = [], []
    if other:
        facts.append(f"{counted(len(other), what)} named in another way, for instance {other[0][1]} for {other[0][0]}")
    if over:
        listed = named([name + _near(images, name, found) for name in over])
        warnings.append(f"{counted(len(over), what)} in {place} without an image, not used: {listed}")
    return Matches({image: files[names[0]] for image, names in found.items()}, tuple(facts), tuple(warnings))


@dataclass(frozen=True)
class Rows:
    """The lines of a table by the name of their image; see :class:`Matches`."""

    by_image: Mapping[str, dict[str, str]] = field(default_factory=dict)
    facts: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def match_rows(table: Table, path: Path, images: ImageNames) -> Rows:
    """Match the lines of a table with the images that they name.

    Raises
    ------
    ValueError
        If a line names no image or several, or an image has several lines that differ.
    """
    found: dict[str, int] = {}
    unknown, faults, other, twice = [], [], [], []
    for place, (row, line) in enumerate(zip(table.rows, table.lines, strict=True)):
        name = row[FILENAME]
        try:
            number = images.of_entry(name)
        except AmbiguousNameError as error:
            faults.append(f"line {line} of {path} names {name}, which fits {' and '.join(error.images)}: write the whole name")
            continue
        if number is None:
            unknown.append((name, line))
            continue
        image = images.names[number]
        if (before := found.get(image)) is None:
            found[image] = place
            if stem_of(name) != stem_of(image):
                other.append((name, image))
        elif _without_name(table.rows[before]) == _without_name(row):
            twice.append(name)
        else:
            faults.append(f"{path} names {name} twice, in lines {table.lines[before]} and {line}; keep one line per image")
    if unknown:
        listed = named([f"{name} in line {line}{_near(images, name, found)}" for name, line in unknown])
        faults.append(f"{path} names {counted(len(unknown), 'file')} not in images/: {listed}; add them or take their lines out")
    if faults:
        raise ValueError(named(faults, between="; "))
    facts = []
    if other:
        facts.append(
            f"{counted(len(other), 'name')} in {path.name} written in another way, for instance {' for '.join(other[0])}"
        )
    left = len(images.names) - len(found)
    if left and found:
        first = next(name for name in images.names if name not in found)
        facts.append(f"{counted(left, 'image')} without a line in {path.name}, for instance {first}, have no class")
    warnings = (
        [f"{path.name} names {counted(len(twice), 'image')} twice, with the same values, for instance {twice[0]}"]
        if twice
        else []
    )
    rows = {image: table.rows[place] for image, place in found.items()}
    return Rows(rows, (*table.facts, *facts), (*table.warnings, *warnings))


def _near(images: ImageNames, name: str, taken: Mapping[str, object]) -> str:
    """Return in words which image's name is most like one that fits none."""
    near = images.nearest(name)
    if near is None:
        return ""
    has = ", which has one" if near in taken else ""
    return f" (the nearest name is {near}{has})"


def _without_name(row: Mapping[str, str]) -> dict[str, str]:
    return {column: value for column, value in row.items() if column != FILENAME}
