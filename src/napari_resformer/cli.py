"""The command line: ``napari-resformer demo | predict | train | evaluate | models``."""

from __future__ import annotations

import argparse
import contextlib
import csv
import io
import json
import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_resformer.network.config import PRESETS

if TYPE_CHECKING:
    from napari_resformer.model.file import Model
    from napari_resformer.prediction.result import PredictResult
    from napari_resformer.training.job import TrainEvent
    from napari_resformer.training.settings import TrainSettings

DONE, FAILED, BAD_USAGE, INTERRUPTED = 0, 1, 2, 130


class UsageError(Exception):
    """The command as given cannot be carried out; the message says why and what to do."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status: 0 done, 1 the job failed, 2 bad usage.

    Parameters
    ----------
    arguments : sequence of str, optional
        Without the program's name; those of the process when left out.
    """
    # torch reads this when it first allocates: huge pages make training on a CPU faster where the system has them.
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
    options = _parser().parse_args(arguments)
    try:
        return int(options.command(options))
    except KeyboardInterrupt:
        hint = "; go on with --resume" if options.command is _train else ""
        print(f"napari-resformer: interrupted; nothing half-written was left{hint}", file=sys.stderr)
        return INTERRUPTED
    except Exception as error:
        if options.debug:
            raise
        if _follows(options) and isinstance(error, ValueError | OSError):
            return FAILED  # the first process says the same
        print(f"napari-resformer: {_one_line(error)}", file=sys.stderr)
        return BAD_USAGE if isinstance(error, UsageError) else FAILED


def _one_line(error: BaseException) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    expected = isinstance(error, UsageError | ValueError | TypeError | OSError)
    return text if expected else f"{type(error).__name__}: {text} (run again with --debug for details)"


