"""A 4096 x 4096 plane: tiled against one pass, peak memory, and time over the bare network's and a plain UNet's.

    python benchmarks/large_plane.py [--side 4096] [--model colon-biopsy] [--repeats 3] [--image FILE]

Without ``--image`` the plane is scikit-image's immunohistochemistry image, mirrored until it is large enough. Each memory
figure comes from a fresh process; all times of a ratio are taken in turns in one process.
"""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


def plane(side: int, path: Path | None) -> NDArray[Any]:
    """Return the plane, (side, side, 3) or (side, side)."""
    if path is None:
        from napari_resformer.demo import demo_image

        tile = demo_image()
    else:
        from napari_resformer.io.read import read_image

        tile = np.asarray(read_image(path).data)
    more = [(0, max(side - length, 0)) for length in tile.shape[:2]] + [(0, 0)] * (tile.ndim - 2)
    return np.pad(tile, more, mode="symmetric")[:side, :side]


def resident() -> tuple[float, float]:
    """Return what the process holds and has held at most, in MB; VmHWM, unlike getrusage, does not inherit from the parent."""
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return tuple(int(lines[name].split()[0]) / 1024 for name in ("VmRSS", "VmHWM"))  # type: ignore[return-value]


def answer(model: str, side: int, path: Path | None, tile: int | None, pipe: Any) -> None:
    """Predict in a process of its own; send mask, scores, seconds and megabytes above import."""
    import napari_resformer as nr

    loaded = nr.load_model(model)
    nr.predict(loaded, np.zeros((64, 64, 3), np.uint8))  # all libraries are imported by now
    before = resident()[0]
    image = plane(side, path)
    begin = time.perf_counter()
    result = nr.predict(loaded, image, axes="YXC" if image.ndim == 3 else "YX", tile=tile)
    seconds = time.perf_counter() - begin
    pipe.send((np.asarray(result.mask), result.scores, seconds, resident()[1] - before))


def in_a_process(*arguments: Any) -> tuple[NDArray[Any], NDArray[Any], float, float]:
    """Call :func:`answer` in a fresh process."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=answer, args=(*arguments, theirs))
    process.start()
    theirs.close()
    received = ours.recv()
    process.join()
    return received  # type: ignore[no-any-return]


def timed(calls: dict[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Return the median seconds of each call, taken in turns after one round that does not count."""
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for number in range(repeats + 1):
        for name, call in calls.items():
            begin = time.perf_counter()
            call()
            if number:
                seconds[name].append(time.perf_counter() - begin)
    return {name: statistics.median(values) for name, values in seconds.items()}


def ratios(model_name: str, image: NDArray[Any], repeats: int) -> None:
    """Print the time of predict over the bare network's on the same tiles, and of tiny over MONAI's BasicUNet."""
    import torch
    from monai.networks.nets import BasicUNet

    import napari_resformer as nr
    from napari_resformer.images.image import from_array
    from napari_resformer.prediction.batches import Place, Reader, passes

    model = nr.load_model(model_name)
    predictor = nr.Predictor(model, "cpu")
    named = from_array(image, "YXC" if image.ndim == 3 else "YX")
    plan = predictor.plan(named)
    network, reader = model.prepared("cpu").network, Reader(plan)
    pieces = []
    for one in passes(plan, Place(), plan.tile, plan.batch):
        inputs = reader.read(one)
        pieces.append((inputs.pixels, inputs.owned, one.tiles[0].origin))
    peer = BasicUNet(2, len(model.card.channels), model.card.network.mask_classes + 1, features=(32, 32, 64, 128, 256, 32))
    peer = peer.eval().to(memory_format=torch.channels_last)

    def bare() -> None:
        with torch.inference_mode():
            for piece in pieces:
                network.forward_tile(*piece)

    def unet() -> None:
        with torch.inference_mode():
            for tensor, _, _ in pieces[:4]:  # a part is enough, and tells the same
                peer(tensor)

    def tiny() -> None:
        with torch.inference_mode():
            for piece in pieces[:4]:
                network.forward_tile(*piece)

    took = timed({"predict": lambda: predictor.predict(named), "bare network": bare}, repeats)
    print(f"predict {took['predict']:.2f} s, bare network on the same {len(pieces)} tiles {took['bare network']:.2f} s: "
          f"ratio {took['predict'] / took['bare network']:.3f} (goal 1.10)")  # fmt: skip
    took = timed({"tiny": tiny, "BasicUNet": unet}, repeats)
    print(f"tiny {took['tiny']:.2f} s, MONAI BasicUNet (default features) {took['BasicUNet']:.2f} s on the same tiles: "
          f"ratio {took['tiny'] / took['BasicUNet']:.3f} (goal 0.35)")  # fmt: skip


def main() -> None:
    """Print all figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, default=4096)
    parser.add_argument("--model", default="colon-biopsy")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--image", type=Path)
    parser.add_argument("--skip", choices=["agreement", "ratios"], action="append", default=[])
    options = parser.parse_args()
    if "agreement" not in options.skip:
        tiled = in_a_process(options.model, options.side, options.image, None)
        whole = in_a_process(options.model, options.side, options.image, options.side)
        print(f"plane {options.side} x {options.side}, model {options.model}")
        print(f"pixels that differ between tiled and single pass: {(tiled[0] != whole[0]).mean():.4%} (limit 0.5 %)")
        print(f"largest difference of a score: {np.abs(tiled[1] - whole[1]).max(initial=0):.5f} (limit 0.02)")
        print(f"share of the mask: tiled {(tiled[0] > 0).mean():.4f}, whole {(whole[0] > 0).mean():.4f}")
        print(f"peak memory above import: tiled {tiled[3]:.0f} MB (limit 1500), single pass {whole[3]:.0f} MB")
    if "ratios" not in options.skip:
        ratios(options.model, plane(options.side, options.image), options.repeats)


if __name__ == "__main__":
    main()
