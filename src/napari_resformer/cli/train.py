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

from napari_resformer.cli.settings import FURTHER, MAIN, add_data_options, add_settings, given_settings, mask_kind, spell
from napari_resformer.cli.usage import DONE, Commands, Parser, UsageError, check_place, count, refuse_existing

if TYPE_CHECKING:
    from napari_resformer.training.session import SessionEvent, Trained
    from napari_resformer.training.settings import TrainSettings


def add_train(commands: Commands, common: Parser, device: Parser) -> None:
    """Add the command to the parser."""
    train = commands.add_parser("train", parents=[common, device], help="train a model on a data folder")
    train.add_argument("data", type=Path, metavar="DATA", help="folder with images/, masks/ and labels.csv")
    train.add_argument("-o", "--output", type=Path, required=True, metavar="MODEL.safetensors", help="the model file to write")
    origin = train.add_mutually_exclusive_group()
    origin.add_argument("--from", dest="start", metavar="M", help="start from a model: its name or path")
    add_settings(origin, MAIN[:1])
    add_settings(train, MAIN[1:])
    add_data_options(train)
    train.add_argument("--devices", type=count, default=1, metavar="N", help="devices to train on, on each node (default: 1)")
    train.add_argument("--nodes", type=count, default=1, metavar="M", help="machines to train on (default: 1)")
    train.add_argument("--resume", action="store_true", help="resume the run from its last checkpoint")
    train.add_argument("--json-log", type=Path, metavar="FILE", help="append one line of JSON after each epoch")
    train.add_argument("--overwrite", action="store_true", help="replace an existing model and its run")
    add_settings(train.add_argument_group("further settings"), FURTHER)
    train.set_defaults(command=_train, if_interrupted="no epoch was finished, so there is nothing to resume")


def _train(options: argparse.Namespace) -> int:
    from napari_resformer.training.session import TrainRequest, train_session

    if options.output.suffix != ".safetensors":
        raise UsageError(f"{options.output} does not end in .safetensors; name the model file so")
    settings = _train_settings(options)
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)  # it tells what the user need not know
    if options.output.exists() and options.resume and not options.overwrite:
        others = _other_settings(options)
        print(f"{options.output} is finished; there is nothing to resume{others}")
        return DONE
    if options.output.is_dir():
        raise UsageError(f"-o {options.output} is a folder, where a model file is to be written; name another file")
    check_place(options.output.parent, f"-o {options.output}")
    refuse_existing([options.output], overwrite=options.overwrite)
    if options.start:
        _check_model(options.start)
    if options.json_log and not is_follower(options):
        _check_log(options.json_log)
    request = TrainRequest(
        options.data,
        options.output,
        options.output.with_suffix(".run"),
        settings,
        options.start,
        options.device,
        replace=options.overwrite,
        existing_run="resume" if options.resume else "replace" if options.overwrite else "refuse",
        devices=options.devices,
        nodes=options.nodes,
        mask_kind=mask_kind(options),
        axes=options.axes,
    )
    if (request.run_folder / "last.pt").exists():
        options.if_interrupted = (
            f"no epoch was finished; the earlier run in {request.run_folder} is untouched (--resume continues that one, "
            "--overwrite starts over)"
        )
    with _stop_by_keyboard() as stop:
        trained = _show_training(train_session(request), options, stop)
    if trained is not None:  # only the first of several processes has it
        print(f"saved {trained.path}; settings, metrics and curves are in {request.run_folder}")
    return DONE


def _other_settings(options: argparse.Namespace) -> str:
    """Return what a finished model was trained with in place of the settings that are given now, in words."""
    from napari_resformer.training.settings import TrainSettings

    try:
        stored = json.loads((options.output.with_suffix(".run") / "settings.json").read_text(encoding="utf-8"))["settings"]
        before = TrainSettings.model_validate(stored, strict=False)
    except (OSError, ValueError, KeyError, TypeError):
        return ""
    now = given_settings(options)
    given = [name for name in type(now).model_fields if getattr(options, name, None) is not None]
    others = [f"{spell(name)} {getattr(before, name)}" for name in given if getattr(before, name) != getattr(now, name)]
    return f"; it was trained with {', '.join(others)}: --overwrite trains it anew" if others else ""


def _check_model(name: str) -> None:
    """Find out before anything is read that there is no such model; that is bad usage."""
    from napari_resformer.model.file import ModelFileError
    from napari_resformer.model.library import find_model

    try:
        find_model(name)
    except ModelFileError:
        raise
    except (ValueError, FileNotFoundError) as error:
        raise UsageError(str(error)) from error


def _check_log(path: Path) -> None:
    """Find out before the first epoch, rather than after it, that a file cannot be written."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.open("a").close()
    except OSError as error:
        raise UsageError(f"--json-log {path} cannot be written ({error.strerror}); name another file") from error


def _train_settings(options: argparse.Namespace) -> TrainSettings:
    """Return the settings that were given; a wrong one is bad usage."""
    if shared := set(options.folds or ()) & set(options.val_folds or ()):
        raise UsageError(f"fold {', '.join(sorted(shared))} is named for training and for validation; name it once")
    if options.freeze_encoder and not options.start:
        raise UsageError("--freeze-encoder keeps the encoder of a model; name the model by --from")
    try:
        return given_settings(options)
    except ValueError as error:
        raise UsageError(str(error)) from error


def _show_training(events: Iterator[SessionEvent], options: argparse.Namespace, stop: threading.Event) -> Trained | None:
    """Follow a session until it ends or is stopped; return its model, None in all processes but the first."""
    from tqdm import tqdm

    from napari_resformer.events import EpochDone, Finished, Notice, Progress, StepDone, TrainingStarted

    best = options.output.with_suffix(".run") / "best.safetensors"
    resumable = f"nothing half-written was left; resume with --resume (the best model so far is {best})"
    with contextlib.closing(events), tqdm(file=sys.stderr, leave=False, disable=is_follower(options)) as bar:  # type: ignore[type-var]
        for event in events:
            if isinstance(event, StepDone):
                _advance(bar, event.step, event.steps, "step", f"epoch {event.epoch}/{event.epochs} loss {event.loss:.3f}")
            elif isinstance(event, Progress):
                _advance(bar, event.done, event.total, "image", event.unit)
            elif isinstance(event, Notice):
                bar.write(f"{'warning: ' if event.kind == 'warning' else ''}{event.text}", file=sys.stderr)
            elif isinstance(event, TrainingStarted) and event.history:
                options.if_interrupted = resumable
            elif isinstance(event, EpochDone):
                options.if_interrupted = resumable
                bar.write(_epoch_line(event))
                sys.stdout.flush()  # a log file is read while the run goes on
                if options.json_log:
                    with options.json_log.open("a", encoding="utf-8") as file:
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
