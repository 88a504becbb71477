"""The record of where a run stands, kept in the store that it writes to, so that another run can go on from there."""

from __future__ import annotations

import json
import shutil
import time
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_resformer.io.atomic import atomic_write
from napari_resformer.io.lock import locked
from napari_resformer.io.ome_zarr import is_zarr
from napari_resformer.io.ome_zarr_writer import open_levels
from napari_resformer.prediction.batches import Place
from napari_resformer.prediction.fingerprint import differences
from napari_resformer.prediction.outputs import (
    KINDS,
    LABELS,
    Outputs,
    memory_target,
    places,
    reopened_target,
    stored_target,
)
from napari_resformer.prediction.plan import Plan
from napari_resformer.prediction.stitch import Strips

ATTRIBUTE = "napari_resformer"
SAVE_SECONDS = 1.0
"""Where the record is slow to write and rows of tiles are quick to make, not each row is recorded; but one in so much time."""

_SAVE_SHARE = 20  # the record is written where the time since the last is so many times what that one took
_FORMAT, _FIRST_FORMAT = 2, 1
_PRIVATE = ".resformer"  # folder in the store; zarr does not look at it
_ARRAYS = ("class_logits", "features", "cells", "pixels")


def _nothing() -> Strips:
    return np.zeros((0, 0, 0), np.float32), np.zeros((0, 0, 0), np.float32)


