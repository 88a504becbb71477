"""The widgets with their worker process: napari stays light and alive, whatever happens to the worker."""

from __future__ import annotations

import gc
import os
import random
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

pytest.importorskip("napari")

from napari.components import ViewerModel

from .conftest import small_run

HERE = Path(__file__).parent
KILLS = int(os.environ.get("RESFORMER_KILLS", "2"))  # the more, the longer; ten before a release
RNG = np.random.default_rng(0)


@pytest.fixture
def engines(monkeypatch: pytest.MonkeyPatch, user_folder: Path) -> Iterator[list[Any]]:
    """Run jobs in a worker process, as users do."""
    from napari_resformer.engine.process import ProcessEngine

    monkeypatch.syspath_prepend(str(HERE))
    made: list[Any] = []

    def make() -> Any:
        made.append(ProcessEngine())
        return made[-1]

    monkeypatch.setattr("napari_resformer.widgets.base.engines.make_engine", make)
    yield made
    for engine in made:
        engine.close()


def workers() -> list[psutil.Process]:
    """Return the worker processes of this one."""
    found = []
    for child in psutil.Process().children():
        try:
            if any("napari_resformer.engine.worker" in part for part in child.cmdline()):
                found.append(child)
        except psutil.NoSuchProcess:
            continue
    return found


def wait_gone(process: psutil.Process, seconds: float = 20) -> None:
    try:
        process.wait(seconds)
    except psutil.NoSuchProcess:
        return


def kill_soon(qtbot: Any, widget: Any, seconds: float, since: Callable[[], bool] = lambda: True) -> None:
    """Kill the worker some time after a run has begun, and something has happened in it, unless the run is over by then."""
    qtbot.waitUntil(lambda: widget.busy, timeout=30_000)
    qtbot.waitUntil(lambda: since() or not widget.busy, timeout=120_000)
    end = time.monotonic() + seconds
    qtbot.waitUntil(lambda: time.monotonic() > end or not widget.busy, timeout=60_000)
    for one in workers():
        one.kill()
    qtbot.waitUntil(lambda: not widget.busy, timeout=60_000)


@pytest.mark.timeout(300 + 60 * KILLS)
def test_a_worker_that_is_killed_in_mid_prediction(qtbot: Any, make_widget: Any, run: Callable[..., None]) -> None:
    viewer = ViewerModel()
    viewer.add_image(RNG.integers(0, 255, (24, 256, 256), dtype=np.uint8), name="stack")
    widget = make_widget(viewer)
    begin = time.monotonic()
    run(widget)  # how long it takes, and a result that must survive
    whole = time.monotonic() - begin
    assert widget.message.startswith("Done"), widget.message
    begin = time.monotonic()
    run(widget)
    whole = min(whole, time.monotonic() - begin)
    generator = random.Random(0)
    survived = 0
    for number in range(KILLS):
        layers = list(viewer.layers)
        widget.run.native.click()
        kill_soon(qtbot, widget, generator.uniform(0, whole))
        assert list(viewer.layers) == layers, number
        if "was killed" in widget.message:
            assert widget.message.count("The worker process") == 1
            survived += 1
        else:  # the run was over before
            assert widget.message.startswith("Done"), widget.message
    assert survived >= 1
    run(widget)
    assert widget.message.startswith("Done"), widget.message


@pytest.mark.timeout(300 + 60 * KILLS)
def test_a_worker_that_is_killed_in_mid_training(qtbot: Any, make_fine_tune: Any) -> None:
    viewer = ViewerModel()
    for number in range(3):
        viewer.add_image(RNG.integers(0, 255, (48, 48, 3), dtype=np.uint8), name=f"cell {number}", rgb=True)
        mask = np.zeros((48, 48), np.uint8)
        mask[10 : 20 + number, 10:30] = 1
        viewer.add_labels(mask, name=f"cell {number} labels")
    widget = make_fine_tune(viewer)
    small_run(widget)
    widget.epochs.value = 20
    layers = {layer.name for layer in viewer.layers}
    generator = random.Random(1)
    qtbot.waitUntil(lambda: bool(widget.plan_text) and not widget.busy, timeout=120_000)
    epochs, killed = 0, 0

    def points() -> tuple[Any, ...]:
        return widget._panel.curves.points

    for number in range(KILLS):
        if "is ready" in widget.summary_text or widget._panel.summary.lines.words:
            break
        widget.run.native.click()
        if number % 2:  # while the worker or the training starts, or later
            kill_soon(qtbot, widget, generator.uniform(0.1, 8))
        else:  # after one more epoch, also on a slow machine: so the training goes on from run to run
            kill_soon(qtbot, widget, generator.uniform(0, 1), lambda seen=epochs: len(points()) > seen)
        assert layers <= {layer.name for layer in viewer.layers}
        if "was killed" in widget.message:
            assert widget.message.count("The worker process") == 1
            killed += 1
        done = len(points())
        assert done >= epochs or done == 0
        epochs = max(epochs, done)
    assert killed >= 1
    widget.run.native.click()
    qtbot.waitUntil(lambda: widget.busy, timeout=30_000)
    qtbot.waitUntil(lambda: not widget.busy, timeout=240_000)
    assert widget.summary_text, widget.message
    assert epochs >= KILLS // 4  # what was lost with a kill is less than what was done
    assert [point.epoch for point in points()] == list(range(1, 21))  # the training went on


