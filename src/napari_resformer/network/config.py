"""What a ResFormer is made of, as one frozen, JSON-serialisable value; loads no torch."""

from __future__ import annotations

from typing import Annotated, Literal, NamedTuple, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

# Upper bounds keep a hostile card from asking for a network that fills the memory.
Count = Annotated[int, Field(ge=0, le=4096)]
Positive = Annotated[int, Field(ge=1, le=4096)]
Levels = Field(min_length=2, max_length=6)
PresetName = Literal["tiny", "pretrained", "small", "paper"]
TrunkName = Literal["efficientnet-lite0", "resnet34"]

PRESETS: tuple[PresetName, ...] = ("tiny", "pretrained", "small", "paper")

MIN_SIDE = 32
"""Pixels; what is smaller is padded before the network sees it."""
BACKGROUND = -1.0
"""The darkest that a normalised plane holds; small and resized planes are padded with it."""
MEDIUM = 0.0
"""The middle of what a normalised plane holds."""


class Stage(NamedTuple):
    """Inverted residual blocks of one kind; the first takes the map to ``width`` channels.

    Parameters
    ----------
    kernel : int
        Side of the depthwise convolution, odd.
    expansion : int
        Channels inside a block over those that it is given.
    width : int
        Channels that each block returns.
    repeats : int
        Number of blocks.
    """

    kernel: Annotated[int, Field(ge=1, le=15)]
    expansion: Annotated[int, Field(ge=1, le=16)]
    width: Positive
    repeats: Annotated[int, Field(ge=1, le=64)]


