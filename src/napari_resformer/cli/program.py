"""The program: parses the command line, runs the command, and turns what goes wrong into one line and an exit status."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Sequence

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
    options = _parser().parse_args(arguments)
    if not options.debug:  # tifffile logs what is odd in a file, beside the one line that says whether it could be read
        logging.getLogger("tifffile").addHandler(logging.NullHandler())
    try:
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


def _parser() -> argparse.ArgumentParser:
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--debug", action="store_true", help="show the traceback of an error")
    device = argparse.ArgumentParser(add_help=False)
    device.add_argument("--device", default="auto", metavar="D", help="auto, cpu, cuda, cuda:N or mps (default: auto)")

    parser = argparse.ArgumentParser(
        prog="napari-resformer",
        description="Segment and classify images with one network, and teach it your own masks and classes.",
    )
    parser.set_defaults(if_interrupted="nothing half-written was left")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    add_demo(commands, common, device)
    add_predict(commands, common, device)
    add_train(commands, common, device)
    add_evaluate(commands, common, device)
    add_models(commands, common)
    return parser
