"""Whether two processes train as one: ``python benchmarks/two_processes.py DATA [--epochs 15] [--seeds 3]``.

Runs of the command line on one process and on two of one machine (CPU, gloo), with the same seeds; a further run on two
is cancelled by Ctrl-C half-way and resumed. Figures are those of the validation part after the last epoch.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from measuring import metrics_rows

FIGURES = ("dice", "accuracy", "loss")


def main() -> None:
    """Print a line a run, and the means."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for processes in (1, 2):
            found = []
            for seed in range(options.seeds):
                output = Path(folder) / f"{processes}-{seed}.safetensors"
                begin = time.perf_counter()
                subprocess.run(
                    command(options, output, seed, processes), check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
                )
                found.append(last(output))
                print(
                    f"{processes} at once, seed {seed}, {time.perf_counter() - begin:.0f} s: {text(found[-1])}",
                    flush=True,
                )
            print(f"  mean {text(np.mean(found, axis=0))}, spread of the seeds {text(np.std(found, axis=0))}")
        output = Path(folder) / "cancelled.safetensors"
        cancel(command(options, output, 0, 2), output, options.epochs // 2)
        kept = len(metrics_rows(output))
        subprocess.run(command(options, output, 0, 2), check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        print(f"2 processes, seed 0, cancelled after {kept} epochs and resumed: {text(last(output))}; "
              f"unbroken {text(last(Path(folder) / '2-0.safetensors'))}")  # fmt: skip


def command(options: argparse.Namespace, output: Path, seed: int, processes: int) -> list[str]:
    program = [sys.executable, "-m", "napari_resformer.cli", "train", str(options.data), "-o", str(output)]
    several = ["--devices", str(processes)] if processes > 1 else []
    return [*program, "--epochs", str(options.epochs), "--seed", str(seed), "--device", "cpu", "--resume", *several]


def cancel(program: list[str], output: Path, epochs: int) -> None:
    """Press Ctrl-C, which the terminal sends to all processes, once so many epochs are done."""
    process = subprocess.Popen(program, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    while len(metrics_rows(output)) < epochs:
        time.sleep(0.5)
        if process.poll() is not None:
            raise SystemExit("the run ended before it could be cancelled")
    os.killpg(process.pid, signal.SIGINT)
    process.wait(timeout=120)


def last(model: Path) -> list[float]:
    row = metrics_rows(model)[-1]
    return [float(row[name]) for name in FIGURES]


def text(values: list[float] | np.ndarray) -> str:
    return "  ".join(f"{name} {value:.4f}" for name, value in zip(FIGURES, values, strict=True))


if __name__ == "__main__":
    main()