@pytest.mark.parametrize(
    ("function", "words"), [("crash", "crashed"), ("refused_memory", "not enough memory"), ("unpicklable", "odd")]
)
def test_a_job_that_ends_badly_is_one_sentence_and_the_next_run_works(
    make_widget: Any, run: Any, monkeypatch: pytest.MonkeyPatch, function: str, words: str
) -> None:
    import hostile_jobs

    viewer = ViewerModel()
    viewer.add_image(RNG.integers(0, 255, (64, 64), dtype=np.uint8), name="picture")
    widget = make_widget(viewer)
    with monkeypatch.context() as patch:
        patch.setattr("napari_resformer.widgets.predict.segment_classify.predict_job", getattr(hostile_jobs, function))
        run(widget)
    assert words in widget.message
    assert [layer.name for layer in viewer.layers] == ["picture"]
    assert widget.run.text == "Run"
    run(widget)
    assert widget.message.startswith("Done"), widget.message


def test_two_docks_of_a_viewer_share_a_worker_and_two_viewers_do_not(
    qtbot: Any, make_widget: Any, make_fine_tune: Any, run: Any, engines: list[Any]
) -> None:
    one, other = ViewerModel(), ViewerModel()
    for viewer in (one, other):
        viewer.add_image(RNG.integers(0, 255, (64, 64), dtype=np.uint8), name="picture")
    first, beside, apart = make_widget(one), make_fine_tune(one), make_widget(other)
    assert first._engine is beside._engine
    assert first._engine is not apart._engine
    run(first)
    run(apart)
    assert len(workers()) == 2


def test_the_interpreter_is_left_as_it_is(make_widget: Any, run: Any) -> None:
    before = sys.getswitchinterval(), gc.isenabled(), gc.get_threshold(), gc.get_freeze_count()
    viewer = ViewerModel()
    viewer.add_image(RNG.integers(0, 255, (64, 64), dtype=np.uint8), name="picture")
    widget = make_widget(viewer)
    run(widget)
    assert (sys.getswitchinterval(), gc.isenabled(), gc.get_threshold(), gc.get_freeze_count()) == before


def script(tmp_path: Path, text: str, **more: str) -> subprocess.CompletedProcess[str]:
    path = tmp_path / "users_script.py"
    path.write_text(textwrap.dedent(text), encoding="utf-8")
    environment = os.environ | {"XDG_DATA_HOME": str(tmp_path / "data"), "XDG_CACHE_HOME": str(tmp_path / "cache")} | more
    return subprocess.run(
        [sys.executable, str(path)], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=280, check=False
    )


VIEWER = """
    import gc, sys, time
    before = sys.getswitchinterval(), gc.isenabled(), gc.get_threshold(), gc.get_freeze_count()
    with open("started.txt", "a") as file:
        file.write("once ")
    import napari, numpy as np, psutil
    from qtpy.QtWidgets import QApplication

    def wait(until, seconds=200):
        end = time.monotonic() + seconds
        while not until():
            QApplication.processEvents()
            time.sleep(0.005)
            assert time.monotonic() < end, "too long"

    viewer = napari.Viewer()
    rng = np.random.default_rng(0)
"""


@pytest.mark.gui
def test_a_script_without_a_main_guard_predicts_and_trains_and_napari_never_loads_torch(tmp_path: Path) -> None:
    done = script(
        tmp_path,
        VIEWER
        + """
    for number in range(3):
        viewer.add_image(rng.integers(0, 255, (64, 64, 3), dtype=np.uint8), name=f"cell {number}", rgb=True)
        mask = np.zeros((64, 64), np.uint8)
        mask[10:30, 10:30 + number] = 1
        viewer.add_labels(mask, name=f"cell {number} labels")
    _, predict = viewer.window.add_plugin_dock_widget("napari-resformer", "Segment & Classify")
    _, train = viewer.window.add_plugin_dock_widget("napari-resformer", "Fine-tune")
    predict.device.value = "cpu"
    predict.run.native.click()
    wait(lambda: not predict.busy)
    assert predict.message.startswith("Done"), predict.message
    train.epochs.value, train.model_name.value = 1, "mine"
    train.more.device.value, train.more.crop.value = "cpu", 32
    train.run.native.click()
    wait(lambda: not train.busy)
    assert train.summary_text, train.message
    assert "torch" not in sys.modules
    assert (sys.getswitchinterval(), gc.isenabled(), gc.get_threshold(), gc.get_freeze_count()) == before
    (worker,) = [one for one in psutil.Process().children() if "napari_resformer.engine.worker" in str(one.cmdline())]
    print("worker", worker.pid)
    viewer.close()
    """,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "started.txt").read_text() == "once "
    pid = int(done.stdout.split("worker ")[1].split()[0])
    if psutil.pid_exists(pid):
        wait_gone(psutil.Process(pid))
    assert not psutil.pid_exists(pid)


@pytest.mark.gui
def test_a_napari_that_is_killed_leaves_no_worker(tmp_path: Path) -> None:
    done = script(
        tmp_path,
        VIEWER
        + """
    import os, signal
    viewer.add_image(rng.integers(0, 255, (64, 64), dtype=np.uint8), name="picture")
    _, predict = viewer.window.add_plugin_dock_widget("napari-resformer", "Segment & Classify")
    predict.device.value = "cpu"
    predict.run.native.click()
    wait(lambda: not predict.busy)
    assert predict.message.startswith("Done"), predict.message
    (worker,) = [one for one in psutil.Process().children() if "napari_resformer.engine.worker" in str(one.cmdline())]
    print("worker", worker.pid, flush=True)
    psutil.Process().kill()
    """,
    )
    pid = int(done.stdout.split("worker ")[1].split()[0])
    if psutil.pid_exists(pid):
        wait_gone(psutil.Process(pid))
    assert not psutil.pid_exists(pid)
