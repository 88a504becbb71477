"""Train and test the cells of the accuracy table.

    python benchmarks/accuracy/run.py DATA_ROOT [--sets wbc1,ebhi] [--rows pretrained,plain] [--seeds 0,1] --results DIR

A cell is a data set, a row, a seed and a test fold. Each runs in a process of its own and leaves one JSON file in the results; a
cell that is there is not run again, and several calls may share the folder. Budgets are in ``budgets.py``, rows in ``rows.py``;
``table.py`` prints what is there.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from importlib.util import find_spec
from multiprocessing import get_context
from pathlib import Path

os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")  # as the command line does; read when torch starts

import torch
from budgets import BUDGETS, Budget
from cell import Cell, cells_of, run_cell, write
from filelock import FileLock, Timeout
from rows import ROWS

from napari_resformer.events import Finished
from napari_resformer.samples.folder import read_folder
from napari_resformer.samples.sample import SampleSet
from napari_resformer.samples.survey import Survey, iter_survey


def main() -> None:
    """Run what is missing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", type=Path, metavar="DATA_ROOT", help="folder that holds the data folders by their names")
    parser.add_argument("--sets", default=",".join(BUDGETS), help="of the budgets; all when left out")
    parser.add_argument("--rows", default=",".join(ROWS), help="all when left out")
    parser.add_argument("--seeds", help="for instance 0,1; those of the budget when left out")
    parser.add_argument("--folds", help="of the budget's test folds, these only")
    parser.add_argument("--results", type=Path, required=True, metavar="DIR")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--epochs", type=int, help="to try the program out: another number of epochs")
    parser.add_argument("--most", type=int, help="to try the program out: so many images to train on and to test at most")
    options = parser.parse_args()
    rows, sets = options.rows.split(","), options.sets.split(",")
    if unknown := [name for name in rows if name not in ROWS] + [name for name in sets if name not in BUDGETS]:
        parser.error(f"unknown: {', '.join(unknown)}; sets are {', '.join(BUDGETS)}, rows are {', '.join(ROWS)}")
    for name in [name for name in rows if ROWS[name].needs and find_spec(ROWS[name].needs) is None]:
        print(f"{name} is left out: {ROWS[name].needs} is not installed")
        rows.remove(name)
    seeds = [int(seed) for seed in options.seeds.split(",")] if options.seeds else None
    for name in sets:
        budget = BUDGETS[name] if options.epochs is None else replace(BUDGETS[name], epochs=options.epochs)
        cells = [one for one in cells_of(name, budget, rows, seeds) if not options.folds or one.fold in options.folds.split(",")]
        run_set(options.root / name, budget, cells, options)


def run_set(folder: Path, budget: Budget, cells: list[Cell], options: argparse.Namespace) -> None:
    """Run the cells of a set that are missing; the images are looked at once."""
    known: tuple[SampleSet, Survey] | None = None
    for cell in cells:
        path = cell.path(options.results)
        if is_done(path, budget, options.most):
            print(f"{path.name} is there", flush=True)
            continue
        with claimed(path) as mine:
            if not mine or path.exists():
                print(f"{path.name} is being made elsewhere", flush=True)
                continue
            known = known or look(folder)
            print(f"{path.name} ...", file=sys.stderr, flush=True)
            with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
                pool.submit(in_child, cell, budget, *known, options.most, options.threads, path).result()
        print(f"{path.name} is made", flush=True)


def in_child(cell: Cell, budget: Budget, samples: SampleSet, survey: Survey, most: int | None, threads: int, path: Path) -> None:
    """Run a cell in this process and keep it."""
    torch.set_num_threads(threads)
    write(path, run_cell(cell, budget, samples, survey, most=most))


def look(folder: Path) -> tuple[SampleSet, Survey]:
    """Read a data folder, and look at each of its images once."""
    samples = read_folder(folder)
    *_, last = iter_survey(samples)
    assert isinstance(last, Finished)
    return samples, last.result


def is_done(path: Path, budget: Budget, most: int | None) -> bool:
    """Return whether a cell is there.

    Raises
    ------
    SystemExit
        If it was made with another budget: such figures must not stand side by side.
    """
    if not path.exists():
        return False
    made = json.loads(path.read_text(encoding="utf-8"))["budget"]
    if made != (now := {**budget.as_json(), "most": most}):
        raise SystemExit(f"{path} was made with {made}, and the budget is now {now}; give another folder for the results")
    return True


@contextmanager
def claimed(path: Path) -> Iterator[bool]:
    """Claim a cell, so that no other call makes it meanwhile; say whether that was possible."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path.with_suffix(".lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        yield False
        return
    try:
        yield True
    finally:
        lock.release()
        path.with_suffix(".lock").unlink(missing_ok=True)


if __name__ == "__main__":
    main()
