"""Which samples train and which validate: by group, stratified by class, never empty."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Sequence

from napari_resformer.samples.sample import Sample, SampleSet

VALIDATION_SHARE = 0.15


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
) -> tuple[SampleSet, SampleSet]:
    """Split samples into a training and a validation part.

    Parameters
    ----------
    samples : SampleSet
        All samples.
    folds : sequence of str, optional
        Folds to train on; default all but ``val_folds``.
    val_folds : sequence of str, optional
        Folds to validate on; default a part of the training samples, drawn by group and stratified by class.
    seed : int
        Of the draw.

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
                f"group {min(crossing)} lies in training and validation folds ({len(crossing)} such group(s)); "
                "its images resemble each other: give each group one fold"
            )
    else:
        pool = samples if folds is None else select_folds(samples, folds)
        training, validation = _draw(pool, seed)
    for part, name in ((training, "training"), (validation, "validation")):
        if not part.samples:
            raise ValueError(f"no sample is left for {name}; give more images, or other folds")
    return training, validation


def _draw(samples: SampleSet, seed: int) -> tuple[SampleSet, SampleSet]:
    """Draw whole groups until each class has its share in the validation part."""
    groups: dict[str, list[Sample]] = defaultdict(list)
    for sample in samples.samples:
        groups[sample.group].append(sample)
    if len(groups) < 2:
        raise ValueError(
            f"{samples.name} has {len(samples.samples)} image(s) in {len(groups)} group; at least 2 groups are needed, "
            "one to train on and one to validate: add images"
        )
    by_class: dict[str, list[str]] = defaultdict(list)
    for name, members in groups.items():
        common = Counter(member.image_class or "" for member in members).most_common(1)[0][0]
        by_class[common].append(name)
    drawn: set[str] = set()
    generator = random.Random(seed)
    for image_class in sorted(by_class):
        names = sorted(by_class[image_class])
        generator.shuffle(names)
        wanted = VALIDATION_SHARE * sum(len(groups[name]) for name in names)
        got = 0
        for name in names[:-1]:  # the last group of a class always stays in training
            if got >= wanted:
                break
            drawn.add(name)
            got += len(groups[name])
    if not drawn:
        drawn.add(sorted(groups)[generator.randrange(len(groups))])
    training = [sample for sample in samples.samples if sample.group not in drawn]
    return samples.subset(training), samples.subset([sample for sample in samples.samples if sample.group in drawn])
