"""Write constraints-lowest.txt: each direct dependency at the lower bound that pyproject.toml states.

python dev/lowest.py              write the file
python dev/lowest.py --check      fail where the file does not fit pyproject.toml
python dev/lowest.py --installed  fail where other versions are installed

The tox environment "lowest" installs by that file and runs the whole suite, so that the bounds are tested, not guessed.
"""

from __future__ import annotations

import sys
import tomllib
from importlib.metadata import version
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
FILE = ROOT / "constraints-lowest.txt"
EXTRAS = ("all", "test")

HEADER = """\
# Each direct dependency at its lower bound: for the tox environment "lowest", which tests that the bounds are true.
# Written from pyproject.toml by dev/lowest.py. Change a bound there, and run it again.
"""

# Bounds of packages that pyproject.toml does not name, and why the newest release does not go with an old direct one.
INDIRECT: tuple[tuple[str, str], ...] = ()


def lowest(requirement: Requirement) -> Requirement:
    """Return a requirement with its lower bound as the only version, and without extras, which constraints cannot have."""
    bounds = [specifier.version for specifier in requirement.specifier if specifier.operator == ">="]
    if len(bounds) != 1:
        raise SystemExit(f"pyproject.toml: '{requirement}' needs one lower bound (>=).")
    return Requirement(f"{requirement.name}=={bounds[0]}" + (f"; {requirement.marker}" if requirement.marker else ""))


def read_groups() -> dict[str, list[Requirement]]:
    """Return the direct dependencies at their lower bounds: of the base, and of each extra."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    groups = {"base": project["dependencies"]} | {f"extra: {extra}": project["optional-dependencies"][extra] for extra in EXTRAS}
    return {
        title: sorted((lowest(Requirement(text)) for text in texts), key=lambda one: canonicalize_name(one.name))
        for title, texts in groups.items()
    }


def as_text(groups: dict[str, list[Requirement]]) -> str:
    """Return what the file should hold."""
    parts = [HEADER]
    for title, requirements in groups.items():
        parts.append("\n".join([f"# {title}", *map(str, requirements)]) + "\n")
    if INDIRECT:
        bounds = [f"{bound}  # {reason}" for bound, reason in INDIRECT]
        parts.append("\n".join(["# not named in pyproject.toml", *bounds]) + "\n")
    return "\n".join(parts)


def main(arguments: list[str]) -> None:
    """Write the file, or compare."""
    groups = read_groups()
    if not arguments:
        FILE.write_text(as_text(groups), encoding="utf-8")
    if "--check" in arguments and (not FILE.exists() or FILE.read_text(encoding="utf-8") != as_text(groups)):
        raise SystemExit(f"{FILE.name} does not fit pyproject.toml. Run: python dev/lowest.py")
    if "--installed" in arguments:
        wanted = [one for group in groups.values() for one in group if one.marker is None or one.marker.evaluate()]
        others = [f"{one.name} {version(one.name)}" for one in wanted if not one.specifier.contains(version(one.name))]
        if others:
            raise SystemExit(f"Installed, but not at the lower bound: {', '.join(others)}.")


if __name__ == "__main__":
    main(sys.argv[1:])
