"""How far a run is: the widget's own bar, and the one in napari's activity dock; on the GUI thread only."""

from __future__ import annotations

import time
from contextlib import suppress

from napari.utils import progress
from qtpy.QtWidgets import QProgressBar

_PAUSE = 0.5  # seconds between two values in the activity dock: for each of them napari paints its window at once


class RunBar(QProgressBar):
    """A bar that is painted with all else that waits to be; Qt's own has the whole window painted for each new value."""

    def say(self, words: str, done: int = 0, total: int = 0) -> None:
        """Show words and how far the run is; a total of 0 is one that is not known."""
        self.setUpdatesEnabled(False)
        try:
            self.setRange(0, total)
            self.setValue(done)
            self.setFormat(words)
        finally:
            self.setUpdatesEnabled(True)


class Activity:
    """The bar of one run in the activity dock.

    Parameters
    ----------
    words : str
        What is running.
    """

    def __init__(self, words: str) -> None:
        self._bar: progress | None = progress(total=0, desc=words)  # napari processes events meanwhile
        self._shown = time.monotonic()

    def show(self, done: int, total: int) -> None:
        """Show how far the run is; it never goes back."""
        now = time.monotonic()
        if self._bar is not None and done > self._bar.n and (done == total or now - self._shown >= _PAUSE):
            self._shown = now
            self._bar.total = total
            self._bar.update(done - self._bar.n)

    def close(self) -> None:
        """Take the bar away; the dock may be gone with its window."""
        bar, self._bar = self._bar, None
        if bar is not None:
            with suppress(RuntimeError):
                bar.close()
