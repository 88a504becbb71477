"""Masks that are transparent or in colour: what becomes of them before their values count."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from napari_resformer.samples.rules import MAX_CLASS, MaskKind
from napari_resformer.samples.stored import MANY_COLOURS, Evidence
from napari_resformer.samples.words import counted, named

COLOR_TABLE = "mask_colors.csv"
"""In a data folder: which colour of its masks is which label value."""

_BLACK = 0
_SHOWN = 8
_HEADS = {"colour", "color", "rgb", "hex"}
Opacity = Literal["unused", "background", "mask"]


@dataclass(frozen=True)
class Plain:
    """Masks whose values are numbers of one kind.

    Parameters
    ----------
    masks : tuple of Evidence
        As they were given, with the counts of what their transparency and colours stand for.
    opacity : tuple of {"unused", "background", "mask"}
        What each mask's transparency is; see :class:`~napari_resformer.samples.rules.MaskRule`.
    colours : tuple of (int, int)
        Label values of colours.
    facts, faults : tuple of str
        What was found, and why it cannot be used.
    """

    masks: tuple[Evidence, ...]
    opacity: tuple[Opacity, ...]
    colours: tuple[tuple[int, int], ...] = ()
    facts: tuple[str, ...] = ()
    faults: tuple[str, ...] = ()


def resolve(masks: Sequence[Evidence], asked: MaskKind, table: Mapping[int, int]) -> Plain:
    """Decide what transparency and colours stand for.

    Parameters
    ----------
    masks : sequence of Evidence
        Of all masks of a folder.
    asked : {"auto", "classes", "instances", "binary"}
        What the user said.
    table : mapping of int to int
        Label values of colours (0xRRGGBB), where the folder says them.
    """
    plain = _opacity(masks, asked)
    return plain if plain.faults else _colours(plain, asked, table)


def read_colour_table(path: Path) -> dict[int, int]:
    """Read which colour is which label value: lines of ``color,value`` such as ``#ff0000,1``; black is 0 unless it is listed.

    Raises
    ------
    ValueError
        If a line is no colour and a value from 0 to 255, or a colour comes twice.
    """
    table: dict[int, int] = {}
    lines = list(csv.reader(io.StringIO(path.read_text(encoding="utf-8-sig"), newline="")))
    for number, line in enumerate(lines, start=1):
        values = [value.strip() for value in line]
        if not any(values) or (number == 1 and values[0].casefold() in _HEADS):
            continue
        colour = re.fullmatch(r"#?([0-9a-fA-F]{6})", values[0])
        if len(values) < 2 or not colour or not values[1].isdecimal() or int(values[1]) > MAX_CLASS + 1:
            said = ",".join(line)
            raise ValueError(f"line {number} of {path} is {said!r}; each line gives a color and its label value: #ff0000,1")
        if int(colour[1], 16) in table:
            raise ValueError(f"{path} gives the color {values[0]} twice; keep one of these lines")
        table[int(colour[1], 16)] = int(values[1])
    return table


def _opacity(masks: Sequence[Evidence], asked: MaskKind) -> Plain:
    """Take what is transparent as background, or, where all that is opaque looks alike, what is opaque as the mask."""
    clear = [mask for mask in masks if mask.opacity != "all"]
    if not clear or not any(mask.beneath for mask in clear):  # a fourth channel that nobody filled
        return Plain(tuple(masks), tuple("unused" for _ in masks))
    soft = [mask for mask in clear if mask.opacity == "soft"]
    if soft and asked != "binary":
        fault = (
            f"the mask {soft[0].name} is half transparent in places ({counted(len(soft), 'mask')}), as at soft edges: save whole "
            "numbers without transparency, or give --mask-kind binary to cut at half"
        )
        return Plain((), (), faults=(fault,))
    if len({value for mask in clear for value in mask.beneath}) == 1:
        fact = f"{counted(len(clear), 'mask')} drawn on a transparent background: what is opaque is the one mask class"
        use: Opacity = "mask"
    else:
        fact, use = f"transparent pixels count as background, in {counted(len(clear), 'mask')}", "background"
    seen = []
    for mask in masks:
        if mask.opacity != "all":
            hidden = sum(mask.counts.values()) - sum(mask.beneath.values())
            shown = Counter({1: sum(mask.beneath.values())} if use == "mask" else mask.beneath)
            mask = replace(mask, counts=shown + Counter({0: hidden}), colour=mask.colour and use != "mask", pieces=None)
        seen.append(mask)
    return Plain(tuple(seen), tuple(use if mask.opacity != "all" else "unused" for mask in masks), facts=(fact,))


def _colours(plain: Plain, asked: MaskKind, table: Mapping[int, int]) -> Plain:
    """Turn colours to label values: by the table, or where there is one beside black."""
    coloured = [mask for mask in plain.masks if mask.colour]
    grays = {colour for mask in plain.masks if not mask.colour for colour in _as_colours(mask)}
    if not coloured and not (table and grays <= {_BLACK, *table}):
        unused = (f"{COLOR_TABLE} is not used: the masks hold other values than its colors",) if table else ()
        return replace(plain, facts=(*plain.facts, *unused))
    found = Counter(colour for mask in coloured for colour in mask.counts)
    if not table and any(not mask.counts for mask in coloured):
        photo = next(mask for mask in coloured if not mask.counts)
        fault = (
            f"the mask {photo.name} holds more than {MANY_COLOURS} colors, as a photograph or a JPEG file does; save label "
            "values 0, 1, 2, ... in a grayscale PNG or TIFF"
        )
        return replace(plain, faults=(fault,))
    told = dict(table) or _evident(grays | found.keys(), asked)
    if told is None:
        listed = named([f"#{colour:06x}" for colour in sorted(found)], _SHOWN)
        fault = (
            f"{counted(len(coloured), 'mask')} in color ({listed}), for instance {coloured[0].name}; which color means which "
            f"class is not known: write {COLOR_TABLE} beside masks/ with a line color,value each, for instance "
            f"#{max(found):06x},1, or save label values 0, 1, 2, ..."
        )
        return replace(plain, faults=(fault,))
    told.setdefault(_BLACK, 0)
    everything = grays | found.keys()
    if strange := sorted(everything - told.keys()):
        which = next(mask for mask in plain.masks if strange[0] in _as_colours(mask))
        listed = named([f"#{colour:06x}" for colour in strange], _SHOWN)
        fault = f"the mask {which.name} holds a color that has no value in {COLOR_TABLE}: {listed}; add a line for each"
        return replace(plain, faults=(fault,))
    masks = tuple(_by_table(mask, told) for mask in plain.masks)
    fact = "colors of the masks: " + ", ".join(f"#{colour:06x} is {told[colour]}" for colour in sorted(everything)[:_SHOWN])
    return replace(plain, masks=masks, colours=tuple(sorted(told.items())), facts=(*plain.facts, fact))


def _as_colours(mask: Evidence) -> dict[int, int]:
    return {value if mask.colour else value * 0x010101: count for value, count in mask.counts.items()}


def _evident(found: Set[int], asked: MaskKind) -> dict[int, int] | None:
    """Return the values of colours of which nobody can be in doubt, else None."""
    others = sorted(found - {_BLACK})
    if _BLACK in found and (len(others) == 1 or asked == "binary"):
        return dict.fromkeys(others, 1)
    return None


def _by_table(mask: Evidence, told: Mapping[int, int]) -> Evidence:
    counts: Counter[int] = Counter()
    for colour, count in _as_colours(mask).items():
        counts[told[colour]] += count
    return replace(mask, counts=counts, colour=False, pieces=None)
