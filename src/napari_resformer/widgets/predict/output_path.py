"""Where a large mask is stored: beside its image, else where the user wants it, else in a folder for what can be made again."""

from __future__ import annotations

import os
import re
from itertools import count
from pathlib import Path
from typing import Any

import platformdirs

from napari_resformer.io.read import image_stem


def cache_folder() -> Path:
    """Return where masks go that have no better place; they are named, and stay until they are deleted."""
    return Path(platformdirs.user_cache_dir("napari-resformer", appauthor=False)) / "results"


def store_path(source: str | None, wanted: str, name: str, model: str, fingerprint: dict[str, Any]) -> Path:
    """Return where to write a mask: a new name, or that of an unfinished run of just this.

    Parameters
    ----------
    source : str, optional
        The file that the image was read from.
    wanted : str
        The folder that the user chose in the settings; may be empty.
    name, model : str
        What the image and the model are called.
    fingerprint : dict
        Model, image and settings.
    """
    from napari_resformer.io.ome_zarr_writer import OME_SUFFIX
    from napari_resformer.prediction.resume import can_resume

    folder, stem = cache_folder(), name
    beside = Path(source) if source else None
    if beside is not None and beside.exists() and os.access(beside.parent, os.W_OK):
        folder, stem = beside.parent, image_stem(beside)
    elif wanted:
        folder = Path(wanted).expanduser()
    safe = re.sub(r"[^\w.\- ]+", "-", f"{stem}_{Path(model).stem}_mask")
    for number in count(1):
        path = folder / f"{safe}{f'-{number}' if number > 1 else ''}{OME_SUFFIX}"
        if not path.exists() or can_resume(path, fingerprint):
            return path
    raise AssertionError("numbers do not end")
