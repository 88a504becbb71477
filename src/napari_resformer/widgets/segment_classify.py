"""The dock widget ``Segment & Classify``: an image layer in, a Labels layer and the image class out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from magicgui.widgets import ComboBox, Container, LineEdit, ProgressBar, PushButton, create_widget
from napari.layers import Image, Labels
from napari.qt.threading import thread_worker
from napari.utils import progress
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QLabel

from napari_resformer.devices import DEVICES
from napari_resformer.events import Failed, Finished, Progress
from napari_resformer.images.layers import from_layer
from napari_resformer.model.library import list_models
from napari_resformer.widgets.result_layer import (
    METADATA_KEY,
    LabelsData,
    content_signature,
    geometry,
    labels_data,
)
from napari_resformer.widgets.scores import ScorePanel
from napari_resformer.widgets.settings import read_settings
from napari_resformer.widgets.worker import adapted, in_words

if TYPE_CHECKING:
    import napari

_RUN, _CANCEL = "Run", "Cancel"
_PLAN_DELAY = 250  # milliseconds without a change before the plan is made anew


class SegmentClassify(Container[Any]):
    """Segment and classify the chosen image layer.

    Parameters
    ----------
    napari_viewer : napari.viewer.Viewer
        The viewer, or napari's public proxy of it.

    Attributes
    ----------
    image, model, axes, device, run
        The fields, as magicgui widgets; ``run`` starts, and cancels while :attr:`busy`.
    """

    def __init__(self, napari_viewer: napari.viewer.Viewer) -> None:
        settings = read_settings()
        self._viewer = napari_viewer
        self._tile = settings.tile_size
        self.image: Any = create_widget(annotation=Image, label="Image", options={"tooltip": "The image layer to look at"})
        names = [entry.name for entry in list_models()]
        self.model = ComboBox(choices=names, label="Model", tooltip="What to look for; see the model's card for what it knows")
        if settings.model in names:
            self.model.value = settings.model
        self.axes = LineEdit(
            label="Axes",
            tooltip="One letter a dimension: T, Z, P loops, C channels, Y, X. Empty: read from the layer",
        )
        self.device = ComboBox(choices=list(DEVICES), value=settings.device, label="Device", tooltip="Where the network runs")
        self.run = PushButton(text=_RUN, tooltip="Start; press again to cancel")
        self._bar = ProgressBar(visible=False)
        super().__init__(widgets=[self.image, self.model, self.axes, self.device, self.run, self._bar])
        self._plan_text, self._message, self._scores = QLabel(), QLabel(), ScorePanel()
        for part in (self._plan_text, self._message, self._scores):
            if isinstance(part, QLabel):
                part.setWordWrap(True)
            self.native.layout().addWidget(part)
        self.native.layout().addStretch()
        self._worker: Any = None
        self._plan_worker: Any = None
        self._plan_number = 0
        self._activity: Any = None
        self._shown: dict[str, Any] | None = None
        self._closed = False
        self._timer = QTimer(self.native)
        self._timer.setSingleShot(True)
        self._timer.setInterval(_PLAN_DELAY)
        self._timer.timeout.connect(self._make_plan)
        fields: tuple[Any, ...] = (self.image, self.model, self.axes, self.device)
        for field in fields:
            field.changed.connect(self._plan_later)
        self.run.clicked.connect(self._press)
        self._viewer.layers.selection.events.active.connect(self._follow_active)
        self._viewer.dims.events.current_step.connect(self._show_plane)
        self.native.destroyed.connect(self._close)
        self._follow_active()
        self._timer.start()

    @property
    def busy(self) -> bool:
        """Whether a prediction is running."""
        return self._worker is not None

    @property
    def plan_text(self) -> str:
        """What Run will do, in words."""
        return self._plan_text.text()

    @property
    def message(self) -> str:
        """What went wrong or well last, in words; empty when there is nothing to say."""
        return self._message.text()

    # ----------------------------------------------------------------------------------------------------------- plan
    def _follow_active(self) -> None:
        active = self._viewer.layers.selection.active
        if self._closed or self.busy:
            return
        if isinstance(active, Image) and active in self.image.choices:
            self.image.value = active
        elif isinstance(active, Labels) and METADATA_KEY in active.metadata:
            self._shown = active.metadata[METADATA_KEY]
            self._show_plane()

    def _plan_later(self) -> None:
        if not self._closed:
            self._timer.start()

    def _make_plan(self) -> None:
        if self._closed or self.busy:
            return
        self._plan_number += 1
        number = self._plan_number
        try:
            job = self._job(plan_only=True)
        except (ValueError, TypeError) as error:
            self._plan_text.setText(in_words(error))
            return
        worker = thread_worker(adapted, start_thread=False)(job)
        worker.yielded.connect(lambda event: self._on_plan(number, event))
        self._plan_worker = worker
        worker.start()

    def _on_plan(self, number: int, event: Any) -> None:
        if self._closed or number != self._plan_number:
            return
        if isinstance(event, Failed):
            self._plan_text.setText(in_words(event.error))
        elif isinstance(event, Finished):
            self._plan_text.setText("\n".join(event.result.lines()))

    def _job(self, *, plan_only: bool) -> Any:
        """Return what makes the job's generator in the worker; takes from the fields what it needs now."""
        layer, name = self.image.value, self.model.value
        if layer is None:
            raise ValueError("There is no image layer. Open an image, or take one from File > Open Sample.")
        if name is None:
            raise ValueError("There is no model. Install the package again, or put a model file into your library.")
        image = from_layer(layer, self.axes.value.strip() or None)
        rgb, shape = bool(layer.rgb), tuple(image.data.shape)
        device, tile = self.device.value, self._tile

        def start() -> Iterator[Any]:
            from napari_resformer.model.library import find_model, load_model
            from napari_resformer.prediction.plan import make_plan

            plan = make_plan(find_model(name).card, image, device=device, tile=tile)
            if plan_only:
                yield Finished(plan)
                return
            from napari_resformer.prediction.job import run_plan

            for event in run_plan(load_model(name), plan):
                if isinstance(event, Finished):
                    yield Finished(labels_data(event.result, image.axes, shape, rgb=rgb))
                else:
                    yield event

        return start

    # ------------------------------------------------------------------------------------------------------------ run
    def _press(self) -> None:
        if self.busy:
            self._worker.quit()
            self.run.enabled = False
            self._message.setText("Cancelling after this tile …")
            return
        try:
            job = self._job(plan_only=False)
        except (ValueError, TypeError) as error:
            self._message.setText(in_words(error))
            return
        layer, model = self.image.value, self.model.value
        self._message.setText("")
        self.run.text = _CANCEL
        self._bar.value, self._bar.visible = 0, True
        self._activity = progress(total=0, desc=f"{model}: {layer.name}")
        worker = thread_worker(adapted, start_thread=False)(job)
        worker.yielded.connect(lambda event: self._on_event(event, layer, model))
        worker.aborted.connect(self._cancelled)
        worker.finished.connect(self._ended)
        self._worker = worker
        worker.start()

    def _on_event(self, event: Any, layer: Image, model: str) -> None:
        if self._closed:
            return
        if isinstance(event, Progress):
            self._bar.max, self._bar.value = event.total, event.done
            self._activity.total = event.total
            self._activity.update(event.done - self._activity.n)
        elif isinstance(event, Failed):
            self._message.setText(in_words(event.error))
        elif isinstance(event, Finished):
            self._add(event.result, layer, model)

    def _cancelled(self) -> None:
        if not self._closed:
            self._message.setText("Cancelled. Nothing was changed.")

    def _ended(self) -> None:
        self._worker = None
        if self._activity is not None:
            self._activity.close()
            self._activity = None
        if self._closed:
            return
        self.run.text, self.run.enabled = _RUN, True
        self._bar.visible = False
        self._plan_later()

    def _add(self, labels: LabelsData, layer: Image, model: str) -> None:
        """Add the result, in the place of the earlier one unless somebody has painted in that."""
        name = f"{layer.name} · {model}"
        labels.metadata[METADATA_KEY]["image"]["layer"] = layer.name
        labels.metadata[METADATA_KEY]["signature"] = labels.signature
        place = geometry(layer, labels.dropped_axis)
        old = self._earlier(name)
        if old is not None and old.data.shape == labels.data.shape:
            old.data = labels.data
            for attribute, value in place.items():
                setattr(old, attribute, value)
            old.metadata = labels.metadata
            old.features = labels.features
        else:
            if old is not None:
                self._viewer.layers.remove(old)
            self._viewer.add_labels(labels.data, name=name, features=labels.features, metadata=labels.metadata, **place)
        self._shown = labels.metadata[METADATA_KEY]
        self._show_plane()

    def _earlier(self, name: str) -> Labels | None:
        for layer in self._viewer.layers:
            stored = layer.metadata.get(METADATA_KEY) if isinstance(layer, Labels) and layer.name == name else None
            if stored and stored.get("signature") == content_signature(np.asarray(layer.data)):
                return layer  # type: ignore[no-any-return]
        return None

    # --------------------------------------------------------------------------------------------------------- scores
    def _show_plane(self) -> None:
        """Show the scores of the plane that the sliders point at."""
        if self._closed or self._shown is None:
            return
        shown = self._shown
        scores = np.asarray(shown["scores"], float)
        axes = [axis for axis in shown["image"]["axes"] if not (axis == "C" and shown["image"]["axes"].index("C") == 0)]
        lead = self._viewer.dims.ndim - len([axis for axis in axes if axis != "C" or axes[-1] != "C"])
        steps = self._viewer.dims.current_step
        index = []
        for axis, size in zip(shown["plane_axes"], scores.shape[:-1], strict=True):
            place = lead + axes.index(axis)
            index.append(min(max(int(steps[place]), 0), size - 1) if 0 <= place < len(steps) else 0)
        here = scores[tuple(index)]
        if not here.size:
            self._scores.show_scores("This model has no image classes: mask only", {}, "")
            return
        best = int(here.argmax())
        where = " ".join(f"{axis} {step}" for axis, step in zip(shown["plane_axes"], index, strict=True))
        headline = f"{shown['classes'][best]} ({here[best]:.0%})" + (f" at {where}" if where else "")
        self._scores.show_scores(headline, dict(zip(shown["classes"], map(float, here), strict=True)), shown.get("notice", ""))

    def _close(self) -> None:
        """Let go of everything once the widget is gone."""
        self._closed = True
        for worker in (self._worker, self._plan_worker):
            if worker is not None:
                worker.quit()
        self._viewer.layers.selection.events.active.disconnect(self._follow_active)
        self._viewer.dims.events.current_step.disconnect(self._show_plane)