# ---------------------------------------------------------------------------------------------------------------- parser
def _parser() -> argparse.ArgumentParser:
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--debug", action="store_true", help="show the traceback of an error")
    device = argparse.ArgumentParser(add_help=False)
    device.add_argument("--device", default="auto", metavar="D", help="auto, cpu, cuda, cuda:N or mps (default: auto)")

    parser = argparse.ArgumentParser(
        prog="napari-resformer",
        description="Segment and classify images with one network, and teach it your own masks and classes.",
    )
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    demo = commands.add_parser("demo", parents=[common, device], help="segment and classify a bundled real image")
    demo.add_argument("--model", default="nuclei", metavar="M", help="model name or path (default: nuclei)")
    demo.add_argument("-o", "--output", type=Path, metavar="PNG", help="write a picture instead of opening napari")
    demo.set_defaults(command=_demo)

    predict = commands.add_parser("predict", parents=[common, device], help="segment and classify image files")
    predict.add_argument("images", nargs="+", type=Path, metavar="IMAGE")
    predict.add_argument("--model", default="nuclei", metavar="M", help="model name or path (default: nuclei)")
    predict.add_argument("-o", "--output", type=Path, default=Path(), metavar="DIR", help="where results go (default: here)")
    predict.add_argument("--axes", help="one letter a dimension: T, Z, P loops, C channels, Y, X; for instance ZYX")
    predict.add_argument("--channels", type=_list, metavar="I,J", help="channels in the model's order, by number")
    predict.add_argument(
        "--pixel-size",
        type=_pixel_size,
        metavar="UM",
        help="micrometres a pixel, or Y,X; overrides the file (unknown: taken to be the model's)",
    )
    predict.add_argument(
        "--zoom",
        type=_positive,
        metavar="X",
        help="let the network see the image X times as large; 0.5 where objects are twice as large, in pixels, as the model's",
    )
    predict.add_argument("--tile", type=int, metavar="N", help="pixels on a side that one pass of the network owns")
    predict.add_argument("--overwrite", action="store_true", help="replace results that exist")
    predict.add_argument("--resume", action="store_true", help="keep results that are done, go on where a run was cut off")
    predict.set_defaults(command=_predict)

    train = commands.add_parser("train", parents=[common, device], help="train a model on a data folder")
    train.add_argument("data", type=Path, metavar="DATA", help="folder with images/, masks/ and labels.csv")
    train.add_argument("-o", "--output", type=Path, required=True, metavar="MODEL.safetensors")
    origin = train.add_mutually_exclusive_group()
    origin.add_argument("--from", dest="start", metavar="M", help="start from a model: its name or path")
    origin.add_argument("--preset", choices=PRESETS, default="tiny", help="size of a new network (default: tiny)")
    train.add_argument("--epochs", type=int, metavar="N", help="passes over the images (default: 40)")
    train.add_argument("--patience", type=int, metavar="N", help="stop after N epochs without a better score (default: never)")
    train.add_argument("--seed", type=int, metavar="S", help="of weights, order, augmentation and split (default: 0)")
    train.add_argument("--folds", type=_list, metavar="1,2", help="folds to train on (default: all but --val-folds)")
    train.add_argument(
        "--val-folds", type=_list, metavar="0", help="folds to validate on (default: a part of the training images)"
    )
    train.add_argument("--mask-classes", type=_list, metavar="A,B", help="names of the label values 1, 2, ...")
    train.add_argument(
        "--mode", choices=("native", "resize"), help="crops as they are, or planes resized to --size (default: native)"
    )
    train.add_argument("--size", type=int, metavar="N", help="side of the crops or resized planes (default: 128)")
    train.add_argument("--batch", type=int, metavar="N", help="crops a step, over all devices (default: 8)")
    train.add_argument("--lr", type=_positive, metavar="X", help="learning rate (default: 0.001)")
    train.add_argument("--freeze-encoder", action="store_true", default=None, help="keep the encoder of --from as it is")
    train.add_argument("--devices", type=_count, default=1, metavar="N", help="devices to train on, on each node (default: 1)")
    train.add_argument("--nodes", type=_count, default=1, metavar="M", help="machines to train on (default: 1)")
    train.add_argument("--resume", action="store_true", help="go on from the run's last checkpoint")
    train.add_argument("--json-log", type=Path, metavar="FILE", help="append one JSON line an epoch")
    train.add_argument("--overwrite", action="store_true", help="replace a model that exists, and its run")
    train.set_defaults(command=_train)

    evaluate = commands.add_parser("evaluate", parents=[common, device], help="measure a model on a data folder")
    evaluate.add_argument("data", type=Path, metavar="DATA")
    evaluate.add_argument("--model", required=True, metavar="M")
    evaluate.add_argument("--folds", type=_list, metavar="0")
    evaluate.add_argument("-o", "--output", type=Path, metavar="report.json")
    evaluate.add_argument("--overwrite", action="store_true", help="replace a report that exists")
    evaluate.set_defaults(command=_evaluate)

    models = commands.add_parser("models", help="list models, show a card, fetch a model")
    of_models = models.add_subparsers(title="commands", required=True, metavar="COMMAND")
    of_models.add_parser("list", parents=[common], help="list the models that can be used").set_defaults(command=_models_list)
    info = of_models.add_parser("info", parents=[common], help="show a model's card")
    info.add_argument("model", metavar="M")
    info.set_defaults(command=_models_info)
    download = of_models.add_parser("download", parents=[common], help="download a model into your library")
    download.add_argument("url", metavar="URL")
    download.add_argument("--sha256", required=True, metavar="HASH", help="the file is kept only if this is its hash")
    download.add_argument("--name", metavar="NAME", help="what to call it (default: the file's name)")
    download.set_defaults(command=_models_download)
    return parser


def _list(text: str) -> tuple[str, ...]:
    parts = tuple(part.strip() for part in text.split(","))
    if not all(parts):
        raise argparse.ArgumentTypeError(f"{text!r} is no list; separate entries by commas")
    return parts


