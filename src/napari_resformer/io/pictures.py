"""PNG, JPEG, GIF, BMP and WebP pictures: their samples as stored, turned as the camera says, frames as time."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from napari_resformer.images.words import size_words
from napari_resformer.io.judge import UnreadableError, check_claim, check_memory
from napari_resformer.io.lazy import turned
from napari_resformer.io.metadata import Found, Samples
from napari_resformer.io.names import pick
from napari_resformer.io.said import hearing_warnings

_ORIENTATION = 274
_GRAY = {"1", "L", "I", "F", "I;16", "I;16B", "I;16L"}
_MOVIES = {"GIF", "PNG", "WEBP"}
"""Formats whose frames are a movie; the further pictures in a JPEG are previews or depths of the first."""

_MOST = {"PNG": 1040.0, "JPEG": 1100.0, "GIF": 3000.0, "BMP": 256.0}
"""Bytes of pixels that a byte of the file can become at most; WebP has no such bound, and a side of 16383 pixels at most."""

_PNG_COLOURS = (0, 2, 4, 6)
"""Kinds of PNG without a palette: libpng makes colours of the indices of one."""

_WEBP_HEAD = 2**16  # bytes in which a lossless picture says that it is one

_TIMES_IN_MEMORY = 2  # as decoded, and as an array


def is_picture(head: bytes) -> bool:
    """Return whether a file that begins so is a picture of a known format."""
    return _format(head) is not None


def read_picture(path: Path, chosen: int | None = None) -> Found:
    """Describe a picture; the frames of an animated one are T.

    Raises
    ------
    ValueError, OSError, SyntaxError
        If the file is damaged.
    """
    pick(path.name, ["its picture"], chosen)
    with path.open("rb") as file:
        head = file.read(32)
        try:
            return _read(path, file, head)
        except UnreadableError:
            raise
        except (SyntaxError, ValueError):  # a block beside the pixels may be damaged
            if _format(head) != "PNG" or head[25] not in _PNG_COLOURS:
                raise
    width, height = (int.from_bytes(head[start : start + 4], "big") for start in (16, 20))
    check_claim(width * height, path.stat().st_size, _MOST["PNG"], size_words((height, width)))
    values, samples = _by_libpng(path)
    said = "a block beside its pixels is damaged and was ignored, and with it what it may say of orientation and frames"
    return _found(values, replace(samples, bits=head[24]), 1, (said,))


def _read(path: Path, file: IO[bytes], head: bytes) -> Found:
    """Describe a picture as Pillow reads it."""
    file.seek(0)
    with hearing_warnings() as heard:
        picture = _open(file, head)
        orientation, notes = _orientation(picture)
    kind = _format(head) or ""
    frames = int(getattr(picture, "n_frames", 1))
    _judge(picture, kind, frames if kind in _MOVIES else 1, path.stat().st_size)
    if kind in _MOVIES and frames > 1:
        values, samples, said = _movie(picture, frames)
        notes += said
    else:
        values, samples = _still(picture, path, head)
        if frames > 1:
            notes += (f"the file also holds {frames - 1} further picture(s), previews for instance; the first is read",)
    bits = head[24] if kind == "PNG" else 1 if picture.mode == "1" else 8
    lossy = kind == "JPEG" or (kind == "WEBP" and b"VP8L" not in path.read_bytes()[:_WEBP_HEAD])
    return _found(values, replace(samples, bits=bits, lossy=lossy), orientation, (*notes, *heard))


def _found(values: NDArray[Any], samples: Samples, orientation: int, notes: tuple[str, ...]) -> Found:
    most = 2**samples.bits - 1
    if samples.kind == "gray" and samples.bits < 8 and values.dtype != bool:
        values = values // (255 // most)  # they were spread over 8 bits
    y = 1 if values.ndim - (samples.axis is not None) == 3 else 0
    axes = "T" * y + "YX" + ("C" if samples.axis is not None else "")
    return Found((turned(values, orientation, y, y + 1),), axes, samples=samples, notes=notes)


def _format(head: bytes) -> str | None:
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return "WEBP"
    starts = {b"\x89PNG\r\n\x1a\n": "PNG", b"\xff\xd8\xff": "JPEG", b"GIF8": "GIF", b"BM": "BMP"}
    return next((kind for start, kind in starts.items() if head.startswith(start)), None)


def _open(file: IO[bytes], head: bytes) -> Any:
    """Open a picture by its first bytes; Pillow's own way refuses all above 179 million pixels, small files among them."""
    from PIL.BmpImagePlugin import BmpImageFile
    from PIL.GifImagePlugin import GifImageFile
    from PIL.JpegImagePlugin import jpeg_factory
    from PIL.PngImagePlugin import PngImageFile
    from PIL.WebPImagePlugin import WebPImageFile

    makers: dict[str | None, Any] = {
        "PNG": PngImageFile, "JPEG": jpeg_factory, "GIF": GifImageFile, "BMP": BmpImageFile, "WEBP": WebPImageFile,
    }  # fmt: skip
    maker = makers.get(_format(head))
    if maker is None:
        raise UnreadableError(
            "it is no PNG, JPEG, GIF, BMP or WebP file, whatever its name says; save it as one of these, or as TIFF"
        )
    return maker(file)


