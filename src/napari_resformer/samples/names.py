"""Which image a name stands for: names are matched as people write them."""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from pathlib import PurePosixPath

from napari_resformer.io.read import SUFFIXES

_EDGE = r"[\s_.\-]"
_MASK_WORDS = (
    r"(?:cp[\s_-]?masks?|masks?|seg|segmentations?|segmented|labels?|labelled|labeled|labelmap|gt|ground[\s_-]?truth|truth|"
    r"annotations?|annotated|annot|instances?|objects?|manual\d?)"
)
_IMAGE_WORDS = r"(?:images?|img|im|raw|original|orig|input)"
_NO_UNICODE = re.compile("[\udc80-\udcff]")
_ALIKE = 0.5
"""How alike two names must be, 0 to 1, for one to be offered in place of the other."""


def _at_either_end(words: str) -> re.Pattern[str]:
    """Match words that a separator, or a digit of the name, sets off from the rest."""
    return re.compile(rf"^{words}(?:{_EDGE}+|(?=\d)|$)|(?:{_EDGE}+|(?<=\d)){words}$")


_OF_MASKS, _OF_IMAGES = _at_either_end(_MASK_WORDS), _at_either_end(_IMAGE_WORDS)


class AmbiguousNameError(ValueError):
    """A name that fits several images; ``images`` are their names."""

    def __init__(self, name: str, images: Sequence[str]) -> None:
        super().__init__(f"{name} fits {' and '.join(images)}")
        self.images = tuple(images)


def parts_of(name: str) -> tuple[str, ...]:
    """Return the folders and the file name of a path as any system writes it, in Unicode's composed form.

    Bytes that are no Unicode, as in names from old archives, are taken as Western European letters.
    """
    if _NO_UNICODE.search(name):
        name = name.encode("utf-8", "surrogateescape").decode("cp1252", "replace")
    text = unicodedata.normalize("NFC", name).replace("\\", "/")
    return tuple(part.strip() for part in text.split("/") if part.strip() not in ("", "."))


def stem_of(name: str) -> str:
    """Return a file's name without its format: ``a.b.1.png`` is ``a.b.1``, and ``a.ome.tif`` and ``a.ome.png`` are ``a``."""
    last = (parts_of(name) or ("",))[-1]
    suffix = PurePosixPath(last).suffix
    if suffix.lower() not in SUFFIXES:
        return last
    bare = last[: -len(suffix)]
    return bare[:-4] if bare.lower().endswith(".ome") and len(bare) > 4 else bare


def path_stem(name: str) -> str:
    """Return a path below a folder without the file's format: the group of an image that has no other."""
    folder, slash, _ = name.rpartition("/")
    return folder + slash + stem_of(name)


def folded(name: str) -> str:
    """Return a file's stem as it is compared: without regard to capitals and to runs of spaces."""
    return re.sub(r"\s+", " ", unicodedata.normalize("NFC", stem_of(name).casefold())).strip()


def looks_like_mask(name: str) -> bool:
    """Return whether a file's name says that it is a mask, as ``a_mask.png`` and ``label-3.tif`` do."""
    return _OF_MASKS.search(folded(name)) is not None


def _without(pattern: re.Pattern[str], text: str) -> str:
    while (shorter := pattern.sub("", text, count=1).strip(" _.-")) != text:
        text = shorter
    return text


def _file_name(name: str) -> str:
    return (parts_of(name) or ("",))[-1]


def _of_any_format(name: str) -> str:
    return re.sub(r"\.(?=\w*[a-z])\w{2,5}$", "", folded(name))


def _core(name: str) -> str:
    return _without(_OF_IMAGES, folded(name))


def _of_mask(name: str) -> str:
    return _without(_OF_MASKS, folded(name))


def _core_of_mask(name: str) -> str:
    return _without(_OF_IMAGES, _of_mask(name))


def _loose(key: Callable[[str], str]) -> Callable[[str], str]:
    """Compare without zeros in front of numbers, and whatever separates the parts of a name."""
    return lambda name: re.sub(r"(?<!\d)0+(?=\d)", "", re.sub(rf"{_EDGE}+", "_", key(name)))


Key = Callable[[str], str]
_FOR_MASKS: tuple[tuple[Key, Key], ...] = (
    (stem_of, stem_of),
    (folded, folded),
    (folded, _of_mask),
    (_core, _core_of_mask),
    (_loose(_core), _loose(_core_of_mask)),
)
"""How an image's name and a mask's are compared, from the strictest way to the laxest; the first that fits counts."""
_FOR_TABLES: tuple[tuple[Key, Key], ...] = (
    (_file_name, _file_name),
    (stem_of, stem_of),
    (folded, folded),
    (folded, _of_any_format),
    (_core, _core),
    (_loose(_core), _loose(_core)),
)
"""The same for a name in a table."""


class ImageNames:
    """The names of the images of a folder, and what is meant by others.

    Parameters
    ----------
    names : sequence of str
        Paths below the folder, with ``/`` between their parts.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self.names = tuple(names)
        self._folders = [_folders(name) for name in names]
        self._by_key: dict[Key, defaultdict[str, list[int]]] = {}

    def of_mask(self, name: str) -> int | None:
        """Return the number of the image that a mask is named after, or None.

        Raises
        ------
        AmbiguousNameError
            If several images fit equally well.
        """
        return self._find(name, _FOR_MASKS, elsewhere=False)

    def of_entry(self, name: str) -> int | None:
        """Return the number of the image that an entry of a table names, or None; raises as :meth:`of_mask`."""
        return self._find(name, _FOR_TABLES, elsewhere=True)

    def nearest(self, name: str) -> str | None:
        """Return the image whose name is most like one that fits none, or None where none is like it."""
        by_stem = {folded(image): image for image in reversed(self.names)}
        close = get_close_matches(_of_mask(name) or folded(name), by_stem, n=1, cutoff=_ALIKE)
        return by_stem[close[0]] if close else None

    def _find(self, name: str, ways: Sequence[tuple[Key, Key]], *, elsewhere: bool) -> int | None:
        """Return the image; ``elsewhere`` allows it to lie in a folder of another name."""
        folders = _folders(name)
        for of_image, of_other in ways:
            shared = {number: _shared_end(self._folders[number], folders) for number in self._keys(of_image)[of_other(name)]}
            if not elsewhere and folders:
                shared = {number: length for number, length in shared.items() if length or not self._folders[number]}
            ranks = {number: (self._folders[number] == folders, length) for number, length in shared.items()}
            best = [number for number, rank in ranks.items() if rank == max(ranks.values())]
            if len(best) > 1:
                raise AmbiguousNameError(name, [self.names[number] for number in best])
            if best:
                return best[0]
        return None

    def _keys(self, key: Key) -> defaultdict[str, list[int]]:
        if key not in self._by_key:
            keys: defaultdict[str, list[int]] = defaultdict(list)
            for number, name in enumerate(self.names):
                keys[key(name)].append(number)
            self._by_key[key] = keys
        return self._by_key[key]


def _folders(name: str) -> tuple[str, ...]:
    """Return the folders of a path as they are compared: ``day1_masks`` is ``day1``, and ``masks`` itself is none."""
    return tuple(filter(None, map(_core_of_mask, parts_of(name)[:-1])))


def _shared_end(one: Sequence[str], other: Sequence[str]) -> int:
    """Return how many folders next to the file two paths have in common."""
    length = 0
    for mine, theirs in zip(reversed(one), reversed(other), strict=False):
        if mine != theirs:
            break
        length += 1
    return length
