"""Names of image files: their suffixes, their stems, and which image of a file is meant.

``scan.tif:2`` is the third image in ``scan.tif``, and ``scan.tif:all`` each of them.
"""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Sequence
from pathlib import Path

from napari_resformer.io.judge import UnreadableError

ALL = "all"

TIFF = frozenset(
    {".tif", ".tiff", ".btf", ".tf2", ".tf8", ".lsm", ".svs", ".ndpi", ".qptiff", ".scn", ".bif", ".stk", ".flex", ".zif"}
)
PICTURES = frozenset({".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".gif", ".webp"})
SUFFIXES = TIFF | PICTURES | {".npy", ".zarr"}
"""Suffixes of files that can be read, in lower case."""

FORMATS = "TIFF, PNG, JPEG, GIF, BMP, WebP, npy and zarr"
"""What can be read, in words."""

LONGEST = 255
"""Bytes of a file name, at most, where a file system does not say."""

_UNREADABLE = {"Cc", "Cs", "Zl", "Zp"}
"""Control characters, bytes that are no Unicode, ends of lines: neither XML nor a table nor a terminal takes them."""
_NO_CHARACTERS = {"\ufffe", "\uffff"}

_NAMED = 6
"""Images that a note describes; of a file of more it tells the number."""


def split_choice(path: str | Path) -> tuple[Path, str]:
    """Split a path into that of the file and the image in it that is meant: digits, ``all``, or nothing.

    A file that has exactly this name is meant as a whole. A letter alone in front of the colon is a drive of Windows.
    """
    path = Path(path)
    match = re.fullmatch(rf"(.{{2,}}):(\d{{1,9}}|{ALL})", str(path), re.DOTALL)
    if match is None or path.exists() or not Path(match[1]).exists():
        return path, ""
    return Path(match[1]), match[2]


def with_choice(path: Path, number: int) -> Path:
    """Return the path that means one image of a file."""
    return path.with_name(f"{path.name}:{number}")


def image_stem(path: Path) -> str:
    """Return an image's name without the suffix of its file: ``a`` for ``a.tif`` and ``a.ome.zarr``, ``a_2`` for ``a.tif:2``."""
    file, chosen = split_choice(path)
    stem = file.stem.removesuffix(".ome") if file.suffix.lower() in TIFF | {".zarr"} else file.stem
    return f"{stem}_{chosen}" if chosen else stem


def readable(text: str) -> str:
    """Return a name as tables, XML and terminals take it: control characters and bytes that are no Unicode are escaped."""
    if text.isprintable():
        return text
    return "".join(
        letter.encode("unicode_escape").decode("ascii")
        if unicodedata.category(letter) in _UNREADABLE or letter in _NO_CHARACTERS
        else letter
        for letter in text
    )


def check_name(path: Path) -> None:
    """Refuse the name of a file to be written that is too long for its file system, before anything is worked out for it.

    Raises
    ------
    OSError
        If it is too long.
    """
    folder = next(place for place in (path.parent, *path.parent.parents, Path()) if place.is_dir())
    try:
        longest = os.pathconf(folder, "PC_NAME_MAX")
    except (AttributeError, OSError, ValueError):  # Windows has no such call
        longest = LONGEST
    if (length := len(os.fsencode(path.name))) > longest:
        raise OSError(f"the result's name would have {length} bytes, and {longest} are allowed ({path.name}); rename the image")


def pick(name: str, images: Sequence[str], chosen: int | None, default: int = 0) -> tuple[int, tuple[str, ...]]:
    """Return the number of the image to read, and a note on the others where nobody chose.

    Parameters
    ----------
    name : str
        Name of the file.
    images : sequence of str
        Each image in it, in words.
    chosen : int, optional
        The number that was asked for.
    default : int
        The one to read where none was asked for.

    Raises
    ------
    UnreadableError
        If the file has no image of the number that was asked for.
    """
    if chosen is not None:
        if chosen >= len(images):
            raise UnreadableError(f"it has no image {chosen}; its images are {_listed(images)}")
        return chosen, ()
    if len(images) < 2:
        return default, ()
    note = (
        f"the file holds {len(images)} images: {_listed(images)}; only {default} was read: write {name}:{int(not default)} for "
        f"another, or {name}:{ALL} for all"
    )
    return default, (note,)


def _listed(images: Sequence[str]) -> str:
    words = [f"{number} ({image})" for number, image in enumerate(images[:_NAMED])]
    return ", ".join(words) + (f" and {len(images) - _NAMED} more" if len(images) > _NAMED else "")
