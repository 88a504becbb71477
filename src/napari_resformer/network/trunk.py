"""Pretrained weights for the convolution branch of the encoder: from the package, a file, or a download checked by its hash."""

from __future__ import annotations

import pickle
import re
from collections.abc import Sequence
from importlib.resources import as_file, files
from pathlib import Path

import torch
from torch import Tensor

from napari_resformer.network.config import ResFormerConfig
from napari_resformer.network.resformer import ResFormer

STEM = "encoder.stem.0.weight"
"""The convolution that reads the plane."""

RESNET34_URL = "https://download.pytorch.org/models/resnet34-b627a593.pth"
RESNET34_SHA256 = "b627a593bcbe140c234610266fe4f8ae95ea42fc881d091c9b6052e6b1d0590f"
IMAGENET_MEAN, IMAGENET_DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""What ResNet-34 was trained to be given is ``(x - mean) / deviation``, with red, green and blue from 0 to 1."""

_TRUNK = re.compile(r"encoder\.(stem|levels\.\d+\.conv)\.")
_COUNTS = ".num_batches_tracked"


def start_from_trunk(network: ResFormer, path: str | Path | None = None) -> None:
    """Give a network's stem and convolution branch their pretrained weights, in place; all else stays as it is.

    Parameters
    ----------
    network : ResFormer
        Freshly initialised; its configuration names the trunk.
    path : str or Path, optional
        See :func:`load_trunk`.

    Raises
    ------
    ValueError
        If the configuration names no trunk, or describes another network than the trunk's.
    OSError
        If a file cannot be read or downloaded.
    """
    state = load_trunk(network.config, path)
    ours = {name: tensor.shape for name, tensor in network.state_dict().items() if _TRUNK.match(name)}
    ours = {name: shape for name, shape in ours.items() if not name.endswith(_COUNTS)}
    wrong = sorted(ours.keys() ^ state.keys()) or [name for name in ours if ours[name] != state[name].shape]
    if wrong:
        raise ValueError(
            f"the weights of {network.config.trunk} do not fit this network ({len(wrong)} tensors differ, first {wrong[0]}); "
            "leave the widths, depths, blocks and norm of its convolution branch as in the preset, or set trunk to None"
        )
    network.load_state_dict(state, strict=False)


def load_trunk(config: ResFormerConfig, path: str | Path | None = None) -> dict[str, Tensor]:
    """Return the pretrained weights of the trunk that a configuration names.

    Parameters
    ----------
    config : ResFormerConfig
        Names the trunk and says how many channels a plane has. Three channels are taken to be red, green and blue; for
        any other number the first convolution is adapted, see :func:`adapt_channels`.
    path : str or Path, optional
        A file of the trunk's weights to read instead: for ``resnet34`` the state dict that torchvision publishes. Without
        it, ``efficientnet-lite0`` is read from the package, and ``resnet34`` is downloaded once (83 MB) and kept.

    Returns
    -------
    dict of str to Tensor
        Float32, by the names of :class:`ResFormer`: what ``load_state_dict(..., strict=False)`` takes. The weights expect
        planes on the normalised scale of -1 to 1.

    Raises
    ------
    ValueError
        If the configuration names no trunk, or a file does not hold it.
    OSError
        If a file cannot be read or downloaded.
    """
    if config.trunk is None:
        raise ValueError("this network starts at random; name a trunk in its configuration to start from pretrained weights")
    if config.trunk == "resnet34":
        state = from_resnet34(_read_pickle(Path(path) if path else download_resnet34()))
    elif path:
        state = _read_safetensors(Path(path))
    else:
        with as_file(files("napari_resformer") / "trunks" / f"{config.trunk}.safetensors") as bundled:
            state = _read_safetensors(bundled)
    return state | {STEM: adapt_channels(state[STEM], config.in_channels)}


def adapt_channels(weight: Tensor, channels: int) -> Tensor:
    """Return a first convolution for another number of channels; a gray image gives the same answer as before.

    Each channel gets the mean of the old weights, scaled so that their sum stays.

    Parameters
    ----------
    weight : Tensor
        (out, in, K, K).
    channels : int
        Of the plane. For the number that is there, nothing changes.
    """
    before = weight.shape[1]
    if channels == before:
        return weight
    return (weight.sum(1, keepdim=True) / channels).repeat(1, channels, 1, 1)


def fold_scaling(state: dict[str, Tensor], scale: Sequence[float], shift: Sequence[float], *, norm: str) -> dict[str, Tensor]:
    """Return a state whose stem takes planes ``x`` where it took ``scale * x + shift``, one number for each channel.

    The shift goes into the running mean of the norm after the convolution. Padding, which is 0 for both, then stands for
    ``shift`` on the old scale.

    Parameters
    ----------
    state : dict of str to Tensor
        With the names of :class:`ResFormer`.
    scale, shift : sequence of float
        One number a channel.
    norm : str
        Beginning of the names of the stem's norm.
    """
    weight = state[STEM]
    moved = (weight.sum((2, 3)) * weight.new_tensor(shift)).sum(1)
    return state | {
        STEM: weight * weight.new_tensor(scale)[:, None, None],
        f"{norm}.running_mean": state[f"{norm}.running_mean"] - moved,
    }


def from_resnet34(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return torchvision's ResNet-34 by the names of :class:`ResFormer`, for planes on the scale of -1 to 1.

    Parameters
    ----------
    state : dict of str to Tensor
        As torchvision publishes it; its last layer, the classes of ImageNet, is left out.

    Raises
    ------
    ValueError
        If a tensor of another network is among them, or the first convolution is missing.
    """
    ours: dict[str, Tensor] = {}
    for name, tensor in state.items():
        if name.startswith("fc.") or name.endswith(_COUNTS):
            continue
        if match := re.fullmatch(r"layer([1-4])\.(\d+)\.(.+)", name):
            level, block, rest = int(match[1]) - 1, match[2], match[3]
            rest = re.sub(r"^conv([12])\.", r"conv\1.0.", rest)
            rest = re.sub(r"^bn([12])\.", r"conv\1.1.", rest)
            rest = re.sub(r"^downsample\.", "shortcut.", rest)
            ours[f"encoder.levels.{level}.conv.{block}.{rest}"] = tensor
        elif name == "conv1.weight":
            ours[STEM] = tensor
        elif name.startswith("bn1."):
            ours[f"encoder.stem.1.{name.removeprefix('bn1.')}"] = tensor
        else:
            raise ValueError(f"{name} is no tensor of ResNet-34; give the state dict that torchvision publishes")
    if STEM not in ours or "encoder.stem.1.running_mean" not in ours:
        raise ValueError("the first layer of ResNet-34 is missing; give the state dict that torchvision publishes")
    scale = [0.5 / deviation for deviation in IMAGENET_DEVIATION]
    shift = [(0.5 - mean) / deviation for mean, deviation in zip(IMAGENET_MEAN, IMAGENET_DEVIATION, strict=True)]
    return fold_scaling(ours, scale, shift, norm="encoder.stem.1")