@dataclass(frozen=True)
class Record:
    """Where a run stands: all that another one needs to go on as if nothing had happened.

    Parameters
    ----------
    place : Place
        What to go on with.
    tile : int
        Pixels on a side of the tiles; smaller than planned once memory was short.
    class_logits : ndarray
        (planes, image classes), of the planes that are done.
    features, cells : ndarray
        Class features of the rows of the plane at ``place`` that are final, summed, and of how many cells; empty before the
        first.
    strips : tuple of ndarray
        What those rows give to the next one, see :attr:`Stitcher.strips`; without meaning at the begin of a plane.
    pixels : ndarray
        (256,) pixels of each mask value in the rows that are final.
    fingerprint : dict
        What the run was begun with: model, image and settings.
    blank : tuple of int
        Numbers of the planes so far that show nothing.
    """

    place: Place
    tile: int
    class_logits: NDArray[np.float64]
    features: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    cells: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    strips: Strips = field(default_factory=_nothing)
    pixels: NDArray[np.int64] = field(default_factory=lambda: np.zeros(LABELS, np.int64))
    fingerprint: Mapping[str, Any] = field(default_factory=dict)
    blank: tuple[int, ...] = ()

    @property
    def is_begun(self) -> bool:
        """Whether anything is done yet."""
        return self.place != Place()

    def write(self, path: Path) -> None:
        """Write the record; the file is whole, or the one before."""
        told = {
            "plane": self.place.plane, "row": self.place.row, "tile": self.tile, "fingerprint": dict(self.fingerprint),
            "blank": self.blank,
        }  # fmt: skip
        arrays = {name: getattr(self, name) for name in _ARRAYS}
        with atomic_write(path) as file:
            np.savez(file, told=np.array(json.dumps(told)), blend=self.strips[0], restore=self.strips[1], **arrays)

    @classmethod
    def read(cls, path: Path) -> Record:
        """Read a record.

        Raises
        ------
        ValueError
            If the file is damaged.
        """
        try:
            with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:  # numpy leaves a damaged one open
                told = json.loads(str(stored["told"]))
                return cls(
                    Place(int(told["plane"]), int(told["row"])),
                    int(told["tile"]),
                    strips=(stored["blend"], stored["restore"]),
                    fingerprint=dict(told["fingerprint"]),
                    blank=tuple(map(int, told.get("blank", ()))),
                    **{name: stored[name] for name in _ARRAYS},
                )
        except (OSError, EOFError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
            raise ValueError(
                f"the record of how far the run in {path.parent.parent} was is damaged ({error}); allow to overwrite it, to "
                "start from the beginning"
            ) from error


@dataclass
class OpenOutputs:
    """The outputs of a run, open for writing.

    Parameters
    ----------
    outputs : Outputs
        Where logits go.
    folder : Path, optional
        The first output's store; None in memory.
    record : Record, optional
        How far an earlier run was that this one goes on with.
    ended : dict, optional
        What an earlier run said that had ended: ``result``, ``pixels`` and more.
    """

    outputs: Outputs
    folder: Path | None = None
    record: Record | None = None
    ended: dict[str, Any] | None = None
    _folders: tuple[Path, ...] = ()
    _fingerprint: Mapping[str, Any] = field(default_factory=dict)
    _saved: float = field(default_factory=time.monotonic)
    _cost: float = 0.0  # seconds that saving takes

    @property
    def due(self) -> bool:
        """Whether the record is to be saved again: after each row of tiles, unless that would take up its time."""
        return self.folder is not None and time.monotonic() - self._saved >= min(SAVE_SECONDS, _SAVE_SHARE * self._cost)

    def save(self, record: Record) -> None:
        """Save how far the run is."""
        if self.folder is not None:
            begin = time.monotonic()
            replace(record, pixels=self.outputs.pixels, fingerprint=self._fingerprint).write(_record_path(self.folder))
            self._saved = time.monotonic()
            self._cost = self._saved - begin

    def finish(self, provenance: dict[str, Any]) -> None:
        """Note that the run has ended, and what it said."""
        self.ended = {
            "format": _FORMAT,
            "complete": True,
            "fingerprint": dict(self._fingerprint),
            "pixels": self.outputs.pixels.tolist(),
            "result": provenance,
        }
        for folder in reversed(self._folders):  # the first store last: it speaks for all
            _node(folder).attrs[ATTRIBUTE] = self.ended


class _State(Enum):
    NOTHING = "nothing, or what a run left that was killed before it had begun"
    BEGUN = "an unfinished run"
    ENDED = "a finished run"
    OLD = "an unfinished run of the first version"
    PART = "an unfinished output of a run whose record lies elsewhere"
    OTHER = "a zarr store of something else"


@contextmanager
def open_outputs(
    plan: Plan,
    names: tuple[str, ...],
    out: str | Path | None,
    fingerprint: Mapping[str, Any],
    *,
    overwrite: bool = False,
    resume: bool = False,
) -> Iterator[OpenOutputs]:
    """Open what a run writes to; stores are locked meanwhile.

    Parameters
    ----------
    plan : Plan
        What will be done.
    names : tuple of str
        The outputs.
    out : str or Path, optional
        The first output's store, see :func:`~napari_resformer.prediction.outputs.places`; None for memory.
    fingerprint : dict
        Model, image and settings.
    overwrite, resume : bool
        Whether existing stores may be replaced; whether to go on in them.

    Raises
    ------
    FileExistsError
        If a store exists and neither is allowed, or another run writes to it.
    ValueError
        If a name does not fit, or a store was made of something else.
    """
    image, card = plan.image, plan.card
    if out is None:
        yield OpenOutputs(Outputs({name: memory_target(KINDS[name], image, card) for name in names}))
        return
    folders = places(out, names)
    states = _states(tuple(folders.values()))
    main = next(iter(folders.values()))
    there = [folder for folder, state in states.items() if state is not _State.NOTHING]
    if there and not (overwrite or resume):
        raise FileExistsError(f"{there[0]} exists; choose another name, allow to overwrite it, or resume the run that made it")
    if goes_on := resume and bool(there):
        _check(states, fingerprint)
    with ExitStack() as locks:
        for folder in folders.values():
            (folder / _PRIVATE).mkdir(parents=True, exist_ok=True)
            locks.enter_context(_locked(folder))
        if goes_on:
            targets = {
                name: reopened_target(KINDS[name], image, card, folder, open_levels(folder)) for name, folder in folders.items()
            }
            record = Record.read(_record_path(main)) if states[main] is _State.BEGUN else None
            ended = _attributes(main) if states[main] is _State.ENDED else None
        else:
            note = {ATTRIBUTE: {"format": _FORMAT, "complete": False}}
            targets = {}
            for name, folder in folders.items():
                _clear(folder)
                targets[name] = stored_target(KINDS[name], image, card, folder, plan.tile, note)
            record, ended = None, None
        outputs = Outputs(targets)
        if record is not None:
            outputs.pixels = record.pixels
        opened = OpenOutputs(outputs, main, record, ended, tuple(folders.values()), fingerprint)
        if not goes_on:  # last: only whole stores can be resumed
            opened.save(Record(Place(), plan.tile, np.zeros((plan.planes, len(card.image_classes)))))
        yield opened
    if opened.ended is not None:
        for folder in folders.values():
            shutil.rmtree(folder / _PRIVATE, ignore_errors=True)


def begun_with(folder: Path) -> Mapping[str, Any] | None:
    """Return the fingerprint of the run in a store, be it finished or not; None where there is none."""
    try:
        state = _state(folder)
        if state is _State.BEGUN:
            return Record.read(_record_path(folder)).fingerprint
        return dict(_attributes(folder)["fingerprint"]) if state is _State.ENDED else None
    except (OSError, ValueError, KeyError, TypeError):  # something else, which is refused once it is opened
        return None


def can_resume(folder: Path, fingerprint: Mapping[str, Any]) -> bool:
    """Return whether a store holds an unfinished run of just this model, image and settings, that nobody carries on."""
    try:
        if _state(folder) is not _State.BEGUN or Record.read(_record_path(folder)).fingerprint != fingerprint:
            return False
        with _locked(folder):
            return True
    except (OSError, ValueError):  # another run, or something else
        return False


def remove_ended(folder: Path) -> None:
    """Remove the store of a run that has ended; anything else, and what another run writes to, stays as it is."""
    try:
        if not folder.exists() or _state(folder) is not _State.ENDED:
            return
        with _locked(folder):
            gone = folder.with_name(f".{folder.name}.removed")
            folder.rename(gone)  # at once: half of a store would be taken for a whole one
        shutil.rmtree(gone, ignore_errors=True)
    except OSError:  # in use, or not ours to remove
        return


def _record_path(folder: Path) -> Path:
    return folder / _PRIVATE / "record.npz"


def _states(folders: tuple[Path, ...]) -> dict[Path, _State]:
    """Return what is in each store; what lies in others than the first counts only if the first has a record of it."""
    states = {folder: _state(folder) for folder in folders}
    if states[folders[0]] is _State.PART:
        states[folders[0]] = _State.NOTHING
    if states[folders[0]] is _State.NOTHING:
        return {folder: _State.NOTHING if state is _State.PART else state for folder, state in states.items()}
    return states


def _state(folder: Path) -> _State:
    """Return what is in a store; refuse what is none."""
    if not folder.exists() or (folder.is_dir() and all(path.name == _PRIVATE for path in folder.iterdir())):
        return _State.NOTHING
    private = folder / _PRIVATE
    if not is_zarr(folder):
        if private.is_dir():
            return _State.PART  # arrays without their group: a run was killed while it made them
        raise FileExistsError(f"{folder} exists and is no zarr store; choose another name")
    told = _attributes(folder)
    if told.get("complete"):
        return _State.ENDED
    if told.get("format") == _FIRST_FORMAT:
        return _State.OLD
    if _record_path(folder).exists():
        return _State.BEGUN
    return _State.PART if private.is_dir() else _State.OTHER


def _check(states: Mapping[Path, _State], fingerprint: Mapping[str, Any]) -> None:
    """Refuse to go on with what was begun with something else."""
    main, *others = states
    if states[main] is _State.OLD:
        raise ValueError(f"{main} was begun by an earlier version, whose runs cannot be resumed; allow to overwrite it")
    if states[main] not in (_State.BEGUN, _State.ENDED):
        odd = main if states[main] is _State.OTHER else next(one for one in others if states[one] is not _State.NOTHING)
        raise ValueError(f"{odd} was not made by a run that can be resumed; choose another name, or allow to overwrite it")
    begun = begun_with(main)
    if begun is None:
        Record.read(_record_path(main))  # tells what is wrong with it
        raise ValueError(f"{main} does not say what it was made of; allow to overwrite it")
    if changed := differences(begun, fingerprint):
        raise ValueError(
            f"{main} cannot be resumed, since something else is asked for: {changed}; "
            "run with what it was begun with, or allow to overwrite it"
        )
    for other in others:
        if states[other] not in (_State.PART, _State.ENDED):
            raise ValueError(f"{other} belongs to {main} and is missing; allow to overwrite both, to start from the beginning")


def _clear(folder: Path) -> None:
    """Remove all but the lock."""
    _record_path(folder).unlink(missing_ok=True)  # first: without it nothing is resumed
    for path in sorted(folder.iterdir(), key=Path.is_dir):  # what makes it a store before its arrays
        if path.name != _PRIVATE:
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def _node(folder: Path) -> Any:
    import zarr

    return zarr.open(folder, mode="r+")


def _attributes(folder: Path) -> dict[str, Any]:
    try:
        told = _node(folder).attrs.get(ATTRIBUTE)
    except FileNotFoundError:  # arrays without their group
        return {}
    return dict(told) if isinstance(told, dict) else {}


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    with ExitStack() as stack:
        try:
            stack.enter_context(locked(folder / _PRIVATE / "lock"))
        except BlockingIOError as error:
            raise FileExistsError(f"another run writes to {folder}; wait for its end, or choose another name") from error
        yield
