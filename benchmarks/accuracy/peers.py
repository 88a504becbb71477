"""The networks that ours is measured against, each with both answers: what a user would take instead.

All take ``(x, valid)`` and return a :class:`ResFormerOutput`, as ours does, for planes whose sides are multiples of 32. Heads on
the last level average over the cells that belong to the plane, then drop out, then one linear layer.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator

import torch
from monai.networks.nets import BasicUNet, SwinUNETR
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval

from napari_resformer.network import ResFormer, ResFormerConfig, ResFormerOutput, start_from_trunk
from napari_resformer.network.inference import fuse_convolutions, has_fused_kernels
from napari_resformer.network.layers import NormedConv, PaddedConv

PLAIN = {"transformer": False, "dfe": False, "multi_scale_head": False}
"""What makes a ResFormer its trunk with a plain decoder and a head on the last level."""
DECODER_WIDTHS = (256, 128, 64, 32, 16)
"""Of segmentation-models-pytorch's Unet."""
SWIN_FEATURES = 12
"""Channels of SwinUNETR's finest level; the least that its heads can share."""


def cell_mean(maps: Tensor, valid: Tensor | None) -> Tensor:
    """Return the mean (B, C) of maps over the cells that belong to the plane."""
    if valid is None:
        return maps.mean((2, 3))
    share = functional.adaptive_avg_pool2d(valid, (maps.shape[2], maps.shape[3]))  # (B, 1, H, W)
    return (maps * share).sum((2, 3)) / share.sum((2, 3)).clamp_min(1e-6)


class LastLevelHead(nn.Module):
    """Image classes from the mean of the deepest map."""

    def __init__(self, channels: int, classes: int, dropout: float) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(channels, classes)
        nn.init.xavier_uniform_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, maps: Tensor, valid: Tensor | None) -> Tensor:
        return self.linear(self.dropout(cell_mean(maps, valid)))


class UNetBlock(nn.Module):
    """Nearest upsampling, concatenation with the skip, two 3x3 convolutions with batch norm and ReLU."""

    def __init__(self, coarse: int, skip: int, width: int) -> None:
        super().__init__()
        self.convs = nn.Sequential(*self._conv(coarse + skip, width), *self._conv(width, width))

    @staticmethod
    def _conv(before: int, after: int) -> tuple[nn.Module, ...]:
        conv = nn.Conv2d(before, after, 3, padding=1, bias=False)
        nn.init.kaiming_uniform_(conv.weight, nonlinearity="relu")
        return conv, nn.BatchNorm2d(after), nn.ReLU(inplace=True)

    def forward(self, x: Tensor, skip: Tensor | None) -> Tensor:
        x = functional.interpolate(x, scale_factor=2, mode="nearest")
        return self.convs(x if skip is None else torch.cat([x, skip], dim=1))


class TrunkUNet(nn.Module):
    """The convolutions of EfficientNet-Lite0 with a plain U-Net decoder and a head on the last level.

    What segmentation-models-pytorch's ``Unet(encoder, aux_params=...)`` builds, written anew: skips are the stem's map and the
    last map of each stride, the decoder's widths are :data:`DECODER_WIDTHS`, and the last convolution is 3x3 at the plane's size.

    Parameters
    ----------
    config : ResFormerConfig
        The preset ``pretrained`` for the data; what it says beside its trunk is left out.
    pretrained : bool
        Whether the trunk starts from its ImageNet weights.
    """

    def __init__(self, config: ResFormerConfig, *, pretrained: bool = True) -> None:
        super().__init__()
        network = ResFormer(config.model_copy(update=PLAIN))
        if pretrained:
            start_from_trunk(network)
        self.encoder = network.encoder
        stem = config.stem_width or config.widths[0]
        skips = (*config.widths[-2:0:-1], stem, 0)
        before = (config.widths[-1], *DECODER_WIDTHS[:-1])
        self.decoder = nn.ModuleList(
            UNetBlock(coarse, skip, width) for coarse, skip, width in zip(before, skips, DECODER_WIDTHS, strict=True)
        )
        self.logits = nn.Conv2d(DECODER_WIDTHS[-1], config.mask_classes + 1, 3, padding=1)
        nn.init.xavier_uniform_(self.logits.weight)
        self.head = LastLevelHead(config.widths[-1], config.image_classes, config.head_dropout)

    def trunk_parameters(self) -> Iterator[nn.Parameter]:
        """Yield what learns at the lower rate, as in ours."""
        yield from self.encoder.trunk_parameters()

    def forward(self, x: Tensor, valid: Tensor | None = None) -> ResFormerOutput:
        maps = [self.encoder.stem(x)]
        for level in self.encoder.levels:
            maps.append(level.conv(maps[-1]))  # type: ignore[operator, union-attr]
        skips = [*maps[-2:1:-1], maps[0], None]  # the first level has the stem's stride, and no skip of its own
        y = maps[-1]
        for block, skip in zip(self.decoder, skips, strict=True):
            y = block(y, skip)
        return ResFormerOutput(self.logits(y), self.head(maps[-1], valid))


