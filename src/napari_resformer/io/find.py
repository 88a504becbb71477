"""From files, folders and patterns to the images that are meant."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from napari_resformer.io.names import ALL, FORMATS, SUFFIXES, split_choice, with_choice
from napari_resformer.io.ome_zarr import MARKS, is_zarr
from napari_resformer.io.read import find_pixels
from napari_resformer.io.write import read_note

_RESULT = re.compile(r"_(mask|objects|probabilities|heatmap)\.(ome\.)?(tif|tiff|zarr)$", re.IGNORECASE)
_OWN_WORD = b"napari_resformer"


@dataclass(frozen=True)
class ImageFiles:
    """Images that are meant.

    Parameters
    ----------
    paths : tuple of Path
        For :func:`~napari_resformer.io.read.read_image`: each once, in the order given, those of a folder or pattern sorted
        as people count (2 before 10).
    notes : tuple of str
        What was passed over.
    """

    paths: tuple[Path, ...]
    notes: tuple[str, ...]


@dataclass
class _Search:
    """What has been found so far."""

    paths: dict[Path, None] = field(default_factory=dict)
    own: list[Path] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, path: Path) -> None:
        if is_own_result(path):
            self.own.append(path)
        else:
            self.paths[path] = None


def find_images(inputs: str | Path | Iterable[str | Path]) -> ImageFiles:
    """Return the images that files, folders and patterns mean.

    A folder means the images in it, but not in its subfolders; ``**`` in a pattern goes into them. An OME-Zarr or zarr folder is
    an image. Hidden files, other kinds of files, and results that this program wrote are passed over, with a note. What does not
    exist stays in the list, so that :func:`~napari_resformer.io.read.read_image` can say so.

    Parameters
    ----------
    inputs : str or Path, or several
        Files, folders, or patterns with ``*``, ``?`` and ``[...]``; ``scan.tif:2`` is the third image in ``scan.tif``,
        ``scan.tif:all`` is each of them. A file that has exactly this name is meant as it is.

    Returns
    -------
    ImageFiles

    Raises
    ------
    FileNotFoundError
        If a folder holds no image, or a pattern fits none.
    ValueError
        If all that is there are results of this program.
    """
    search = _Search()
    for given in [inputs] if isinstance(inputs, str | Path) else inputs:
        path, chosen = split_choice(given)
        if chosen == ALL:
            for one in _all_images(path):
                search.add(one)
        elif chosen:
            search.add(with_choice(path, int(chosen)))
        elif path.is_dir() and not is_zarr(path) and path.suffix.lower() != ".zarr":
            _add_folder(search, path)
        elif not path.exists() and glob.has_magic(str(path)):
            _add_pattern(search, str(path))
        else:
            search.add(path)
    if search.own:
        search.notes.append(f"{len(search.own)} result(s) of this program were passed over, for instance {search.own[0].name}")
        if not search.paths:
            raise ValueError(f"there is no image but results of this program, for instance {search.own[0]}; give other images")
    return ImageFiles(tuple(search.paths), tuple(search.notes))


def natural_key(path: Path) -> tuple[object, ...]:
    """Return what to sort by, so that ``img2`` comes before ``img10``."""
    parts = re.split(r"(\d+)", str(path).casefold())
    return tuple((int(part), part) if place % 2 else part for place, part in enumerate(parts))


def is_own_result(path: Path) -> bool:
    """Return whether a file is a mask or another result that this program wrote: it carries the program's note."""
    if not _RESULT.search(path.name):
        return False
    if path.is_dir():
        texts = [path / name for name in (*MARKS, ".zattrs")]
        return any(text.is_file() and _OWN_WORD in text.read_bytes() for text in texts)
    try:
        return path.is_file() and read_note(path).startswith("{")
    except Exception:  # noqa: BLE001 - a damaged file makes its reader raise anything; it is no result then
        return False


def _all_images(path: Path) -> list[Path]:
    """Return each image of a file; the file itself where it cannot be read, so that reading it tells why."""
    try:
        return [with_choice(path, number) for number in range(find_pixels(path).images)]
    except (ValueError, TypeError, OSError, MemoryError):
        return [path]


def _add_folder(search: _Search, folder: Path) -> None:
    images, strays, below = [], [], 0
    for entry in folder.iterdir():
        if _is_hidden(entry):
            continue
        if _is_image(entry):
            images.append(entry)
        elif entry.is_dir():
            below += sum(_is_image(inner) for inner in entry.iterdir() if not _is_hidden(inner))
        else:
            strays.append(entry)
    if not images:
        deeper = f"; its subfolders hold {below}: give {folder}{os.sep}**" if below else ""
        raise FileNotFoundError(f"the folder {folder} holds no image{deeper}; known formats are {FORMATS}")
    if below:
        search.notes.append(f"{below} image(s) in subfolders of {folder} were passed over; {folder}{os.sep}** takes them, too")
    _add_sorted(search, images, strays, str(folder))


def _add_pattern(search: _Search, pattern: str) -> None:
    images, strays = [], []
    for name in glob.iglob(pattern, recursive=True):  # noqa: PTH207 - a Path has no way to take a pattern as people write it
        path = Path(name)
        if any(is_zarr(parent) for parent in path.parents):
            continue  # the arrays and chunks of a zarr image are no images of their own
        if _is_image(path):
            images.append(path)
        elif path.is_file():
            strays.append(path)
    if not images:
        raise FileNotFoundError(f"no image fits the pattern {pattern}; known formats are {FORMATS}")
    _add_sorted(search, images, strays, pattern)


def _add_sorted(search: _Search, images: list[Path], strays: list[Path], where: str) -> None:
    for path in sorted(images, key=natural_key):
        search.add(path)
    if strays:
        first = min(strays, key=natural_key).name
        search.notes.append(f"{len(strays)} other file(s) of {where} were passed over, for instance {first}")


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES and path.is_file() if not path.is_dir() else is_zarr(path)


def _is_hidden(path: Path) -> bool:
    return path.name.startswith(".") and path.name not in (".", "..")
