"""Numbers and lists in sentences."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence


def counted(number: int, noun: str, plural: str = "") -> str:
    """Return a number with its noun, for instance ``1 image`` or ``3 classes``."""
    return f"{number} {noun if number == 1 else plural or f'{noun}s'}"


def named(items: Sequence[object], most: int = 5, between: str = ", ") -> str:
    """Return the first few of some items, and how many there are where that is not all.

    Parameters
    ----------
    items : sequence
        What to name.
    most : int
        How many are shown.
    between : str
        What stands between two.
    """
    shown = between.join(map(str, items[:most]))
    return shown if len(items) <= most else f"{shown}{between}and {len(items) - most} more"


def alike_once(faults: Iterable[tuple[str, str]]) -> tuple[str, ...]:
    """Return each kind of fault once, with the names of the others that have it.

    Parameters
    ----------
    faults : iterable of (str, str)
        Names, and what is wrong with each in words that hold the name.
    """
    alike: dict[str, list[str]] = {}
    for name, fault in faults:
        alike.setdefault(fault.replace(name, "\0"), []).append(name)
    return tuple(
        fault.replace("\0", names[0]) + (f" (the same with {named(names[1:])})" if len(names) > 1 else "")
        for fault, names in alike.items()
    )


def gathered(notes: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    """Return each note once, after the names of what it is true of.

    Parameters
    ----------
    notes : mapping of str to sequence of str
        What is noted, by name.
    """
    names: dict[str, list[str]] = {}
    for name, of_name in notes.items():
        for note in of_name:
            names.setdefault(note, []).append(name)
    return tuple(f"{named(of, 3)}: {note}" for note, of in names.items())