def _positive(text: str) -> float:
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not a positive number")
    return value


def _count(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not 1 or more")
    return value


def _pixel_size(text: str) -> tuple[float, float]:
    sizes = [_positive(part) for part in text.split(",")]
    if len(sizes) > 2:
        raise argparse.ArgumentTypeError(f"{text} has {len(sizes)} numbers; give one, or two for Y,X")
    return sizes[0], sizes[-1]


# -------------------------------------------------------------------------------------------------------------- commands
def _predict(options: argparse.Namespace) -> int:
    from napari_resformer.devices import choose_device
    from napari_resformer.images.files import read_image

    if options.overwrite and options.resume:
        raise UsageError("--overwrite starts anew and --resume goes on; give one of them")
    model = _load(options.model)
    _usage(lambda: choose_device(options.device))
    targets = _mask_paths(options.images, options.output)
    table = options.output / "scores.csv"
    if not options.resume:
        _refuse_existing([table, *targets], overwrite=options.overwrite)
    header = ["image", "plane", "predicted", *model.card.image_classes]
    earlier = _read_rows(table, header) if options.resume else []
    rows: list[list[str]] = []
    failed = 0
    for path, target in zip(options.images, targets, strict=True):
        try:
            image = read_image(path, options.axes, options.pixel_size)
            kept = [row for row in earlier if row[0] == path.name] if _names(options.images).count(path.name) == 1 else []
            rows += _predict_image(model, image, options, path.name, target, kept)
        except (ValueError, TypeError, OSError) as error:
            failed += 1
            print(f"napari-resformer: {_named(path, error)}", file=sys.stderr)
            continue
        _write_csv(table, header, rows)  # after each image, so that a run that is cut off can go on
    if rows:
        print(
            f"{len(options.images) - failed} of {len(options.images)} image(s) done; "
            f"masks and {table.name} are in {options.output}"
        )
    _notice(model)
    return FAILED if failed else DONE


def _predict_image(
    model: Model, image: Any, options: argparse.Namespace, name: str, target: Path, kept: list[list[str]]
) -> list[list[str]]:
    """Write an image's mask and return its rows of scores; ``kept`` are those of an earlier run."""
    import shutil
    from math import prod

    from napari_resformer.images.writing import read_note, write_mask
    from napari_resformer.prediction.fingerprint import differences, fingerprint
    from napari_resformer.prediction.plan import LARGE_MASK, make_plan

    plan = make_plan(
        model.card, image, channels=options.channels, device=options.device, tile=options.tile, zoom=options.zoom
    )  # fmt: skip
    if target.suffix == ".zarr":
        return _score_rows(name, _run_plan(model, plan, name, out=target, overwrite=options.overwrite, resume=options.resume))
    made_of = fingerprint(model, plan)
    if options.resume and target.exists():
        try:
            changed = differences(json.loads(read_note(target)), made_of)
        except (ValueError, AttributeError) as error:
            raise ValueError(
                f"{target} was not made by this program; move it, or add --overwrite in place of --resume"
            ) from error
        if changed:
            raise ValueError(f"{target} was made of something else: {changed}; add --overwrite in place of --resume")
        if kept:
            return kept
    store = None
    if prod(plan.image.mask_shape) > LARGE_MASK:
        store = target.with_name(f".{target.stem}.zarr")
    result = _run_plan(model, plan, name, out=store, overwrite=not options.resume, resume=options.resume)
    write_mask(result.mask, plan.image, target, json.dumps(made_of))
    if store is not None:
        shutil.rmtree(store)
    return _score_rows(name, result)


def _run_plan(model: Model, plan: Any, name: str, *, out: Path | None, overwrite: bool, resume: bool) -> PredictResult:
    from tqdm import tqdm

    from napari_resformer.events import Finished, Progress
    from napari_resformer.prediction.job import run_plan

    with tqdm(total=plan.tiles, desc=name, unit="tile", disable=plan.tiles == 1, file=sys.stderr) as bar:
        for event in run_plan(model, plan, out=out, overwrite=overwrite, resume=resume):
            if isinstance(event, Progress):
                bar.total = event.total
                bar.update(event.done - bar.n)
            elif isinstance(event, Finished):
                return event.result
    raise AssertionError("a prediction ends with its result")


def _train(options: argparse.Namespace) -> int:
    from napari_resformer.samples.folder import read_folder
    from napari_resformer.training.job import train_samples
    from napari_resformer.training.run_folder import RunFolder

    if options.output.suffix != ".safetensors":
        raise UsageError(f"{options.output} does not end in .safetensors; name the model file so")
    settings = _train_settings(options)
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)  # it tells what the user need not know
    if options.output.exists() and options.resume and not options.overwrite:
        print(f"{options.output} is finished; nothing to resume")
        return DONE
    _refuse_existing([options.output], overwrite=options.overwrite)
    start = _load(options.start) if options.start else None
    run = RunFolder(options.output.with_suffix(".run"))
    samples = read_folder(options.data)
    if options.overwrite and not options.resume and not _follows(options):
        run.clear()
    events = train_samples(
        samples, settings, run, name=options.output.stem, device=options.device, resume=options.resume, start=start,
        devices=options.devices, nodes=options.nodes,
    )  # fmt: skip
    with _stop_by_keyboard() as stop:
        model = _show_training(events, options.json_log, stop, quiet=_follows(options))
    if model is not None:  # only the first of several processes has it
        model.save(options.output, overwrite=options.overwrite)
        print(f"saved {options.output}; settings, metrics and curves are in {run.path}")
    return DONE


