"""``napari-resformer predict``: image files in, masks, other outputs and a table of scores out."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import traceback
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_resformer.cli.scores import Rows, ScoreTable, score_rows
from napari_resformer.cli.usage import (
    DONE,
    FAILED,
    Commands,
    Parser,
    UsageError,
    check_place,
    checked,
    comma_list,
    load,
    one_line,
    pixel_size,
    positive,
    print_notice,
    refuse_existing,
)
from napari_resformer.io.names import check_name, readable

if TYPE_CHECKING:
    from napari_resformer.model.file import Model
    from napari_resformer.prediction.plan import Plan
    from napari_resformer.prediction.result import PredictResult


def add_predict(commands: Commands, common: Parser, device: Parser) -> None:
    """Add the command to the parser."""
    predict = commands.add_parser("predict", parents=[common, device], help="segment and classify image files")
    predict.add_argument(
        "images",
        nargs="+",
        metavar="IMAGE_OR_FOLDER",
        help='files, folders, or patterns such as "*.tif"; scan.tif:2 is the third image in a file, scan.tif:all is all of them',
    )
    predict.add_argument("--model", default="nuclei", metavar="M", help="model name or path (default: nuclei)")
    predict.add_argument("-o", "--output", type=Path, default=Path(), metavar="DIR", help="where results go (default: here)")
    predict.add_argument(
        "--axes", help="one letter per dimension: T time, Z depth, C channels, Y, X; P any other; for instance ZYX"
    )
    predict.add_argument("--channels", type=comma_list, metavar="I,J", help="channels in the model's order, by number or name")
    predict.add_argument(
        "--pixel-size",
        type=pixel_size,
        metavar="UM",
        help="micrometres per pixel, or Y,X; overrides the file; where neither says, the model's is assumed",
    )
    predict.add_argument(
        "--zoom",
        type=positive,
        metavar="X",
        help="scale the image by X for the network; 0.5 if objects are twice as large, in pixels, as those in training",
    )
    predict.add_argument(
        "--outputs",
        type=comma_list,
        default=("mask",),
        metavar="NAME,...",
        help="what to write besides the scores: mask, probabilities (default: mask)",
    )
    predict.add_argument(
        "--tile",
        type=int,
        metavar="N",
        help="side of the tiles that large images are cut into, in pixels (default: up to 1024, as memory allows)",
    )
    predict.add_argument("--overwrite", action="store_true", help="replace results that exist")
    predict.add_argument("--resume", action="store_true", help="keep finished results and continue where a run was interrupted")
    predict.set_defaults(command=_predict, if_interrupted="finished results are kept; continue with --resume")


def _predict(options: argparse.Namespace) -> int:
    from napari_resformer.devices import choose_device
    from napari_resformer.io.find import find_images
    from napari_resformer.io.read import read_image
    from napari_resformer.prediction.outputs import check_outputs
    from napari_resformer.prediction.plan import gathered_notes, make_plan

    if options.overwrite and options.resume:
        raise UsageError("--overwrite starts over and --resume continues; give one of them")
    checked(lambda: check_outputs(options.outputs))
    model = load(options.model)
    checked(lambda: choose_device(options.device))
    found = find_images(options.images)
    images = found.paths
    for note in found.notes:
        print(readable(note), file=sys.stderr)
    targets = _output_paths(images, options.output, check_outputs(options.outputs))
    check_place(options.output, f"-o {options.output}")
    labels = _labels(images)
    table = ScoreTable(options.output / "scores.csv", model.card.image_classes, overwrite=options.overwrite)
    if not options.resume:
        refuse_existing([path for paths in targets for path in paths.values()], overwrite=options.overwrite)
    rows = table.read()
    if not options.resume and not options.overwrite and (known := [label for label in labels if label in rows]):
        raise FileExistsError(f"{table.path} has rows of {known[0]} already; choose another place or add --overwrite")
    failed = 0
    notes: dict[str, list[str]] = {}
    for path, label, paths in zip(images, labels, targets, strict=True):
        try:
            for target in paths.values():
                check_name(target)
            image = read_image(path, options.axes, options.pixel_size, 0 if options.channels else model.card.needed_channels)
            plan = make_plan(
                model.card, image, channels=options.channels, device=options.device, tile=options.tile, zoom=options.zoom
            )  # fmt: skip
            told: Sequence[str] = plan.notes
            try:
                of_image, told = _predict_image(model, plan, options, label, paths, rows.get(label, []))
            finally:
                for note in told:
                    notes.setdefault(note, []).append(label)
            table.put(label, of_image)
        except Exception as error:  # noqa: BLE001 - pixels are decoded on the way; the other images are done all the same
            failed += 1
            if options.debug:
                traceback.print_exception(error)
            print(f"napari-resformer: {_named(label, error)}", file=sys.stderr)
    if failed < len(images):
        print(f"{len(images) - failed} of {len(images)} image(s) done; results and {table.path.name} are in {options.output}")
    for note in gathered_notes(notes):
        print(note)
    print_notice(model)
    return FAILED if failed else DONE


def _predict_image(
    model: Model, plan: Plan, options: argparse.Namespace, name: str, targets: dict[str, Path], kept: Rows
) -> tuple[Rows, Sequence[str]]:
    """Write an image's outputs and return its rows of scores, and notes; ``kept`` are the rows of an earlier run."""
    from napari_resformer.prediction.outputs import output_bytes, places
    from napari_resformer.prediction.plan import LARGE_MASK, with_tile
    from napari_resformer.prediction.resume import begun_with

    first = next(iter(targets.values()), None)
    if first is not None and first.suffix == ".zarr":
        result = _run_plan(model, plan, name, targets, out=first, options=options)
        return score_rows(name, result), result.notes
    store = None
    if first is not None and output_bytes(plan, tuple(targets)) > LARGE_MASK:
        store = first.with_name(f".{first.stem}.zarr")
        check_name(store)
    if options.resume:
        done = [path for path in targets.values() if path.exists()]
        begun = _note(done[0]) if done else begun_with(store) if store is not None else None
        plan = with_tile(plan, (begun or {}).get("tile"))
        _refuse_others(model, plan, targets)
        if kept and len(done) == len(targets):
            return kept, plan.notes
    result = _run_plan(model, plan, name, targets, out=store, options=options)
    if not options.resume:  # another run may have written there meanwhile
        refuse_existing(list(targets.values()), overwrite=options.overwrite)
    _write_outputs(model, plan, result, targets)
    if store is not None:
        for folder in places(store, tuple(targets)).values():
            shutil.rmtree(folder)
    return score_rows(name, result), result.notes


