"""Fixtures for the widgets: a widget on a viewer's model, and jobs that wait until they are told to go on."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

HAS_DISPLAY = not sys.platform.startswith("linux") or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
if not HAS_DISPLAY:  # Qt ends the process where it finds no screen; this one is enough for all but OpenGL
    os.environ["QT_QPA_PLATFORM"] = "offscreen"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if not HAS_DISPLAY:
        for item in items:
            if item.get_closest_marker("gui"):
                item.add_marker(pytest.mark.skip(reason="napari's canvas needs a display: see dev/with_display.py"))


@pytest.fixture
def install_model(user_folder: Path) -> Callable[..., Path]:
    """Put a tiny model with seeded random weights into the test's library."""

    def install(
        name: str,
        *,
        image_classes: tuple[str, ...] = ("left", "middle", "right"),
        channels: tuple[str, ...] = ("red", "green", "blue"),
        seed: int = 0,
        **facts: Any,
    ) -> Path:
        import torch

        from napari_resformer.model.card import Card
        from napari_resformer.model.file import Model
        from napari_resformer.network import ResFormer, ResFormerConfig

        config = ResFormerConfig.preset("tiny", in_channels=len(channels), mask_classes=2, image_classes=len(image_classes))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = ResFormer(config).eval()
        card = Card(
            name=name,
            network=config,
            mask_classes=("cell", "nucleus"),
            image_classes=image_classes,
            channels=channels,
            notice="Research use only.",
            **facts,
        )
        return Model(card, network).save(user_folder / f"{name}.safetensors")

    return install


@pytest.fixture
def model_name(install_model: Callable[..., Any]) -> str:
    install_model("tiny")
    return "tiny"


@pytest.fixture(autouse=True)
def engines(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    """Run jobs in threads of this process, where a test can look into them; test_worker_process.py has the real thing."""
    from napari_resformer.engine.inline import InlineEngine

    made: list[Any] = []

    def make() -> Any:
        made.append(InlineEngine())
        return made[-1]

    monkeypatch.setattr("napari_resformer.widgets.base.engines.make_engine", make)
    yield made
    for engine in made:
        engine.close()


@pytest.fixture
def keep(qtbot: Any, engines: list[Any]) -> Iterator[Callable[[Any], Any]]:
    """Take widgets into custody: they are deleted after the test, and must leave no job."""
    from qtpy.QtCore import QCoreApplication, QEvent

    kept = []

    def take(widget: Any) -> Any:
        kept.append(widget)
        return widget

    yield take
    for widget in kept:
        widget.native.deleteLater()
    QCoreApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete.value)
    qtbot.waitUntil(lambda: not any(thread.name == "resformer-job" for thread in threading.enumerate()), timeout=20_000)
    qtbot.wait(10)


@pytest.fixture
def make_widget(keep: Any, model_name: str) -> Callable[..., Any]:
    """Make Segment & Classify on a viewer's model (no window), with the tiny model chosen."""
    from napari_resformer.widgets.predict.segment_classify import SegmentClassify

    def make(viewer: Any) -> Any:
        widget = keep(SegmentClassify(viewer))
        widget.model.value = model_name
        widget.device.value = "cpu"
        return widget

    return make


@pytest.fixture
def make_fine_tune(keep: Any, model_name: str) -> Callable[..., Any]:
    """Make Fine-tune on a viewer's model (no window): two short epochs, from the tiny model."""
    from napari_resformer.widgets.train.fine_tune import FineTune

    def make(viewer: Any) -> Any:
        widget = keep(FineTune(viewer))
        widget.model.value = model_name
        small_run(widget)
        return widget

    return make


def small_run(widget: Any) -> None:
    """Set the fields of Fine-tune to a run of seconds."""
    widget.epochs.value = 2
    widget.model_name.value = "mine"
    widget.more.crop.value = 32
    widget.more.batch.value = 2
    widget.more.device.value = "cpu"


@pytest.fixture
def run(qtbot: Any) -> Callable[..., None]:
    """Press Run and wait for the end."""

    def press_and_wait(widget: Any) -> None:
        widget.run.native.click()
        qtbot.waitUntil(lambda: not widget.busy, timeout=60_000)

    return press_and_wait


class SlowJob:
    """Stands in for the prediction: goes on when it is told to, and notes in which thread it was closed."""

    def __init__(self) -> None:
        self.started, self.go_on, self.closed = threading.Event(), threading.Event(), threading.Event()
        self.closed_in: threading.Thread | None = None

    def __call__(self, model: Any, plan: Any, **_: Any) -> Iterator[Any]:
        from napari_resformer.events import Finished, Progress
        from napari_resformer.prediction.result import PredictResult, provenance

        try:
            for done in range(1, 101):
                yield Progress(done, 100, "tile")
                self.started.set()
                self.go_on.wait(0.02)
            scores = np.full((*plan.image.loop_shape, len(plan.card.image_classes)), 1 / 3, np.float32)
            mask = np.ones(plan.image.mask_shape, np.uint8)
            told = provenance(model, plan, scores, 1.0)
            counts = (0, mask.size)
            yield Finished(PredictResult(mask, scores, plan.card.image_classes, plan.card.mask_classes, told, counts))
        finally:
            self.closed_in = threading.current_thread()
            self.closed.set()


@pytest.fixture
def slow_job(monkeypatch: pytest.MonkeyPatch) -> Iterator[SlowJob]:
    """Replace the prediction by one that takes two seconds, or none when ``go_on`` is set."""
    job = SlowJob()
    monkeypatch.setattr("napari_resformer.prediction.predictor.run_plan", job)
    yield job
    job.go_on.set()
