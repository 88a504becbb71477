"""TIFF files, OME-TIFF and ImageJ's among them; large ones are read where and when pixels are asked for."""

from __future__ import annotations

import weakref
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from napari_resformer.images.axes import AXES
from napari_resformer.images.words import size_words
from napari_resformer.io.judge import UnreadableError
from napari_resformer.io.lazy import turned
from napari_resformer.io.metadata import Found
from napari_resformer.io.names import pick
from napari_resformer.io.numbers import count
from napari_resformer.io.said import listening
from napari_resformer.io.tiff_facts import Facts, facts_of
from napari_resformer.io.tiff_ome import Ome, OmeFacts, metadata_file, read_ome
from napari_resformer.io.tiff_pixels import Stack, stack_of
from napari_resformer.io.tiff_samples import samples_of

_FROM_TIFFFILE = {"S": "C", "I": "P", "Q": "P", "R": "P"}
_WITHOUT_PROGRAMS = (
    "ome", "imagej", "shaped", "lsm", "mmstack", "ndtiff", "fluoview", "stk", "sis", "svs", "scn", "qpi", "ndpi", "bif", "avs",
    "eer", "philips", "scanimage", "nih", "mdgel", "uniform",
)  # fmt: skip
"""Kinds of files that tifffile knows by what a program wrote into them; without these, pages are pages."""

_PLAIN = ("generic", "uniform", "shaped")
"""Series whose palette is a picture's; a microscopy program's is a way to show gray values."""

_HIDDEN = 1 | 4
"""Subfile types: a reduced copy, a transparency mask."""


@dataclass(frozen=True)
class _Opened:
    """A TIFF file, its images and what was to be said while it was opened."""

    file: Any
    series: list[Any]
    ome: Ome | None
    facts: Facts
    notes: tuple[str, ...]


def read_tiff(path: Path, chosen: int | None = None) -> Found:
    """Describe an image of a TIFF file.

    Parameters
    ----------
    path : Path
        The file.
    chosen : int, optional
        Which of its images; when left out, the first that is neither a reduced copy nor a mask of another one.

    Raises
    ------
    Exception
        Of any type, if the file is damaged.
    """
    with listening() as heard:
        opened = _open(path)
        try:
            found, stack = _describe(path, opened, chosen)
        except BaseException:
            opened.file.close()
            raise
    if stack.is_lazy:
        weakref.finalize(found.levels[0], opened.file.close)  # pixels are still to be read
    else:
        opened.file.close()
    said = () if stack.notes else tuple(f"the TIFF reader says: {line}" for line in heard)
    return replace(found, notes=(*found.notes, *said))


def _open(path: Path) -> _Opened:
    """Open a file; where what programs wrote into it is damaged, without it."""
    import tifffile

    file = tifffile.TiffFile(path)
    try:
        facts, notes = Facts(), list[str]()
        try:
            facts = facts_of(file)
        except Exception as error:  # noqa: BLE001 - damaged words make their reader raise anything
            notes.append(f"its pixel size cannot be read and was ignored ({error})")
        ome: Ome | None = None
        options: dict[str, Any] = {}
        if file.is_ome and file.ome_metadata:
            try:
                ome = _ome(path, file)
                options = {"omexml": ome.xml} if ome.xml else {}
            except (ValueError, KeyError, SyntaxError, OSError) as error:
                notes.append(f"its OME-XML is damaged and was ignored ({error})")
                options = {"is_ome": False}
        elif "<OME " in str(getattr(file.pages[0], "description", ""))[:1000]:
            notes.append("its OME-XML is cut off and was ignored")
        if options:
            file.close()
            file = tifffile.TiffFile(path, **options)
        with suppress(Exception):
            return _Opened(file, list(file.series), ome, facts, (*notes, *(ome.notes if ome else ()), *facts.notes))
        file.close()
        options = {flag: False for flag in map("is_{}".format, _WITHOUT_PROGRAMS) if _can_be_set(flag)}
        file = tifffile.TiffFile(path, **options)
        notes.append("what a program wrote into it of its planes is damaged and was ignored")
        return _Opened(file, list(file.series), None, facts, (*notes, *facts.notes))
    except BaseException:
        file.close()
        raise


