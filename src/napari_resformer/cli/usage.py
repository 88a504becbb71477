"""What all commands share: kinds of option values, refusals, and the model that is named."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from napari_resformer.io.names import readable

if TYPE_CHECKING:
    from napari_resformer.model.file import Model

Parser: TypeAlias = argparse.ArgumentParser
Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"  # noqa: SLF001 - argparse has no public name

DONE, FAILED, BAD_USAGE, INTERRUPTED = 0, 1, 2, 130


class UsageError(Exception):
    """The command as given cannot be carried out; the message says why and what to do."""


def one_line(error: BaseException) -> str:
    """Return an error in one line, with a hint where it is not one that a user can mend."""
    text = readable(" ".join(str(error).split())) or type(error).__name__
    expected = isinstance(error, UsageError | ValueError | TypeError | OSError)
    return text if expected else f"{type(error).__name__}: {text} (run again with --debug for details)"


def load(name: str) -> Model:
    """Return a model of the library or a path; a name or path that is not there is bad usage."""
    from napari_resformer.model.file import ModelFileError
    from napari_resformer.model.library import load_model

    try:
        return load_model(name)
    except ModelFileError:
        raise
    except (ValueError, FileNotFoundError) as error:
        raise UsageError(str(error)) from error


def checked(check: Callable[[], object]) -> None:
    """Do something whose refusal is bad usage."""
    try:
        check()
    except ValueError as error:
        raise UsageError(str(error)) from error


def print_notice(model: Model) -> None:
    """Print what must be said beside a model's scores."""
    if model.card.notice:
        print(model.card.notice)


def refuse_existing(paths: Sequence[Path], *, overwrite: bool) -> None:
    """Refuse to write where something is already."""
    existing = [path for path in paths if path.exists()]
    if existing and not overwrite:
        raise FileExistsError(f"{existing[0]} exists ({len(existing)} such file(s)); choose another place or add --overwrite")


def check_place(folder: Path, option: str) -> None:
    """Find out before anything is computed that nothing can be written to a folder; that is bad usage.

    Parameters
    ----------
    folder : Path
        Where results will go; made later if needed.
    option : str
        What named it.

    Raises
    ------
    UsageError
        If it, or the folder that it is to be made in, is a file or cannot be written to.
    """
    place = folder.absolute()
    while not place.exists() and not place.is_symlink() and place != place.parent:
        place = place.parent
    try:
        if not place.is_dir():
            what = "a file" if place.exists() else "a link to nothing"
            raise UsageError(f"{option}: {place} is {what}, where a folder is needed; name another place")
        with tempfile.TemporaryFile(dir=place):
            pass
    except OSError as error:
        raise UsageError(
            f"{option}: nothing can be written to {place} ({error.strerror or error}); name another place"
        ) from error


def print_json(value: Any) -> None:
    """Print JSON; letters that standard output has no code for are written as JSON escapes, not as Python's."""
    text = json.dumps(value, indent=1, ensure_ascii=False)
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        text = json.dumps(value, indent=1)
    print(text)


def comma_list(text: str) -> tuple[str, ...]:
    """Parse ``a,b,c``."""
    parts = tuple(part.strip() for part in text.split(","))
    if not all(parts):
        raise argparse.ArgumentTypeError(f"{text!r} is no list; separate entries by commas")
    return parts


def positive(text: str) -> float:
    """Parse a number above 0."""
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not a positive number")
    return value


def count(text: str) -> int:
    """Parse a whole number from 1."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not 1 or more")
    return value


def pixel_size(text: str) -> tuple[float, float]:
    """Parse ``UM`` or ``Y,X``, in micrometres."""
    sizes = [positive(part) for part in text.split(",")]
    if len(sizes) > 2:
        raise argparse.ArgumentTypeError(f"{text} has {len(sizes)} numbers; give one, or two for Y,X")
    return sizes[0], sizes[-1]
