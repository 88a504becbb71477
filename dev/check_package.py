"""Check that a source archive and the wheel built from it hold what they should: python dev/check_package.py DIST.

DIST is the folder that ``python -m build`` wrote. The wheel must hold every file of the package and nothing else; the
source archive also all that is needed to test, document and reproduce it.
"""

from __future__ import annotations

import subprocess
import sys
import tarfile
from pathlib import Path
from zipfile import ZipFile

ROOT = Path(__file__).resolve().parents[1]
SOURCE = "src/napari_resformer/"
NOT_SHIPPED = ".git"  # .gitignore and .github/: of use in a checkout only


def tracked() -> set[str]:
    """Return the files that git knows, as paths with /."""
    told = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return {path for path in told.split("\0") if path and (ROOT / path).exists()}


def in_wheel(path: Path) -> set[str]:
    """Return the files of a wheel, without its metadata."""
    with ZipFile(path) as wheel:
        return {name for name in wheel.namelist() if ".dist-info/" not in name}


def in_archive(path: Path) -> set[str]:
    """Return the files of a source archive, without its top folder and without what setuptools writes."""
    with tarfile.open(path) as archive:
        names = {member.name.partition("/")[2] for member in archive if member.isfile()}
    return {name for name in names if name not in {"PKG-INFO", "setup.cfg"} and ".egg-info/" not in name}


def differences(name: str, found: set[str], wanted: set[str]) -> list[str]:
    """Return a line for each file that is missing, and each that should not be there."""
    lines = [f"{name} lacks {path}" for path in sorted(wanted - found)]
    return lines + [f"{name} should not hold {path}" for path in sorted(found - wanted)]


def main(folder: Path) -> None:
    """Compare both with the files that git knows."""
    (wheel,), (archive,) = folder.glob("*.whl"), folder.glob("*.tar.gz")
    files = tracked()
    package = {path.removeprefix("src/") for path in files if path.startswith(SOURCE)}
    shipped = {path for path in files if not path.startswith(NOT_SHIPPED)}
    lines = differences(wheel.name, in_wheel(wheel), package) + differences(archive.name, in_archive(archive), shipped)
    if lines:
        raise SystemExit("\n".join(lines))
    print(f"{wheel.name}: {len(package)} files, {archive.name}: {len(shipped)} files, as they should be")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
