"""zarr arrays and OME-Zarr images, 0.4 and 0.5 and what came before; pixels are read when they are asked for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import Any

from napari_resformer.images.axes import AXES
from napari_resformer.images.place import Place
from napari_resformer.images.units import micrometres
from napari_resformer.images.words import stack_words
from napari_resformer.io.judge import UnreadableError
from napari_resformer.io.metadata import Found
from napari_resformer.io.names import pick
from napari_resformer.io.numbers import number, positive
from napari_resformer.io.said import hearing_warnings

MARKS = ("zarr.json", ".zarray", ".zgroup")
"""Files that make a folder a zarr array or group."""

_LARGE = 2**28
"""Bytes; an array above this is looked at before it is worked on: whether enough of it is there."""
_LEAST_SHARE = 1 / 1000
_COUNTED = 2000
"""Chunks at most that are looked for one by one."""


@dataclass(frozen=True)
class _Listed:
    """An image in a store.

    Parameters
    ----------
    name : str
        What to call it.
    group : str
        Path of the group that describes it.
    number : int
        Which entry of the group's multiscales.
    """

    name: str
    group: str
    number: int = 0


def is_zarr(path: Path) -> bool:
    """Return whether a folder is a zarr array or group."""
    return path.is_dir() and any((path / mark).exists() for mark in MARKS)


def read_zarr(path: Path, chosen: int | None = None) -> Found:
    """Describe an array, or an image of an OME-Zarr group.

    Parameters
    ----------
    path : Path
        The folder.
    chosen : int, optional
        Which of the images in it; the first when left out.

    Raises
    ------
    Exception
        Of any type, if the store is damaged or holds no image.
    """
    import zarr

    with hearing_warnings() as heard:
        node: Any = zarr.open(path, mode="r")
        if isinstance(node, zarr.Array):
            pick(path.name, ["its array"], chosen)
            return Found((node,), _dimension_names(node), notes=_judge(node, path))
        images = list(_images(node))
        if not images:
            raise UnreadableError(_no_image(node, path))
        which, notes = pick(path.name, [image.name for image in images], chosen)
        one = images[which]
        group = node[one.group] if one.group else node
        found = _image(group, path / one.group, one.number)
    return replace(found, images=len(images), notes=(*notes, *found.notes, *(f"the zarr reader says: {line}" for line in heard)))


def _told(node: Any) -> Mapping[str, Any]:
    """Return what OME-Zarr says of a group: under a name of its own from 0.5 on."""
    told = node.attrs.get("ome", node.attrs)
    if not isinstance(told, Mapping):
        raise UnreadableError(f"its OME metadata are {type(told).__name__}, where names and values are needed")
    return told


def _images(node: Any) -> Iterator[_Listed]:
    """Yield the images of a store: one or several of a group, those of a converted file, or the fields of a plate."""
    told = _told(node)
    if scales := told.get("multiscales"):
        if not isinstance(scales, list):
            raise UnreadableError("its multiscales are no list")
        yield from (_Listed(str(scale.get("name") or f"image {place}"), "", place) for place, scale in enumerate(scales))
    elif isinstance(plate := told.get("plate"), Mapping):
        for well in plate.get("wells", []):
            fields = _told(node[well["path"]]).get("well", {}).get("images", [])
            yield from (_Listed(f"{well['path']}/{field['path']}", f"{well['path']}/{field['path']}") for field in fields)
    else:  # what bioformats2raw makes of a file: its images are groups with numbers
        names = sorted((name for name, _ in node.groups() if name.isdigit()), key=int)
        yield from (_Listed(name, name) for name in names if _told(node[name]).get("multiscales"))


def _no_image(node: Any, path: Path) -> str:
    arrays = sorted(name for name, _ in node.arrays())
    if arrays:
        named = ", ".join(f"{path.name}/{name}" for name in arrays[:5])
        return f"the zarr group is no OME-Zarr image (no multiscales); give an array in it: {named}"
    groups = sorted(name for name, _ in node.groups())
    inside = f"; in it are {', '.join(f'{path.name}/{name}' for name in groups[:5])}" if groups else ""
    return f"the zarr group is no OME-Zarr image (no multiscales){inside}; give the path of an image or an array"


def _image(group: Any, path: Path, which: int) -> Found:
    """Describe one image of a group."""
    told = _told(group)
    image = told["multiscales"][which]
    # Before 0.4 an axis was its name alone, and before 0.3 the axes were always the same.
    axes = [axis if isinstance(axis, dict) else {"name": axis} for axis in image.get("axes") or []]
    letters = "".join(map(_letter, axes))
    arrays, notes = _levels(group, image["datasets"], path)
    levels = tuple(array for _, array in arrays)
    ndim = levels[0].ndim
    if not letters and ndim == 5:
        letters = "TCZYX"
    units = tuple(str(axis.get("unit") or "") for axis in axes)
    placed = [_place(dataset, image, ndim, units) for dataset, _ in arrays]
    if any(place is None for place in placed):
        notes += ("its scale or translation cannot be read and was ignored",)
    places = _centred([place for place in placed if place is not None], arrays) if None not in placed else ()
    sizes: dict[str, float] = {}
    for letter, unit, step in zip(letters, units, places[0].scale if places else (), strict=False):
        factor = micrometres(unit)
        if factor is not None:
            sizes[letter] = step * factor
    channels = (told.get("omero") or {}).get("channels") if isinstance(told.get("omero") or {}, Mapping) else []
    names = tuple(str(channel.get("label") or "") for channel in channels or [])
    usable = len(set(letters)) == len(letters) == ndim
    return Found(
        levels, letters if usable else None,
        (sizes["Y"], sizes["X"]) if {"Y", "X"} <= sizes.keys() else None, sizes.get("Z"), names if all(names) else (),
        places=places, notes=(*notes, *_labels_beside(group)),
    )  # fmt: skip


def _levels(group: Any, datasets: Any, path: Path) -> tuple[list[tuple[dict[str, Any], Any]], tuple[str, ...]]:
    """Return the levels that are there, with what the image says of each; a copy may be incomplete."""
    import zarr

    there: list[tuple[dict[str, Any], Any]] = []
    lost: list[str] = []
    for dataset in datasets:
        name = str(dataset["path"])
        try:
            array = group[name]
        except Exception as error:  # noqa: BLE001 - a damaged array raises anything
            lost.append(f"{name} ({' '.join(str(error).split()) if not isinstance(error, KeyError) else 'missing'})")
            continue
        if isinstance(array, zarr.Array) and (not there or array.ndim == there[0][1].ndim):
            there.append((dataset, array))
        else:
            lost.append(f"{name} (no array, or of other dimensions)")
    if not there:
        raise UnreadableError(f"none of its levels can be read: {', '.join(lost) or 'it lists none'}")
    notes = (f"of its resolution levels, {', '.join(lost)} cannot be read; the copy may be incomplete",) if lost else ()
    return there, (*notes, *_judge(there[0][1], path / str(there[0][0]["path"])))


def _labels_beside(group: Any) -> tuple[str, ...]:
    """Return a note on label images that lie in an image's group."""
    try:
        names = [str(name) for name in _told(group["labels"]).get("labels", [])]
    except Exception:  # noqa: BLE001 - there are none, or they are damaged
        return ()
    return (f"label images beside it are not used: {', '.join(f'labels/{name}' for name in names[:5])}",) if names else ()