class ResFormerConfig(BaseModel):
    """The only constructor argument of :class:`~napari_resformer.network.ResFormer`.

    Every tuple over levels has one entry a level, finest first. Level ``l`` has stride ``2 ** (l + 1)``:
    the stem halves the plane once, every further level halves it again.

    Parameters
    ----------
    in_channels : int
        Channels of a plane.
    mask_classes : int
        Mask classes without the background; the mask logits have one channel more.
    image_classes : int
        Image classes; 0 makes a segmentation-only network (``class_logits`` is then (B, 0)).
    design_size : int
        Side, in pixels, of the planes or crops that the dilation rates are meant for. A rate that is not smaller
        than the side of its level's map would read nothing but padding, and is refused.
    trunk : {"efficientnet-lite0", "resnet34"}, optional
        The pretrained weights that the convolution branch starts from, see :func:`~napari_resformer.network.load_trunk`;
        None to start at random.
    block : {"residual", "inverted"}
        Convolution branch of the ResFormer block: basic residual blocks (ResNet), or inverted residual blocks with ReLU6
        (EfficientNet-Lite), which are made of ``stages``.
    stages : tuple of tuple of Stage
        Inverted residual blocks of each level; empty for basic residual blocks.
    widths, depths : tuple of int
        Channels and convolution blocks of each level.
    heads, windows : tuple of int
        Attention heads, and side of the attention window in cells, of each level. Window 0 leaves the
        transformer out of that level.
    fusion : {"parallel", "sequential"}
        How convolution and transformer join: ``conv(x) + attention(embed(x))`` or
        ``attention(conv(x) + embed(x))``.
    stem_kernel : int
        Side of the stem's convolution, odd.
    stem_width : int
        Channels of the stem; 0 for those of the first level.
    stem_pool : bool
        True halves the plane by a 3x3 max-pool after a stride-1 convolution (paper); False by the
        convolution's own stride, which costs a quarter.
    embed_kernels : tuple of int
        Kernel sides of the embedding of the image into tokens, even.
    mlp_ratio : int
        Hidden width of the transformer's MLP over its input width.
    token_widths : tuple of int
        Channels of the transformer at each level; empty for those of the level's map. Tokens of another width are projected
        to that of the map.
    zero_start : bool
        Whether transformer and feature enhancement start as nothing, so that a pretrained convolution branch gives at
        the first step just what it was trained to give. The tokens' last projection starts at zero; the enhanced map is
        the map itself, plus branches that start at zero, times a spatial gate that starts at 1.
    channel_gate : bool
        The ECA gate after each embedding. It pools over the whole map, hence makes tiles disagree with the
        whole plane.
    dfe_rates : tuple of tuple of int
        Dilation rates of the feature enhancement's branches, for each level; a level without any has a plain skip.
    dfe_reduction : int
        Each branch of the feature enhancement has ``width // dfe_reduction`` channels.
    dfe_separable : bool
        Whether the dilated branches are depthwise convolutions of the 1x1 branch, at a fraction of the cost, rather than full
        convolutions of the map.
    head_levels : tuple of int
        Levels that the class head reads.
    head_hidden : int
        Width of the class head's hidden layer.
    head_dropout, drop_path : float
        Dropout before the last layer of the class head; stochastic depth of the last transformer layer, rising
        from 0.
    norm : {"batch", "group", "layer"}
        Norm of the convolutions. ``batch`` has fixed statistics in inference (tiles agree with the whole) and
        folds into the convolution; ``layer`` normalises each pixel over its channels (tiles agree too);
        ``group`` pools over the map.
    padding_value : float
        What fills a plane up to a multiple of the stride, on the normalised scale of -1 to 1: what the network saw beyond
        the borders of planes in training. 0 is medium gray, -1 the darkest.
    transformer, multi_scale_head, dfe : bool
        Ablation switches: no transformer branch; class head on the deepest level alone; plain skips.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    in_channels: Positive = 3
    mask_classes: Annotated[int, Field(ge=1, le=254)] = 1
    image_classes: Count = 0
    design_size: Annotated[int, Field(ge=32, le=8192)] = 128

    trunk: TrunkName | None = None
    block: Literal["residual", "inverted"] = "residual"
    stages: tuple[tuple[Stage, ...], ...] = ()
    widths: Annotated[tuple[Positive, ...], Levels] = (16, 32, 96, 192)
    depths: tuple[Annotated[int, Field(ge=1, le=64)], ...] = (1, 1, 1, 1)
    heads: tuple[Positive, ...] = (1, 2, 4, 6)
    windows: tuple[Annotated[int, Field(ge=0, le=64)], ...] = (0, 0, 8, 8)
    fusion: Literal["parallel", "sequential"] = "parallel"
    stem_kernel: Annotated[int, Field(ge=1, le=15)] = 5
    stem_width: Count = 0
    stem_pool: bool = False
    embed_kernels: tuple[Annotated[int, Field(ge=2, le=64)], ...] = (2, 4, 8, 16)
    mlp_ratio: Annotated[int, Field(ge=1, le=16)] = 2
    token_widths: tuple[Positive, ...] = ()
    zero_start: bool = False
    channel_gate: bool = False
    dfe_rates: tuple[tuple[Positive, ...], ...] = ((1, 2, 4),) * 4
    dfe_reduction: Positive = 4
    dfe_separable: bool = False
    head_levels: tuple[Count, ...] = (0, 1, 2, 3)
    head_hidden: Positive = 64
    head_dropout: Annotated[float, Field(ge=0, lt=1)] = 0.2
    drop_path: Annotated[float, Field(ge=0, lt=1)] = 0.05
    norm: Literal["batch", "group", "layer"] = "batch"
    padding_value: Annotated[float, Field(ge=-1, le=1)] = MEDIUM

    transformer: bool = True
    multi_scale_head: bool = True
    dfe: bool = True

    @model_validator(mode="after")
    def _levels_fit_together(self) -> Self:
        levels = len(self.widths)
        for name in ("depths", "heads", "windows", "dfe_rates"):
            if len(getattr(self, name)) != levels:
                raise ValueError(f"{name} has {len(getattr(self, name))} entries; widths has {levels} levels")
        if self.token_widths and len(self.token_widths) != levels:
            raise ValueError(f"token_widths has {len(self.token_widths)} entries; give none, or one for each of {levels} levels")
        if self.fusion == "sequential" and self.token_widths not in ((), self.widths):
            raise ValueError("sequential fusion adds tokens and map before the transformer; leave token_widths out")
        self._check_stages()
        if self.stem_kernel % 2 == 0:
            raise ValueError(f"stem_kernel is {self.stem_kernel}; give an odd number")
        if not self.embed_kernels or any(kernel % 2 for kernel in self.embed_kernels):
            raise ValueError(f"embed_kernels are {self.embed_kernels}; give even numbers, so that each halves the map")
        if not self.head_levels or max(self.head_levels) >= levels:
            raise ValueError(f"head_levels are {self.head_levels}; give levels from 0 to {levels - 1}")
        for level in range(levels):
            self._check_level(level)
        return self

    def _check_level(self, level: int) -> None:
        width, window, rates = self.widths[level], self.windows[level], self.dfe_rates[level]
        tokens = self.token_widths[level] if self.token_widths else width
        side = self.design_size // self.strides[level]
        if tokens % self.heads[level]:
            raise ValueError(f"level {level}: {self.heads[level]} heads do not divide {tokens} channels")
        if window % 2:
            raise ValueError(f"level {level}: window {window} is odd, half of it is the shift; give an even number")
        if width < self.dfe_reduction:
            raise ValueError(f"level {level}: dfe_reduction {self.dfe_reduction} leaves no channel of {width}")
        if self.dfe and max(rates, default=0) >= side:
            raise ValueError(
                f"level {level}: dilation rate {max(rates)} reaches only padding on a map of {side} cells on a side "
                f"(design_size {self.design_size}); give a smaller rate or a larger design_size"
            )

    def _check_stages(self) -> None:
        if self.block == "residual":
            if self.stages:
                raise ValueError("stages describe inverted residual blocks; give block='inverted', or leave them out")
            return
        if len(self.stages) != len(self.widths):
            raise ValueError(f"stages has {len(self.stages)} entries; inverted residual blocks need one for each level")
        for level, stages in enumerate(self.stages):
            depth, width = sum(stage.repeats for stage in stages), stages[-1].width if stages else 0
            if (depth, width) != (self.depths[level], self.widths[level]):
                raise ValueError(
                    f"level {level}: the stages make {depth} blocks and {width} channels, depths and widths say "
                    f"{self.depths[level]} and {self.widths[level]}; make them agree"
                )
            if even := [stage.kernel for stage in stages if stage.kernel % 2 == 0]:
                raise ValueError(f"level {level}: a stage has kernel {even[0]}; give an odd number")

    @property
    def strides(self) -> tuple[int, ...]:
        """Pixels a cell of each level spans."""
        return tuple(2 ** (level + 1) for level in range(len(self.widths)))

    @property
    def stride(self) -> int:
        """Pixels a cell of the deepest level spans; planes are padded to a multiple of it."""
        return self.strides[-1]

    @property
    def grid(self) -> int:
        """Smallest tile offset, in pixels, at which every attention window falls on the same grid."""
        spans = [window * stride for window, stride in zip(self.windows, self.strides, strict=True)]
        return max([self.stride, *(spans if self.transformer else [])])

    @property
    def read_levels(self) -> tuple[int, ...]:
        """Levels that the class head reads once the ablation switch is applied."""
        return self.head_levels if self.multi_scale_head else (len(self.widths) - 1,)

    @classmethod
    def preset(
        cls,
        name: PresetName,
        *,
        in_channels: int = 3,
        mask_classes: int = 1,
        image_classes: int = 0,
        **changes: object,
    ) -> ResFormerConfig:
        """Return a named size.

        Parameters
        ----------
        name : {"tiny", "pretrained", "small", "paper"}
            ``tiny`` is small and fast on a CPU; ``pretrained`` has the convolutions of EfficientNet-Lite0, for which weights
            learned on ImageNet are part of the package; ``small`` is tiny's deeper and wider sibling; ``paper`` has the
            authors' widths and depths.
        in_channels, mask_classes, image_classes : int
            As in the class.
        **changes
            Any other field, for instance an ablation switch.

        Returns
        -------
        ResFormerConfig

        Raises
        ------
        ValueError
            If the name is not a preset, or a field is unknown or does not fit.
        """
        if name not in _PRESETS:
            raise ValueError(f"unknown preset {name!r}; choose one of {', '.join(PRESETS)}")
        sizes = {"in_channels": in_channels, "mask_classes": mask_classes, "image_classes": image_classes}
        return cls(**{**_PRESETS[name], **sizes, **changes})  # type: ignore[arg-type]


_PRESETS: dict[str, dict[str, object]] = {
    "tiny": {},
    # arXiv 1905.11946; no squeeze-excite and ReLU6, as in the Lite variants. What is added to the trunk is sized to cost a
    # fifth of its time: narrow tokens, depthwise feature enhancement, and none at stride 2, where its rates reach 8 px only.
    # Both windows span 128 px: as much as a crop shows in training, and as a tile's halo in prediction.
    "pretrained": {
        "trunk": "efficientnet-lite0",
        "block": "inverted",
        "stages": (
            (Stage(3, 1, 16, 1),),
            (Stage(3, 6, 24, 2),),
            (Stage(5, 6, 40, 2),),
            (Stage(3, 6, 80, 3), Stage(5, 6, 112, 3)),
            (Stage(5, 6, 192, 4), Stage(3, 6, 320, 1)),
        ),
        "widths": (16, 24, 40, 112, 320),
        "depths": (1, 2, 2, 6, 5),
        "heads": (1, 1, 1, 2, 4),
        "windows": (0, 0, 0, 8, 4),
        "token_widths": (16, 24, 40, 64, 128),
        "stem_kernel": 3,
        "stem_width": 32,
        "zero_start": True,
        "dfe_rates": ((), (1, 2, 4), (1, 2, 4), (1, 2, 4), (1, 2)),
        "dfe_reduction": 2,
        "dfe_separable": True,
        "head_levels": (0, 1, 2, 3, 4),
    },
    "small": {
        "widths": (48, 96, 192, 320),
        "depths": (2, 2, 3, 2),
        "heads": (2, 3, 6, 10),
        "windows": (8, 8, 8, 8),
        "mlp_ratio": 3,
        "dfe_reduction": 2,
        "drop_path": 0.1,
    },
    # doi 10.1016/j.artmed.2025.103338; sizes as in the authors' implementation. At 224 px their window (side / 16)
    # is 14 cells, and rates 6-12-18 on the deepest 14x14 map are capped.
    "paper": {
        "design_size": 224,
        "widths": (64, 128, 256, 512),
        "depths": (3, 4, 6, 3),
        "heads": (2, 4, 8, 16),
        "windows": (14, 14, 14, 14),
        "stem_kernel": 7,
        "stem_pool": True,
        "mlp_ratio": 4,
        "channel_gate": True,
        "dfe_rates": ((6, 12, 18), (6, 12, 18), (6, 12, 18), (4, 8, 12)),
        "dfe_reduction": 1,
        "head_levels": (2, 3),
        "head_hidden": 32,
        "head_dropout": 0.0,
        "drop_path": 0.1,
    },
}
