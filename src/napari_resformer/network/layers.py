"""The smallest parts: normed convolution, stochastic depth, channel and spatial gates, window attention."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from napari_resformer.network.config import ResFormerConfig


class ChannelLayerNorm(nn.Module):
    """Normalise each cell of a map (B, C, H, W) over its channels: no statistics, no pooling over the map."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


def _group_norm(channels: int) -> nn.Module:
    groups = next(groups for groups in (8, 4, 2, 1) if channels % groups == 0)
    return nn.GroupNorm(groups, channels)


_NORMS: dict[str, Callable[[int], nn.Module]] = {
    "batch": nn.BatchNorm2d,
    "group": _group_norm,
    "layer": ChannelLayerNorm,
}


def norm_layer(config: ResFormerConfig, channels: int) -> nn.Module:
    """Return the norm that the configuration names, for a map of so many channels."""
    return _NORMS[config.norm](channels)


class NormedConv(nn.Sequential):
    """A convolution without bias, its norm, and at most an activation; a batch norm can be folded into the convolution."""


class ConvNorm(NormedConv):
    """Convolution, norm, and ReLU unless ``activate`` is False; keeps or divides the map's size."""

    def __init__(
        self,
        config: ResFormerConfig,
        in_channels: int,
        out_channels: int,
        kernel: int,
        *,
        stride: int = 1,
        dilation: int = 1,
        groups: int = 1,
        activate: bool = True,
    ) -> None:
        conv = nn.Conv2d(
            in_channels,
            out_channels,
            kernel,
            stride=stride,
            padding=dilation * (kernel - 1) // 2,
            dilation=dilation,
            groups=groups,
            bias=False,
        )
        norm = norm_layer(config, out_channels)
        super().__init__(conv, norm, *([nn.ReLU(inplace=True)] if activate else []))


class PaddedConv(nn.Conv2d):
    """Convolution that pads as TensorFlow does: where the padding of a strided one is odd, there is more of it after the map.

    Weights that were trained so answer something else with equal padding: each strided convolution would read half a cell
    of its output too far to the left and the top. The map's sides are multiples of the stride.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel: int, *, stride: int, groups: int) -> None:
        around = kernel - stride
        super().__init__(in_channels, out_channels, kernel, stride=stride, padding=around // 2, groups=groups, bias=False)
        self.before, self.uneven = around // 2, around % 2 == 1

    def forward(self, x: Tensor) -> Tensor:
        if not self.uneven:
            return super().forward(x)
        if self.groups == 1:
            return super().forward(functional.pad(x, (0, 1, 0, 1)))
        # The map is large and the kernel small: a kernel with a row and a column of zeros in front does the same.
        return functional.conv2d(
            x, functional.pad(self.weight, (1, 0, 1, 0)), self.bias, self.stride, self.before + 1, self.dilation, self.groups
        )

    def settled(self) -> nn.Conv2d:
        """Return a plain convolution that does the same, with the zeros as a part of its kernel."""
        extra = int(self.uneven)
        side = self.kernel_size[0] + extra
        plain = nn.Conv2d(
            self.in_channels, self.out_channels, side, stride=self.stride[0], padding=self.before + extra, groups=self.groups,
            bias=False,
        )  # fmt: skip
        plain.weight = nn.Parameter(functional.pad(self.weight.detach(), (extra, 0, extra, 0)), requires_grad=False)
        return plain.train(self.training)


class MobileConvNorm(NormedConv):
    """The same as in EfficientNet-Lite: its padding, its constants of batch norm, and ReLU6."""

    def __init__(
        self,
        config: ResFormerConfig,
        in_channels: int,
        out_channels: int,
        kernel: int,
        *,
        stride: int = 1,
        groups: int = 1,
        activate: bool = True,
    ) -> None:
        norm = norm_layer(config, out_channels)
        if isinstance(norm, nn.BatchNorm2d):
            norm.eps, norm.momentum = 1e-3, 0.01
        conv = PaddedConv(in_channels, out_channels, kernel, stride=stride, groups=groups)
        super().__init__(conv, norm, *([nn.ReLU6(inplace=True)] if activate else []))


class DropPath(nn.Module):
    """Stochastic depth: drop a residual branch for whole samples with probability ``rate`` while training."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.rate == 0:
            return x
        keep = torch.rand((x.shape[0],) + (1,) * (x.ndim - 1), device=x.device) >= self.rate
        return x * (keep.to(x.dtype) / (1 - self.rate))


