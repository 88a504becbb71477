"""What ``import napari_resformer`` costs over bare Python: ``python benchmarks/import_time.py [--repeats 15]``."""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time

HEAVY = ("torch", "napari", "qtpy", "PyQt5", "PyQt6", "PySide6", "monai", "pydantic", "numpy")


def main() -> None:
    """Print the median difference, the two taken in turns, and which heavy modules the import brings."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=15)
    options = parser.parse_args()
    seconds: dict[str, list[float]] = {"pass": [], "import napari_resformer": []}
    for number in range(options.repeats + 1):
        for code, values in seconds.items():
            begin = time.perf_counter()
            subprocess.run([sys.executable, "-c", code], check=True)
            if number:  # the first round fills the disk's cache
                values.append(time.perf_counter() - begin)
    bare, ours = (statistics.median(values) for values in seconds.values())
    print(f"import napari_resformer: {ours - bare:.3f} s over bare Python's {bare:.3f} s (limit 0.1 s)")
    code = f"import napari_resformer, sys; print(*[name for name in {HEAVY} if name in sys.modules])"
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.strip()
    print(f"of {', '.join(HEAVY)} it loads: {loaded or 'none'}")


if __name__ == "__main__":
    main()
