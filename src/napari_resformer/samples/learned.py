"""Which images a model has learned from: written into its card, and found again by content rather than by name."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Sequence

from pydantic import JsonValue

from napari_resformer.model.card import Card
from napari_resformer.samples.content import HASH_SIDE, Content, alike
from napari_resformer.samples.survey import SampleFacts

NAMES, CONTENTS = "learned_names", "learned_contents"
"""Fields of a card's training record; cards of the first release have the names alone."""


def near_duplicates(one: Sequence[SampleFacts], other: Sequence[SampleFacts]) -> list[tuple[str, str]]:
    """Return pairs of names, one from each side, of planes that look alike."""
    prints = [[fact.content.fingerprint for fact in side] for side in (one, other)]
    return [(one[left].name, other[right].name) for left, right in alike(*prints)]


def learned_record(facts: Iterable[SampleFacts], start: Card | None = None) -> dict[str, JsonValue]:
    """Return what a card says of the images that its model has learned from.

    Parameters
    ----------
    facts : iterable of SampleFacts
        Of the images that the model is trained on.
    start : Card, optional
        Of the model that it starts from, whose images count as well.

    Returns
    -------
    dict
        For the card's ``training``: names, and for each image its name, checksum and fingerprint (base64).
    """
    names, contents = _names(start), {entry[1:]: entry for entry in _entries(start)}
    for fact in facts:
        names.add(fact.name)
        told = (fact.name, fact.content.checksum, base64.b64encode(fact.content.fingerprint).decode())
        contents[told[1:]] = told
    return {NAMES: [*sorted(names)], CONTENTS: [list(entry) for entry in sorted(contents.values())]}


def learned_among(card: Card | None, planes: Sequence[tuple[str, Content]]) -> list[str]:
    """Return the names of those planes that a model has learned from, in their order.

    Parameters
    ----------
    card : Card, optional
        Of the model; None for one that has learned from nothing.
    planes : sequence of (str, Content)
        Names and contents.

    Notes
    -----
    Planes are compared by content: another file of a known name is new, and a copy by another name is known. Where a card holds
    the name alone, as those of the first release do, names are compared.
    """
    entries = _entries(card)
    only_named = _names(card) - {name for name, _, _ in entries}
    sums = {checksum for _, checksum, _ in entries}
    prints = [_print(text) for _, _, text in entries]
    looking_alike = {left for left, _ in alike([content.fingerprint for _, content in planes], prints)}
    return [
        name
        for place, (name, content) in enumerate(planes)
        if name in only_named or place in looking_alike or (content.checksum and content.checksum in sums)
    ]


def _names(card: Card | None) -> set[str]:
    names = card.training.get(NAMES) if card else None
    return set(map(str, names)) if isinstance(names, list) else set()


def _entries(card: Card | None) -> list[tuple[str, str, str]]:
    """Return names, checksums and fingerprints; what is no such entry, in a card that somebody wrote by hand, is left out."""
    told = card.training.get(CONTENTS) if card else None
    found = []
    for entry in told if isinstance(told, list) else ():
        if isinstance(entry, list) and len(entry) == 3 and all(isinstance(part, str) for part in entry):
            name, checksum, text = map(str, entry)
            found.append((name, checksum, text))
    return found


def _print(text: str) -> bytes:
    try:
        content = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return b""
    return content if len(content) == HASH_SIDE**2 // 8 else b""
