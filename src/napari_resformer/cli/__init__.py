"""The command line: ``napari-resformer demo | predict | train | evaluate | models``, a module a command."""

from napari_resformer.cli.program import main

__all__ = ["main"]
