"""The paper's blocks: convolution, transformer, their join (ResFormer), dilated feature enhancement."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from napari_resformer.network.config import ResFormerConfig, Stage
from napari_resformer.network.layers import (
    ChannelGate,
    ConvNorm,
    DropPath,
    MobileConvNorm,
    SpatialGate,
    WindowAttention,
)


class ResidualBlock(nn.Module):
    """The basic block of ResNet-34: two 3x3 convolutions and a shortcut, projected where the shape changes."""

    def __init__(self, config: ResFormerConfig, in_channels: int, out_channels: int, *, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = ConvNorm(config, in_channels, out_channels, 3, stride=stride)
        self.conv2 = ConvNorm(config, out_channels, out_channels, 3, activate=False)
        self.shortcut = (
            nn.Identity()
            if stride == 1 and in_channels == out_channels
            else ConvNorm(config, in_channels, out_channels, 1, stride=stride, activate=False)
        )

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(self.conv2(self.conv1(x)) + self.shortcut(x))


class InvertedResidual(nn.Module):
    """The block of EfficientNet-Lite: widen by 1x1, a depthwise convolution, narrow by 1x1; a shortcut where the shape stays.

    What it returns is not activated: narrow maps would lose too much.
    """

    def __init__(self, config: ResFormerConfig, in_channels: int, stage: Stage, *, stride: int = 1) -> None:
        super().__init__()
        hidden = in_channels * stage.expansion
        self.expand = nn.Identity() if stage.expansion == 1 else MobileConvNorm(config, in_channels, hidden, 1)
        self.depthwise = MobileConvNorm(config, hidden, hidden, stage.kernel, stride=stride, groups=hidden)
        self.project = MobileConvNorm(config, hidden, stage.width, 1, activate=False)
        self.keeps_shape = stride == 1 and in_channels == stage.width

    def forward(self, x: Tensor) -> Tensor:
        narrow: Tensor = self.project(self.depthwise(self.expand(x)))
        return narrow + x if self.keeps_shape else narrow


def convolutions(config: ResFormerConfig, level: int) -> nn.Sequential:
    """Return the convolution branch of a level; the first block halves the map, but for level 0, whose stem has done so."""
    width = config.widths[level]
    before = config.widths[level - 1] if level else config.stem_width or width
    blocks: list[nn.Module] = []
    kinds: list[Stage | None] = [None] * config.depths[level]
    if config.block == "inverted":
        kinds = [stage for stage in config.stages[level] for _ in range(stage.repeats)]
    for stage in kinds:
        stride = 1 if level == 0 or blocks else 2
        if stage is None:
            blocks.append(ResidualBlock(config, before, width, stride=stride))
            before = width
        else:
            blocks.append(InvertedResidual(config, before, stage, stride=stride))
            before = stage.width
    return nn.Sequential(*blocks)


class TransformerLayer(nn.Module):
    """Window attention and MLP, each after a LayerNorm and around a shortcut, on tokens (B, H, W, C).

    Differs from the authors' implementation in its plain MLP: their gate inside the MLP mixes tokens and channels by
    a reshape without transpose.
    """

    def __init__(self, channels: int, heads: int, window: int, mlp_ratio: int, drop_path: float, *, shifted: bool) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(channels)
        self.attention = WindowAttention(channels, heads, window, shifted=shifted)
        self.norm2 = nn.LayerNorm(channels)
        self.mlp = nn.Sequential(nn.Linear(channels, mlp_ratio * channels), nn.GELU(), nn.Linear(mlp_ratio * channels, channels))
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor, origin: tuple[int, int]) -> Tensor:
        x = x + self.drop_path(self.attention(self.norm1(x), origin))
        return x + self.drop_path(self.mlp(self.norm2(x)))


class Embedding(nn.Module):
    """Multi-kernel strided embedding of a map into tokens at half its size: (B, C, H, W) to (B, H/2, W/2, width).

    The channels are shared out so that a larger kernel gets fewer: half, a quarter, ..., the rest for the last.
    """

    def __init__(self, config: ResFormerConfig, in_channels: int, width: int, kernels: Sequence[int]) -> None:
        super().__init__()
        shares = [width // 2 ** (place + 1) for place in range(len(kernels) - 1)]
        shares.append(width - sum(shares))
        self.convs = nn.ModuleList(
            nn.Conv2d(in_channels, share, kernel, stride=2, padding=(kernel - 2) // 2)
            for share, kernel in zip(shares, kernels, strict=True)
        )
        self.gate = ChannelGate() if config.channel_gate else nn.Identity()
        self.norm = nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        x = self.gate(torch.cat([conv(x) for conv in self.convs], dim=1))
        return self.norm(x.permute(0, 2, 3, 1))


class ResFormerBlock(nn.Module):
    """One encoder level (paper section 3.1): residual convolution for local context, transformer for long range.

    Parameters
    ----------
    config : ResFormerConfig
        Sizes and switches.
    level : int
        Level of the encoder, 0 the finest.
    embed_channels : int
        Channels of the map that the transformer branch embeds: the plane itself at level 0 (where the convolution
        branch reads the stem's output), else the level before.
    drop_paths : sequence of float
        Stochastic depth of the plain and of the shifted transformer layer.
    """

    def __init__(self, config: ResFormerConfig, level: int, embed_channels: int, drop_paths: Sequence[float]) -> None:
        super().__init__()
        width = config.widths[level]
        tokens = config.token_widths[level] if config.token_widths else width
        self.conv = convolutions(config, level)
        self.parallel = config.fusion == "parallel"
        self.embed: Embedding | None = None
        self.layers = nn.ModuleList()
        self.project: nn.Linear | None = None
        if config.transformer and config.windows[level]:
            kernels = config.embed_kernels if level == 0 else (2, 4)
            self.embed = Embedding(config, embed_channels, tokens, kernels)
            self.layers.extend(
                TransformerLayer(tokens, config.heads[level], config.windows[level], config.mlp_ratio, rate, shifted=shifted)
                for shifted, rate in zip((False, True), drop_paths, strict=True)
            )
            if config.zero_start or tokens != width:
                self.project = nn.Linear(tokens, width)
        self.zero_start = config.zero_start

    def forward(self, x: Tensor, embedded: Tensor, origin: tuple[int, int]) -> Tensor:
        """Return the level's map (B, width, H, W).

        Parameters
        ----------
        x : Tensor
            Input of the convolution branch.
        embedded : Tensor
            Input of the transformer branch, at twice the side of the output.
        origin : tuple of int
            Where the output map begins in its plane, in cells.
        """
        local: Tensor = self.conv(x)
        if self.embed is None:
            return local
        tokens = self.embed(embedded)  # (B, H, W, tokens)
        if not self.parallel:
            tokens = tokens + local.permute(0, 2, 3, 1)
        for layer in self.layers:
            tokens = layer(tokens, origin)
        if self.project is not None:
            tokens = self.project(tokens)
        distant = tokens.permute(0, 3, 1, 2)
        return local + distant if self.parallel or self.zero_start else distant


class DilatedFeatureEnhancement(nn.Module):
    """The paper's dilated feature enhancement (DFE, section 3.3) of one skip connection; keeps the map's shape.

    Dilated 3x3 branches and a 1x1 branch are concatenated, projected back, added to a shortcut and weighed by a spatial
    gate. With ``dfe_reduction`` above 1 the branches are thinner than the map and the projection is 1x1, unlike the
    paper; with ``dfe_separable`` the dilated branches are depthwise and read the 1x1 branch. This keeps the cost of a level
    near that of its convolutions, or below. With ``zero_start`` the shortcut is the map itself and the sum is not
    activated, so that at the start the map passes unchanged.
    """

    def __init__(self, config: ResFormerConfig, level: int) -> None:
        super().__init__()
        width, rates = config.widths[level], config.dfe_rates[level]
        thin = width // config.dfe_reduction
        self.separable, self.zero_start = config.dfe_separable, config.zero_start
        read, groups = (thin, thin) if self.separable else (width, 1)
        self.branches = nn.ModuleList([ConvNorm(config, width, thin, 1)])
        self.branches.extend(ConvNorm(config, read, thin, 3, dilation=rate, groups=groups) for rate in rates)
        self.project: nn.Module
        self.shortcut: nn.Module
        if self.zero_start:
            self.project = nn.Conv2d(thin * len(self.branches), width, 1)
            self.shortcut = nn.Identity()
        else:
            project_kernel = 3 if config.dfe_reduction == 1 else 1
            self.project = ConvNorm(config, thin * len(self.branches), width, project_kernel, activate=False)
            self.shortcut = nn.Conv2d(width, width, 1)
        self.gate = SpatialGate(most=2.0 if self.zero_start else 1.0)

    def forward(self, x: Tensor) -> Tensor:
        first, *dilated = self.branches
        plain = first(x)
        read = plain if self.separable else x
        enhanced = self.project(torch.cat([plain, *(branch(read) for branch in dilated)], dim=1))
        if torch.is_grad_enabled():
            enhanced = enhanced + self.shortcut(x)
            enhanced = enhanced if self.zero_start else functional.relu(enhanced)
            return enhanced * self.gate(enhanced)
        enhanced.add_(self.shortcut(x))  # the map is large: no memory is taken for another
        enhanced = enhanced if self.zero_start else enhanced.relu_()
        return enhanced.mul_(self.gate(enhanced))
