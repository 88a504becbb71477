"""From the weights of one model to a network with other classes or channels: what must change is changed, all else is kept."""

from __future__ import annotations

import re
from collections.abc import Sequence

import torch
from torch import Tensor

from napari_resformer.model.card import Card
from napari_resformer.model.file import Model
from napari_resformer.network import ResFormer

_MASK_HEAD = "decoder.logits."
_CLASS_HEAD = "head.classify."
_INPUTS = re.compile(r"encoder\.stem\.0\.weight|encoder\.levels\.0\.embed\.convs\.\d+\.weight")
"""Weights that read the plane itself, one column a channel."""


def start_from(model: Model, card: Card, network: ResFormer) -> tuple[str, ...]:
    """Load a model's weights into a network that was made for another card.

    Mask and image classes of equal names keep their rows of the heads, new ones start at random. Channels of equal names
    keep their weights; a new one starts from the mean of the old, so that the answer to a gray image does not change.

    Parameters
    ----------
    model : Model
        What to start from; it is left as it is.
    card : Card
        Of the network.
    network : ResFormer
        Freshly initialised; changed in place.

    Returns
    -------
    tuple of str
        Names of the tensors that are not those of the model.

    Raises
    ------
    ValueError
        If the networks differ in more than classes and channels.
    """
    theirs, old, new = model.card, model.network.state_dict(), network.state_dict()
    last = _last_layer(new)
    changed = []
    for name, fresh in new.items():
        if name not in old:  # a class head where there was none
            changed.append(name)
            continue
        adapted = old[name]
        if name.startswith(_MASK_HEAD) and theirs.mask_classes != card.mask_classes:
            adapted = _rows(adapted, fresh, ("", *theirs.mask_classes), ("", *card.mask_classes))  # "" is the background
        elif name.startswith(last) and theirs.image_classes != card.image_classes:
            adapted = _rows(adapted, fresh, theirs.image_classes, [_their_name(theirs, name) for name in card.image_classes])
        elif _INPUTS.fullmatch(name) and theirs.channels != card.channels:
            adapted = _columns(adapted, theirs.channels, card.channels)
        if adapted.shape != fresh.shape:
            raise ValueError(
                f"{theirs.name} and the model to be differ in {name}: {tuple(adapted.shape)} and {tuple(fresh.shape)}; "
                "start from a model with the same kind of network"
            )
        if adapted is not old[name]:
            changed.append(name)
        new[name] = adapted
    network.load_state_dict(new)
    return tuple(changed)


def _their_name(theirs: Card, name: str) -> str:
    """Return what the model to start from calls an image class; the class's own name where it has none."""
    number = theirs.find_class(name)
    return name if number is None else theirs.image_classes[number]


def _last_layer(state: dict[str, Tensor]) -> str:
    """Return the beginning of the names of the class head's last layer, which has a row a class."""
    numbers = [int(name.removeprefix(_CLASS_HEAD).split(".")[0]) for name in state if name.startswith(_CLASS_HEAD)]
    return f"{_CLASS_HEAD}{max(numbers)}." if numbers else "no class head"


def _rows(old: Tensor, fresh: Tensor, theirs: Sequence[str], ours: Sequence[str]) -> Tensor:
    rows = fresh.clone()
    for place, name in enumerate(ours):
        if name in theirs:
            rows[place] = old[theirs.index(name)]
    return rows


def _columns(old: Tensor, theirs: Sequence[str], ours: Sequence[str]) -> Tensor:
    """Keep columns of equal names; others are the mean, scaled so that their sum, the answer to gray, stays."""
    mean = old.mean(dim=1) * (len(theirs) / len(ours))
    known = set(theirs) & set(ours)
    if not known:
        return torch.stack([mean] * len(ours), dim=1)
    return torch.stack([old[:, theirs.index(name)] if name in known else mean for name in ours], dim=1)
