"""Model files: a card and weights in one safetensors file, checked before any weight is used."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from napari_resformer.io.atomic import atomic_write
from napari_resformer.model.card import Card

if TYPE_CHECKING:
    from torch import Tensor

    from napari_resformer.network import PreparedNetwork, ResFormer

FORMAT = "napari-resformer/1"
SUFFIX = ".safetensors"


class ModelFileError(ValueError):
    """A file that is no usable model; the message says why and what to do."""


@dataclass(frozen=True)
class Model:
    """A network and its card; from :func:`~napari_resformer.load_model` or :func:`~napari_resformer.train`.

    Parameters
    ----------
    card : Card
        What the model answers and wants to be given.
    network : ResFormer
        The weights, float32, on the CPU, in eval mode. Treat them as read-only: predictions use a copy that is made once.
    sha256 : str
        Of the file that the model was read from; empty for a model that was never saved.
    notes : tuple of str
        What the training that has just made the model had to say of its images and masks; never saved.

    Examples
    --------
    >>> import napari_resformer as nr
    >>> model = nr.load_model("nuclei")
    >>> path = model.save("copy.safetensors")
    >>> nr.load_model(path).card == model.card
    True
    """

    card: Card
    network: ResFormer = field(repr=False)
    sha256: str = ""
    notes: tuple[str, ...] = field(default=(), repr=False, compare=False)
    _prepared: dict[str, PreparedNetwork] = field(default_factory=dict, init=False, repr=False, compare=False)

    def prepared(self, device: str) -> PreparedNetwork:
        """Return the network ready for inference on a device; made once, and kept as long as the model is.

        Parameters
        ----------
        device : str
            A torch device, such as ``cpu`` or ``cuda:1``.
        """
        from napari_resformer.network import PreparedNetwork

        if device not in self._prepared:
            self._prepared[device] = PreparedNetwork(self.network, device)
        return self._prepared[device]

    def __getstate__(self) -> dict[str, Any]:
        """Return what is copied and pickled: the prepared networks can be made again."""
        return self.__dict__ | {"_prepared": {}}

    def save(self, path: str | Path, *, overwrite: bool = False) -> Path:
        """Write the model to a file; weights are stored as float16, running statistics as they are.

        Parameters
        ----------
        path : str or Path
            Ends in ``.safetensors``.
        overwrite : bool
            Whether an existing file may be replaced.

        Returns
        -------
        Path
            The file; complete, or not there at all.

        Raises
        ------
        FileExistsError
            If the file exists and ``overwrite`` is False.
        ValueError
            If the suffix is another one.
        """
        return save_model(self, path, overwrite=overwrite)


def save_model(model: Model, path: str | Path, *, overwrite: bool = False) -> Path:
    """Write a model to a file; see :meth:`Model.save`."""
    from safetensors.torch import save

    path = Path(path)
    if path.suffix != SUFFIX:
        raise ValueError(f"{path.name} does not end in {SUFFIX}; name the model file so")
    if path.exists() and not overwrite:
        raise FileExistsError(f"{path} exists; choose another name or allow to overwrite it")
    metadata = {"format": FORMAT, "card": model.card.model_dump_json()}
    content = save(stored_weights(model.network), metadata=metadata)
    with atomic_write(path) as file:
        file.write(content)
    return path


def stored_weights(network: ResFormer) -> dict[str, Tensor]:
    """Return a copy of a network's state as it is stored: learned weights in float16, statistics unchanged.

    It does not change when the network is trained on; a view of the statistics would.
    """
    import torch

    learned = {name for name, _ in network.named_parameters()}
    return {
        name: tensor.detach().to("cpu", torch.float16 if name in learned else tensor.dtype, copy=True).contiguous()
        for name, tensor in network.state_dict().items()
    }


def read_card(path: str | Path) -> Card:
    """Read a model file's card alone; needs no torch and touches no weight.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ModelFileError
        If it is no model of this format, is damaged, or comes from a newer version.
    """
    from safetensors import SafetensorError, safe_open

    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no model file {path}")
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
    except (SafetensorError, OSError, ValueError) as error:
        raise ModelFileError(_damaged(path, error)) from error
    return _parse_card(path, metadata)


def load_file(path: str | Path) -> Model:
    """Read a model file.

    Raises
    ------
    FileNotFoundError, ModelFileError
        As :func:`read_card`, and if the weights are not those of the card's network, or not finite.
    """
    import torch
    from safetensors import SafetensorError, safe_open

    from napari_resformer.network import ResFormer

    path = Path(path)
    card = read_card(path)
    with torch.device("meta"):
        expected = ResFormer(card.network).state_dict()
    try:
        with safe_open(path, framework="pt") as file:
            shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
            wanted = {name: tuple(tensor.shape) for name, tensor in expected.items()}
            if shapes != wanted:
                wrong = sorted(name for name in shapes.keys() | wanted.keys() if shapes.get(name) != wanted.get(name))
                raise ModelFileError(
                    f"{path.name} does not hold the weights that its card announces ({len(wrong)} differ, first "
                    f"{wrong[0]}); the file is damaged or was changed: get it again"
                )
            state = {name: file.get_tensor(name).to(expected[name].dtype) for name in wanted}
    except (SafetensorError, OSError, RuntimeError) as error:
        raise ModelFileError(_damaged(path, error)) from error
    broken = [name for name, tensor in state.items() if not torch.isfinite(tensor).all()]
    if broken:
        raise ModelFileError(f"{path.name} holds weights that are not finite ({broken[0]}); get the file again")
    network = ResFormer(card.network)
    network.load_state_dict(state)
    return Model(card, network.eval(), file_sha256(path))


def file_sha256(path: str | Path) -> str:
    """Return the SHA-256 of a file, as hexadecimal digits."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _parse_card(path: Path, metadata: dict[str, str]) -> Card:
    said = metadata.get("format", "")
    if said != FORMAT:
        version = re.fullmatch(r"napari-resformer/(\d{1,6})", said)
        if version and int(version[1]) > int(FORMAT.rpartition("/")[2]):
            raise ModelFileError(f"{path.name} has the format {said}, this version reads {FORMAT}: update napari-resformer")
        raise ModelFileError(f"{path.name} is a safetensors file, but no napari-resformer model (format {said or 'not named'})")
    try:
        return Card.model_validate_json(metadata.get("card", ""))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "card"
        raise ModelFileError(
            f"{path.name} has a card that cannot be read: {place}: {first['msg']} ({error.error_count()} fault(s)); "
            "get the file again, or update napari-resformer if it comes from a newer version"
        ) from error
    except (json.JSONDecodeError, RecursionError) as error:
        raise ModelFileError(f"{path.name} has a card that is no JSON ({error}); get the file again") from error


def _damaged(path: Path, error: Exception) -> str:
    size = path.stat().st_size
    what = "is empty" if size == 0 else f"({size} bytes) is no complete safetensors file"
    return f"{path.name} {what}; it was cut off, or is another kind of file: get it again ({error})"