def _letter(axis: dict[str, Any]) -> str:
    kind, name = axis.get("type"), str(axis.get("name", "")).upper()
    if kind in ("time", "channel"):
        return "T" if kind == "time" else "C"
    return name if name in AXES and name else "P"


def _dimension_names(array: Any) -> str | None:
    """Return the axes that an array's own dimension names tell, if all are letters of ours."""
    names = getattr(array.metadata, "dimension_names", None) or array.attrs.get("_ARRAY_DIMENSIONS")
    if not isinstance(names, list | tuple) or len(names) != array.ndim:
        return None
    letters = "".join(str(name).upper() for name in names)
    usable = len(letters) == len(set(letters)) == array.ndim and {"Y", "X"} <= set(letters) <= set(AXES)
    return letters if usable else None


def _place(dataset: Mapping[str, Any], image: Mapping[str, Any], ndim: int, units: tuple[str, ...]) -> Place | None:
    """Return where a level lies: by its own steps, then by those of the whole image; None where they cannot be read."""
    scale, translate = [1.0] * ndim, [0.0] * ndim
    try:
        for steps in (dataset.get("coordinateTransformations") or [], image.get("coordinateTransformations") or []):
            for step in steps:
                kind = step.get("type")
                if kind == "scale":
                    factors = [positive(value) for value in step["scale"]]
                    if None in factors or len(factors) != ndim:
                        return None
                    scale = [before * factor for before, factor in zip(scale, factors, strict=True) if factor]
                    translate = [before * factor for before, factor in zip(translate, factors, strict=True) if factor]
                elif kind == "translation":
                    moves = [number(value) for value in step["translation"]]
                    if None in moves or len(moves) != ndim:
                        return None
                    translate = [before + move for before, move in zip(translate, moves, strict=True) if move is not None]
    except (AttributeError, KeyError, TypeError):
        return None
    return Place(tuple(scale), tuple(translate), units if len(units) == ndim else ("",) * ndim)


def _centred(places: list[Place], arrays: list[tuple[dict[str, Any], Any]]) -> tuple[Place, ...]:
    """Return the places of levels; where a file does not say where a coarse one lies, its pixels cover those of the finest."""
    first = places[0]
    for level, (dataset, _) in enumerate(arrays):
        steps, place = dataset.get("coordinateTransformations") or [], places[level]
        if level and not any(step.get("type") == "translation" for step in steps):
            start = zip(first.translate, first.scale, place.scale, strict=True)
            places[level] = replace(place, translate=tuple(at + (coarse - fine) / 2 for at, fine, coarse in start))
    return tuple(places)


def _judge(array: Any, path: Path) -> tuple[str, ...]:
    """Return a note on chunks that are missing; refuse a large array of which next to nothing is there."""
    # of sharded arrays, a file holds many chunks
    grid = getattr(array, "shards", None) or array.chunks
    chunks = prod(-(-int(size) // max(int(chunk), 1)) for size, chunk in zip(array.shape, grid, strict=True))
    is_large = int(array.nbytes) > _LARGE
    if not path.is_dir() or (chunks > _COUNTED and not is_large):
        return ()
    wanted = chunks if chunks <= _COUNTED else max(int(chunks * _LEAST_SHARE), 1)
    there = 0
    for file in path.rglob("*"):
        there += file.is_file() and file.name[0] in "c0123456789"
        if there >= wanted:
            return ()
    if is_large and there < chunks * _LEAST_SHARE:
        raise UnreadableError(f"it announces {stack_words(array.shape)}, but {there} of its {chunks} chunks are there")
    if chunks > _COUNTED:
        return ()
    return (
        f"{chunks - there} of its {chunks} chunks are not there and are read as {array.fill_value}; the copy may be incomplete",
    )