class ChannelGate(nn.Module):
    """Efficient channel attention (ECA): weigh the channels of a map by its pooled neighbours in the channel order."""

    def __init__(self, kernel: int = 3) -> None:
        super().__init__()
        self.conv = nn.Conv1d(1, 1, kernel, padding=kernel // 2, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        pooled = x.mean((2, 3)).unsqueeze(1)  # (B, 1, C)
        return x * torch.sigmoid(self.conv(pooled)).squeeze(1)[:, :, None, None]


class SpatialGate(nn.Module):
    """Weights between 0 and ``most`` for the cells of a map, by a 7x7 convolution over its channel mean and maximum."""

    def __init__(self, kernel: int = 7, *, most: float = 1.0) -> None:
        super().__init__()
        self.most = most
        self.conv = nn.Conv2d(2, 1, kernel, padding=kernel // 2, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return the weights (B, 1, H, W)."""
        summary = torch.cat([x.mean(1, keepdim=True), x.amax(1, keepdim=True)], dim=1)  # (B, 2, H, W)
        return self.most * torch.sigmoid(self.conv(summary))


class RectifiedSum(nn.Module):
    """What ``(relu(norm(x)) * share).sum((2, 3))`` gives with a batch norm in eval mode, in half of the passes over the map.

    With the norm as ``a * x + b``, the sum is that of ``x`` bounded at ``-b / a``, times ``a``, plus ``b`` for each cell.
    """

    scale: Tensor
    shift: Tensor
    least: Tensor
    most: Tensor

    def __init__(self, norm: nn.BatchNorm2d) -> None:
        super().__init__()
        assert norm.running_var is not None
        assert norm.running_mean is not None
        scale = norm.weight.detach() / (norm.running_var + norm.eps).sqrt()
        # A channel without a slope is the same in each cell; a slope too small to matter keeps the bound finite.
        scale = torch.where(scale.abs() < 1e-12, torch.full_like(scale, 1e-12), scale)
        shift = norm.bias.detach() - norm.running_mean * scale
        bound = (-shift / scale)[:, None, None]
        rises, endless = (scale > 0)[:, None, None], torch.full_like(bound, torch.inf)
        self.register_buffer("scale", scale)
        self.register_buffer("shift", shift)
        self.register_buffer("least", torch.where(rises, bound, -endless))
        self.register_buffer("most", torch.where(rises, endless, bound))

    def forward(self, x: Tensor, share: Tensor) -> Tensor:
        """Return the sums (B, C).

        Parameters
        ----------
        x : Tensor
            (B, C, H, W).
        share : Tensor
            (B, 1, H, W), how much each cell counts.
        """
        bounded = torch.clamp(x, self.least, self.most).permute(0, 2, 3, 1).flatten(1, 2)  # (B, cells, C), without a copy
        sums = torch.bmm(share.flatten(2), bounded)[:, 0]
        return sums * self.scale + share.sum((2, 3)) * self.shift


class WindowAttention(nn.Module):
    """Multi-head self-attention inside square windows, with a learned bias for each relative position.

    Windows lie on a grid fixed by the plane's origin, not by the map that is given: ``origin`` says where the map
    begins in the plane, in cells, so that a tile is cut into the same windows as the whole plane. Windows that stick
    out of the map are filled up with zeros, as a convolution does at a border.

    The shift of every second layer moves the grid by half a window. The Swin transformer instead rolls the map and
    masks what meets at the seam, which ties the result to the map's size.
    """

    def __init__(self, channels: int, heads: int, window: int, *, shifted: bool) -> None:
        super().__init__()
        self.heads = heads
        self.window = window
        self.shift = window // 2 if shifted else 0
        self.qkv = nn.Linear(channels, 3 * channels)
        self.project = nn.Linear(channels, channels)
        self.position_bias = nn.Parameter(torch.zeros((2 * window - 1) ** 2, heads))
        position = torch.stack(torch.meshgrid(torch.arange(window), torch.arange(window), indexing="ij")).flatten(1)
        relative = position[:, :, None] - position[:, None, :] + window - 1  # (2, T, T), T = window ** 2
        index = relative[0] * (2 * window - 1) + relative[1]
        self.register_buffer("position_index", index.flatten(), persistent=False)
        self._settled: Tensor | None
        self.register_buffer("_settled", None, persistent=False)

    def settle(self) -> None:
        """Lay the position bias out once, for a network that does not learn any more."""
        self._settled = self._bias(self.position_bias.dtype).detach()

    def _bias(self, dtype: torch.dtype) -> Tensor:
        """Return the relative position bias, (1, heads, T, T)."""
        if self._settled is not None:
            return self._settled.to(dtype)
        tokens = self.window**2
        bias = self.position_bias[self.position_index].view(tokens, tokens, self.heads)  # type: ignore[index]
        return bias.permute(2, 0, 1).unsqueeze(0).to(dtype).contiguous()

    def forward(self, x: Tensor, origin: tuple[int, int]) -> Tensor:
        batch, height, width, channels = x.shape
        side, tokens = self.window, self.window**2
        top, left = ((start + self.shift) % side for start in origin)
        bottom, right = -(top + height) % side, -(left + width) % side
        # The linear layers see the map alone: where windows stick out, a zero token gives just the bias.
        qkv = functional.pad(functional.linear(x, self.qkv.weight), (0, 0, left, right, top, bottom)) + self.qkv.bias
        rows, columns = qkv.shape[1] // side, qkv.shape[2] // side

        qkv = qkv.view(batch, rows, side, columns, side, 3 * channels).transpose(2, 3)  # (B, rows, columns, side, side, 3C)
        q, k, v = qkv.reshape(-1, tokens, 3, self.heads, channels // self.heads).permute(2, 0, 3, 1, 4)
        x = functional.scaled_dot_product_attention(q, k, v, attn_mask=self._bias(q.dtype))  # (windows, heads, T, C/heads)

        x = x.transpose(1, 2).reshape(batch, rows, columns, side, side, channels).transpose(2, 3)
        x = x.reshape(batch, rows * side, columns * side, channels)
        return self.project(x[:, top : top + height, left : left + width])