def _judge(picture: Any, kind: str, frames: int, held: int) -> None:
    width, height = picture.size
    samples = {"1": 1 / 8, "RGB": 3, "RGBA": 4, "CMYK": 4, "LA": 2}.get(picture.mode, 1)
    if kind in _MOST:
        check_claim(int(width * height * samples), held, _MOST[kind], size_words((height, width)))
    check_memory(int(width * height * max(samples, 1) * frames * _TIMES_IN_MEMORY), f"its {size_words((height, width))}")


def _orientation(picture: Any) -> tuple[int, tuple[str, ...]]:
    """Return how the picture is to be turned (1: not at all), and what to say of it."""
    try:
        orientation = picture.getexif().get(_ORIENTATION, 1)
    except Exception:  # noqa: BLE001 - a damaged block makes its reader raise anything
        return 1, ("its EXIF data are damaged and were ignored",)
    if orientation not in range(2, 9):
        return 1, ()
    return orientation, (f"turned as its EXIF orientation ({orientation}) says",)


def _still(picture: Any, path: Path, head: bytes) -> tuple[NDArray[Any], Samples]:
    """Return the pixels of a picture of one frame."""
    if head.startswith(b"\x89PNG") and head[24] == 16 and picture.mode not in _GRAY:  # Pillow makes 8 bits of it
        return _by_libpng(path)
    clear = picture.info.get("transparency")
    if picture.mode == "P":
        return _indexed(picture, clear)
    if picture.mode not in _GRAY | {"LA", "RGB", "RGBA"}:
        picture = picture.convert("RGBA" if picture.mode in ("PA", "RGBa") else "LA" if picture.mode == "La" else "RGB")
    values = np.asarray(picture)
    if picture.mode in _GRAY:
        values = values.astype(np.uint16) if picture.mode == "I" and head[24] == 16 and head.startswith(b"\x89PNG") else values
        return (values, Samples()) if clear is None else (_with_alpha(values[..., None], clear), Samples("gray", 2, alpha=True))
    if picture.mode == "RGB" and clear is not None:
        return _with_alpha(values, clear), Samples("rgb", 2, alpha=True)
    return values, Samples("gray" if picture.mode == "LA" else "rgb", 2, alpha=picture.mode in ("LA", "RGBA"))


def _by_libpng(path: Path) -> tuple[NDArray[Any], Samples]:
    """Return the pixels of a PNG in all their bits, whatever else is in the file."""
    from imagecodecs import png_decode

    values = png_decode(path.read_bytes())
    if values.ndim == 2:
        return values, Samples()
    return values, Samples("gray" if values.shape[-1] == 2 else "rgb", 2, alpha=values.shape[-1] in (2, 4))


def _indexed(picture: Any, clear: Any) -> tuple[NDArray[Any], Samples]:
    """Return the indices of a palette picture, with its transparency where some entries are transparent."""
    values = np.asarray(picture)
    palette = np.array(picture.getpalette("RGB") or [0, 0, 0], np.uint8).reshape(-1, 3)
    if clear is None:
        return values, Samples("palette", palette=palette)
    opacity = np.full(256, 255, np.uint8)
    if isinstance(clear, bytes):
        opacity[: len(clear)] = np.frombuffer(clear[:256], np.uint8)
    else:
        opacity[int(clear) % 256] = 0
    return np.dstack([values, opacity[values]]), Samples("palette", 2, palette, alpha=True)


def _with_alpha(values: NDArray[Any], clear: Any) -> NDArray[Any]:
    """Return samples with transparency where the pixels have the one colour that is called transparent."""
    values = values.astype(np.uint8) * 255 if values.dtype == bool else values
    most = np.iinfo(values.dtype).max if values.dtype.kind in "ui" else 1
    hidden = np.zeros(values.shape[:2], bool)
    with suppress(TypeError, ValueError):  # some writers leave another kind of value there
        hidden = (values == np.asarray(clear)).all(axis=-1)
    return np.concatenate([values, np.where(hidden, 0, most).astype(values.dtype)[..., None]], axis=-1)


def _movie(picture: Any, frames: int) -> tuple[NDArray[Any], Samples, tuple[str, ...]]:
    """Return the frames of a movie, as far as they can be read: gray, or red, green and blue."""
    parts: list[NDArray[Any]] = []
    said: tuple[str, ...] = ()
    for number in range(frames):
        try:
            picture.seek(number)
            parts.append(np.asarray(picture if picture.mode in ("L", "RGB") else picture.convert("RGB")))
        except (OSError, SyntaxError, ValueError) as error:
            if not parts:
                raise
            said = (f"only {number} of its {frames} frames can be read ({error})",)
            break
    if any(part.ndim == 3 for part in parts):
        parts = [part if part.ndim == 3 else np.repeat(part[..., None], 3, axis=-1) for part in parts]
        if all((part == part[..., :1]).all() for part in parts):
            parts = [part[..., 0] for part in parts]
    values = np.stack(parts)
    return values, Samples("rgb", 3) if values.ndim == 4 else Samples(), said
