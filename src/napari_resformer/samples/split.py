"""Which samples train and which validate: by group, stratified by class, never empty."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Collection, Sequence

from napari_resformer.samples.sample import Sample, SampleSet
from napari_resformer.samples.words import counted

VALIDATION_SHARE = 0.15
LARGEST_SHARE = 0.34
"""Of few images with many classes, one of each class would leave too little to train on."""


def select_folds(samples: SampleSet, folds: Sequence[str]) -> SampleSet:
    """Return the samples of some folds.

    Raises
    ------
    ValueError
        If a fold does not occur.
    """
    known = sorted({sample.fold for sample in samples.samples if sample.fold is not None})
    if missing := [fold for fold in folds if fold not in known]:
        there = f"there are {', '.join(known)}" if known else "its labels.csv has no column fold"
        raise ValueError(f"{samples.name} has no fold {', '.join(missing)}; {there}")
    return samples.subset([sample for sample in samples.samples if sample.fold in set(folds)])


def split_samples(
    samples: SampleSet,
    *,
    folds: Sequence[str] | None = None,
    val_folds: Sequence[str] | None = None,
    seed: int = 0,
    learned: Collection[str] = frozenset(),
) -> tuple[SampleSet, SampleSet]:
    """Split samples into a training and a validation part.

    Parameters
    ----------
    samples : SampleSet
        All samples. Where some have a mask and others none, both parts get some of either.
    folds : sequence of str, optional
        Folds to train on; default all but ``val_folds``.
    val_folds : sequence of str, optional
        Folds to validate on; default a part of the training samples, drawn by group and stratified by class.
    seed : int
        Of the draw.
    learned : collection of str
        Names of the samples that the model to start from has learned from: others are drawn to validate on first.

    Raises
    ------
    ValueError
        If the lists overlap, a fold does not occur, or a part would be empty.
    """
    if folds is not None and val_folds is not None and set(folds) & set(val_folds):
        shared = ", ".join(sorted(set(folds) & set(val_folds)))
        raise ValueError(f"fold {shared} is named for training and for validation; name it once")
    if val_folds is not None:
        validation = select_folds(samples, val_folds)
        if folds is None:
            training = samples.subset([sample for sample in samples.samples if sample.fold not in set(val_folds)])
        else:
            training = select_folds(samples, folds)
        crossing = {sample.group for sample in training.samples} & {sample.group for sample in validation.samples}
        if crossing:
            raise ValueError(
                f"group {min(crossing)} lies in training and validation folds ({counted(len(crossing), 'such group')}); "
                "its images resemble each other: give each group one fold"
            )
    else:
        pool = samples if folds is None else select_folds(samples, folds)
        training, validation = _draw(pool, seed, learned)
    for part, name in ((training, "training"), (validation, "validation")):
        if not part.samples:
            raise ValueError(f"no sample is left for {name}; give more images, or other folds")
    return training, validation


def _draw(samples: SampleSet, seed: int, learned: Collection[str]) -> tuple[SampleSet, SampleSet]:
    """Draw whole groups until each class has its share in the validation part."""
    groups: dict[str, list[Sample]] = defaultdict(list)
    for sample in samples.samples:
        groups[sample.group].append(sample)
    if len(groups) < 2:
        raise ValueError(
            f"{samples.name} has {counted(len(samples.samples), 'annotated image')} in {counted(len(groups), 'group')}; at least "
            "2 groups are needed, one to train on and one to validate (the planes of a stack are one group): annotate another "
            "image"
        )
    by_kind: dict[tuple[str, bool], list[str]] = defaultdict(list)
    for name, members in groups.items():
        common = Counter(member.image_class or "" for member in members).most_common(1)[0][0]
        by_kind[common, any(member.mask_source is not None for member in members)].append(name)
    known = {name for name, members in groups.items() if any(member.name in learned for member in members)}
    generator = random.Random(seed)
    drawn: dict[tuple[str, bool], list[str]] = {}
    for kind in sorted(by_kind):
        names = sorted(by_kind[kind])
        generator.shuffle(names)
        # What is too large stays in training, and so does, as far as it can, what was learned from before.
        names.sort(key=lambda name: (len(groups[name]) > LARGEST_SHARE * len(samples.samples), name in known))
        wanted = VALIDATION_SHARE * sum(len(groups[name]) for name in names)
        got, drawn[kind] = 0, []
        for name in names[:-1]:  # the last group of a class always stays in training
            if got >= wanted:
                break
            drawn[kind].append(name)
            got += len(groups[name])
    chosen = _bounded(drawn, groups, len(samples.samples))
    if not chosen:  # of groups that are all large, or all the only one of their class
        names = sorted(groups)
        generator.shuffle(names)
        chosen = {min(names, key=lambda name: (name in known, len(groups[name])))}
    training = [sample for sample in samples.samples if sample.group not in chosen]
    return samples.subset(training), samples.subset([sample for sample in samples.samples if sample.group in chosen])


def _bounded(drawn: dict[tuple[str, bool], list[str]], groups: dict[str, list[Sample]], total: int) -> set[str]:
    """Keep of the drawn groups, those of common classes first, as many as leave enough to train on."""
    kept: set[str] = set()
    size = 0
    for names in sorted(drawn.values(), key=lambda names: -sum(len(groups[name]) for name in names)):
        for name in names:
            if size + len(groups[name]) <= LARGEST_SHARE * total:
                kept.add(name)
                size += len(groups[name])
    return kept
