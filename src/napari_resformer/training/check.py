"""What a run would be given and what will come of it, in plain words, before anything is trained."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from napari_resformer.events import Finished, Notice, Progress
from napari_resformer.model.card import Card
from napari_resformer.samples.sample import SampleSet
from napari_resformer.samples.survey import HASH_SIDE, SampleFacts, Survey, iter_survey, near_duplicates
from napari_resformer.training.loader import FEW_OF_A_CLASS
from napari_resformer.training.plan import ALIKE, TrainPlan, common_pixel_size, considered, learned_names, make_plan
from napari_resformer.training.settings import TrainSettings

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
        What there is.
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
    """Look at every sample once and judge whether and how well these settings can be trained on them.

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
    faults = tuple(fact.fault for fact in survey.facts if fact.fault)
    if faults:
        return Preflight(_pixels(survey.facts), samples.notes, faults, survey)
    try:
        plan = make_plan(samples, survey, settings, name="model", start=start)
    except ValueError as error:
        return Preflight((*_counts(samples, survey), *_pixels(survey.facts)), samples.notes, (str(error),), survey)
    facts = (
        *_counts(samples, survey),
        f"{len(plan.training.samples)} train and {len(plan.validation.samples)} validate; images of one group stay together",
        *_masks(plan),
        *_classes(plan),
        *_pixels(survey.facts),
        *_start(plan, start),
    )
    warnings = (
        *samples.notes,
        *_few(plan),
        *_badly_masked(plan),
        *_unbalanced(plan),
        *_sizes(plan, start),
        *_leaks(plan),
        *_learned(plan, start),
        *_crossing(samples),
    )
    return Preflight(facts, warnings, (), survey)


# ------------------------------------------------------------------------------------------------------------------ facts
def _counts(samples: SampleSet, survey: Survey) -> Iterator[str]:
    annotated = survey.annotated(samples).samples
    groups = len({sample.group for sample in annotated})
    yield f"{len(annotated)} annotated image(s) or plane(s) in {groups} group(s)"
    if left := len(samples.samples) - len(annotated):
        yield f"{left} image(s) or plane(s) with neither a mask nor an image class are left out"


def _masks(plan: TrainPlan) -> Iterator[str]:
    survey = _used(plan)
    if not survey.masks:
        yield "no image has a mask: only the image class is learned"
        return
    names = plan.card.mask_classes
    values = ", ".join(f"{value} ({names[value - 1]}) in {count}" for value, count in survey.mask_values.items())
    yield f"{survey.masks} of {len(survey.facts)} have a mask; {survey.painted:.1%} of their pixels are painted; values: {values}"


def _classes(plan: TrainPlan) -> Iterator[str]:
    everything = (*plan.training.samples, *plan.validation.samples)
    counts = Counter(sample.image_class for sample in everything)
    unknown = counts.pop(None, 0)
    if not counts:
        yield "no image has an image class: only the mask is learned"
        return
    listed = ", ".join(f"{name} {count}" for name, count in counts.most_common())
    yield f"image classes: {listed}" + (f"; unknown for {unknown}, which count for the mask only" if unknown else "")


def _pixels(facts: Sequence[SampleFacts]) -> tuple[str, ...]:
    good = [fact for fact in facts if not fact.fault and fact.channels]
    if not good:
        return ()
    small, large = (pick(good, key=lambda fact: fact.shape[0] * fact.shape[1]).shape for pick in (min, max))
    shapes = f"{small[0]}x{small[1]}" + ("" if small == large else f" to {large[0]}x{large[1]}")
    kinds = sorted({"colour" if fact.colour else f"{fact.channels} channel(s)" for fact in good})
    types = ", ".join(sorted({fact.dtype for fact in good}))
    sizes = [fact.pixel_size for fact in good]
    common = common_pixel_size(sizes)
    if common is not None:
        size = f"{common:g} µm a pixel"
    elif any(sizes):
        size = "pixel sizes differ, or are known for some only"
    else:
        size = "pixel size unknown"
    return (f"{shapes} pixels, {types}, {' and '.join(kinds)}; {size}",)


def _start(plan: TrainPlan, start: Card | None) -> Iterator[str]:
    if start is None:
        return
    changed = [
        f"{what} {', '.join(theirs) or 'none'} become {', '.join(ours) or 'none'}"
        for what, theirs, ours in (
            ("mask classes", start.mask_classes, plan.card.mask_classes),
            ("image classes", start.image_classes, plan.card.image_classes),
            ("channels", start.channels, plan.card.channels),
        )
        if theirs != ours
    ]
    yield f"training starts from {start.name}; " + ("; ".join(changed) if changed else "its classes and channels stay")


