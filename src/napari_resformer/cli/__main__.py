"""``python -m napari_resformer.cli``."""

import sys

from napari_resformer.cli.program import main

if __name__ == "__main__":
    sys.exit(main())
