"""``napari-resformer evaluate``: a model on a data folder, a report out."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from napari_resformer.cli.settings import add_data_options, mask_kind
from napari_resformer.cli.usage import (
    DONE,
    Commands,
    Parser,
    check_place,
    comma_list,
    load,
    positive,
    print_json,
    refuse_existing,
)


def add_evaluate(commands: Commands, common: Parser, device: Parser) -> None:
    """Add the command to the parser."""
    evaluate = commands.add_parser("evaluate", parents=[common, device], help="measure a model on a data folder")
    evaluate.add_argument("data", type=Path, metavar="DATA", help="folder with images/, masks/ and labels.csv")
    evaluate.add_argument("--model", required=True, metavar="M", help="model name or path")
    evaluate.add_argument("--folds", type=comma_list, metavar="0", help="folds of labels.csv to measure on (default: all images)")
    add_data_options(evaluate)
    evaluate.add_argument("--zoom", type=positive, metavar="X", help="scale each image by X for the network, as in predict")
    evaluate.add_argument("-o", "--output", type=Path, metavar="report.json", help="where the report goes (default: stdout)")
    evaluate.add_argument("--overwrite", action="store_true", help="replace a report that exists")
    evaluate.set_defaults(command=_evaluate)


def _evaluate(options: argparse.Namespace) -> int:
    from tqdm import tqdm

    from napari_resformer.evaluation.evaluate import iter_evaluate
    from napari_resformer.events import Finished, Notice, Progress
    from napari_resformer.io.atomic import atomic_write

    model = load(options.model)
    if options.output:
        check_place(options.output.parent, f"-o {options.output}")
        refuse_existing([options.output], overwrite=options.overwrite)
    report: dict[str, Any] = {}
    notes: list[str] = []
    events = iter_evaluate(
        model, options.data, folds=options.folds, mask_kind=mask_kind(options), axes=options.axes, zoom=options.zoom,
        device=options.device,
    )  # fmt: skip
    with tqdm(unit="image", file=sys.stderr) as bar:
        for event in events:
            if isinstance(event, Progress):
                bar.total = event.total
                bar.update(event.done - bar.n)
            elif isinstance(event, Notice):
                notes.append(f"{'warning: ' if event.kind == 'warning' else ''}{event.text}")
            elif isinstance(event, Finished):
                report = event.result.to_dict()
    for note in notes:
        print(note, file=sys.stderr)  # stdout may be the report
    if options.output:
        with atomic_write(options.output) as file:
            file.write(json.dumps(report, indent=1, ensure_ascii=False).encode(errors="backslashreplace"))
        print(f"saved {options.output}")
    else:
        print_json(report)
    return DONE