def _train_settings(options: argparse.Namespace) -> TrainSettings:
    """Return the settings that were given; what was not follows the model to start from, or its default."""
    from pydantic import ValidationError

    from napari_resformer.training.settings import TrainSettings

    if shared := set(options.folds or ()) & set(options.val_folds or ()):
        raise UsageError(f"fold {', '.join(sorted(shared))} is named for training and for validation; name it once")
    if options.freeze_encoder and not options.start:
        raise UsageError("--freeze-encoder keeps the encoder of a model; name the model by --from")
    given = {key: value for key, value in vars(options).items() if key in TrainSettings.model_fields and value is not None}
    try:
        return TrainSettings(**given)
    except ValidationError as error:
        first = error.errors()[0]
        option = "--" + "-".join(map(str, first["loc"])).replace("_", "-")
        raise UsageError(f"{option} {first['input']}: {first['msg']}") from error


def _show_training(events: Iterator[TrainEvent], log: Path | None, stop: threading.Event, *, quiet: bool) -> Model | None:
    """Follow a run until it ends or is stopped; return its model, None in all processes but the first."""
    from tqdm import tqdm

    from napari_resformer.events import EpochDone, Finished, Notice, Progress, StepDone

    with contextlib.closing(events), tqdm(file=sys.stderr, leave=False, disable=quiet) as bar:  # type: ignore[type-var]
        for event in events:
            if isinstance(event, StepDone):
                _advance(bar, event.step, event.steps, "step", f"epoch {event.epoch}/{event.epochs} loss {event.loss:.3f}")
            elif isinstance(event, Progress):
                _advance(bar, event.done, event.total, "image", event.unit)
            elif isinstance(event, Notice):
                bar.write(f"{'warning: ' if event.kind == 'warning' else ''}{event.text}", file=sys.stderr)
            elif isinstance(event, EpochDone):
                bar.write(_epoch_line(event))
                sys.stdout.flush()  # a log file is read while the run goes on
                if log:
                    log.parent.mkdir(parents=True, exist_ok=True)
                    with log.open("a", encoding="utf-8") as file:
                        file.write(json.dumps(_epoch_json(event), ensure_ascii=False) + "\n")
            elif isinstance(event, Finished):
                return event.result
            if stop.is_set():
                raise KeyboardInterrupt
    return None


