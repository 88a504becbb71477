"""Encoder, decoder, class head, and their assembly: the ResFormer of doi 10.1016/j.artmed.2025.103338."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from napari_resformer.images.words import size_words
from napari_resformer.network.blocks import DilatedFeatureEnhancement, ResFormerBlock
from napari_resformer.network.config import MIN_SIDE, ResFormerConfig
from napari_resformer.network.layers import ConvNorm, MobileConvNorm, RectifiedSum, WindowAttention, norm_layer


class ResFormerOutput(NamedTuple):
    """Both answers, always as logits: ``mask_logits`` (B, mask_classes + 1, H, W), ``class_logits`` (B, image_classes)."""

    mask_logits: Tensor
    class_logits: Tensor


class TileOutput(NamedTuple):
    """What a tile contributes to its plane.

    ``mask_logits`` (B, mask_classes + 1, H, W); ``feature_sum`` (B, F), the class features summed over the cells that the
    tile owns; ``cells`` (B, F), how many those are. Added over the tiles of a plane, ``feature_sum / cells`` is what
    :meth:`ResFormer.classify` takes.
    """

    mask_logits: Tensor
    feature_sum: Tensor
    cells: Tensor


class Encoder(nn.Module):
    """The plane to one map a level, finest first."""

    def __init__(self, config: ResFormerConfig) -> None:
        super().__init__()
        self.strides = config.strides
        convolution = MobileConvNorm if config.block == "inverted" else ConvNorm
        self.stem = convolution(
            config,
            config.in_channels,
            config.stem_width or config.widths[0],
            config.stem_kernel,
            stride=1 if config.stem_pool else 2,
        )
        self.pool = nn.MaxPool2d(3, stride=2, padding=1) if config.stem_pool else nn.Identity()
        levels = len(config.widths)
        rates = [config.drop_path * layer / (2 * levels - 1) for layer in range(2 * levels)]
        self.levels = nn.ModuleList(
            ResFormerBlock(
                config,
                level,
                config.widths[level - 1] if level else config.in_channels,
                rates[2 * level : 2 * level + 2],
            )
            for level in range(levels)
        )

    def trunk_parameters(self) -> Iterator[nn.Parameter]:
        """Yield the parameters of stem and convolution branch."""
        yield from self.stem.parameters()
        for level in self.levels:
            assert isinstance(level, ResFormerBlock)
            yield from level.conv.parameters()

    def forward(self, x: Tensor, origin: tuple[int, int]) -> list[Tensor]:
        maps = []
        local, embedded = self.pool(self.stem(x)), x
        for stride, level in zip(self.strides, self.levels, strict=True):
            local = level(local, embedded, (origin[0] // stride, origin[1] // stride))
            embedded = local
            maps.append(local)
        return maps


class Decoder(nn.Module):
    """The enhanced maps to mask logits at the size of the plane.

    The last 1x1 convolution runs before the bilinear upsampling, not after it as in the authors' implementation. Both
    are linear and the interpolation's weights sum to 1, so the result is the same at a fraction of the cost.
    """

    def __init__(self, config: ResFormerConfig) -> None:
        super().__init__()
        coarse_to_fine = list(zip(config.widths[:0:-1], config.widths[-2::-1], strict=True))
        self.upsample = nn.ModuleList(nn.ConvTranspose2d(coarse, fine, 2, stride=2) for coarse, fine in coarse_to_fine)
        self.merge = nn.ModuleList(ConvNorm(config, 2 * fine, fine, 3) for _, fine in coarse_to_fine)
        self.logits = nn.Conv2d(config.widths[0], config.mask_classes + 1, 1)

    def forward(self, maps: list[Tensor]) -> Tensor:
        x = maps[-1]
        for upsample, merge, skip in zip(self.upsample, self.merge, maps[-2::-1], strict=True):
            x = merge(torch.cat([upsample(x), skip], dim=1))
        return functional.interpolate(self.logits(x), scale_factor=2, mode="bilinear", align_corners=False)


class ClassHead(nn.Module):
    """The image class from the pooled maps of several encoder levels (paper section 3.2).

    Each level is normed, activated and averaged over its cells; the averages are concatenated. Unlike in the authors'
    implementation a ReLU stands between the two linear layers, which would else be one.
    """

    def __init__(self, config: ResFormerConfig) -> None:
        super().__init__()
        self.read_levels = config.read_levels
        widths = [config.widths[level] for level in self.read_levels]
        self.norms = nn.ModuleList(norm_layer(config, width) for width in widths)
        # Without image classes there is nothing to learn; the logits are then (B, 0).
        self.classify = (
            nn.Sequential(
                nn.Linear(sum(widths), config.head_hidden),
                nn.ReLU(),
                nn.Dropout(config.head_dropout),
                nn.Linear(config.head_hidden, config.image_classes),
            )
            if config.image_classes
            else None
        )

    def pool(self, maps: list[Tensor], owned: Tensor) -> tuple[Tensor, Tensor]:
        """Sum the class features over the owned cells, and count them; both (B, F).

        Parameters
        ----------
        maps : list of Tensor
            The encoder's maps.
        owned : Tensor
            (B, 1, H, W), 1 for each pixel that counts, 0 for halo and padding. A cell counts by the share of its
            pixels that do.
        """
        shares = [owned]
        for _ in maps:
            shares.append(functional.avg_pool2d(shares[-1], 2))  # (B, 1, H / stride, W / stride)
        sums, cells = [], []
        for level, norm in zip(self.read_levels, self.norms, strict=True):
            share = shares[level + 1]
            if isinstance(norm, RectifiedSum):
                sums.append(norm(maps[level], share))
            else:
                features = functional.relu(norm(maps[level]))
                sums.append((features * share).sum((2, 3), dtype=torch.float32))
            cells.append(share.sum((2, 3), dtype=torch.float32).expand_as(sums[-1]))
        return torch.cat(sums, dim=1), torch.cat(cells, dim=1)

    def forward(self, features: Tensor) -> Tensor:
        """Return class logits (B, image_classes) from mean class features (B, F)."""
        if self.classify is None:
            return features.new_zeros(features.shape[0], 0)
        logits: Tensor = self.classify(features)
        return logits


class ResFormer(nn.Module):
    """One network for *where* and *what*: a mask and an image class from the same encoder.

    Parameters
    ----------
    config : ResFormerConfig
        Everything that the network is made of.

    Notes
    -----
    Departures from the authors' implementation, beside those named in the parts: planes of any size are padded to a
    multiple of the stride inside, and the padding is left out of the class features; windows and dilation rates are
    numbers of the configuration and never follow the input's size, so that the same weights are the same function at
    any tile size; ``tiny`` and ``small`` replace the stem's pooling by a stride and leave out the channel gate, which pools
    over the map; ``tiny`` has attention at strides 8 and 16 only, since at finer ones it costs more than all convolutions while
    its window sees little more than they do.
    """

    def __init__(self, config: ResFormerConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config)
        self.enhance = nn.ModuleList(
            DilatedFeatureEnhancement(config, level) if config.dfe and rates else nn.Identity()
            for level, rates in enumerate(config.dfe_rates)
        )
        self.decoder = Decoder(config)
        self.head = ClassHead(config)
        self.apply(_initialise)

    def forward(self, x: Tensor, valid: Tensor | None = None) -> ResFormerOutput:
        """Answer both questions about whole planes.

        Parameters
        ----------
        x : Tensor
            (B, C, H, W), normalised as the model's card says; H and W at least 32.
        valid : Tensor, optional
            (B, 1, H, W), 1 where a pixel belongs to the plane and 0 where it is padding.

        Returns
        -------
        ResFormerOutput
            Mask logits at the size of the input and class logits.

        Raises
        ------
        ValueError
            If the shape does not fit.
        """
        tile = self.forward_tile(x, valid)
        return ResFormerOutput(tile.mask_logits, self.classify(tile.feature_sum / tile.cells.clamp_min(1e-6)))

    def forward_tile(self, x: Tensor, owned: Tensor | None = None, origin: tuple[int, int] = (0, 0)) -> TileOutput:
        """Run a tile of a plane.

        Parameters
        ----------
        x : Tensor
            (B, C, H, W), the tile with its halo.
        owned : Tensor, optional
            (B, 1, H, W), 1 where the tile owns the pixel; all, when not given.
        origin : tuple of int
            Row and column of the tile's first pixel in its plane, multiples of ``config.stride``.
        """
        self._check(x, origin)
        height, width = x.shape[2:]
        if owned is None:
            owned = x.new_ones((x.shape[0], 1, height, width))
        bottom, right = -height % self.config.stride, -width % self.config.stride
        if bottom or right:
            x = functional.pad(x, (0, right, 0, bottom), value=self.config.padding_value)
            owned = functional.pad(owned, (0, right, 0, bottom))
        maps = self.encoder(x, origin)
        feature_sum, cells = self.head.pool(maps, owned)
        mask_logits = self.decoder([enhance(level) for enhance, level in zip(self.enhance, maps, strict=True)])
        return TileOutput(mask_logits[..., :height, :width], feature_sum, cells)

    def classify(self, features: Tensor) -> Tensor:
        """Return class logits (B, image_classes) from mean class features (B, F)."""
        logits: Tensor = self.head(features)
        return logits

    def trunk_parameters(self) -> Iterator[nn.Parameter]:
        """Yield what ``config.trunk`` gives weights to: stem and convolution branch of the encoder; nothing without a trunk.

        Training gives these a lower learning rate than the parts that start at random.
        """
        if self.config.trunk:
            yield from self.encoder.trunk_parameters()

    def _check(self, x: Tensor, origin: tuple[int, int]) -> None:
        if x.ndim != 4 or x.shape[1] != self.config.in_channels:
            raise ValueError(
                f"the network was given a tensor of shape {tuple(x.shape)}; "
                f"it needs (batch, {self.config.in_channels} channels, height, width)"
            )
        if min(x.shape[2:]) < MIN_SIDE:
            raise ValueError(
                f"the network was given a plane of {size_words(x.shape[2:])}; it needs at least {size_words(MIN_SIDE)}: pad it"
            )
        if any(start % self.config.stride for start in origin):
            raise ValueError(f"tile origin {origin} is not a multiple of the network's stride {self.config.stride}")


def _initialise(module: nn.Module) -> None:
    """Initialise one module's own parameters: He for convolutions before a ReLU, truncated normal for tokens."""
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        nn.init.zeros_(module.bias)
    elif isinstance(module, WindowAttention):
        nn.init.trunc_normal_(module.position_bias, std=0.02)
    elif isinstance(module, ResFormerBlock | DilatedFeatureEnhancement) and module.zero_start:  # after what they are made of
        last = [module.project] if isinstance(module, ResFormerBlock) else [module.project, module.gate.conv]
        for parameter in (parameter for layer in last if layer is not None for parameter in layer.parameters()):
            nn.init.zeros_(parameter)