# --------------------------------------------------------------------------------------------------------------- warnings
def _few(plan: TrainPlan) -> Iterator[str]:
    if len(plan.training.samples) < FEW_IMAGES:
        yield (
            f"{len(plan.training.samples)} image(s) to train on are few; expect a model for images very much like these, "
            "and annotate more where it fails"
        )
    if len(plan.validation.samples) < FEW_VALIDATION:
        yield (
            f"{len(plan.validation.samples)} image(s) to validate on say little: the figures will be rough, and the best epoch "
            "partly luck"
        )
    survey = plan.survey.of(plan.validation.samples)
    if _used(plan).masks and not survey.masks:
        yield "no validation image has a mask: there will be no Dice to pick the best epoch by"
    if plan.card.image_classes and all(sample.image_class is None for sample in plan.validation.samples):
        yield "no validation image has an image class: there will be no accuracy to pick the best epoch by"


def _badly_masked(plan: TrainPlan) -> Iterator[str]:
    survey = _used(plan)
    if survey.masks and not survey.mask_values:
        yield "all masks are empty: the model will call everything background"
    if len(survey.mask_values) > MANY_VALUES:
        yield (
            f"the masks hold {len(survey.mask_values)} different values, as if each object had a number of its own; a value is "
            "a mask class: give all objects of a class the same value, or say that the values number objects of one class"
        )
    trained = plan.survey.of(plan.training.samples).mask_values
    for value in survey.mask_values:
        if value not in trained:
            yield f"label value {value} ({plan.card.mask_classes[value - 1]}) is in validation masks only: it cannot be learned"


def _unbalanced(plan: TrainPlan) -> Iterator[str]:
    counts = dict(zip(plan.card.image_classes, plan.class_counts, strict=True))
    if missing := [name for name, count in counts.items() if not count]:
        yield f"no training image has the class {', '.join(missing)}: it cannot be learned; add images of it, or another group"
    if few := [f"{name} ({count})" for name, count in counts.items() if 0 < count < FEW_OF_A_CLASS]:
        yield f"few training images have the class {', '.join(few)}: its scores will be unsure; add images of it"
    present = [count for count in counts.values() if count]
    if present and max(present) > UNBALANCED * min(present):
        yield (
            f"the largest class has {max(present)} training images, the smallest {min(present)}; drawing and weights make "
            "up for much of it, but only more images of the small one show how it varies"
        )


def _sizes(plan: TrainPlan, start: Card | None) -> Iterator[str]:
    if plan.settings.mode != "native":
        return
    known = [fact.pixel_size[0] for fact in _used(plan).facts if fact.pixel_size is not None]
    if known and max(known) > ALIKE * min(known):
        yield (
            f"pixel sizes run from {min(known):g} to {max(known):g} µm; crops are taken as they are: bring the images to one "
            "pixel size for sharper results"
        )
    if start is not None and start.pixel_size and (own := plan.card.pixel_size):
        ratio = max(own / start.pixel_size, start.pixel_size / own)
        if ratio > ALIKE:
            yield (
                f"{start.name} knows {start.pixel_size:g} µm a pixel, these images have {own:g} µm: objects look {ratio:.1f} "
                "times larger or smaller to it, and it has more to relearn"
            )
    small = [fact.name for fact in _used(plan).facts if min(fact.shape) < plan.settings.size / 2]
    if small:
        yield (
            f"{len(small)} image(s) are smaller than half the crop of {plan.settings.size} pixels, for instance {small[0]}; "
            "most of what is seen is padding: choose a smaller crop"
        )


def _leaks(plan: TrainPlan) -> Iterator[str]:
    ours, theirs = (plan.survey.of(part.samples).facts for part in (plan.training, plan.validation))
    if pairs := near_duplicates(ours, theirs):
        shown = ", ".join(f"{one} and {other}" for one, other in pairs[:_NAMED])
        yield (
            f"{len(pairs)} pair(s) of near-duplicates lie across the split, for instance {shown}; validation will look better "
            "than it is: take one of each pair out, or give both the same group in labels.csv "
            f"(compared by their {HASH_SIDE}x{HASH_SIDE} gray outlines, which turned or cropped copies escape)"
        )


def _learned(plan: TrainPlan, start: Card | None) -> Iterator[str]:
    before = learned_names(start)
    if start is not None and (known := [sample.name for sample in plan.validation.samples if sample.name in before]):
        yield (
            f"{start.name} has learned from {len(known)} of the validation images, for instance {known[0]}; validation will look "
            "better than it is: add images that are new to it, or keep a fold for validation alone"
        )


def _crossing(samples: SampleSet) -> Iterator[str]:
    folds: dict[str, set[str]] = defaultdict(set)
    for sample in samples.samples:
        if sample.fold is not None:
            folds[sample.group].add(sample.fold)
    if crossing := sorted(group for group, found in folds.items() if len(found) > 1):
        yield (
            f"{len(crossing)} group(s) lie in more than one fold, for instance {crossing[0]} in "
            f"{', '.join(sorted(folds[crossing[0]]))}: figures over the folds will look better than they are; give each one fold"
        )


def _used(plan: TrainPlan) -> Survey:
    return plan.survey.of([*plan.training.samples, *plan.validation.samples])
