"""A run in napari's activity dock; on the GUI thread only."""

from __future__ import annotations

from contextlib import suppress

from napari.utils import progress


class Activity:
    """The bar of one run.

    Parameters
    ----------
    words : str
        What is running.
    """

    def __init__(self, words: str) -> None:
        self._bar: progress | None = progress(total=0, desc=words)  # napari processes events meanwhile

    def show(self, done: int, total: int) -> None:
        """Show how far the run is; it never goes back."""
        if self._bar is not None and done > self._bar.n:
            self._bar.total = total
            self._bar.update(done - self._bar.n)

    def close(self) -> None:
        """Take the bar away; the dock may be gone with its window."""
        bar, self._bar = self._bar, None
        if bar is not None:
            with suppress(RuntimeError):
                bar.close()
