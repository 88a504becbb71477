"""The OME-XML of a TIFF file: what it says of pixels, and a repaired one where it speaks of planes that are not there."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path

from napari_resformer.images.image import PixelSize
from napari_resformer.images.units import micrometres
from napari_resformer.io.numbers import count, positive
from napari_resformer.io.numbers import number as finite

_AXES = "CZT"
Place = tuple[int, ...]


@dataclass(frozen=True)
class OmeFacts:
    """What OME-XML says of one image.

    Parameters
    ----------
    name : str
        The image's name.
    shape : (int, int)
        Height and width in pixels.
    pixel_size : (float, float), optional
        Micrometres in Y and X.
    z_step : float, optional
        Micrometres between planes.
    channel_names : tuple of str
        Names of the channels; empty where some have none.
    notes : tuple of str
        What could not be read and was ignored.
    """

    name: str
    shape: tuple[int, int]
    pixel_size: PixelSize | None
    z_step: float | None
    channel_names: tuple[str, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Ome:
    """The OME-XML of a file, as far as it holds for this file alone.

    Parameters
    ----------
    xml : str
        What tifffile is to be told; empty where the file's own XML is right.
    images : tuple of OmeFacts
        The images whose pixels are in this file.
    notes : tuple of str
        Which planes are missing, or lie in other files.
    """

    xml: str
    images: tuple[OmeFacts, ...]
    notes: tuple[str, ...]


def read_ome(xml: str, file: str, pages: int) -> Ome:
    """Read OME-XML, and repair it where it names planes that this file does not hold.

    Parameters
    ----------
    xml : str
        As the file holds it.
    file : str
        The file's name; others of a set name it.
    pages : int
        How many pages the file has.

    Raises
    ------
    ValueError, KeyError, SyntaxError
        If it is damaged.
    """
    root = ET.fromstring(xml)
    changed, notes = False, list[str]()
    images = []
    others = {_plain(node.attrib["FileName"]) for node in _named(root, "UUID") if node.attrib.get("FileName")} - {_plain(file)}
    uuids = {node.text for node in _named(root, "UUID")}
    own = root.attrib.get("UUID") or (next(iter(uuids)) if len(uuids) == 1 else None)
    for image in [child for child in root if _is(child, "Image")]:
        pixels = next((child for child in image if _is(child, "Pixels")), None)
        if pixels is None or not any(_is(child, "TiffData") for child in pixels):
            continue
        planes = _Planes(pixels, file, own, pages)
        if not planes.there:
            root.remove(image)
            changed = True
            continue
        if len(planes.there) < planes.announced:
            changed = True
            kept = planes.crop(pixels)
            notes.append(_missing(planes, kept, len(others) + 1 if planes.elsewhere else 0))
        images.append(_facts(image, pixels))
    if not images:
        raise ValueError("it names no plane of this file")
    return Ome(ET.tostring(root, encoding="unicode") if changed else "", tuple(images), tuple(dict.fromkeys(notes)))


def metadata_file(xml: str) -> str:
    """Return the name of the file that holds the metadata of a set, where this one does not; else nothing.

    Raises
    ------
    SyntaxError
        If the XML is damaged.
    """
    node = next(_named(ET.fromstring(xml), "BinaryOnly"), None)
    return node.attrib.get("MetadataFile", "") if node is not None else ""


class _Planes:
    """Which of the planes that an image announces lie in this file.

    Attributes
    ----------
    order : str
        Axes of the planes, the fastest first.
    sizes : dict
        Planes an axis; several samples of a pixel are one plane.
    there : dict
        Page of each plane in this file, by its place along ``order``.
    elsewhere : bool
        Whether some planes lie in other files.
    """

    def __init__(self, pixels: ET.Element, file: str, own: str | None, pages: int) -> None:
        order = pixels.attrib["DimensionOrder"]
        if sorted(order) != sorted("XYCZT"):
            raise ValueError(f"its dimension order {order!r} is unknown")
        self.order = order.replace("X", "").replace("Y", "")
        self.samples = max((count(node.attrib.get("SamplesPerPixel")) or 1 for node in pixels if _is(node, "Channel")), default=1)
        self.sizes = {axis: _size(pixels, axis) for axis in _AXES}
        self.sizes["C"] = max(self.sizes["C"] // self.samples, 1)
        _size(pixels, "X"), _size(pixels, "Y")
        self.there: dict[Place, int] = {}
        self.elsewhere = False
        for node in [child for child in pixels if _is(child, "TiffData")]:
            if not _is_own(node, file, own):
                self.elsewhere = True
                continue
            for place, page in self._named(node, pages):
                if page < pages:
                    self.there.setdefault(place, page)

    @property
    def announced(self) -> int:
        """How many planes the image announces."""
        return prod(self.sizes.values())

    def _named(self, node: ET.Element, pages: int) -> Iterator[tuple[Place, int]]:
        """Yield place and page of the planes that one entry names."""
        first = [int(finite(node.attrib.get(f"First{axis}", 0)) or 0) for axis in self.order]
        page = int(finite(node.attrib.get("IFD", 0)) or 0)
        many = count(node.attrib.get("PlaneCount", node.attrib.get("NumPlanes")))
        if many is None:
            many = 1 if "IFD" in node.attrib else pages
        steps = [self.sizes[axis] for axis in self.order]
        at = first[0] + steps[0] * (first[1] + steps[1] * first[2])
        if min(first) < 0 or page < 0:
            return
        for offset in range(min(many, pages - page, self.announced - at)):
            here = at + offset
            yield (here % steps[0], here // steps[0] % steps[1], here // (steps[0] * steps[1])), page + offset

    def crop(self, pixels: ET.Element) -> dict[str, list[int]]:
        """Rewrite an image, so that it announces only what lies in this file; return what is kept, an axis."""
        kept = _box(self.there, self.order)
        for child in [child for child in pixels if _is(child, "TiffData")]:
            pixels.remove(child)
        channels = [child for child in pixels if _is(child, "Channel")]
        for number, channel in enumerate(channels):
            if len(channels) == self.sizes["C"] and number not in kept["C"]:
                pixels.remove(channel)
        for axis, places in kept.items():
            pixels.attrib[f"Size{axis}"] = str(len(places) * (self.samples if axis == "C" else 1))
        namespace = pixels.tag.rpartition("}")[0] + "}" if "}" in pixels.tag else ""
        for place, page in sorted(self.there.items(), key=lambda entry: entry[0][::-1]):
            if all(at in kept[axis] for axis, at in zip(self.order, place, strict=True)):
                told = {f"First{axis}": str(kept[axis].index(at)) for axis, at in zip(self.order, place, strict=True)}
                ET.SubElement(pixels, f"{namespace}TiffData", told | {"IFD": str(page), "PlaneCount": "1"})
        return kept


def _box(there: dict[Place, int], order: str) -> dict[str, list[int]]:
    """Return the places along each axis at which all planes are there; where this leaves nothing, all that have any."""
    planes = set(there)
    for slow in range(len(order) - 1, -1, -1):
        rest = {place[:slow] + place[slow + 1 :] for place in planes}
        by_slow: dict[int, int] = {}
        for place in planes:
            by_slow[place[slow]] = by_slow.get(place[slow], 0) + 1
        whole = {at for at, many in by_slow.items() if many == len(rest)}
        if whole and len(whole) < len(by_slow):
            planes = {place for place in planes if place[slow] in whole}
    return {axis: sorted({place[number] for place in planes}) for number, axis in enumerate(order)}


def _missing(planes: _Planes, kept: dict[str, list[int]], files: int) -> str:
    read = prod(len(places) for places in kept.values())
    along = ", ".join(f"{axis} {len(kept[axis])} of {size}" for axis, size in planes.sizes.items() if len(kept[axis]) < size)
    if files:
        return (
            f"the file is one of a set of {files} OME-TIFF files: its own {read} of {planes.announced} planes are read "
            f"({along}); give the other files, too, for the rest"
        )
    return (
        f"the file announces {planes.announced} planes and holds {len(planes.there)}, as after a stopped acquisition or a broken "
        f"copy: {read} are read ({along})"
    )


def _facts(image: ET.Element, pixels: ET.Element) -> OmeFacts:
    notes, sizes = [], dict[str, float]()
    for axis in "ZYX":
        key = f"PhysicalSize{axis}"
        told, unit = pixels.attrib.get(key), pixels.attrib.get(f"{key}Unit", "µm")
        size, factor = positive(told), micrometres(unit)
        if size is not None and factor is not None:
            sizes[axis] = size * factor
        elif told is not None and finite(told) != 0:  # some programs write 0 where they do not know it
            what = f"{told!r}" if size is None else f"of the unit {unit!r}"
            notes.append(f"its pixel size in {axis} ({what}) cannot be used and was ignored")
    names = tuple(node.attrib.get("Name", "") for node in pixels if _is(node, "Channel"))
    plane = (sizes["Y"], sizes["X"]) if {"Y", "X"} <= sizes.keys() else None
    shape = (_size(pixels, "Y"), _size(pixels, "X"))
    return OmeFacts(image.attrib.get("Name", ""), shape, plane, sizes.get("Z"), names if all(names) else (), tuple(notes))


def _is_own(node: ET.Element, file: str, own: str | None) -> bool:
    """Return whether planes lie in this file, which may have been renamed."""
    uuid = next((child for child in node if _is(child, "UUID")), None)
    if uuid is None:
        return True
    return _plain(uuid.attrib.get("FileName", "")) == _plain(file) or (own is not None and uuid.text == own)


def _size(pixels: ET.Element, axis: str) -> int:
    size = count(pixels.attrib.get(f"Size{axis}"))
    if size is None:
        raise ValueError(f"its Size{axis} is {pixels.attrib.get(f'Size{axis}')!r}")
    return size


def _plain(name: str) -> str:
    return Path(name.replace("\\", "/")).name.casefold()


def _is(node: ET.Element, tag: str) -> bool:
    return node.tag.rpartition("}")[2] == tag


def _named(root: ET.Element, tag: str) -> Iterator[ET.Element]:
    return (node for node in root.iter() if _is(node, tag))
