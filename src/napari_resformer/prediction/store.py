"""Where a mask goes while it is made: memory, a zarr array, or an OME-Zarr pyramid; a run can go on in the latter two."""

from __future__ import annotations

import shutil
import time
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_resformer.images.image import Image
from napari_resformer.io.atomic import atomic_write
from napari_resformer.io.lock import locked
from napari_resformer.prediction.fingerprint import differences

SUFFIX, OME_SUFFIX = ".zarr", ".ome.zarr"
ATTRIBUTE = "napari_resformer"
SAVE_SECONDS = 1.0
"""Where notes are slow to write and rows of tiles quick to make, not each row has a note; so much time has one at least."""
_NOTE_SHARE = 20  # a note is written where the time since the last is so many times what that one took

_FORMAT = 1
_PRIVATE = ".resformer"  # folder in the store; zarr does not look at it
_TOP_SIDE = 2048  # a pyramid ends with the first level that fits into this
_LEAST_CHUNK = 256
_MARKS = ("zarr.json", ".zarray", ".zgroup")


@dataclass(frozen=True)
class State:
    """How far a run is: all that it needs to go on as if nothing had happened.

    Parameters
    ----------
    plane : int
        Number of the plane to go on with.
    row : int
        First row of the plane, as the network sees it, that is not final.
    tile : int
        Pixels on a side of the tiles; smaller than planned once memory was short.
    scores : ndarray
        (planes, classes) of the planes that are done.
    pixels : ndarray
        (256,) mask pixels of each value, so far.
    features, cells : ndarray
        Class features of the plane's rows that are final, summed, and of how many cells; empty before the first.
    above : tuple of ndarray
        What the rows above give to those below, see :class:`~napari_resformer.prediction.tiles.Blender` and
        :class:`~napari_resformer.prediction.tiles.Restorer`.
    """

    plane: int
    row: int
    tile: int
    scores: NDArray[np.float32]
    pixels: NDArray[np.int64]
    features: NDArray[np.float64]
    cells: NDArray[np.float64]
    above: tuple[NDArray[np.float32], NDArray[np.float32]]


@dataclass
class MaskStore:
    """A mask that is being made.

    Parameters
    ----------
    image : Image
        What it is a mask of.
    levels : tuple of array
        The mask, and then at half the resolution of the one before, where it is a pyramid.
    folder : Path, optional
        The zarr store; None in memory.
    state : State, optional
        How far an earlier run was that this one goes on with.
    finished : dict, optional
        What an earlier run said that had ended already.
    """

    image: Image
    levels: tuple[Any, ...]
    folder: Path | None = None
    state: State | None = None
    finished: dict[str, Any] | None = None
    _fingerprint: dict[str, Any] = field(default_factory=dict)
    _saved: float = field(default_factory=time.monotonic)
    _cost: float = 0.0  # seconds that a note takes

    def write(self, index: tuple[int, ...], rows: slice, columns: slice, classes: NDArray[np.uint8]) -> None:
        """Write a part of a plane (rows, columns) into all levels."""
        for level, array in enumerate(self.levels):
            step = 2**level
            part = classes[-rows.start % step :: step, -columns.start % step :: step]
            if part.size:
                top, left = ceil(rows.start / step), ceil(columns.start / step)
                place = self.image.mask_index(index, slice(top, top + part.shape[0]), slice(left, left + part.shape[1]))
                array[place] = part if self.image.rows_first else part.T

    @property
    def due(self) -> bool:
        """Whether the state is to be saved again: after each row of tiles, unless that would take up its time."""
        return self.folder is not None and time.monotonic() - self._saved >= min(SAVE_SECONDS, _NOTE_SHARE * self._cost)

    def save(self, state: State) -> None:
        """Note how far the run is; the note is whole, or the one before."""
        if self.folder is not None:
            begin = time.monotonic()
            _write_state(self.folder, state)
            self._saved = time.monotonic()
            self._cost = self._saved - begin

    def finish(self, provenance: dict[str, Any], pixels: NDArray[np.int64]) -> None:
        """Note that the run is done, and what it said."""
        if self.folder is not None:
            _node(self.folder).attrs[ATTRIBUTE] = {
                "format": _FORMAT,
                "complete": True,
                "fingerprint": self._fingerprint,
                "pixels": pixels.tolist(),
                "result": provenance,
            }
            self.finished = {}


