"""What the widgets tell each other, in all windows of this process."""

from __future__ import annotations

from psygnal import Signal


class LibraryNews:
    """Tells that the user's library of models has changed; a listener is held weakly."""

    changed = Signal(str)
    """A model of this name was saved."""


library = LibraryNews()
