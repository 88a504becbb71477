"""The paper's blocks: residual convolution, transformer, their join (ResFormer), dilated feature enhancement."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from napari_resformer.network.config import ResFormerConfig
from napari_resformer.network.layers import ChannelGate, ConvNorm, DropPath, SpatialGate, WindowAttention


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
        first = ResidualBlock(config, config.widths[max(level - 1, 0)], width, stride=1 if level == 0 else 2)
        rest = [ResidualBlock(config, width, width) for _ in range(config.depths[level] - 1)]
        self.conv = nn.Sequential(first, *rest)
        self.parallel = config.fusion == "parallel"
        self.embed: Embedding | None = None
        self.layers = nn.ModuleList()
        if config.transformer and config.windows[level]:
            kernels = config.embed_kernels if level == 0 else (2, 4)
            self.embed = Embedding(config, embed_channels, width, kernels)
            self.layers.extend(
                TransformerLayer(width, config.heads[level], config.windows[level], config.mlp_ratio, rate, shifted=shifted)
                for shifted, rate in zip((False, True), drop_paths, strict=True)
            )

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
        local = self.conv(x)
        if self.embed is None:
            return local
        tokens = self.embed(embedded)  # (B, H, W, width)
        if not self.parallel:
            tokens = tokens + local.permute(0, 2, 3, 1)
        for layer in self.layers:
            tokens = layer(tokens, origin)
        distant = tokens.permute(0, 3, 1, 2)
        return local + distant if self.parallel else distant


class DilatedFeatureEnhancement(nn.Module):
    """The paper's dilated feature enhancement (DFE, section 3.3) of one skip connection; keeps the map's shape.

    Three dilated 3x3 branches and a 1x1 branch are concatenated, projected back, added to a shortcut and weighed by
    a spatial gate. With ``dfe_reduction`` above 1 the branches are thinner than the map and the projection is 1x1,
    unlike the paper: this keeps the cost of a level near that of its residual block.
    """

    def __init__(self, config: ResFormerConfig, level: int) -> None:
        super().__init__()
        width = config.widths[level]
        thin = width // config.dfe_reduction
        self.branches = nn.ModuleList([ConvNorm(config, width, thin, 1)])
        self.branches.extend(ConvNorm(config, width, thin, 3, dilation=rate) for rate in config.dfe_rates[level])
        project_kernel = 3 if config.dfe_reduction == 1 else 1
        self.project = ConvNorm(config, thin * len(self.branches), width, project_kernel, activate=False)
        self.shortcut = nn.Conv2d(width, width, 1)
        self.gate = SpatialGate()

    def forward(self, x: Tensor) -> Tensor:
        enhanced = self.project(torch.cat([branch(x) for branch in self.branches], dim=1))
        return self.gate(functional.relu(enhanced + self.shortcut(x)))
