"""The pre-flight check: what a run would learn from, and what will work badly or not at all, in plain words."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from napari_resformer.events import Finished, Notice, Progress
from napari_resformer.images.words import size_words
from napari_resformer.model.card import Card
from napari_resformer.samples.content import HASH_SIDE
from napari_resformer.samples.learned import learned_among, near_duplicates
from napari_resformer.samples.sample import SampleSet
from napari_resformer.samples.survey import SampleFacts, Survey, iter_survey
from napari_resformer.samples.words import alike_once, named
from napari_resformer.training.loader import FEW_OF_A_CLASS
from napari_resformer.training.plan import ALIKE, INSTANCES, TrainPlan, common_pixel_size, considered, make_plan
from napari_resformer.training.settings import TrainSettings
from napari_resformer.training.words import counted, share

FEW_IMAGES = 10
FEW_VALIDATION = 5
MANY_VALUES = 20
UNBALANCED = 10.0
_NAMED = 3


@dataclass(frozen=True)
class Preflight:
    """What a look at the samples found, in sentences.

    Parameters
    ----------
    facts : tuple of str
        What there is to learn from.
    warnings : tuple of str
        What will work badly, and what to do about it.
    refusals : tuple of str
        What cannot work, and what to do about it. With any, a run would raise.
    survey : Survey
        What was found; give it to the run, which then need not look again.
    """

    facts: tuple[str, ...]
    warnings: tuple[str, ...]
    refusals: tuple[str, ...]
    survey: Survey

    def notices(self) -> Iterator[Notice]:
        """Yield facts and warnings as events."""
        yield from (Notice(text) for text in self.facts)
        yield from (Notice(text, "warning") for text in self.warnings)


def iter_preflight(
    samples: SampleSet, settings: TrainSettings, *, start: Card | None = None
) -> Iterator[Progress | Finished[Preflight]]:
    """Look at every sample once, and judge how well a run with these settings would work.

    Parameters
    ----------
    samples : SampleSet
        What would be given to the run.
    settings : TrainSettings
        What it would do.
    start : Card, optional
        Of the model that it would start from.

    Yields
    ------
    Progress
        After each sample.
    Finished
        With the :class:`Preflight`.
    """
    try:
        chosen = considered(samples, settings)
    except ValueError as error:
        yield Finished(Preflight((), (), (str(error),), Survey(())))
        return
    for event in iter_survey(chosen):
        if isinstance(event, Progress):
            yield event
        else:
            yield Finished(judge(chosen, event.result, settings, start=start))


def judge(samples: SampleSet, survey: Survey, settings: TrainSettings, *, start: Card | None = None) -> Preflight:
    """Put into words what a survey found."""
    faults = alike_once((fact.name, fact.fault) for fact in survey.facts if fact.fault)
    if faults:
        return Preflight((*samples.facts, *_pixels(survey.facts)), samples.notes, faults, survey)
    try:
        plan = make_plan(samples, survey, settings, name="model", start=start)
    except ValueError as error:
        facts = (*samples.facts, *_counts(samples, survey), *_pixels(survey.facts))
        return Preflight(facts, samples.notes, (str(error),), survey)
    facts = (
        *samples.facts,
        *_counts(samples, survey),
        _split(plan),
        *_masks(plan),
        *_classes(plan),
        *_pixels(survey.facts),
        *_input(plan),
        *_start(plan, start),
    )
    warnings = (
        *samples.notes,
        *survey.notes,
        *_few(plan),
        *_badly_masked(plan),
        *_unbalanced(plan),
        *_sizes(plan, start),
        *_channels(plan),
        *_leaks(plan),
        *_learned(plan, start),
        *_crossing(samples),
    )
    return Preflight(facts, warnings, (), survey)


# ------------------------------------------------------------------------------------------------------------------ facts
def _counts(samples: SampleSet, survey: Survey) -> Iterator[str]:
    annotated = survey.annotated(samples).samples
    groups = len({sample.group for sample in annotated})
    yield counted(len(annotated), "annotated image") + (f" in {counted(groups, 'group')}" if groups < len(annotated) else "")
    if left := len(samples.samples) - len(annotated):
        known = {sample.name for sample in annotated}
        names = named([sample.name for sample in samples.samples if sample.name not in known], _NAMED)
        yield f"{counted(left, 'image')} with neither a mask nor a class {'is' if left == 1 else 'are'} left out: {names}"


def _split(plan: TrainPlan) -> str:
    sides = plan.training.samples, plan.validation.samples
    grouped = any(len({sample.group for sample in side}) < len(side) for side in sides)
    together = "; images of one group stay on the same side" if grouped else ""
    return f"{counted(len(sides[0]), 'image')} for training, {len(sides[1])} for validation{together}"


def _masks(plan: TrainPlan) -> Iterator[str]:
    survey = _used(plan)
    if not survey.masks:
        yield "no image has a mask: only the image class is learned"
        return
    without = [fact.name for fact in survey.facts if fact.mask_values is None]
    others = f"; without one: {named(without, _NAMED)}" if without else ""
    yield f"{survey.masks} of {counted(len(survey.facts), 'image')} {'has' if survey.masks == 1 else 'have'} a mask{others}"
    if len(survey.mask_values) > MANY_VALUES:
        yield f"{len(survey.mask_values)} label values, up to {max(survey.mask_values)}"
        return
    masked = [fact for fact in survey.facts if fact.mask_values is not None]
    pixels = max(sum(fact.annotated_pixels for fact in masked), 1)
    for value, count in survey.mask_values.items():
        painted = sum((fact.mask_values or {}).get(value, 0) for fact in masked)
        name = plan.card.mask_classes[value - 1]
        said = name if name == f"class {value}" else f"{name} (label value {value})"
        yield f"{said} covers {share(painted, pixels)} of the annotated pixels and occurs in {counted(count, 'mask')}"


def _classes(plan: TrainPlan) -> Iterator[str]:
    everything = (*plan.training.samples, *plan.validation.samples)
    counts = Counter(sample.image_class for sample in everything)
    unknown = counts.pop(None, 0)
    if not counts:
        yield "no image has a class: only the mask is learned"
        return
    listed = ", ".join(f"{name} {count}" for name, count in counts.most_common())
    yield f"image classes: {listed}" + (
        f"; {counted(unknown, 'image')} without a class, used for the mask only" if unknown else ""
    )


def _pixels(facts: Sequence[SampleFacts]) -> tuple[str, ...]:
    good = [fact for fact in facts if not fact.fault and fact.channels]
    if not good:
        return ()
    small, large = (pick(good, key=lambda fact: fact.shape[0] * fact.shape[1]).shape for pick in (min, max))
    shapes = size_words(small) + ("" if small == large else f" to {size_words(large)}")
    kinds = sorted(
        {"RGB" if fact.colour else "grayscale" if fact.channels == 1 else f"{fact.channels} channels" for fact in good}
    )
    types = ", ".join(sorted({fact.dtype for fact in good}))
    sizes = [fact.pixel_size for fact in good]
    common = common_pixel_size(sizes)
    if common is not None:
        size = f"pixel size {common:g} µm"
    elif any(sizes):
        size = "pixel sizes that differ, or are known for some images only"
    else:
        size = "the files give no pixel size"
    return (f"{shapes}, {types}, {' and '.join(kinds)}, {size}",)


def _input(plan: TrainPlan) -> Iterator[str]:
    """Say how images come to the network where that was chosen, and how to choose otherwise."""
    choice, settings = plan.input_choice, plan.settings
    if choice is None:
        return
    if settings.mode == "resize":
        yield f"the network sees each image whole, scaled to {settings.crop_size} px: {choice.reason} (mode resize)"
    else:
        yield f"the network sees crops of {settings.crop_size} px at the images' own resolution: {choice.reason} (mode native)"


def _start(plan: TrainPlan, start: Card | None) -> Iterator[str]:
    if start is None:
        return
    changed = [
        f"its {what} ({', '.join(theirs) or 'none'}) become {', '.join(ours) or 'none'}"
        for what, theirs, ours in (
            ("mask classes", start.mask_classes, plan.card.mask_classes),
            ("image classes", start.image_classes, plan.card.image_classes),
            ("channels", start.channels, plan.card.channels),
        )
        if theirs != ours
    ]
    yield f"training starts from {start.name}; {'; '.join(changed) if changed else 'its classes and channels stay the same'}"


# --------------------------------------------------------------------------------------------------------------- warnings
def _few(plan: TrainPlan) -> Iterator[str]:
    training, validation = len(plan.training.samples), len(plan.validation.samples)
    if training < FEW_IMAGES:
        yield (
            f"only {counted(training, 'image')} to train on: the model will work best on images that look very much like "
            "these; annotate more of those on which it fails"
        )
    if validation < FEW_VALIDATION:
        yield (
            f"only {counted(validation, 'image')} to validate on: the figures will be rough, and which epoch is best will "
            "partly be luck"
        )
    survey = plan.survey.of(plan.validation.samples)
    if _used(plan).masks and not survey.masks:
        yield "no validation image has a mask, so there will be no Dice to pick the best epoch by"
    if plan.card.image_classes and all(sample.image_class is None for sample in plan.validation.samples):
        yield "no validation image has a class, so there will be no accuracy to pick the best epoch by"


def _badly_masked(plan: TrainPlan) -> Iterator[str]:
    survey = _used(plan)
    if survey.masks and not survey.mask_values:
        yield "all masks are empty: the model will call everything background"
    if len(survey.mask_values) > MANY_VALUES:
        yield f"the masks hold {len(survey.mask_values)} different values, as if each object had its own; {INSTANCES}"
    top = max(survey.mask_values, default=0)
    gaps = [value for value in range(1, top) if value not in survey.mask_values]
    if gaps and plan.card.mask_classes[top - 1] == f"class {top}":
        yield (
            f"no mask holds the label value{'s' if len(gaps) > 1 else ''} {named(gaps)}, so the model gets mask classes that "
            f"cannot be learned; renumber the values without gaps, or name all {top} classes (--mask-classes)"
        )
    trained = plan.survey.of(plan.training.samples).mask_values
    for value in survey.mask_values:
        if value not in trained:
            yield (
                f"label value {value} ({plan.card.mask_classes[value - 1]}) occurs only in validation masks, so it cannot be "
                "learned; annotate it in more images"
            )


def _unbalanced(plan: TrainPlan) -> Iterator[str]:
    counts = dict(zip(plan.card.image_classes, plan.class_counts, strict=True))
    if missing := [name for name, count in counts.items() if not count]:
        yield (
            f"no training image has the class {', '.join(missing)}, so it cannot be learned; add images of it that belong to "
            "another group"
        )
    if few := [f"{name} ({count})" for name, count in counts.items() if 0 < count < FEW_OF_A_CLASS]:
        yield f"few training images have the class {', '.join(few)}: its scores will be unreliable; add images of it"
    present = [count for count in counts.values() if count]
    if present and max(present) > UNBALANCED * min(present):
        yield (
            f"the largest class has {counted(max(present), 'training image')}, the smallest {min(present)}; the small one is "
            "drawn more often, but only more images show how it varies"
        )


def _sizes(plan: TrainPlan, start: Card | None) -> Iterator[str]:
    if plan.settings.mode != "native":
        return
    known = [fact.pixel_size[0] for fact in _used(plan).facts if fact.pixel_size is not None]
    if known and max(known) > ALIKE * min(known):
        yield (
            f"pixel sizes range from {min(known):g} to {max(known):g} µm, and crops are taken without rescaling; bring the "
            "images to one pixel size for better results"
        )
    if start is not None and start.pixel_size and (own := plan.card.pixel_size):
        ratio = max(own / start.pixel_size, start.pixel_size / own)
        if ratio > ALIKE:
            seen = "larger" if own < start.pixel_size else "smaller"
            yield (
                f"{start.name} was trained at {start.pixel_size:g} µm per pixel, and these images have {own:g} µm: objects look "
                f"{ratio:.1f} times {seen} to it, so it has more to relearn"
            )
    small = [fact.name for fact in _used(plan).facts if min(fact.shape) < plan.settings.crop_size / 2]
    if small:
        yield (
            f"{counted(len(small), 'image')} (for instance {small[0]}) {'is' if len(small) == 1 else 'are'} less than half as "
            f"large as the crop of {size_words(plan.settings.crop_size)}, so most of what the network sees is padding; choose a "
            "smaller crop"
        )


def _channels(plan: TrainPlan) -> Iterator[str]:
    facts = _used(plan).facts
    named_ones = {fact.channel_names: fact.name for fact in reversed(facts) if fact.channels > 1 and fact.channel_names}
    if len(named_ones) > 1 and not _used(plan).channel_names and not plan.survey.colour:
        (one, first), (other, second), *_ = reversed(named_ones.items())
        yield (
            f"the images name their channels differently ({', '.join(one)} in {first}, {', '.join(other)} in {second}), so "
            "channels are taken by their place; check that each stain is always in the same place"
        )


def _leaks(plan: TrainPlan) -> Iterator[str]:
    ours, theirs = (plan.survey.of(part.samples).facts for part in (plan.training, plan.validation))
    if pairs := near_duplicates(ours, theirs):
        shown = ", ".join(f"{one} and {other}" for one, other in pairs[:_NAMED])
        yield (
            f"{counted(len(pairs), 'pair')} of near-duplicates are on both sides of the split, for instance {shown}, so the "
            "validation will look better than the model is; remove one of each pair, or give both the same group in labels.csv "
            f"(the check compares thumbnails of {size_words(HASH_SIDE)} and misses rotated or cropped copies)"
        )


def _learned(plan: TrainPlan, start: Card | None) -> Iterator[str]:
    facts = plan.survey.of(plan.validation.samples).facts
    known = learned_among(start, [(fact.name, fact.content) for fact in facts])
    if start is not None and known:
        yield (
            f"{start.name} was trained on {len(known)} of the validation images, for instance {known[0]}, so the validation will "
            "look better than the model is; add images that are new to it, or keep one fold for validation only"
        )


def _crossing(samples: SampleSet) -> Iterator[str]:
    folds: dict[str, set[str]] = defaultdict(set)
    for sample in samples.samples:
        if sample.fold is not None:
            folds[sample.group].add(sample.fold)
    if crossing := sorted(group for group, found in folds.items() if len(found) > 1):
        yield (
            f"{counted(len(crossing), 'group')} (for instance {crossing[0]}, in folds {', '.join(sorted(folds[crossing[0]]))}) "
            "spread over several folds, so results over the folds will look better than the model is; put each group into "
            "one fold"
        )


def _used(plan: TrainPlan) -> Survey:
    return plan.survey.of([*plan.training.samples, *plan.validation.samples])
