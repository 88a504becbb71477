"""The rooms: imports only run downwards, no circle exists, and only widgets/ knows napari and Qt."""

from __future__ import annotations

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import napari_resformer

HOUSE = Path(napari_resformer.__file__).parent
FLOORS = {
    "network": 0, "images": 0, "events": 0, "metrics": 0, "devices": 0, "concurrency": 0,
    "io": 1, "preprocessing": 1,
    "model": 2, "samples": 2,
    "prediction": 3, "training": 3,
    "evaluation": 4, "engine": 4,
    "demo": 5, "widgets": 5, "cli": 6,
}  # fmt: skip


def imports(path: Path) -> set[str]:
    """Return the modules of this package that a file imports, also those inside functions and for type checkers."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("napari_resformer."):
            inner = [HOUSE.parent.joinpath(*node.module.split("."), f"{alias.name}.py") for alias in node.names]
            found |= {f"{node.module}.{file.stem}" if file.exists() else node.module for file in inner}
    return found


def name_of(path: Path) -> str:
    parts = path.relative_to(HOUSE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {name_of(path): imports(path) for path in HOUSE.rglob("*.py") if path != HOUSE / "__init__.py"}


def test_imports_run_downwards() -> None:
    upwards = [
        f"{importer} imports {imported}"
        for importer, used in MODULES.items()
        for imported in used
        if FLOORS[imported.split(".")[1]] > FLOORS[importer.split(".")[1]]
    ]
    assert upwards == []
    assert len(MODULES) > 50


def test_no_circle_exists() -> None:
    tuple(TopologicalSorter(MODULES).static_order())  # raises CycleError, which names the circle


def test_only_the_widgets_know_napari_and_qt() -> None:
    knowing = {
        path.relative_to(HOUSE).parts[0]
        for path in HOUSE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        for name in (
            [alias.name for alias in node.names] if isinstance(node, ast.Import) else [getattr(node, "module", "") or ""]
        )
        if isinstance(node, ast.Import | ast.ImportFrom) and name.split(".")[0] in {"napari", "qtpy", "magicgui", "superqt"}
    }
    assert knowing <= {"widgets", "demo.py"}  # the demo opens the viewer, in a function