@contextmanager
def open_store(
    image: Image, out: str | Path | None, fingerprint: dict[str, Any], *, tile: int, overwrite: bool, resume: bool
) -> Iterator[MaskStore]:
    """Open what a mask is written to; a folder is locked meanwhile.

    Parameters
    ----------
    image : Image
        What will be predicted.
    out : str or Path, optional
        Ends in ``.zarr`` for an array, in ``.ome.zarr`` for an OME-Zarr pyramid; None for memory.
    fingerprint : dict
        Model, image and settings.
    tile : int
        Pixels on a side that are final at once: the chunks.
    overwrite, resume : bool
        Whether an existing store may be replaced; whether to go on in it.

    Raises
    ------
    FileExistsError
        If the store exists and neither is allowed, or another run writes to it.
    ValueError
        If the name ends otherwise, or the store was made of something else.
    """
    if out is None:
        yield MaskStore(image, (np.zeros(image.mask_shape, np.uint8),))
        return
    folder = Path(out)
    if folder.suffix != SUFFIX:
        raise ValueError(f"out is {folder.name}; a mask is written to a zarr store, name it so: {folder.stem}{SUFFIX}")
    if _exists(folder) and not (overwrite or resume):
        raise FileExistsError(f"{folder} exists; choose another name, allow to overwrite it, or resume the run that made it")
    private = folder / _PRIVATE
    if resume and _exists(folder):
        _check(folder, fingerprint)
        private.mkdir(exist_ok=True)
        with _locked(private / "lock", folder):
            store = _reopened(image, folder, fingerprint)
            yield store
    else:
        if _exists(folder):
            private.mkdir(exist_ok=True)
            with _locked(private / "lock", folder):
                pass  # nobody writes to it
            shutil.rmtree(folder)
        folder.mkdir(parents=True, exist_ok=True)
        private.mkdir(exist_ok=True)
        with _locked(private / "lock", folder):
            for left in (path for path in folder.iterdir() if path.name != _PRIVATE):  # by a run that was killed here
                shutil.rmtree(left) if left.is_dir() else left.unlink()
            store = MaskStore(image, _create(folder, image, tile, fingerprint), folder, None, None, fingerprint)
            yield store
    if store.finished is not None:
        shutil.rmtree(private, ignore_errors=True)


def can_resume(folder: Path, fingerprint: dict[str, Any]) -> bool:
    """Return whether a folder holds an unfinished run of just this model, image and settings, that nobody carries on."""
    try:
        stored = _stored(folder) if _exists(folder) else {}
        if not stored or stored.get("complete") or stored.get("fingerprint") != fingerprint:
            return False
        with _locked(folder / _PRIVATE / "lock", folder):
            return True
    except (OSError, ValueError, KeyError):  # another run, or something else
        return False


def earlier_tile(folder: Path) -> object:
    """Return the tile that the run in a folder was begun with; None where there is no run."""
    try:
        return _stored(folder)["fingerprint"]["tile"] if _exists(folder) else None
    except (OSError, ValueError, KeyError, TypeError):  # something else, which is refused once it is opened
        return None


def _exists(folder: Path) -> bool:
    """Return whether a store is there; refuse what is something else."""
    if not folder.exists() or (folder.is_dir() and all(path.name == _PRIVATE for path in folder.iterdir())):
        return False  # or a run was killed before it had begun
    if (folder / _PRIVATE).is_dir() and not _stored(folder):
        return False  # a run was killed while it made the arrays
    if not folder.is_dir() or not any((folder / mark).exists() for mark in _MARKS):
        raise FileExistsError(f"{folder} exists and is no zarr store; choose another name")
    return True


def _node(folder: Path) -> Any:
    import zarr

    return zarr.open(folder, mode="r+")


def _stored(folder: Path) -> dict[str, Any]:
    try:
        stored = _node(folder).attrs.get(ATTRIBUTE)
    except FileNotFoundError:  # arrays without their group
        return {}
    return dict(stored) if isinstance(stored, dict) else {}


def _check(folder: Path, fingerprint: dict[str, Any]) -> None:
    stored = _stored(folder)
    if stored.get("format") != _FORMAT:
        raise ValueError(f"{folder} was not made by a run that can be resumed; choose another name, or allow to overwrite it")
    if changed := differences(dict(stored["fingerprint"]), fingerprint):
        raise ValueError(
            f"{folder} cannot be resumed, since something else is asked for: {changed}; "
            "run with what it was begun with, or allow to overwrite it"
        )


def _reopened(image: Image, folder: Path, fingerprint: dict[str, Any]) -> MaskStore:
    node, stored = _node(folder), _stored(folder)
    if hasattr(node, "shape"):
        levels: tuple[Any, ...] = (node,)
    else:
        levels = tuple(node[dataset["path"]] for dataset in node.attrs["ome"]["multiscales"][0]["datasets"])
    return MaskStore(
        image, levels, folder, _read_state(folder), stored if stored.get("complete") else None, fingerprint,
    )  # fmt: skip


