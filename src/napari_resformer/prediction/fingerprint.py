"""What a stored mask was made of: a run goes on in a store only if all of it is the same."""

from __future__ import annotations

import hashlib
from typing import Any

from napari_resformer.model.file import Model
from napari_resformer.prediction.plan import Plan


def fingerprint(model: Model, plan: Plan) -> dict[str, Any]:
    """Return model, image and settings as JSON-serialisable values."""
    image = plan.image
    return {
        "model": model.sha256 or _weights(model),
        "shape": [int(size) for size in image.data.shape],
        "dtype": str(image.data.dtype),
        "axes": image.axes,
        "level": image.level,
        "start": list(image.start),
        "pixel_size": list(image.pixel_size) if image.pixel_size else None,
        "brightness": [float(f"{value:.5g}") for value in plan.brightness],
        "channels": list(plan.channels.take),
        "tile": plan.tile,
        "halo": plan.halo,
        "network_sees": list(plan.grid.target),
    }


def differences(before: dict[str, Any], now: dict[str, Any]) -> str:
    """Return in words what differs; empty if nothing does."""
    names = [name for name in {**before, **now} if before.get(name) != now.get(name)]
    return "; ".join(f"{name.replace('_', ' ')} was {before.get(name)}, is {now.get(name)}" for name in names)


def _weights(model: Model) -> str:
    """Return a hash of a model that was never saved."""
    digest = hashlib.sha256(model.card.model_dump_json().encode())
    for name, tensor in sorted(model.network.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return f"unsaved {digest.hexdigest()}"
