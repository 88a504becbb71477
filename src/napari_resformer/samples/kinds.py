"""What kind of mask the files of a folder are: decided once for all of them, and said."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from napari_resformer.images.words import share
from napari_resformer.samples.appearance import resolve
from napari_resformer.samples.rules import MAX_CLASS, MaskKind, MaskRule
from napari_resformer.samples.stored import Evidence, StoredMask, look
from napari_resformer.samples.words import alike_once, counted, gathered, named

MANY_VALUES = 20
"""More values than these are the numbers of objects, grays or damage sooner than classes."""

_SINGLE, _SCATTERED = 0.95, 0.8
_CONTIGUOUS = 0.8
_GRAY_LEVELS = 128
_WHITE = (255, 65535, 2**32 - 1)


@dataclass(frozen=True)
class Verdict:
    """What the masks of a folder are.

    Parameters
    ----------
    rules : tuple of MaskRule
        One a mask.
    facts : tuple of str
        What was decided.
    warnings : tuple of str
        What is in doubt.
    faults : tuple of str
        Why the masks cannot be used, and what to do. With any, there are no rules.
    """

    rules: tuple[MaskRule, ...] = ()
    facts: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    faults: tuple[str, ...] = ()


def decide(masks: Sequence[Evidence], asked: MaskKind = "auto", colours: Mapping[int, int] | None = None) -> Verdict:
    """Decide what the values of masks stand for.

    Parameters
    ----------
    masks : sequence of Evidence
        Of all masks of a folder.
    asked : {"auto", "classes", "instances", "binary"}
        What the user said.
    colours : mapping of int to int, optional
        Label values of colours (0xRRGGBB), where a table gives them.
    """
    if any(mask.fault for mask in masks):
        return Verdict(faults=alike_once((mask.name, mask.fault) for mask in masks if mask.fault))
    if not masks:
        return Verdict()
    plain = resolve(masks, asked, colours or {})
    if faults := (*plain.faults, *_fractions(plain.masks, asked), *_lossy(plain.masks, asked)):
        return Verdict(faults=faults)
    verdict = _READINGS[asked](plain.masks)
    if verdict.faults:
        return verdict
    rules = tuple(
        replace(
            rule, colours=plain.colours, opacity=use, cut=0.5 if use == "mask" and asked == "binary" else rule.cut, decided=True
        )
        for rule, use in zip(verdict.rules, plain.opacity, strict=True)
    )
    indexed = sum(mask.indexed for mask in masks)
    stored = (f"{counted(indexed, 'mask')} shown in other colors than stored: the stored values count",) if indexed else ()
    notes = gathered({f"the mask {mask.name}": mask.notes for mask in masks})
    return Verdict(tuple(rules), (*stored, *plain.facts, *verdict.facts), (*notes, *verdict.warnings, *_odd(plain.masks)))


def decide_painted(masks: Sequence[Evidence]) -> tuple[MaskRule, ...]:
    """Decide what the values of painted layers stand for, one entry a layer: 255 means the same on all planes of it."""
    return tuple(replace(rule, decided=True) for rule in _classes(masks).rules)


def decide_alone(mask: StoredMask, asked: MaskKind = "auto", *, strict: bool = True) -> MaskRule:
    """Decide for a mask that belongs to no folder.

    Parameters
    ----------
    mask : StoredMask
        What it holds.
    asked : {"auto", "classes", "instances", "binary"}
        What the user said.
    strict : bool
        Whether to refuse what is in doubt, as in a file; what was painted in a viewer is taken as it is.

    Raises
    ------
    ValueError
        If it cannot be used.
    """
    seen = look(mask, pieces=strict and asked == "auto")
    if not strict and asked == "auto" and not seen.fault:
        return replace(_classes([seen]).rules[0], decided=True)
    verdict = decide([seen], asked)
    if verdict.faults:
        raise ValueError(verdict.faults[0])
    return verdict.rules[0]


# ------------------------------------------------------------------------------------------------------------ what is asked
def _guess(masks: Sequence[Evidence]) -> Verdict:
    if _numbered(masks):
        most = max(len(mask.values) for mask in masks)
        return _instances(masks, f": up to {most} values in a mask, and each is one connected piece")
    values = _values(masks)
    if len(values) == 1 and values[0] > MANY_VALUES and values[0] not in _WHITE:
        return _binary(masks)
    if faults := tuple(_grays(masks, _classes_of(masks))):
        return Verdict(faults=faults)
    verdict = _classes(masks)
    return replace(verdict, warnings=(*verdict.warnings, *_perhaps_numbered(masks), *_far_too_high(masks)))


def _classes(masks: Sequence[Evidence], *, guess: bool = True) -> Verdict:
    whites = [_white(mask) for mask in masks]
    alone = [
        guess and white is not None and len(mask.values) == 1 and not mask.ignores
        for mask, white in zip(masks, whites, strict=True)
    ]
    ignores = [white is not None and not single for white, single in zip(whites, alone, strict=True)]
    facts, warnings = [], []
    if any(ignores) and any(alone):
        ignoring = sum(alone) <= sum(ignores)
        one, other = masks[alone.index(True)], masks[ignores.index(True)]
        warnings.append(
            f"{counted(sum(alone), 'mask')} with 0 and {one.top} alone ({one.name}), {sum(ignores)} with other values besides "
            f"({other.name}); {one.top} was taken as " + ("ignored in all of them" if ignoring else "mask class 1 in the former, "
            "as ignored in the latter") + ": --mask-kind classes or binary overrules it"
        )  # fmt: skip
        if ignoring:
            ignores = [white is not None for white in whites]
            alone = [False] * len(masks)
    values = _classes_of([mask for mask, single in zip(masks, alone, strict=True) if not single])
    if any(alone):
        one = masks[alone.index(True)]
        facts.append(f"{counted(sum(alone), 'mask')} in black and white (0 and {one.top}): white is mask class 1")
        if len(values) > 1:
            warnings.append(
                f"some masks are black and white ({one.name}), others hold the values {_listed(values)}; white was taken as mask "
                "class 1: check that this is meant"
            )
    if values:
        facts.append(f"the values of the masks are mask classes: {_listed(values)}")
    if any(ignores):
        white = masks[ignores.index(True)].top
        facts.append(f"the value {white} means ignored, in {counted(sum(ignores), 'mask')}: its pixels are left out")
    rules = tuple(
        MaskRule("binary") if single else MaskRule("classes", ignore=white) for single, white in zip(alone, whites, strict=True)
    )
    return Verdict(rules, tuple(facts), tuple(warnings))


def _instances(masks: Sequence[Evidence], why: str = "") -> Verdict:
    ignored = [_white(mask) if len(mask.values) > 1 else None for mask in masks]
    facts = [f"the values of the masks are instance labels{why}; all objects are of one mask class"]
    if why:
        facts[0] += " (--mask-kind classes overrules it)"
    if count := sum(value is not None for value in ignored):
        facts.append(f"the value 255 (65535 in 16 bits) means ignored, in {counted(count, 'mask')}: its pixels are left out")
    return Verdict(tuple(MaskRule("instances", ignore=value) for value in ignored), tuple(facts))


def _binary(masks: Sequence[Evidence]) -> Verdict:
    top, values = max(mask.top for mask in masks), _values(masks)
    smooth = any(mask.fractions or mask.lossy for mask in masks) or len(values) > MANY_VALUES or _sparse(values)
    white = 1 if top <= 1 else next((white for white in _WHITE if top <= white), top)
    cut = white / 2 if smooth and (len(values) > 1 or top <= 1) else 0.0
    what = f"values above {cut:g} are" if cut else "all that is not 0 is" if len(values) > 1 else f"{_listed(values) or 1} is"
    rule = MaskRule("binary", cut=cut)
    return Verdict((rule,) * len(masks), (f"the masks are taken as black and white: {what} the one mask class",))


_READINGS: Mapping[MaskKind, Callable[[Sequence[Evidence]], Verdict]] = {
    "auto": _guess,
    "classes": lambda masks: _classes(masks, guess=False),
    "instances": _instances,
    "binary": _binary,
}


# ------------------------------------------------------------------------------------------------------------- what is odd
def _fractions(masks: Sequence[Evidence], asked: MaskKind) -> Iterator[str]:
    if asked == "binary" or not (found := [mask for mask in masks if mask.fractions]):
        return
    like = ", as probabilities do" if all(mask.top <= 1 for mask in found) else ""
    yield (
        f"{_hold(found)} fractions{like}; label values are whole numbers and 0 is the background: save whole numbers, or give "
        "--mask-kind binary to cut at half"
    )


def _lossy(masks: Sequence[Evidence], asked: MaskKind) -> Iterator[str]:
    found = [mask for mask in masks if mask.lossy and set(mask.values) - {255}]
    if found and (asked != "binary" or max(mask.top for mask in found) < _GRAY_LEVELS):
        yield (
            f"{_hold(found)} {len(_values(found))} different values after JPEG, which changes label values: save masks "
            "as PNG or TIFF; black and white ones can be cut at half by --mask-kind binary"
        )


def _grays(masks: Sequence[Evidence], values: Sequence[int]) -> Iterator[str]:
    """Refuse what is neither classes nor objects: grays for the eye, smoothed edges, values that are far too high."""
    if not values or values[-1] <= MANY_VALUES:
        return
    pieces = [mask.pieces for mask in masks if mask.pieces is not None]
    if not _sparse(values) and pieces and sum(pieces) / len(pieces) >= _SCATTERED:
        return
    guilty = [mask for mask in masks if set(mask.values) & set(values)]
    if any(_white(mask) is not None for mask in masks) or max(mask.top for mask in masks) in range(200, 256):
        yield (
            f"{_hold(guilty)} grays between black and white ({_listed(values)}), as after resizing: where they are smooth "
            "edges, save value > 127, or give --mask-kind binary to cut at half; where grays stand for classes, save them as "
            "0, 1, 2, ... or list them in mask_colors.csv (color,value)"
        )


def _far_too_high(masks: Sequence[Evidence]) -> Iterator[str]:
    if _sparse(values := _classes_of(masks)):
        yield (
            f"the masks hold the values {_listed(values)}, and most numbers up to {values[-1]} occur nowhere; a value is a mask "
            "class: save them as 1, 2, ..., or give --instance-labels where each value is an object"
        )


def _numbered(masks: Sequence[Evidence]) -> bool:
    """Return whether values surely number objects: many, one connected piece each, and counted from 1 in each mask."""
    if len(_values(masks)) <= MANY_VALUES:
        return False
    filled = [mask for mask in masks if mask.values]
    seen = [(mask.pieces, len(mask.values)) for mask in filled if mask.pieces is not None]
    pieces = sum(share * count for share, count in seen) / max(sum(count for _, count in seen), 1)
    counted = [len(mask.values) >= _CONTIGUOUS * mask.top or mask.top > MAX_CLASS for mask in filled]
    return pieces >= _SINGLE and sum(counted) >= _CONTIGUOUS * len(counted)


def _perhaps_numbered(masks: Sequence[Evidence]) -> Iterator[str]:
    filled = [mask for mask in masks if mask.values]
    several = [mask for mask in filled if len(mask.values) > 1]
    counted = all(mask.values == tuple(range(1, len(mask.values) + 1)) and mask.pieces in (1.0, None) for mask in filled)
    counted &= any(mask.pieces is not None for mask in filled)
    if len(filled) > 1 and counted and 2 * len(several) > len(filled):
        yield (
            f"in every mask each value (1 to {max(mask.top for mask in filled)}) is one connected piece, as instance labels are, "
            "and values were taken as mask classes: where they number objects of one class, give --instance-labels"
        )


def _odd(masks: Sequence[Evidence]) -> Iterator[str]:
    if all(mask.counts and 0 not in mask.counts for mask in masks):
        yield "no mask has a pixel of background (0): where another value is the background, save it as 0"
    if all(len(mask.values) <= 1 for mask in masks):
        pixels = sum(sum(mask.counts.values()) for mask in masks)
        painted = 1 - sum(mask.counts.get(0, 0) for mask in masks) / max(pixels, 1)
        if painted > 0.5 and sum(mask.edge for mask in masks) > 0.5 * len(masks):
            yield f"{share(painted)} of the masks are painted, their edges too; where black is the object, invert them"


# ------------------------------------------------------------------------------------------------------------------- parts
def _white(mask: Evidence) -> int | None:
    """Return the value that is white or means ignored, where it occurs and is not the last of a row of numbers."""
    top = mask.top
    return top if top in _WHITE and top - 1 not in mask.counts else None


def _values(masks: Sequence[Evidence]) -> list[int]:
    return sorted({value for mask in masks for value in mask.values})


def _classes_of(masks: Sequence[Evidence]) -> list[int]:
    """Return the values but for white."""
    return sorted({value for mask in masks for value in mask.values if value != _white(mask)})


def _sparse(values: Sequence[int]) -> bool:
    return bool(values) and values[-1] > MANY_VALUES and len(values) < values[-1] / 2


def _listed(values: Sequence[int]) -> str:
    return named(values, 8)


def _hold(masks: Sequence[Evidence]) -> str:
    return f"{len(masks)} masks, for instance {masks[0].name}, hold" if len(masks) > 1 else f"the mask {masks[0].name} holds"
