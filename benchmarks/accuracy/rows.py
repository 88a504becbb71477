"""The rows of the table: which network, which of the two answers it is asked for, and which floors stand below."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

import torch
from peers import PLAIN, BasicUNetWithHead, ClassOnly, SwinUNETRWithHead, TrunkUNet
from torch import nn

from napari_resformer.network import ResFormer, ResFormerConfig, start_from_trunk

Kind = Literal["network", "frozen", "color", "all-foreground"]


@dataclass(frozen=True)
class Row:
    """A row of the table.

    Parameters
    ----------
    words : str
        What stands in the table.
    preset : str
        Whose card is planned.
    changes : mapping
        Fields of the preset's network that differ.
    make : callable, optional
        Makes a network of another kind from the configuration; without it, it is a ResFormer.
    mask, image_class : bool
        Which answers are learned and measured.
    kind : str
        ``network``, or a floor that learns no network.
    needs : str
        A package beside those of this one, without which the row is left out.
    """

    words: str
    preset: str = "pretrained"
    changes: Mapping[str, object] = field(default_factory=dict)
    make: Callable[[ResFormerConfig], nn.Module] | None = None
    mask: bool = True
    image_class: bool = True
    kind: Kind = "network"
    needs: str = ""

    def network(self, config: ResFormerConfig, seed: int) -> nn.Module:
        """Return the network before its training, as the trainer makes it: same seed, pretrained trunk where there is one.

        Parameters
        ----------
        config : ResFormerConfig
            Of the planned card.
        seed : int
            Of the random weights; no global state changes.
        """
        changes = dict(self.changes) if self.image_class else {**self.changes, "image_classes": 0}
        config = config.model_copy(update=changes)
        with torch.random.fork_rng([]):
            torch.manual_seed(seed)
            if self.make is not None:
                return self.make(config)
            network = ResFormer(config)
        if config.trunk:
            start_from_trunk(network)
        return network


def _class_only(config: ResFormerConfig) -> nn.Module:
    network = ResFormer(config)
    start_from_trunk(network)
    return ClassOnly(network)


ROWS: dict[str, Row] = {
    "pretrained": Row("the preset `pretrained`"),
    "no-transformer": Row("without transformer", changes={"transformer": False}),
    "no-multi-scale": Row("without multi-scale head", changes={"multi_scale_head": False}),
    "no-dfe": Row("without DFE", changes={"dfe": False}),
    "plain-small": Row("without all three", changes=PLAIN),
    "mask-only": Row("mask only", image_class=False),
    "class-only": Row("class only", make=_class_only, mask=False),
    "plain": Row("same trunk, plain U-Net decoder, last-level head", make=TrunkUNet),
    "frozen": Row("same trunk frozen, logistic regression", mask=False, kind="frozen"),
    "tiny": Row("the preset `tiny`", preset="tiny"),
    "tiny-no-transformer": Row("`tiny` without transformer", preset="tiny", changes={"transformer": False}),
    "tiny-no-multi-scale": Row("`tiny` without multi-scale head", preset="tiny", changes={"multi_scale_head": False}),
    "tiny-no-dfe": Row("`tiny` without DFE", preset="tiny", changes={"dfe": False}),
    "basic-unet": Row("MONAI BasicUNet, last-level head", make=BasicUNetWithHead),
    "swin-unetr": Row("MONAI SwinUNETR, last-level head", make=SwinUNETRWithHead, needs="einops"),
    "color": Row("floor: colors alone, logistic regression", mask=False, kind="color"),
    "all-foreground": Row("floor: all is foreground", image_class=False, kind="all-foreground"),
}

REFERENCE = "pretrained"
"""What the others are compared with."""