def _refuse_others(model: Model, plan: Plan, targets: dict[str, Path]) -> None:
    """Refuse to go on where a finished output was made of something else."""
    from napari_resformer.prediction.fingerprint import differences, fingerprint

    for output, path in targets.items():
        if path.exists() and (changed := differences(_note(path), fingerprint(model, plan, (output,)))):
            raise ValueError(f"{path} was made of something else: {changed}; add --overwrite in place of --resume")


def _write_outputs(model: Model, plan: Plan, result: PredictResult, targets: dict[str, Path]) -> None:
    """Write each output as a TIFF file that notes what it was made of."""
    from napari_resformer.io.write import write_tiff
    from napari_resformer.prediction.fingerprint import fingerprint
    from napari_resformer.prediction.outputs import KINDS, class_names

    image = plan.image
    for output, path in targets.items():
        per_class = KINDS[output].per_class
        axes, names = (f"C{image.mask_axes}", class_names(plan.card)) if per_class else (image.mask_axes, ())
        write_tiff(
            path, getattr(result, output), axes, name=image.name, pixel_size=image.pixel_size, z_step=image.z_step,
            channel_names=names, note=json.dumps(fingerprint(model, plan, (output,))),
        )  # fmt: skip


def _note(path: Path) -> dict[str, Any]:
    """Return what a finished output was made of."""
    from napari_resformer.io.write import read_note

    try:
        note = json.loads(read_note(path))
    except ValueError:
        note = None
    if not isinstance(note, dict):
        raise ValueError(f"{path} was not made by this program; move it, or add --overwrite in place of --resume")
    return note


def _run_plan(
    model: Model, plan: Plan, name: str, outputs: Iterable[str], *, out: Path | None, options: argparse.Namespace
) -> PredictResult:
    from tqdm import tqdm

    from napari_resformer.events import Finished, Progress
    from napari_resformer.prediction.predictor import run_plan

    overwrite = options.overwrite or (out is not None and out.name.startswith(".") and not options.resume)
    events = run_plan(model, plan, outputs=tuple(outputs), out=out, overwrite=overwrite, resume=options.resume)
    with tqdm(total=plan.tiles, desc=name, unit="tile", disable=plan.tiles == 1, file=sys.stderr) as bar:
        for event in events:
            if isinstance(event, Progress):
                bar.total = event.total
                bar.update(event.done - bar.n)
            elif isinstance(event, Finished):
                return event.result
    raise AssertionError("a prediction ends with its result")


def _named(label: str, error: Exception) -> str:
    text = one_line(error)
    return text if label in text else f"{label}: {text}"


def _labels(images: Sequence[Path]) -> list[str]:
    """Return what each image is called in table and messages: its file name, or its path where several have that name."""
    names = Counter(path.name for path in images)
    return [readable(path.name if names[path.name] == 1 else str(path)) for path in images]


def _output_paths(images: Sequence[Path], folder: Path, outputs: Sequence[str]) -> list[dict[str, Path]]:
    """Return a path for each output of each image; the second image of a stem gets ``-2``, and so on, in the order given.

    The outputs of a zarr image are OME-Zarr images, all others are TIFF files.
    """
    from napari_resformer.io.names import image_stem, split_choice
    from napari_resformer.io.ome_zarr import is_zarr

    files = [split_choice(path)[0] for path in images]
    zarrs = [is_zarr(file) or file.suffix == ".zarr" for file in files]
    stems = [image_stem(path) for path in images]
    seen: dict[str, int] = {}
    taken = set(stems)
    paths = []
    for first, zarr in zip(stems, zarrs, strict=True):
        seen[first] = seen.get(first, 0) + 1
        stem = first
        if seen[first] > 1:
            stem = f"{first}-{seen[first]}"
            while stem in taken:  # another image is called so already
                stem += "x"
        taken.add(stem)
        paths.append({name: folder / f"{stem}_{name}{'.ome.zarr' if zarr else '.tif'}" for name in outputs})
    return paths
