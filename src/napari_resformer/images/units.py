"""Units of length, in micrometres."""

from __future__ import annotations

_MICROMETRES = {
    "ångström": 1e-4, "angstrom": 1e-4, "å": 1e-4, "nanometer": 1e-3, "nm": 1e-3, "micrometer": 1.0, "micron": 1.0,
    "microns": 1.0, "µm": 1.0, "um": 1.0, "millimeter": 1e3, "mm": 1e3, "centimeter": 1e4, "cm": 1e4, "meter": 1e6,
    "m": 1e6, "inch": 25400.0,
}  # fmt: skip


def micrometres(unit: str) -> float | None:
    """Return how many micrometres a unit is; None where it is no known length (``pixel``, for instance)."""
    return _MICROMETRES.get(unit.strip().casefold().replace("\u03bc", "µ"))  # case folding makes a Greek mu of the sign
