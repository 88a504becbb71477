"""What a run will do, known before it starts: its samples, their split, and the card of its model."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import sqrt

from napari_resformer.images.image import PixelSize
from napari_resformer.model.card import Card, DataSource
from napari_resformer.network.config import BACKGROUND, MEDIUM, ResFormerConfig
from napari_resformer.preprocessing.channels import COLOUR, channels_fit
from napari_resformer.preprocessing.normalise import Normalisation
from napari_resformer.samples.learned import learned_among, learned_record
from napari_resformer.samples.sample import SampleSet
from napari_resformer.samples.split import select_folds, split_samples
from napari_resformer.samples.survey import Survey
from napari_resformer.samples.words import alike_once
from napari_resformer.training.input_choice import InputChoice, with_input
from napari_resformer.training.settings import TrainSettings
from napari_resformer.training.words import counted

NOTICE = "Research use only. Not a diagnostic device."
"""What is said beside the scores of a model that users have trained."""
MAX_MASK_VALUE = 254
INSTANCES = (
    "a label value is a mask class: give all objects of a class the same value, or declare them instance labels "
    "(--instance-labels; in the widget, Labels are: instance labels)"
)
"""What to do about masks in which each object has a value of its own."""
ALIKE = 1.25
"""Pixel sizes whose largest is at most so many times the smallest count as one."""


@dataclass(frozen=True)
class TrainPlan:
    """What a run will do.

    Parameters
    ----------
    settings : TrainSettings
        As given, but for what follows the model to start from, or the images.
    training, validation : SampleSet
        The annotated samples, split.
    survey : Survey
        What is known of all samples that were given.
    card : Card
        Of the model to be, without metrics.
    input_choice : InputChoice, optional
        How mode and size were chosen; None where both were given, or followed the model to start from.
    """

    settings: TrainSettings
    training: SampleSet
    validation: SampleSet
    survey: Survey
    card: Card
    input_choice: InputChoice | None = None

    @property
    def class_counts(self) -> list[int]:
        """Training samples of each image class."""
        counts = Counter(sample.image_class for sample in self.training.samples)
        return [counts.get(name, 0) for name in self.card.image_classes]

    @property
    def fingerprint(self) -> str:
        """A digest of what is trained and validated on: names, classes, groups and masks; a resumed run must have the same."""
        facts = {fact.name: sorted((fact.mask_values or {}).items()) for fact in self.survey.facts}
        lines = [
            repr((part, sample.name, sample.image_class, sample.group, facts[sample.name]))
            for part, samples in (("training", self.training), ("validation", self.validation))
            for sample in samples.samples
        ]
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()

    @property
    def contents(self) -> dict[str, str]:
        """Checksums of the image and the mask of each sample, by its name."""
        facts = self.survey.of([*self.training.samples, *self.validation.samples]).facts
        return {fact.name: f"{fact.content.checksum} {fact.mask_checksum}".rstrip() for fact in facts}


def make_plan(samples: SampleSet, survey: Survey, settings: TrainSettings, *, name: str, start: Card | None = None) -> TrainPlan:
    """Plan a run, or refuse.

    Parameters
    ----------
    samples : SampleSet
        All samples that were given.
    survey : Survey
        Of these samples; see :func:`~napari_resformer.samples.survey.iter_survey`.
    settings : TrainSettings
        What to do.
    name : str
        Name of the model to be.
    start : Card, optional
        Of the model to start from.

    Raises
    ------
    ValueError
        If the samples do not allow to train; the message says what is missing.
    """
    settings = settings.following(start)
    if faults := alike_once((fact.name, fact.fault) for fact in survey.facts if fact.fault):
        more = f" (and {len(faults) - 3} more)" if len(faults) > 3 else ""
        raise ValueError("; ".join(faults[:3]) + more)
    annotated = survey.annotated(samples)
    if not annotated.samples:
        raise ValueError(f"nothing in {samples.name} has a mask or an image class; annotate at least two images")
    if settings.freeze_encoder and start is None:
        raise ValueError("the encoder can only be frozen with a model to start from; name one, or train the encoder too")
    training, validation = split_samples(
        annotated,
        folds=settings.folds,
        val_folds=settings.val_folds,
        seed=settings.seed,
        learned=learned_among(start, [(fact.name, fact.content) for fact in survey.of(annotated.samples).facts]),
    )
    used = annotated.subset([*training.samples, *validation.samples])
    facts = survey.of(used.samples)
    classes = tuple(sorted({sample.image_class for sample in used.samples if sample.image_class is not None}))
    if len(classes) == 1:
        raise ValueError(
            f"every image has the image class {classes[0]}; there must be a second one to tell it from: add images of another "
            "class, or remove the class to train on the masks only"
        )
    if not classes and not facts.mask_values:
        raise ValueError("all masks are empty and no image has a class, so there is nothing to learn; annotate some images")
    training, validation = (SampleSet(part.name, part.samples, classes, part.notes) for part in (training, validation))
    settings, choice = with_input(settings, survey.of(training.samples))
    card = _card(name, training, validation, facts, settings, start)
    return TrainPlan(settings, training, validation, survey, card, choice)


def considered(samples: SampleSet, settings: TrainSettings) -> SampleSet:
    """Return the samples that a run with these settings reads: those of its folds."""
    if settings.folds is None:
        return samples
    return select_folds(samples, [*settings.folds, *(settings.val_folds or ())])


def common_pixel_size(sizes: Sequence[PixelSize | None]) -> float | None:
    """Return the pixel size in micrometres where all are known and alike, else None."""
    known = [sqrt(size[0] * size[1]) for size in sizes if size is not None]
    if not known or len(known) < len(sizes) or max(known) > ALIKE * min(known):
        return None
    return round(sum(known) / len(known), 6)


def _card(
    name: str, training: SampleSet, validation: SampleSet, facts: Survey, settings: TrainSettings, start: Card | None
) -> Card:
    mask_classes = _mask_classes(facts.mask_values, settings.mask_classes, start)
    channels = _channels(facts, settings.rgb, start)
    if strange := [fact for fact in facts.facts if not channels_fit(fact.channels, fact.colour, channels)]:
        raise ValueError(
            f"{strange[0].name} has {counted(strange[0].channels, 'channel')}, but the model takes {len(channels)} "
            f"({', '.join(channels)}); {counted(len(strange), 'image does', 'images do')} not fit: give all the same channels"
        )
    sizes = {
        "in_channels": len(channels), "mask_classes": len(mask_classes), "image_classes": len(training.image_classes)
    }  # fmt: skip
    normalisation = start.normalisation if start else Normalisation()
    if start is None or channels != start.channels:  # stains of their own have a brightness of their own
        normalisation = normalisation.model_copy(update={"per_channel": channels != COLOUR and len(channels) > 1})
    if start is None:
        network = ResFormerConfig.preset(settings.preset, **sizes)
    else:
        network = start.network.model_copy(update=sizes)
    # What training shows beyond a plane is what prediction fills it up with; no value is the plane's mirror image.
    network = network.model_copy(update={"padding_value": BACKGROUND if settings.padding == "constant" else MEDIUM})
    counts = Counter(sample.image_class for sample in training.samples if sample.image_class is not None)
    return Card(
        name=name,
        network=network,
        mask_classes=mask_classes,
        image_classes=training.image_classes,
        channels=channels,
        normalisation=normalisation,
        input_mode=settings.mode,
        input_size=settings.crop_size,
        pixel_size=common_pixel_size([fact.pixel_size for fact in facts.facts]),
        notice=start.notice if start and start.image_classes == training.image_classes else NOTICE,
        data=(DataSource(name=training.name), *(start.data if start else ())),
        training={
            "settings": settings.model_dump(mode="json"),
            "training_images": len(training.samples),
            "training_groups": len({sample.group for sample in training.samples}),
            "validation_images": len(validation.samples),
            "validation_groups": len({sample.group for sample in validation.samples}),
            "validation_names": [sample.name for sample in validation.samples],
            **learned_record(facts.of(training.samples).facts, start),
            "class_counts": dict(sorted(counts.items())),
        },
    )


def _mask_classes(values: Mapping[int, int], named: Sequence[str], start: Card | None) -> tuple[str, ...]:
    """Name the label values: as told, else as the model to start from does if it has enough, else by number."""
    top = max(values, default=0)
    if named and top > len(named):
        raise ValueError(
            f"the masks hold label values up to {top}, but {counted(len(named), 'mask class is', 'mask classes are')} named "
            f"({', '.join(named)}); name {top}, or merge the values. If each object has its own value: {INSTANCES}"
        )
    if top > MAX_MASK_VALUE:
        raise ValueError(
            f"the masks hold label values up to {top}, but there can be at most {MAX_MASK_VALUE} mask classes; {INSTANCES}"
        )
    if named:
        return tuple(named)
    if start is not None and top <= len(start.mask_classes):
        return start.mask_classes
    return tuple(f"class {value}" for value in range(1, max(top, 1) + 1))


def _channels(facts: Survey, rgb: bool | None, start: Card | None) -> tuple[str, ...]:
    """Name the channels of the model to be: as told, else as the model to start from if that fits, else as the images."""
    if rgb is None and start is not None:
        fits = facts.channels == (len(start.channels),) and (facts.colour == (start.channels == COLOUR))
        if fits or (start.channels == COLOUR and (facts.colour or facts.channels == (1,))):
            return start.channels
    if rgb or (rgb is None and facts.colour):
        return COLOUR
    if facts.colour and all(fact.colour or fact.channels == 1 for fact in facts.facts):
        return ("gray",)
    if len(facts.channels) > 1:
        raise ValueError(
            f"the images have {' or '.join(map(str, facts.channels))} channels and are not RGB; give all the same number of "
            "channels"
        )
    count = facts.channels[0]
    if count == 1:
        return ("gray",)
    return facts.channel_names or tuple(f"channel {number}" for number in range(count))