def _advance(bar: Any, done: int, total: int, unit: str, text: str) -> None:
    if done == 1 or bar.unit != unit:
        bar.unit = unit
        bar.reset(total)
    bar.set_description(text, refresh=False)
    bar.update(done - bar.n)


@contextlib.contextmanager
def _stop_by_keyboard() -> Iterator[threading.Event]:
    """Turn the first Ctrl-C into a wish to stop, so that a step, or other processes, are not broken off half-way."""
    stop = threading.Event()

    def wish(*_: Any) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()
        print("stopping after this step; once more to stop at once", file=sys.stderr)

    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = signal.signal(signal.SIGINT, wish)
    try:
        yield stop
    finally:
        if signal.getsignal(signal.SIGINT) is wish:
            signal.signal(signal.SIGINT, before)


def _follows(options: argparse.Namespace) -> bool:
    """Return whether this is a further process of a run on several devices, which leaves speaking to the first."""
    if getattr(options, "devices", 1) * getattr(options, "nodes", 1) == 1:
        return False
    rank = os.environ.get("RANK") or os.environ.get("SLURM_PROCID")
    local = os.environ.get("LOCAL_RANK", "0")
    return rank not in (None, "0") or local != "0" or os.environ.get("NODE_RANK", "0") != "0"


def _evaluate(options: argparse.Namespace) -> int:
    from tqdm import tqdm

    from napari_resformer.atomic import atomic_write
    from napari_resformer.evaluation.job import iter_evaluate
    from napari_resformer.events import Finished, Progress
    from napari_resformer.samples.folder import read_folder
    from napari_resformer.samples.split import select_folds

    model = _load(options.model)
    if options.output:
        _refuse_existing([options.output], overwrite=options.overwrite)
    samples = read_folder(options.data)
    if options.folds:
        samples = select_folds(samples, options.folds)
    report: dict[str, Any] = {}
    with tqdm(total=len(samples.samples), unit="image", file=sys.stderr) as bar:
        for event in iter_evaluate(model, samples, device=options.device):
            if isinstance(event, Progress):
                bar.update(event.done - bar.n)
            elif isinstance(event, Finished):
                report = event.result.to_dict()
    text = json.dumps(report, indent=1, ensure_ascii=False)
    if options.output:
        with atomic_write(options.output) as file:
            file.write(text.encode())
        print(f"saved {options.output}")
    else:
        print(text)
    return DONE


def _models_list(_options: argparse.Namespace) -> int:
    from napari_resformer.model.library import list_models

    for entry in list_models():
        print(f"{entry.name:<20} {entry.origin:<8} {entry.card.summary or ', '.join(entry.card.mask_classes)}")
    return DONE


def _models_info(options: argparse.Namespace) -> int:
    from napari_resformer.model.file import file_sha256
    from napari_resformer.model.library import find_model

    try:
        entry = find_model(options.model)
    except (ValueError, FileNotFoundError) as error:
        raise UsageError(str(error)) from error
    described = entry.card.model_dump(mode="json") | {
        "file": str(entry.path),
        "sha256": file_sha256(entry.path),
    }
    print(json.dumps(described, indent=1, ensure_ascii=False))
    return DONE


def _models_download(options: argparse.Namespace) -> int:
    from napari_resformer.model.library import download_model

    entry = download_model(options.url, options.sha256, options.name)
    print(f"saved as {entry.name}: {entry.card.summary}")
    return DONE


def _demo(options: argparse.Namespace) -> int:
    from napari_resformer.demo import has_display, render_demo, show_demo

    model = _load(options.model)
    if options.output is None and has_display():
        show_demo(options.model, options.device)
    else:
        target = options.output or Path("napari-resformer-demo.png")
        result = render_demo(model, options.device, target)
        for name, score in sorted(zip(result.classes, result.scores, strict=True), key=lambda pair: -pair[1]):
            print(f"{name:<20} {score:6.1%}")
        print(f"picture: {target}")
    _notice(model)
    return DONE