def _create(folder: Path, image: Image, tile: int, fingerprint: dict[str, Any]) -> tuple[Any, ...]:
    import zarr

    note: dict[str, Any] = {ATTRIBUTE: {"format": _FORMAT, "complete": False, "fingerprint": fingerprint}}
    if not folder.name.endswith(OME_SUFFIX):
        shape, chunks = _shape(image, tile, 0)
        return (zarr.create_array(folder, shape=shape, chunks=chunks, dtype="uint8", attributes=note),)
    count = 1
    while max(image.plane_shape) > _TOP_SIDE * 2 ** (count - 1):
        count += 1
    group = zarr.create_group(folder)
    arrays = []
    for level in range(count):
        shape, chunks = _shape(image, tile, level)
        names = tuple(axis.lower() for axis in image.mask_axes)
        arrays.append(group.create_array(str(level), shape=shape, chunks=chunks, dtype="uint8", dimension_names=names))
    group.attrs.update(ome_attributes(image, count) | note)  # last: only a whole group can be resumed
    return tuple(arrays)


def _shape(image: Image, tile: int, level: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return shape and chunks of a level."""
    shape = tuple(
        ceil(size / 2**level) if axis in "YX" else size for axis, size in zip(image.mask_axes, image.mask_shape, strict=True)
    )
    side = max(tile >> level, min(_LEAST_CHUNK, tile))
    return shape, tuple(min(side, size) if axis in "YX" else 1 for axis, size in zip(image.mask_axes, shape, strict=True))


def ome_attributes(image: Image, levels: int) -> dict[str, Any]:
    """Return the attributes of an OME-Zarr 0.5 label image with the axes, pixel size and place of an image.

    Each level takes every second pixel of the one before, so that their first pixels lie on the same point.
    """
    kinds = {"T": {"type": "time"}, "Z": {"type": "space"}, "Y": {"type": "space"}, "X": {"type": "space"}}
    axes: list[dict[str, str]] = [{"name": axis.lower()} | kinds.get(axis, {}) for axis in image.mask_axes]
    known: dict[str, float] = {}
    if image.pixel_size is not None:
        known |= {"Y": image.pixel_size[0], "X": image.pixel_size[1]}
    if image.z_step is not None:
        known["Z"] = image.z_step
    for axis in axes:
        if axis["name"].upper() in known:
            axis["unit"] = "micrometer"
    datasets = []
    for level in range(levels):
        step = {"Y": 2**level, "X": 2**level}
        scale = [known.get(axis, 1.0) * step.get(axis, 1) for axis in image.mask_axes]
        datasets.append({"path": str(level), "coordinateTransformations": [{"type": "scale", "scale": scale}]})
        if any(shift := place_of(image, known)):
            datasets[-1]["coordinateTransformations"].append({"type": "translation", "translation": shift})  # type: ignore[attr-defined]
    multiscales = [{"name": image.name, "axes": axes, "datasets": datasets, "type": "nearest"}]
    return {"ome": {"version": "0.5", "multiscales": multiscales, "image-label": {"version": "0.5"}}}


def place_of(image: Image, steps: dict[str, float]) -> list[float]:
    """Return where the centre of a mask's first pixel lies from that of the first pixel of the full resolution.

    Parameters
    ----------
    image : Image
        A level or a part of an image, or all of it.
    steps : dict of str to float
        Size of a pixel of ``image``, an axis; 1 where it is not named.
    """
    begin = dict(zip(image.axes, image.start or (0,) * len(image.axes), strict=True))
    factor = dict(zip(image.axes, image.level_factors, strict=True))
    # A pixel of a coarse level covers several of the full resolution: its centre is theirs.
    return [steps.get(axis, 1.0) * (begin[axis] + (factor[axis] - 1) / 2 / factor[axis]) for axis in image.mask_axes]


# ----------------------------------------------------------------------------------------------------------------- state
def _state_path(folder: Path) -> Path:
    return folder / _PRIVATE / "state.npz"


def _write_state(folder: Path, state: State) -> None:
    with atomic_write(_state_path(folder)) as file:
        np.savez(
            file, place=np.array([state.plane, state.row, state.tile]), scores=state.scores, pixels=state.pixels,
            features=state.features, cells=state.cells, blend=state.above[0], restore=state.above[1],
        )  # fmt: skip


def _read_state(folder: Path) -> State | None:
    """Return the last state; None where no row was ended, and the run starts from the beginning."""
    try:
        with np.load(_state_path(folder), allow_pickle=False) as stored:
            plane, row, tile = (int(number) for number in stored["place"])
            return State(
                plane, row, tile, stored["scores"], stored["pixels"], stored["features"], stored["cells"],
                (stored["blend"], stored["restore"]),
            )  # fmt: skip
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise ValueError(
            f"the note on how far {folder} is was damaged ({error}); allow to overwrite it, to start from the beginning"
        ) from error


@contextmanager
def _locked(path: Path, folder: Path) -> Iterator[None]:
    with ExitStack() as stack:
        try:
            stack.enter_context(locked(path))
        except BlockingIOError as error:
            raise FileExistsError(f"another run writes to {folder}; wait for its end, or choose another name") from error
        yield
