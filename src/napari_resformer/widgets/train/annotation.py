"""What a user says of an image layer: the class of each of its planes, and its axes; kept in the layer's metadata."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from napari_resformer.images.image import Image, PlaneIndex
from napari_resformer.images.layers import from_layer
from napari_resformer.widgets.results.result_layer import METADATA_KEY

FORMAT = 1


def image_classes(layer: Any) -> dict[PlaneIndex, str]:
    """Return the classes that were given to the planes of an image layer; what cannot be read is left out."""
    stored = _stored(layer).get("image_classes")
    found: dict[PlaneIndex, str] = {}
    for key, name in stored.items() if isinstance(stored, dict) else ():
        try:
            index = tuple(int(part) for part in str(key).split(",") if part.strip())
        except ValueError:
            continue
        if isinstance(name, str) and name.strip():
            found[index] = name.strip()
    return found


def fitting_classes(layer: Any, image: Image) -> dict[PlaneIndex, str]:
    """Return the classes of the planes that the image has; the axes may have been others when some were given."""
    loops = image.loop_shape
    single = max(loops, default=1) == 1
    found = {}
    for index, name in image_classes(layer).items():
        if single and not any(index):  # "" and "0" both name the only plane
            found[(0,) * len(loops)] = name
        elif len(index) == len(loops) and all(0 <= step < size for step, size in zip(index, loops, strict=True)):
            found[index] = name
    return found


def give_class(layer: Any, index: PlaneIndex, name: str) -> None:
    """Give a plane its class, or take it away with an empty name; all other metadata stay.

    Parameters
    ----------
    layer : napari.layers.Image
        Its ``metadata["napari_resformer"]`` is changed.
    index : tuple of int
        Position of the plane on the loop axes.
    name : str
        Any text; blanks around it do not matter.
    """
    give_classes(layer, {index: name})


def give_classes(layer: Any, names: dict[PlaneIndex, str]) -> None:
    """Do the same for several planes at once."""
    classes = image_classes(layer)
    for index, name in names.items():
        if not any(index):  # the first plane may be there under its other name
            for other in [one for one in classes if not any(one) and (one == index or not one or not index)]:
                del classes[other]
        if name.strip():
            classes[index] = name.strip()
        else:
            classes.pop(index, None)
    _store(layer, {"image_classes": {",".join(map(str, index)): classes[index] for index in sorted(classes)}})


def known_classes(layers: Iterable[Any], more: Iterable[str] = ()) -> list[str]:
    """Return all classes that some plane of the layers has, and the others, sorted."""
    names = set(more)
    for layer in layers:
        names.update(image_classes(layer).values())
    return sorted(names)


def typed_axes(layer: Any) -> str:
    """Return the axes that a user typed for the layer; empty if none."""
    axes = _stored(layer).get("axes")
    return axes if isinstance(axes, str) else ""


def type_axes(layer: Any, axes: str) -> None:
    """Keep the axes of a layer that does not tell them itself; empty to follow the layer again."""
    _store(layer, {"axes": axes.strip() or None})


def layer_image(layer: Any, labels: Any | None = None) -> Image:
    """Name the axes of an image layer.

    Parameters
    ----------
    layer : napari.layers.Image
        Its typed axes are asked first, then what the layer itself tells.
    labels : napari.layers.Labels, optional
        Its labels: where the layer alone is ambiguous, their shape shows which axis holds channels, since labels have
        none.

    Raises
    ------
    TypeError, ValueError
        If the axes are ambiguous or do not fit.
    """
    try:
        return from_layer(layer, typed_axes(layer) or None)
    except ValueError:
        if labels is None or typed_axes(layer):
            raise
        axes = _axes_by_labels(tuple(full_data(layer).shape), tuple(full_data(labels).shape), rgb=bool(layer.rgb))
        if axes is None:
            raise
        return from_layer(layer, axes)


def pointed_plane(layer: Any, image: Image, point: Sequence[float]) -> PlaneIndex:
    """Return which plane of an image layer the viewer's sliders point at.

    Parameters
    ----------
    layer : napari.layers.Image
        It may be shifted or scaled against the sliders.
    image : Image
        The layer with named axes.
    point : sequence of float
        World coordinates of the sliders, ``viewer.dims.point``.
    """
    place = layer.world_to_data(tuple(point)[-layer.ndim :])
    steps = [round(float(place[image.axes.index(axis)])) for axis in image.loop_axes]
    return tuple(min(max(step, 0), size - 1) for step, size in zip(steps, image.loop_shape, strict=True))


def plane_words(image: Image, index: PlaneIndex) -> str:
    """Name a plane, for instance ``T 3, Z 0``; empty where there is only one."""
    return ", ".join(
        f"{axis} {step}" for axis, step, size in zip(image.loop_axes, index, image.loop_shape, strict=True) if size > 1
    )


def full_data(layer: Any) -> Any:
    """Return a layer's data; of a multiscale layer, its full resolution."""
    return layer.data[0] if layer.multiscale else layer.data


def _axes_by_labels(image: tuple[int, ...], labels: tuple[int, ...], *, rgb: bool) -> str | None:
    spatial = image[:-1] if rgb else image
    tail = "YXC" if rgb else "YX"
    loops = {0: "", 1: "Z", 2: "TZ", 3: "PTZ"}
    if labels == spatial:
        lead = loops.get(len(spatial) - 2)
        return None if lead is None else lead + tail
    if rgb or len(labels) != len(spatial) - 1:
        return None
    places = [place for place in range(len(spatial) - 2) if spatial[:place] + spatial[place + 1 :] == labels]
    lead = loops.get(len(labels) - 2)
    if len(places) != 1 or lead is None:
        return None
    return lead[: places[0]] + "C" + lead[places[0] :] + tail


def _stored(layer: Any) -> dict[str, Any]:
    stored = layer.metadata.get(METADATA_KEY)
    return stored if isinstance(stored, dict) else {}


def _store(layer: Any, values: dict[str, Any]) -> None:
    stored = {**_stored(layer), "format": FORMAT, **values}
    layer.metadata = {**layer.metadata, METADATA_KEY: {key: value for key, value in stored.items() if value is not None}}
