"""Engines with their worker processes."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from napari_resformer.engine.process import ProcessEngine

if (here := str(Path(__file__).parent)) not in sys.path:  # workers get the path as it is then, and import the jobs from there
    sys.path.insert(0, here)

from hearing import LONG, is_gone, wait_until


@pytest.fixture(autouse=True)
def user_folder() -> None:
    """Leave the user's folder alone: nothing here looks there, and the fixture of this name would load torch."""


@pytest.fixture(scope="module")
def shared() -> Iterator[ProcessEngine]:
    """One engine for all tests of a module that leave its worker alive."""
    engine = ProcessEngine(cancel_seconds=LONG)  # a busy machine must not look like a job that does not end
    yield engine
    engine.close()


@pytest.fixture
def fresh() -> Iterator[Callable[..., ProcessEngine]]:
    """Make engines that are closed in the end; none may leave a process."""
    engines: list[ProcessEngine] = []

    def make(**options: Any) -> ProcessEngine:
        engines.append(ProcessEngine(**options))
        return engines[-1]

    yield make
    pids = [engine.pid for engine in engines]
    for engine in engines:
        engine.close()
    for pid in pids:
        if pid is not None:
            wait_until(lambda pid=pid: is_gone(pid), "the worker is still there")