def download_resnet34(url: str = RESNET34_URL, sha256: str = RESNET34_SHA256, folder: Path | None = None) -> Path:
    """Download torchvision's ResNet-34 where it is not there yet, and check it.

    Parameters
    ----------
    url, sha256 : str
        Where the file lies, and its hash.
    folder : Path, optional
        Where to keep it; the user's cache when left out.

    Raises
    ------
    ValueError
        If the file is another one than the hash says.
    OSError
        If it cannot be had.
    """
    import pooch

    path = pooch.retrieve(url, f"sha256:{sha256}", fname="resnet34.pth", path=folder or pooch.os_cache("napari-resformer"))
    return Path(path)


def _read_pickle(path: Path) -> dict[str, Tensor]:
    """Read a state dict without running anything in it."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        raise ValueError(f"{path.name} is no state dict of torch ({str(error).splitlines()[0]}); get the file again") from error
    if not isinstance(state, dict) or not all(isinstance(tensor, Tensor) for tensor in state.values()):
        raise ValueError(f"{path.name} holds something else than tensors by name; give a state dict")
    return {str(name): tensor.float() for name, tensor in state.items()}


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return {name: tensor.float() for name, tensor in load_file(path).items()}
    except SafetensorError as error:
        raise ValueError(f"{path.name} is no complete safetensors file ({error}); get it again") from error
