"""The files of a data folder: which are read, and which are not and must be named."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from napari_resformer.io.ome_zarr import is_zarr
from napari_resformer.io.read import SUFFIXES
from napari_resformer.samples.names import parts_of
from napari_resformer.samples.words import counted

_STRAY = {"", ".db", ".ini", ".txt", ".md", ".csv", ".tsv", ".log", ".lnk", ".url", ".html"}
"""Files that nobody takes for images: a desktop's index, notes, tables."""


@dataclass(frozen=True)
class Listing:
    """The files below a folder.

    Parameters
    ----------
    folder : Path
        Where they lie.
    files : dict of str to Path
        Image files by their path below the folder, with ``/`` between its parts; in order of these.
    others : tuple of str
        Files that may be meant as images, and are of no format that is read.
    """

    folder: Path
    files: dict[str, Path]
    others: tuple[str, ...] = ()

    def notes(self) -> Iterator[str]:
        """Say what is not read."""
        if self.others:
            suffixes = ", ".join(sorted({suffix(name) for name in self.others}))
            yield (
                f"{self.folder.name}/ holds {counted(len(self.others), 'file')} of a kind that is not read ({suffixes}), for "
                f"instance {self.others[0]}; known formats are {', '.join(sorted(SUFFIXES))}"
            )


def list_files(folder: Path) -> Listing:
    """List a folder and the folders in it; hidden files and a desktop's own are passed over."""
    files: dict[str, Path] = {}
    others = []
    for path in _walk(folder):
        name = "/".join(path.relative_to(folder).parts)
        if path.suffix.lower() in SUFFIXES or is_zarr(path):
            if _is_pickled(path):
                others.append(name)
            else:
                files[name] = path
        elif path.suffix.lower() not in _STRAY:
            others.append(name)
    return Listing(folder, files, tuple(others))


def find_subfolder(folder: Path, name: str) -> Path | None:
    """Return a folder in a data folder, whatever its capitals; None where there is none."""
    found = [part for part in sorted(folder.iterdir()) if part.name.casefold() == name and part.is_dir()]
    return next((part for part in found if part.name == name), found[0] if found else None)


def suffix(name: str) -> str:
    """Return a file name's suffix as it is shown."""
    return Path(name).suffix.lower() or "no suffix"


def subfolders(names: Sequence[str]) -> Counter[str]:
    """Count the files of each folder below the listed one."""
    return Counter("/".join(parts_of(name)[:-1]) for name in names if len(parts_of(name)) > 1)


def _walk(folder: Path, above: frozenset[str] = frozenset()) -> Iterator[Path]:
    """Yield the files below a folder, and folders that are images, in order."""
    above |= {os.path.realpath(folder)}
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        path = folder / entry.name
        if entry.name.startswith("."):
            continue
        if not entry.is_dir() or is_zarr(path):
            yield path
        elif os.path.realpath(path) not in above:  # a link may lead back up
            yield from _walk(path, above)


def _is_pickled(path: Path) -> bool:
    """Return whether an npy file holds Python objects rather than pixels, as Cellpose's ``_seg.npy`` does."""
    if path.suffix.lower() != ".npy":
        return False
    try:
        with path.open("rb") as file:
            version = np.lib.format.read_magic(file)
            reader = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            return bool(reader(file)[2].hasobject)
    except (ValueError, OSError, EOFError):
        return False  # what is wrong with it is said where it is read