def _can_be_set(flag: str) -> bool:
    """Return whether tifffile can be told what kind a file is; which ones it can differs between its releases."""
    import tifffile

    is_known = flag.removeprefix("is_") in tifffile.TIFF.FILE_FLAGS
    return is_known and not isinstance(getattr(tifffile.TiffFile, flag, None), property)


def _ome(path: Path, file: Any) -> Ome:
    xml = file.ome_metadata
    if companion := metadata_file(xml):
        xml = path.with_name(Path(companion).name).read_text(encoding="utf-8")
    return read_ome(xml, path.name, len(file.pages))


def _describe(path: Path, opened: _Opened, chosen: int | None) -> tuple[Found, Stack]:
    file, many = opened.file, opened.series
    if not many:
        raise UnreadableError("it holds no image")
    plain = [number for number, one in enumerate(many) if not int(one.keyframe.subfiletype) & _HIDDEN]
    number, others = pick(path.name, [_words(one) for one in many], chosen, plain[0] if plain else 0)
    series = many[number]
    stack = stack_of(path, file, number, series)
    place = stack.axes.find("S")  # of a pixel: they are its channels, whatever the other axes are
    axis = place if place >= 0 else None
    stored = 1 if axis is None else int(stack.levels[0].shape[axis])
    samples, notes = samples_of(series.keyframe, axis, stored, is_lut=series.kind not in _PLAIN)
    orientation = count(getattr(series.keyframe.tags.get("Orientation"), "value", 1)) or 1
    y, x = stack.axes.index("Y"), stack.axes.index("X")
    levels = tuple(turned(level, orientation, y, x) for level in stack.levels)
    if orientation in range(2, 9):
        notes = (*notes, f"turned as its orientation tag ({orientation}) says")
    ome = _ome_facts(opened, number, series)
    facts = Facts(ome.pixel_size, ome.z_step, ome.notes) if ome else opened.facts
    if ome:
        notes = (*notes, *ome.notes)
    return Found(
        levels, _named(series, stack.axes), facts.pixel_size, facts.z_step, ome.channel_names if ome else (), samples,
        images=len(many), notes=(*others, *stack.notes, *opened.notes, *notes),
    ), stack  # fmt: skip


def _ome_facts(opened: _Opened, number: int, series: Any) -> OmeFacts | None:
    """Return the facts of the OME image that a series is."""
    if opened.ome is None or series.kind != "ome":
        return None
    images = opened.ome.images
    if len(images) == len(opened.series):
        return images[number]
    page = (int(series.keyframe.imagelength), int(series.keyframe.imagewidth))
    return next((one for one in images if one.shape == page), None)


def _named(series: Any, axes: str) -> str | None:
    """Return the axes as letters of ours, or as far as they are explained."""
    letters = "".join(_FROM_TIFFFILE.get(axis, axis) for axis in axes)
    known = set(letters) <= set(AXES) and len(set(letters)) == len(letters)
    # tifffile calls an unexplained leading axis Q or I; only named axes are more than a guess. OME explains them.
    return letters if known and (series.kind == "ome" or not set(axes) & set("QIR")) else _explained(axes)


def _explained(axes: str) -> str | None:
    """Return the axes of which at least the samples are explained, with ``?`` for the others; None without any samples."""
    letters = "".join("C" if axis == "S" else axis if axis in "TZYX" else "?" for axis in axes)
    return letters if sorted(axis for axis in letters if axis in "CYX") == ["C", "X", "Y"] else None


def _words(series: Any) -> str:
    """Return an image of a file in words."""
    reduced = int(series.keyframe.subfiletype)
    what = "reduced copy" if reduced & 1 else "mask" if reduced & 4 else ""
    sides = dict(zip(series.axes, map(int, series.shape), strict=True))
    size = size_words((sides.get("Y", 1), sides.get("X", 1)))
    return ", ".join(part for part in (series.name, what, size) if part)
