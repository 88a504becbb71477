"""Peak memory and overhead by image size: ``python benchmarks/large_image.py --sides 5000,10000 [--model nuclei]``.

Without a model a stub stands in for the network: its logits have the size and the blobs of real ones, at next to no
cost, so that what is measured is reading, joining and writing. Each size runs in a process of its own. The image is a
zarr array of noise on disk, RGB, in chunks of 512; the mask goes to an OME-Zarr store.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

CHUNK = 512


def main() -> None:
    """Print a row for each size."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sides", default="5000,10000,20000,30000")
    parser.add_argument("--model", help="a real model; a stub without it")
    parser.add_argument("--tile", type=int, default=1024)
    parser.add_argument("--folder", type=Path, help="where image and mask are written (default: a temporary folder)")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(Path(options.one), options.model, options.tile)))
        return
    print(f"{'side':>6} {'image':>8} {'peak':>8} {'wall':>8} {'network':>8} {'ratio':>6}  network: {options.model or 'stub'}")
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        for side in map(int, options.sides.split(",")):
            path = Path(folder) / f"{side}.zarr"
            write_image(path, side)
            command = [sys.executable, __file__, "--one", str(path), "--tile", str(options.tile)]
            command += ["--model", options.model] if options.model else []
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            told = json.loads(done.stdout.splitlines()[-1])
            ratio = f"{told['wall'] / told['network']:6.2f}" if options.model else "     -"
            print(
                f"{side:6} {3 * side**2 / 2**30:6.2f}GB {told['peak'] / 2**20:6.0f}MB {told['wall']:7.1f}s "
                f"{told['network']:7.1f}s {ratio}",
                flush=True,
            )


def write_image(path: Path, side: int) -> None:
    """Write noise, one row of chunks at a time: the same row again and again, shifted."""
    import zarr

    array = zarr.create_array(path, shape=(side, side, 3), chunks=(CHUNK, CHUNK, 3), dtype="uint8")
    row = np.random.default_rng(0).integers(0, 255, (CHUNK, side, 3), dtype=np.uint8)
    for top in range(0, side, CHUNK):
        array[top : top + CHUNK] = np.roll(row, top, axis=1)[: side - top]


def measure(path: Path, name: str | None, tile: int) -> dict[str, float]:
    """Predict one image; return seconds, and how many bytes the peak lies above the memory after the imports."""
    import torch
    import zarr

    import napari_resformer as nr
    from napari_resformer.events import Finished
    from napari_resformer.model.card import Card
    from napari_resformer.model.file import Model
    from napari_resformer.network import ResFormer, ResFormerConfig, TileOutput

    spent = 0.0
    if name is None:
        config = ResFormerConfig.preset("tiny", mask_classes=2, image_classes=3)
        channels = ("red", "green", "blue")
        card = Card(name="stub", network=config, mask_classes=("a", "b"), image_classes=("x", "y", "z"), channels=channels)
        model = Model(card, ResFormer(config).eval())
        features = model.network.forward_tile(torch.zeros(1, 3, 64, 64)).feature_sum.shape[1]
    else:
        model, features = nr.load_model(name), 0
    real = ResFormer.forward_tile

    def forward(self, x, owned=None, origin=(0, 0)):
        nonlocal spent
        begin = time.perf_counter()
        if name is None:
            coarse = torch.nn.functional.avg_pool2d(x.mean(1, keepdim=True), 16, ceil_mode=True)
            blobs = torch.nn.functional.interpolate(coarse, size=x.shape[2:], mode="bilinear")
            cells = owned.mean((2, 3)).expand(-1, features)
            output = TileOutput(torch.cat([0 * blobs, 8 * blobs, -8 * blobs], 1), cells, cells)
        else:
            output = real(self, x, owned, origin)
        spent += time.perf_counter() - begin
        return output

    ResFormer.forward_tile = forward
    small = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    nr.predict(model, small, axes="YXC")  # libraries that are loaded at first use
    spent, base = 0.0, _peak()
    begin = time.perf_counter()
    for event in nr.iter_predict(model, zarr.open(path, mode="r"), axes="YXC", tile=tile, out=path.with_suffix(".ome.zarr")):
        if isinstance(event, Finished):
            assert sum(event.result.pixels) == np.prod(event.result.mask.shape, dtype=np.int64)
    return {"wall": time.perf_counter() - begin, "network": spent, "peak": _peak() - base}


def _peak() -> int:
    """Return the most memory that this process ever had, in bytes."""
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


if __name__ == "__main__":
    main()