# --------------------------------------------------------------------------------------------------------------- helpers
def _load(name: str) -> Model:
    from napari_resformer.model.file import ModelFileError
    from napari_resformer.model.library import load_model

    try:
        return load_model(name)
    except ModelFileError:
        raise
    except (ValueError, FileNotFoundError) as error:
        raise UsageError(str(error)) from error


def _usage(check: Any) -> None:
    try:
        check()
    except ValueError as error:
        raise UsageError(str(error)) from error


def _notice(model: Model) -> None:
    if model.card.notice:
        print(model.card.notice)


def _named(path: Path, error: Exception) -> str:
    text = _one_line(error)
    return text if path.name in text else f"{path.name}: {text}"


def _names(paths: Sequence[Path]) -> list[str]:
    return [path.name for path in paths]


def _mask_paths(images: Sequence[Path], folder: Path) -> list[Path]:
    """Return a mask's path for each image; the second image of a stem gets ``-2``, and so on, in the order given.

    The mask of a zarr image is an OME-Zarr image, all others are TIFF files.
    """
    from napari_resformer.images.ome_zarr import is_zarr

    zarrs = [is_zarr(path) or path.suffix == ".zarr" for path in images]
    stems = [path.stem.removesuffix(".ome") if zarr else path.stem for path, zarr in zip(images, zarrs, strict=True)]
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
        paths.append(folder / f"{stem}_mask{'.ome.zarr' if zarr else '.tif'}")
    return paths


def _refuse_existing(paths: Sequence[Path], *, overwrite: bool) -> None:
    existing = [path for path in paths if path.exists()]
    if existing and not overwrite:
        raise FileExistsError(f"{existing[0]} exists ({len(existing)} such file(s)); choose another place or add --overwrite")


def _score_rows(name: str, result: PredictResult) -> list[list[str]]:
    """Return a row for each plane; the plane is named by its position on the loop axes, such as ``T0 Z3``."""
    import numpy as np

    axes = result.provenance["plane_axes"]
    rows = []
    for index in np.ndindex(result.scores.shape[:-1]):
        scores = result.scores[index]
        plane = " ".join(f"{axis}{place}" for axis, place in zip(axes, index, strict=True))
        predicted = result.classes[int(scores.argmax())] if result.classes else ""
        rows.append([name, plane, predicted, *(f"{score:.6f}" for score in scores)])
    return rows


def _read_rows(path: Path, header: list[str]) -> list[list[str]]:
    """Return the rows of a table that an earlier run left; none where there is none with this header."""
    if not path.exists():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        first, *rows = list(csv.reader(file)) or [[]]
    return rows if first == header else []


def _write_csv(path: Path, header: list[str], rows: list[list[str]]) -> None:
    from napari_resformer.atomic import atomic_write

    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    with atomic_write(path) as file:
        file.write(text.getvalue().encode())


def _epoch_line(event: Any) -> str:
    report = event.validation
    parts = [f"epoch {event.epoch}/{event.epochs}", f"loss {event.loss:.4f}"]
    if report.mask_mean.dice is not None:
        parts.append(f"Dice {report.mask_mean.dice:.4f}")
    if report.image_class is not None:
        parts.append(f"balanced accuracy {report.image_class.balanced_accuracy:.3f}")
    return "  ".join([*parts, f"{event.seconds:.0f} s", "best so far" if event.best else ""]).rstrip()


def _epoch_json(event: Any) -> dict[str, Any]:
    return {
        "epoch": event.epoch,
        "training": vars(event.training),
        "held_out": vars(event.held_out),
        "score": event.score,
        "best": event.best,
        "seconds": event.seconds,
        "validation": event.validation.to_dict(),
    }


if __name__ == "__main__":
    sys.exit(main())
