"""``napari-resformer models``: what models there are, their cards, and where to get more."""

from __future__ import annotations

import argparse

from napari_resformer.cli.usage import DONE, Commands, Parser, UsageError, print_json


def add_models(commands: Commands, common: Parser) -> None:
    """Add the command to the parser."""
    models = commands.add_parser("models", help="list models, show a card, fetch a model")
    of_models = models.add_subparsers(title="commands", required=True, metavar="COMMAND")
    of_models.add_parser("list", parents=[common], help="list the models that can be used").set_defaults(command=_models_list)
    info = of_models.add_parser("info", parents=[common], help="show a model's card")
    info.add_argument("model", metavar="M", help="model name or path")
    info.set_defaults(command=_models_info)
    download = of_models.add_parser("download", parents=[common], help="download a model into your library")
    download.add_argument("url", metavar="URL", help="where the model file is")
    download.add_argument("--sha256", required=True, metavar="HASH", help="SHA-256 of the file, which is kept only if it matches")
    download.add_argument("--name", metavar="NAME", help="name of the model (default: that of the file)")
    download.add_argument("--overwrite", action="store_true", help="replace another model of that name")
    download.set_defaults(command=_models_download)


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
    print_json(described)
    return DONE


def _models_download(options: argparse.Namespace) -> int:
    from napari_resformer.model.library import download_model

    entry = download_model(options.url, options.sha256, options.name, overwrite=options.overwrite)
    print(f"saved as {entry.name}: {entry.card.summary}")
    return DONE
