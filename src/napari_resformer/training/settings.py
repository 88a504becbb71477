"""Everything that decides what a training run does, as one frozen value that is stored with the run."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from napari_resformer.devices import NumberFormat
from napari_resformer.model.card import Card
from napari_resformer.network.config import PresetName


class TrainSettings(BaseModel):
    """Settings of a training run; two runs with equal settings on equal data give equal metrics.

    Parameters
    ----------
    preset : {"tiny", "small", "paper"}
        Size of the network.
    epochs : int
        Passes over the training samples.
    batch : int
        Crops a step.
    size : int
        Side of the crops (native mode) or of the resized planes (resize mode), in pixels.
    mode : {"native", "resize"}
        Input mode, see :class:`~napari_resformer.model.card.Card`.
    seed : int
        Of weights, order, augmentation and split.
    folds, val_folds : tuple of str, optional
        See :func:`~napari_resformer.samples.split.split_samples`.
    lr, weight_decay : float
        Of AdamW.
    warmup : float
        Share of the steps over which the learning rate rises; it then falls by a polynomial of power 0.9 (paper).
    class_loss_weight : float
        Weight of the classification loss against the segmentation loss. The paper has 0.25 with other losses; with these,
        0.25 leaves classes unlearned that 1 tells apart, at a small cost in Dice (docs/benchmarks.md).
    label_smoothing : float
        Share of each image's class that is spread over all classes in the classification loss; 0 for none. Some classes of
        any data set are wrong or in doubt; the scores then stay less certain of themselves.
    balance : float
        0 draws samples as they come, 1 draws each image class equally often.
    masked_share : float
        Where fewer samples of a class have a mask, so many of those drawn have one all the same, but none is drawn more
        than :data:`~napari_resformer.training.loader.MOST_OFTEN` times as often; 0 draws them as they come. A mask is
        learned from crops that have one, whatever else is in a batch (docs/benchmarks.md).
    average_decay : float
        Decay per step of the exponential average of the weights, which is what is validated and kept; 0 for none.
    rotation : float
        Largest rotation of the augmentation, in degrees.
    zoom : (float, float)
        Smallest and largest zoom of the augmentation; those near 1 are drawn most often.
    surround : {"blank", "mirror"}
        What a view shows beyond the border of its plane: black padding, which does not count for the class and is
        background for the mask, or the plane's mirror image. With the former, planes smaller than a crop are seen whole.
    colour_jitter : float
        Strength of brightness, contrast and colour changes, 0 for none.
    stain_jitter : float
        Share of the colour views whose stains are taken apart and mixed anew with other strengths and colours, 0 for
        none; for models of stained tissue that should bear other laboratories and other stains.
    precision : {"auto", "32-true", "bf16-mixed", "16-mixed"}
        Number format of the network's pass while training; ``auto`` takes bfloat16 where the hardware is fast at it.
    mask_classes : tuple of str
        Names of the label values 1, 2, ...; empty to name them ``class 1`` and so on.
    colour : bool, optional
        Whether the model takes red, green and blue; None to follow the samples.
    patience : int
        Epochs without a better score after which the run stops; 0 for never.
    keep : {"best", "last"}
        Which epoch's weights become the model: the best on the validation samples, or the last, whose learning rate has
        fallen to nearly 0. The last is the better choice where few validation samples make the best a matter of chance.
    freeze_encoder : bool
        Whether the encoder of the model to start from stays as it is, with its running statistics, so that only decoder
        and class head learn. For few images.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    preset: PresetName = "tiny"
    epochs: Annotated[int, Field(ge=1)] = 40
    batch: Annotated[int, Field(ge=2)] = 4
    size: Annotated[int, Field(ge=32, le=4096)] = 128
    mode: Literal["native", "resize"] = "native"
    seed: Annotated[int, Field(ge=0)] = 0
    folds: tuple[str, ...] | None = None
    val_folds: tuple[str, ...] | None = None
    lr: Annotated[float, Field(gt=0)] = 1.5e-3
    weight_decay: Annotated[float, Field(ge=0)] = 1e-2
    warmup: Annotated[float, Field(ge=0, lt=1)] = 0.05
    class_loss_weight: Annotated[float, Field(ge=0)] = 1.0
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.1
    balance: Annotated[float, Field(ge=0, le=1)] = 0.5
    masked_share: Annotated[float, Field(ge=0, lt=1)] = 0.5
    average_decay: Annotated[float, Field(ge=0, lt=1)] = 0.995
    rotation: Annotated[float, Field(ge=0, le=180)] = 180.0
    zoom: tuple[float, float] = (0.8, 1.25)
    surround: Literal["blank", "mirror"] = "blank"
    colour_jitter: Annotated[float, Field(ge=0, le=1)] = 0.1
    stain_jitter: Annotated[float, Field(ge=0, le=1)] = 0.0
    precision: Literal["auto"] | NumberFormat = "auto"
    mask_classes: tuple[str, ...] = ()
    colour: bool | None = None
    patience: Annotated[int, Field(ge=0)] = 0
    keep: Literal["best", "last"] = "best"
    freeze_encoder: bool = False

    def following(self, start: Card | None) -> TrainSettings:
        """Return these settings with mode and size taken from the model to start from, where they were not set.

        Parameters
        ----------
        start : Card, optional
            Of the model to start from; without one nothing changes.
        """
        if start is None:
            return self
        theirs = {"mode": start.input_mode, "size": start.input_size}
        return self.model_copy(update={key: value for key, value in theirs.items() if key not in self.model_fields_set})

    @model_validator(mode="after")
    def _the_kept_epoch_is_known(self) -> Self:
        if self.keep == "last" and self.patience:
            raise ValueError("a run that keeps its last epoch cannot wait for a best one: leave patience at 0, or keep the best")
        return self

    @model_validator(mode="after")
    def _resized_planes_are_not_mirrored(self) -> Self:
        if self.mode == "resize" and self.surround == "mirror":
            raise ValueError("resized planes are padded as in prediction: leave surround at blank, or use native mode")
        return self

    @model_validator(mode="after")
    def _zoom_is_a_range(self) -> Self:
        if not 0 < self.zoom[0] <= self.zoom[1]:
            raise ValueError(f"zoom {self.zoom} must be two positive numbers, the smaller first")
        return self
