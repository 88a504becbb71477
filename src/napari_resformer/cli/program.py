"""The program: parses the command line, runs the command, and turns what goes wrong into one line and an exit status."""

from __future__ import annotations

import argparse
import io
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from napari_resformer.cli.demo import add_demo
from napari_resformer.cli.evaluate import add_evaluate
from napari_resformer.cli.models import add_models
from napari_resformer.cli.predict import add_predict
from napari_resformer.cli.train import add_train, is_follower
from napari_resformer.cli.usage import BAD_USAGE, FAILED, INTERRUPTED, UsageError, one_line


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status: 0 done, 1 the job failed, 2 bad usage.

    Parameters
    ----------
    arguments : sequence of str, optional
        Without the program's name; those of the process when left out.
    """
    # torch reads this when it first allocates: huge pages, where the system has them, save it work with large arrays.
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
    _take_all_letters()
    options = _parser().parse_args(arguments)
    try:
        with _library_notes(options.debug):
            return int(options.command(options))
    except KeyboardInterrupt:
        print(f"napari-resformer: interrupted; {options.if_interrupted}", file=sys.stderr)
        return INTERRUPTED
    except Exception as error:
        if options.debug:
            raise
        if is_follower(options) and isinstance(error, ValueError | OSError):
            return FAILED  # the first process says the same
        print(f"napari-resformer: {one_line(error)}", file=sys.stderr)
        return BAD_USAGE if isinstance(error, UsageError) else FAILED


def _take_all_letters() -> None:
    """Let names in other alphabets and encodings be printed anywhere: what a console or a pipe cannot show is escaped."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
            stream.reconfigure(errors="backslashreplace")


@contextmanager
def _library_notes(debug: bool) -> Iterator[None]:
    """Print what libraries say of files while their pixels are read, as notes and once; with ``debug`` as they say it."""
    from napari_resformer.io.said import overhearing

    if debug:
        yield
        return
    heard: list[str] = []
    try:
        with overhearing() as heard:
            yield
    finally:
        for line in heard:
            print(f"the TIFF reader says: {line}", file=sys.stderr)


def _parser() -> argparse.ArgumentParser:
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--debug", action="store_true", help="show the traceback of an error")
    device = argparse.ArgumentParser(add_help=False)
    device.add_argument("--device", default="auto", metavar="D", help="auto, cpu, cuda, cuda:N or mps (default: auto)")

    parser = argparse.ArgumentParser(
        prog="napari-resformer",
        description="Segment and classify images with one network, and train it on your own masks and classes.",
    )
    parser.set_defaults(if_interrupted="nothing half-written was left")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    add_demo(commands, common, device)
    add_predict(commands, common, device)
    add_train(commands, common, device)
    add_evaluate(commands, common, device)
    add_models(commands, common)
    return parser
