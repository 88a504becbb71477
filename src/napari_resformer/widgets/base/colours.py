"""The colours of masks, the same in results and previews."""

from __future__ import annotations

from typing import Any

OPACITY = 0.55  # the tissue stays visible through its mask
# Colours that neither stained tissue nor a gray image has, far apart in lightness too; the first serves most models.
_COLOURS = (
    (0.0, 0.90, 0.63),
    (0.98, 0.75, 0.0),
    (0.90, 0.25, 0.85),
    (0.25, 0.62, 1.0),
    (0.95, 0.35, 0.10),
    (0.75, 0.95, 0.20),
)


def mask_colormap(classes: int) -> Any:
    """Return the colours of so many mask classes."""
    from napari.utils.colormaps import CyclicLabelColormap, label_colormap

    if classes > len(_COLOURS):
        return label_colormap()
    return CyclicLabelColormap(colors=[(0, 0, 0, 0), *((*colour, 1) for colour in _COLOURS)], name="resformer")
