"""What a kill costs a large prediction: ``python benchmarks/kill_predict.py [--side 6000] [--tile 512] [--kills 3]``.

A prediction into an OME-Zarr store is killed (kill -9) at random tiles and resumed each time, until it ends. A tile that is made
again is what the kill has cost; that should be less than a row of tiles.
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
import tempfile
from pathlib import Path

from large_image import write_image

import napari_resformer as nr
from napari_resformer.events import Progress


def main() -> None:
    """Print a line a kill."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, default=6000)
    parser.add_argument("--tile", type=int, default=512)
    parser.add_argument("--kills", type=int, default=3)
    parser.add_argument("--model", default="nuclei")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--predict", nargs=2, type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.predict:
        predict(options)
        return
    row = -(-options.side // options.tile)
    generator, before = random.Random(options.seed), 0
    with tempfile.TemporaryDirectory() as folder:
        image, mask = Path(folder) / "image.zarr", Path(folder) / "mask.ome.zarr"
        write_image(image, options.side)
        command = [sys.executable, __file__, "--tile", str(options.tile), "--model", options.model, "--predict", image, mask]
        for number in range(options.kills + 1):
            last = number == options.kills
            stop = row**2 if last else before + generator.randint(row, row**2 // (options.kills + 1))
            with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
                assert process.stdout is not None
                first = int(process.stdout.readline())
                for line in process.stdout:
                    if int(line) >= stop and not last:
                        process.kill()
                        break
            if number:
                print(f"went on after tile {first - 1}: {before - first + 1} tiles again, a row has {row}", flush=True)
            if not last:
                before = stop
                print(f"kill {number + 1} after tile {stop} of {row**2}", flush=True)


def predict(options: argparse.Namespace) -> None:
    """Predict, or go on, and tell each tile."""
    import zarr

    image, mask = options.predict
    job = nr.iter_predict(
        nr.load_model(options.model), zarr.open(image, mode="r"), axes="YXC", tile=options.tile, out=mask, resume=True
    )
    for event in job:
        if isinstance(event, Progress):
            print(event.done, flush=True)


if __name__ == "__main__":
    main()
