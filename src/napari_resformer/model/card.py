"""The card: all that one must know to use a model's weights rightly; loads no torch."""

from __future__ import annotations

import re
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, JsonValue, model_validator

from napari_resformer.network.config import BACKGROUND, ResFormerConfig
from napari_resformer.preprocessing.channels import COLOUR
from napari_resformer.preprocessing.normalise import Normalisation
from napari_resformer.preprocessing.pipeline import Preprocessor

Name = Annotated[str, Field(min_length=1, max_length=200)]


class DataSource(BaseModel):
    """A data set that weights were learned from.

    Parameters
    ----------
    name, authors, citation, url, licence : str
        What it is called, who made it, where it was published, where it lies, and its licence's SPDX identifier.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    name: Name
    authors: str = ""
    citation: str = ""
    url: str = ""
    licence: str = ""


class Card(BaseModel):
    """What a model answers, what it wants to be given, and where it comes from.

    Parameters
    ----------
    name, version, summary : str
        What the model is called, its version, and what it does in one sentence.
    network : ResFormerConfig
        What its network is made of.
    mask_classes, image_classes : tuple of str
        Names of the mask values 1, 2, ... and of the scores; there may be no image class.
    class_aliases : dict of str to str
        Other names of image classes, such as those in the data that the model learned from, each with its name on the card.
    channels : tuple of str
        Channels in the order that the network takes them; ("red", "green", "blue") marks colour.
    normalisation : Normalisation
        How raw values become what the network takes.
    input_mode : {"native", "resize"}
        Tiles at the model's pixel size, or the whole plane brought to ``input_size``.
    input_size : int
        Side, in pixels, of the crops or planes that the network was trained on.
    pixel_size : float, optional
        Micrometres a pixel in training, when known.
    notice : str
        What must be said wherever a score is shown.
    limits : str
        On which images the model is known to fail, or was never tested.
    data : tuple of DataSource
        What the weights were learned from.
    licence : str
        SPDX identifier of the weights' licence.
    training : dict
        Settings, split and seed of the run, as JSON values.
    metrics : dict
        What the evaluation measured with the weights of this very file, and on what.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    name: Name
    version: Annotated[str, Field(max_length=50)] = "1"
    summary: str = ""
    network: ResFormerConfig
    mask_classes: tuple[Name, ...]
    image_classes: tuple[Name, ...] = ()
    class_aliases: dict[str, Name] = Field(default_factory=dict)
    channels: tuple[Name, ...]
    normalisation: Normalisation = Normalisation()
    input_mode: Literal["native", "resize"] = "native"
    input_size: Annotated[int, Field(ge=32, le=8192)] = 128
    pixel_size: Annotated[float, Field(gt=0)] | None = None
    notice: str = ""
    limits: str = ""
    data: tuple[DataSource, ...] = ()
    licence: str = ""
    training: dict[str, JsonValue] = Field(default_factory=dict)
    metrics: dict[str, JsonValue] = Field(default_factory=dict)

    @property
    def needed_channels(self) -> int:
        """Channels that an image must have; 0 where a gray image does as well, as for colour."""
        return len(self.channels) if len(self.channels) > 1 and self.channels != COLOUR else 0

    def find_class(self, name: str) -> int | None:
        """Return the number of an image class by its name on the card, an alias, or the same words spelled otherwise.

        Case, and whether words are joined by spaces, hyphens or underscores, make no difference where only one class fits.
        """
        if name in self.image_classes:
            return self.image_classes.index(name)
        known = {**dict(zip(self.image_classes, self.image_classes, strict=True)), **self.class_aliases}
        fitting = {told for spelled, told in known.items() if _words(spelled) == _words(name)}
        return self.image_classes.index(fitting.pop()) if len(fitting) == 1 else None

    @property
    def preprocessor(self) -> Preprocessor:
        """The way from a plane to what the network sees, and back; the same in training and prediction."""
        return Preprocessor(
            self.channels,
            self.normalisation,
            self.input_mode,
            self.input_size,
            self.pixel_size,
            pads_small_planes=self.network.padding_value == BACKGROUND,
        )

    @model_validator(mode="after")
    def _names_fit_the_network(self) -> Self:
        for names, count, what in (
            (self.mask_classes, self.network.mask_classes, "mask classes"),
            (self.image_classes, self.network.image_classes, "image classes"),
            (self.channels, self.network.in_channels, "channels"),
        ):
            if len(names) != count:
                raise ValueError(f"the card names {len(names)} {what}, its network has {count}")
            if len(set(names)) < len(names):
                raise ValueError(f"the card names some {what} twice: {', '.join(names)}")
        if strange := sorted(set(self.class_aliases.values()) - set(self.image_classes)):
            raise ValueError(f"the card has other names for {', '.join(strange)}, which is no image class of it")
        return self


def _words(name: str) -> tuple[str, ...]:
    """Split a name into its words, whatever joins them."""
    return tuple(re.split(r"[\s_-]+", name.strip().casefold()))
