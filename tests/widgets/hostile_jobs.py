"""Jobs that end badly, for the worker process: imported there by name."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any


def crash(*_: Any) -> Iterator[Any]:
    """Die as a library with a bug does."""
    import ctypes

    from napari_resformer.events import Progress

    yield Progress(1, 2, "tile")
    ctypes.string_at(0)


def refused_memory(*_: Any) -> Iterator[Any]:
    """Ask for more memory than any machine has."""
    import numpy as np

    from napari_resformer.events import Progress

    yield Progress(1, 2, "tile")
    np.ones(2**60, np.uint8)


def unpicklable(*_: Any) -> Iterator[Any]:
    """Raise what cannot be sent to another process."""
    from napari_resformer.events import Progress

    class Odd(Exception):  # noqa: N818 - a name of somebody else's
        def __init__(self) -> None:
            super().__init__("odd")
            self.function = lambda: None

        def __reduce__(self) -> Any:
            raise TypeError("not to be sent")

    yield Progress(1, 2, "tile")
    raise Odd
