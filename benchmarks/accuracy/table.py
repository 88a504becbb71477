"""Print the accuracy tables, in Markdown, from the files that ``run.py`` made.

    python benchmarks/accuracy/table.py --results DIR

Test folds are pooled, and figures are means over seeds. Intervals are 95 % ones over resampled groups. Differences are those to
the row ``pretrained`` on the same images, seeds and folds; bold where the interval excludes 0. Cells of the budget that were not
run are counted as missing.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from budgets import BUDGETS
from pooling import AUROC, BALANCED, DICE, JUDGED, Comparison, Figure, Key, RowResults, over_sets, read_results
from rows import REFERENCE, ROWS

SHORT = {DICE: "Dice", BALANCED: "balanced accuracy", AUROC: "AUROC"}


def main() -> None:
    """Print a table for each set, and what each row loses over all sets."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, required=True, metavar="DIR")
    parser.add_argument("--sets", default=",".join(BUDGETS))
    parser.add_argument("--rows", default=",".join(ROWS))
    parser.add_argument("--resamples", type=int, default=1000)
    options = parser.parse_args()
    found, rows = read_results(options.results, options.resamples), options.rows.split(",")
    for name in options.sets.split(","):
        print("\n".join(set_table(name, found.get(name, {}), rows)), flush=True)
        print()
    print("\n".join(summary(found, rows)))


def set_table(name: str, found: dict[str, RowResults], rows: Sequence[str]) -> list[str]:
    """Return the lines of a set's table."""
    budget = BUDGETS[name]
    wanted = [(seed, fold) for seed in budget.seeds for fold in budget.folds]
    some = next(iter(found.values()), None)
    masks = some.mask_classes if some else []
    per_class = masks if len(masks) > 1 else []
    columns = [f"Dice {one}" for one in per_class] + [f"{'mean ' if per_class else ''}Dice", "balanced accuracy", "AUROC"]
    columns += [f"Δ {SHORT[key]}" for key in JUDGED] + ["parameters, M", "training, min", "ms, 256 px", "memory, MB", "cells"]
    told = (
        f"Test folds: {', '.join(budget.folds)}; seeds: {', '.join(map(str, budget.seeds))}; whole images at {budget.size} px, "
        f"batch {budget.batch}, {budget.epochs} epochs."
    )
    lines = [
        f"### {name}",
        "",
        told,
        "",
        f"| row | {' | '.join(columns)} |",
        "|---|" + "---|" * len(columns),
    ]
    for row in rows:
        results = found.get(row)
        if results is None:
            lines.append(f"| {ROWS[row].words} | {' | '.join(['missing'] * (len(columns) - 1))} | 0 of {len(wanted)} |")
            continue
        keys: list[Key] = [("mask", one, "dice") for one in per_class] + list(JUDGED)
        cells = [_text(results.figure(key)) for key in keys]
        cells += _differences(row, results, found)
        cells += [
            _number(results.mean("parameters"), 2, 1e-6), _number(results.mean("training_minutes"), 1),
            _number(results.mean("inference_ms"), 1), _number(results.mean("memory_mb"), 0),
            f"{sum(part in results.files for part in wanted)} of {len(wanted)}",
        ]  # fmt: skip
        lines.append(f"| {ROWS[row].words} | {' | '.join(cells)} |")
    return lines


def _differences(row: str, results: RowResults, found: dict[str, RowResults]) -> list[str]:
    if row == REFERENCE or REFERENCE not in found:
        return ["–"] * len(JUDGED)
    comparison = Comparison(results, found[REFERENCE])
    return [_text(comparison.figure(key), signed=True) for key in JUDGED]


def summary(found: dict[str, dict[str, RowResults]], rows: Sequence[str]) -> list[str]:
    """Return the lines of the table over sets: the mean difference to the reference, each set counting the same."""
    lines = [
        f"### All sets: difference to {ROWS[REFERENCE].words}, mean over the sets",
        "",
        f"| row | {' | '.join(f'Δ {SHORT[key]}' for key in JUDGED)} | sets |",
        "|---|" + "---|" * (len(JUDGED) + 1),
    ]
    for row in rows:
        if row == REFERENCE:
            continue
        pairs = [Comparison(of_set[row], of_set[REFERENCE]) for of_set in found.values() if {row, REFERENCE} <= of_set.keys()]
        told = [over_sets(pairs, key) for key in JUDGED]
        cells = ["–" if one is None else _text(one[0], signed=True) for one in told]
        most = max((one[1] for one in told if one is not None), default=0)
        lines.append(f"| {ROWS[row].words} | {' | '.join(cells if most else ['missing'] * len(JUDGED))} | {most} |")
    return lines


def _text(figure: Figure | None, *, signed: bool = False) -> str:
    if figure is None:
        return "–"
    text = figure.text(signed=signed)
    return f"**{text}**" if signed and (figure.low > 0 or figure.high < 0) else text


def _number(value: float | None, digits: int, scale: float = 1.0) -> str:
    return "–" if value is None else f"{value * scale:.{digits}f}"


if __name__ == "__main__":
    main()
