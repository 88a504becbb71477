"""Write a file whole or not at all."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

_SHOWN = 40  # letters of a file's name in that of its part, which is not to be longer than the name can be
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@contextmanager
def atomic_write(path: Path) -> Iterator[IO[bytes]]:
    """Open a hidden file beside ``path`` that takes its place when the block ends well, and vanishes otherwise.

    Readers see the old file or the new one, also after a crash or a full disk.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:_SHOWN]}.", suffix=".part")
    partial = Path(name)
    try:
        os.close(handle)  # opened again by name: tifffile asks a file for its name
        with partial.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        partial.chmod(0o644)  # mkstemp makes files that only their owner can read
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        if error.errno in _FULL:
            raise OSError(
                error.errno,
                f"no space is left to write {path}; what was there before is untouched: free some space and try again",
            ) from error
        raise
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
