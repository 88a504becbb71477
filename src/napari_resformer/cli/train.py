"""``napari-resformer train``: a data folder in, a model out."""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_resformer.cli.usage import DONE, Commands, Parser, UsageError, comma_list, count, load, positive, refuse_existing
from napari_resformer.network.config import PRESETS

if TYPE_CHECKING:
    from napari_resformer.model.file import Model
    from napari_resformer.training.settings import TrainSettings
    from napari_resformer.training.trainer import TrainEvent


def add_train(commands: Commands, common: Parser, device: Parser) -> None:
    """Add the command to the parser."""
    train = commands.add_parser("train", parents=[common, device], help="train a model on a data folder")
    train.add_argument("data", type=Path, metavar="DATA", help="folder with images/, masks/ and labels.csv")
    train.add_argument("-o", "--output", type=Path, required=True, metavar="MODEL.safetensors")
    origin = train.add_mutually_exclusive_group()
    origin.add_argument("--from", dest="start", metavar="M", help="start from a model: its name or path")
    origin.add_argument("--preset", choices=PRESETS, default="tiny", help="size of a new network (default: tiny)")
    train.add_argument("--epochs", type=int, metavar="N", help="passes over the images (default: 40)")
    train.add_argument("--patience", type=int, metavar="N", help="stop after N epochs without a better score (default: never)")
    train.add_argument("--seed", type=int, metavar="S", help="of weights, order, augmentation and split (default: 0)")
    train.add_argument("--folds", type=comma_list, metavar="1,2", help="folds to train on (default: all but --val-folds)")
    train.add_argument(
        "--val-folds", type=comma_list, metavar="0", help="folds to validate on (default: a part of the training images)"
    )
    train.add_argument("--mask-classes", type=comma_list, metavar="A,B", help="names of the label values 1, 2, ...")
    train.add_argument(
        "--object-numbers", action="store_true", help="label values number objects, which all are of one mask class"
    )
    train.add_argument(
        "--mode",
        choices=("native", "resize"),
        help="crops as they are, or planes resized to --size (default: native, or that of --from)",
    )
    train.add_argument(
        "--size", type=int, metavar="N", help="side of the crops or resized planes (default: 128, or that of --from)"
    )
    train.add_argument("--batch", type=int, metavar="N", help="crops a step, over all devices (default: 4)")
    train.add_argument("--lr", type=positive, metavar="X", help="learning rate (default: 0.0015)")
    train.add_argument("--freeze-encoder", action="store_true", default=None, help="keep the encoder of --from as it is")
    train.add_argument("--devices", type=count, default=1, metavar="N", help="devices to train on, on each node (default: 1)")
    train.add_argument("--nodes", type=count, default=1, metavar="M", help="machines to train on (default: 1)")
    train.add_argument("--resume", action="store_true", help="go on from the run's last checkpoint")
    train.add_argument("--json-log", type=Path, metavar="FILE", help="append one JSON line an epoch")
    train.add_argument("--overwrite", action="store_true", help="replace a model that exists, and its run")
    train.set_defaults(command=_train, if_interrupted="nothing half-written was left; go on with --resume")


def _train(options: argparse.Namespace) -> int:
    from napari_resformer.samples.folder import read_folder
    from napari_resformer.training.run_folder import RunFolder
    from napari_resformer.training.trainer import train_samples

    if options.output.suffix != ".safetensors":
        raise UsageError(f"{options.output} does not end in .safetensors; name the model file so")
    settings = _train_settings(options)
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)  # it tells what the user need not know
    if options.output.exists() and options.resume and not options.overwrite:
        print(f"{options.output} is finished; nothing to resume")
        return DONE
    refuse_existing([options.output], overwrite=options.overwrite)
    start = load(options.start) if options.start else None
    if options.json_log and not is_follower(options):
        _check_log(options.json_log)
    run = RunFolder(options.output.with_suffix(".run"), replace=options.overwrite)
    samples = read_folder(options.data)
    if options.object_numbers:
        samples = samples.with_instance_labels()
    events = train_samples(
        samples, settings, run, name=options.output.stem, device=options.device, resume=options.resume, start=start,
        devices=options.devices, nodes=options.nodes,
    )  # fmt: skip
    with _stop_by_keyboard() as stop:
        model = _show_training(events, options.json_log, stop, quiet=is_follower(options))
    if model is not None:  # only the first of several processes has it
        model.save(options.output, overwrite=options.overwrite)
        print(f"saved {options.output}; settings, metrics and curves are in {run.path}")
    return DONE


def _check_log(path: Path) -> None:
    """Find out before the first epoch, rather than after it, that a file cannot be written."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.open("a").close()
    except OSError as error:
        raise UsageError(f"--json-log {path} cannot be written ({error.strerror}); name another file") from error


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


def is_follower(options: argparse.Namespace) -> bool:
    """Return whether this is a further process of a run on several devices, which leaves speaking to the first."""
    if getattr(options, "devices", 1) * getattr(options, "nodes", 1) == 1:
        return False
    rank = os.environ.get("RANK") or os.environ.get("SLURM_PROCID")
    local = os.environ.get("LOCAL_RANK", "0")
    return rank not in (None, "0") or local != "0" or os.environ.get("NODE_RANK", "0") != "0"


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
