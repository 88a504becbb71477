"""What libraries say of a file while they read it: their log lines and warnings become notes."""

from __future__ import annotations

import logging
import re
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

_LOGGERS = ("tifffile",)
_MOST = 3
"""Notes of one file at most; a damaged one can make a library say the same of every page."""

_ONE_AT_A_TIME = threading.RLock()  # the filters of warnings belong to the whole process


_LISTENING = threading.local()


class _Listener(logging.Handler):
    """Keep what is logged in one thread."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []
        self._thread = threading.get_ident()

    def emit(self, record: logging.LogRecord) -> None:
        if record.thread in (None, self._thread):
            self.lines.append(record.getMessage())


@contextmanager
def listening() -> Iterator[list[str]]:
    """Collect what is logged in this thread; the list is filled when the block ends, however it ends."""
    listener, notes = _Listener(), list[str]()
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    outer = getattr(_LISTENING, "depth", 0)
    _LISTENING.depth = outer + 1
    for logger in loggers:
        logger.addHandler(listener)
    try:
        yield notes
    finally:
        _LISTENING.depth = outer
        for logger in loggers:
            logger.removeHandler(listener)
        notes += _short(listener.lines)


class _Overhearer(logging.Handler):
    """Keep what is logged where nobody listens, in any thread."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if not getattr(_LISTENING, "depth", 0):
            self.lines.append(record.getMessage())


@contextmanager
def overhearing() -> Iterator[list[str]]:
    """Collect what is logged while pixels are read late, for a program; the list is filled when the block ends.

    Logging prints what nobody handles. With this around it, no raw line of a library gets between those of a program.
    """
    overhearer, notes = _Overhearer(), list[str]()
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    for logger in loggers:
        logger.addHandler(overhearer)
    try:
        yield notes
    finally:
        for logger in loggers:
            logger.removeHandler(overhearer)
        notes += _short(overhearer.lines)


@contextmanager
def hearing_warnings() -> Iterator[list[str]]:
    """Collect the warnings of short work; the list is filled when the block ends. Other threads wait."""
    notes: list[str] = []
    with _ONE_AT_A_TIME, warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        try:
            yield notes
        finally:
            notes += _short([str(warning.message) for warning in heard])


def _short(lines: list[str]) -> list[str]:
    """Return each line once, without the name of the object that said it, and not too many."""
    plain = [re.sub(r"^<[^>]*>\s*", "", " ".join(line.split())) for line in lines]
    unique = list(dict.fromkeys(line for line in plain if line))
    more = [f"and {len(unique) - _MOST} more remarks of this kind"] if len(unique) > _MOST else []
    return unique[:_MOST] + more