class BasicUNetWithHead(nn.Module):
    """MONAI's BasicUNet, as it comes, with a head on its last level."""

    def __init__(self, config: ResFormerConfig) -> None:
        super().__init__()
        self.net = BasicUNet(2, config.in_channels, config.mask_classes + 1)
        self.head = LastLevelHead(256, config.image_classes, config.head_dropout)

    def forward(self, x: Tensor, valid: Tensor | None = None) -> ResFormerOutput:
        net = self.net
        maps = [net.conv_0(x)]
        for down in (net.down_1, net.down_2, net.down_3, net.down_4):
            maps.append(down(maps[-1]))
        y = maps[-1]
        for up, skip in zip((net.upcat_4, net.upcat_3, net.upcat_2, net.upcat_1), maps[-2::-1], strict=True):
            y = up(y, skip)
        return ResFormerOutput(net.final_conv(y), self.head(maps[-1], valid))


class SwinUNETRWithHead(nn.Module):
    """MONAI's SwinUNETR for planes, with few features, and a head on its last level."""

    def __init__(self, config: ResFormerConfig) -> None:
        super().__init__()
        self.net = SwinUNETR(
            in_channels=config.in_channels, out_channels=config.mask_classes + 1, feature_size=SWIN_FEATURES, spatial_dims=2
        )
        self.head = LastLevelHead(16 * SWIN_FEATURES, config.image_classes, config.head_dropout)

    def forward(self, x: Tensor, valid: Tensor | None = None) -> ResFormerOutput:
        net = self.net
        hidden = net.swinViT(x, net.normalize)
        y = net.decoder5(net.encoder10(hidden[4]), hidden[3])
        y = net.decoder4(y, net.encoder4(hidden[2]))
        y = net.decoder3(y, net.encoder3(hidden[1]))
        y = net.decoder2(y, net.encoder2(hidden[0]))
        y = net.decoder1(y, net.encoder1(x))
        return ResFormerOutput(net.out(y), self.head(hidden[4], valid))


class ClassOnly(nn.Module):
    """Encoder and class head of a ResFormer; its mask logits are zero."""

    def __init__(self, network: ResFormer) -> None:
        super().__init__()
        self.config, self.encoder, self.head = network.config, network.encoder, network.head

    def trunk_parameters(self) -> Iterator[nn.Parameter]:
        """Yield what learns at the lower rate."""
        if self.config.trunk:
            yield from self.encoder.trunk_parameters()

    def forward(self, x: Tensor, valid: Tensor | None = None) -> ResFormerOutput:
        batch, _, height, width = x.shape
        owned = x.new_ones((batch, 1, height, width)) if valid is None else valid
        features, cells = self.head.pool(self.encoder(x, (0, 0)), owned)
        blank = x.new_zeros((batch, self.config.mask_classes + 1, 1, 1)).expand(-1, -1, height, width)
        return ResFormerOutput(blank, self.head(features / cells.clamp_min(1e-6)))


def ready(module: nn.Module, device: torch.device | str = "cpu") -> nn.Module:
    """Return a copy for inference, prepared as ours is: eval, batch norms folded, channels last, the same kernels on the CPU."""
    copied = copy.deepcopy(module).eval().requires_grad_(False)
    for normed in [part for part in copied.modules() if isinstance(part, NormedConv)]:
        if isinstance(normed[0], PaddedConv):
            normed[0] = normed[0].settled()
    for block in [part for part in copied.modules() if isinstance(part, nn.Sequential)]:
        for place in reversed(range(len(block) - 1)):
            conv, norm = block[place], block[place + 1]
            if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                block[place] = fuse_conv_bn_eval(conv, norm)
                del block[place + 1]
    copied = copied.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    if torch.device(device).type == "cpu" and has_fused_kernels():
        fuse_convolutions(copied)
    return copied
