"""Where models lie: those in the package, the user's own, a path, or a download that is checked by its hash."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

from platformdirs import user_data_path

from napari_resformer.model.card import Card
from napari_resformer.model.file import SUFFIX, Model, ModelFileError, file_sha256, load_file, read_card

Origin = Literal["bundled", "user", "path"]


@dataclass(frozen=True)
class ModelEntry:
    """A model that can be loaded.

    Parameters
    ----------
    name : str
        What :func:`load_model` takes: the file's stem.
    origin : {"bundled", "user", "path"}
        Shipped with the package, in the user's folder, or named by its path.
    path : Path
        The file.
    card : Card
        What it answers.
    """

    name: str
    origin: Origin
    path: Path
    card: Card


def user_folder() -> Path:
    """Return the folder of the user's own models; it may not exist yet."""
    return user_data_path("napari-resformer", appauthor=False) / "models"


def list_models() -> tuple[ModelEntry, ...]:
    """List the bundled models and the user's own; needs no torch.

    A file that cannot be read as a model is left out: it must not keep the others from being used. A model of the
    user's hides a bundled one of the same name.

    Returns
    -------
    tuple of ModelEntry
        Name, origin, path and card of each.

    Examples
    --------
    >>> import napari_resformer as nr
    >>> [entry.name for entry in nr.list_models() if entry.origin == "bundled"]
    ['colon-biopsy', 'nuclei', 'skin-lesion']
    """
    found: dict[str, ModelEntry] = {}
    for origin, folder in (("bundled", _bundled_folder()), ("user", user_folder())):
        for path in sorted(folder.glob(f"*{SUFFIX}")) if folder.is_dir() else []:
            try:
                found[path.stem] = ModelEntry(path.stem, origin, path, read_card(path))  # type: ignore[arg-type]
            except (ModelFileError, OSError):
                continue
    return tuple(found.values())


def find_model(name_or_path: str | Path) -> ModelEntry:
    """Find a model by its name in the library or by its path.

    Raises
    ------
    FileNotFoundError
        If a path leads to no file.
    ValueError
        If the name is unknown (the message lists the known ones), or the file is no usable model.
    """
    text = str(name_or_path)
    entries = {entry.name: entry for entry in list_models()}
    if text in entries:
        return entries[text]
    path = Path(name_or_path)
    if path.suffix or len(path.parts) > 1 or path.is_file():
        return ModelEntry(path.stem, "path", path, read_card(path))
    hidden = user_folder() / f"{text}{SUFFIX}"
    if text and hidden.is_file():
        read_card(hidden)  # not listed, hence damaged; this says how
    known = ", ".join(entries) or "none"
    raise ValueError(f"there is no model {text!r}; known models: {known}; or give the path of a {SUFFIX} file")


def load_model(name_or_path: str | Path) -> Model:
    """Load a model.

    Parameters
    ----------
    name_or_path : str or Path
        A name from :func:`list_models`, or the path of a model file.

    Returns
    -------
    Model

    Raises
    ------
    FileNotFoundError
        If a path leads to no file.
    ValueError
        If the name is unknown (the message lists the known ones), or the file is no usable model.

    Examples
    --------
    >>> import napari_resformer as nr
    >>> model = nr.load_model("nuclei")
    >>> model.card.mask_classes, model.card.image_classes
    (('nucleus',), ('brightfield', 'fluorescence', 'histology'))
    """
    return load_file(find_model(name_or_path).path)


def download_model(url: str, sha256: str, name: str | None = None, *, overwrite: bool = False) -> ModelEntry:
    """Download a model file into the user's folder.

    Parameters
    ----------
    url : str
        Where the file lies.
    sha256 : str
        Its SHA-256, 64 hexadecimal digits; a file with another one is not kept.
    name : str, optional
        What to call it; the file's own stem when left out.
    overwrite : bool
        Replace another model of that name; without it, only the very same file may be there.

    Returns
    -------
    ModelEntry
        What :func:`load_model` then finds by its name.

    Raises
    ------
    ValueError
        If the hash is no SHA-256 or not that of the file, or the file is no usable model. What was there stays.
    FileExistsError
        If the user's folder has another model of that name.
    OSError
        If the file cannot be fetched.

    Examples
    --------
    >>> import napari_resformer as nr
    >>> entry = nr.download_model(url, sha256, name="cells")  # both as the model's author gives them
    >>> nr.load_model("cells").card == entry.card
    True
    """
    import pooch

    if len(sha256) != 64 or set(sha256.casefold()) - set("0123456789abcdef"):
        raise ValueError(f"{sha256!r} is no SHA-256; give its 64 hexadecimal digits, so that the download can be checked")
    stem = name or Path(url.partition("?")[0]).stem
    if not stem or Path(stem).name != stem or stem.startswith("."):
        raise ValueError(f"{stem!r} is no name for a model; give plain letters, digits and dashes")
    path = user_folder() / f"{stem}{SUFFIX}"
    if path.exists() and file_sha256(path) == sha256.casefold():
        return ModelEntry(stem, "user", path, read_card(path))
    if path.exists() and not overwrite:
        raise FileExistsError(f"{path} is another model; choose another name (--name), or replace it (--overwrite)")
    path.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=path.parent, prefix=".download-") as folder:  # on the same disk, so that it can be moved
        fetched = Path(pooch.retrieve(url, known_hash=f"sha256:{sha256}", fname=path.name, path=folder, progressbar=False))
        card = read_card(fetched)
        fetched.replace(path)
    return ModelEntry(stem, "user", path, card)


def _bundled_folder() -> Path:
    # The package is installed as plain files (safetensors maps them into memory), so the path outlives the context.
    with as_file(files("napari_resformer") / "models") as folder:
        return folder
