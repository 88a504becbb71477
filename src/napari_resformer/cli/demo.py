"""``napari-resformer demo``: the main job on a bundled real image."""

from __future__ import annotations

import argparse
from pathlib import Path

from napari_resformer.cli.usage import DONE, Commands, Parser, check_place, load, print_notice


def add_demo(commands: Commands, common: Parser, device: Parser) -> None:
    """Add the command to the parser."""
    demo = commands.add_parser("demo", parents=[common, device], help="segment and classify a bundled real image")
    demo.add_argument("--model", default="nuclei", metavar="M", help="model name, or a path if -o is given (default: nuclei)")
    demo.add_argument("-o", "--output", type=Path, metavar="PNG", help="write a picture instead of opening napari")
    demo.set_defaults(command=_demo)


def _demo(options: argparse.Namespace) -> int:
    from napari_resformer.demo import has_display, render_demo, show_demo
    from napari_resformer.images.words import percent

    model = load(options.model)
    if options.output is None and has_display():
        show_demo(options.model, options.device)
    else:
        target = options.output or Path("napari-resformer-demo.png")
        check_place(target.parent, f"-o {target}")
        result = render_demo(model, options.device, target)
        for name, score in sorted(zip(result.classes, result.scores, strict=True), key=lambda pair: -pair[1]):
            print(f"{name:<20} {percent(float(score)):>6}")
        print(f"picture: {target}")
        for note in result.notes:
            print(note)
    print_notice(model)
    return DONE
