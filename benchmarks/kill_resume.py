"""Whether a run survives kill -9: ``python benchmarks/kill_resume.py DATA [--kills 10] [--epochs 60]``.

A run on the command line is killed at random moments, and resumed each time; after each kill every file of the run folder must
be readable. Its last Dice is compared with that of a run that nobody killed. The run should take five minutes or more.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import imageio.v3 as imageio
from measuring import metrics_rows

import napari_resformer as nr
from napari_resformer.training.run_folder import RunFolder


def main() -> None:
    """Print one line a kill, and how far the two runs are apart."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--most", type=float, default=60.0, help="longest wait before a kill, in seconds")
    options = parser.parse_args()
    generator = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as folder:
        whole, killed = Path(folder) / "whole.safetensors", Path(folder) / "killed.safetensors"
        begin = time.perf_counter()
        subprocess.run(command(options, whole), check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        print(f"unbroken run: {time.perf_counter() - begin:.0f} s", flush=True)
        for number in range(1, options.kills + 1):
            process = subprocess.Popen(command(options, killed), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            wait = generator.uniform(2, options.most)
            time.sleep(wait)
            ended = process.poll() is not None
            process.kill()
            process.wait()
            check(RunFolder(killed.with_suffix(".run")))
            print(f"kill {number} after {wait:.1f} s: {epochs(killed)} epochs kept{' (had ended)' if ended else ''}", flush=True)
        subprocess.run(command(options, killed), check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        one, two = last_dice(whole), last_dice(killed)
        nr.load_model(killed)
        print(f"Dice at the end: unbroken {one:.4f}, killed {two:.4f}, apart {abs(one - two):.4f} (goal 0.01)")


def command(options: argparse.Namespace, output: Path) -> list[str]:
    program = [sys.executable, "-m", "napari_resformer.cli", "train", str(options.data), "-o", str(output)]
    return [*program, "--epochs", str(options.epochs), "--resume"]


def check(run: RunFolder) -> None:
    """Read every file that is there."""
    if run.settings.exists():
        json.loads(run.settings.read_text(encoding="utf-8"))
    if run.checkpoint.exists():
        run.load()
    if run.best.exists():
        nr.load_model(run.best)
    if run.curves.exists():
        imageio.imread(run.curves)


def epochs(model: Path) -> int:
    return len(metrics_rows(model))


def last_dice(model: Path) -> float:
    return float(metrics_rows(model)[-1]["dice"])


if __name__ == "__main__":
    main()
