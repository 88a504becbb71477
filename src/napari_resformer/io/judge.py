"""A file is judged before it is worked on: whether its bytes can hold what it announces, and memory the pixels."""

from __future__ import annotations

from napari_resformer.devices import free_memory


class UnreadableError(ValueError):
    """What is wrong with a file, in words for its user; what decoders say is for programmers."""


_SLACK = 2**16
"""Bytes that are not worth a refusal."""


def check_claim(claimed: int, held: int, most: float, what: str) -> None:
    """Refuse sizes that a file cannot hold.

    Parameters
    ----------
    claimed : int
        Bytes of the pixels that the file announces.
    held : int
        Bytes that they are stored in.
    most : float
        How many bytes of pixels a byte can become when it is decompressed, at most.
    what : str
        What makes the claim, with its size, for the message.

    Raises
    ------
    UnreadableError
        If the claim cannot be true.
    """
    if claimed > held * most + _SLACK:
        raise UnreadableError(
            f"it announces {what}, which its {held} bytes cannot hold; it is damaged or was cut off: copy it again"
        )


def has_memory(needed: int) -> bool:
    """Return whether so many bytes are free."""
    free = free_memory("cpu")
    return free is None or needed <= free


def check_memory(needed: int, what: str) -> None:
    """Refuse what is read as a whole where it is larger than the free memory.

    Raises
    ------
    UnreadableError
        If memory is short.
    """
    free = free_memory("cpu")
    if free is not None and needed > free:
        raise UnreadableError(
            f"{what} need {needed / 2**30:.1f} GB of memory, {free / 2**30:.1f} GB are free; save it as a tiled TIFF or an "
            "OME-Zarr, which are read in parts"
        )
