"""The dock widget ``Segment & Classify``: an image layer in, a Labels layer and the image class out."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from magicgui.widgets import ComboBox, Container, LineEdit, PushButton
from napari.utils import progress
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QFrame, QProgressBar, QScrollArea, QVBoxLayout, QWidget

from napari_resformer.events import Failed, Finished, Progress
from napari_resformer.images.layers import from_layer
from napari_resformer.model.library import ModelEntry, list_models
from napari_resformer.widgets import fields, news
from napari_resformer.widgets.jobs import Request, plan_job, predict_job, warm_up
from napari_resformer.widgets.lifetime import Lifetime
from napari_resformer.widgets.region import WHOLE, Region, region_choices, take_region
from napari_resformer.widgets.result_layer import (
    Frame,
    Growing,
    LabelsData,
    earlier_results,
    frame_of,
    show_growing,
    show_result,
    stored_result,
)
from napari_resformer.widgets.scores import ScorePanel, plane_index
from napari_resformer.widgets.settings import read_settings
from napari_resformer.widgets.text import Lines, Message
from napari_resformer.widgets.worker import Job, in_words

if TYPE_CHECKING:
    import napari

_REFRESH = 1500  # milliseconds between two looks at a mask that grows
_PLAN_DELAY = 250  # milliseconds without a change before the plan is made anew
_PLANNED_BY = ("data", "axis_labels", "scale", "units")  # events of a layer that change its plan
_NO_IMAGE = "Open an image, or take one from File > Open Sample > ResFormer."


class SegmentClassify(Container[Any]):
    """Segment and classify the chosen image layer.

    Parameters
    ----------
    napari_viewer : napari.viewer.Viewer
        The viewer, or napari's public proxy of it.

    Attributes
    ----------
    image, model, axes, region, zoom, device, run
        The fields, as magicgui widgets; ``run`` starts, and cancels while :attr:`busy`.
    """

    image: ComboBox
    model: ComboBox
    axes: LineEdit
    zoom: LineEdit
    region: ComboBox
    device: ComboBox
    run: PushButton

    def __init__(self, napari_viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        self._viewer = napari_viewer
        self._attached = False
        self._entries: dict[str, ModelEntry] = {}
        self._typed: dict[Any, str] = {}  # axes that the user typed, by the layer's id
        self._zooms: dict[Any, str] = {}  # and zooms
        self._watched: Any = None
        self._job: Job | None = None
        self._running_on: Any = None
        self._answer: Failed | Finished[LabelsData] | None = None
        self._plan_job: Job | None = None
        self._warm_up: Job | None = None
        self._refusal = ""
        self._growing: Any = None  # the layer of a mask that is being made
        self._frame: Frame | None = None  # where the image lay when the run began
        self._changed = False  # whether its layer got other data since
        self._shown: Any = None
        self._activity: Any = None
        settings = read_settings()
        # Appended one by one, since only then magicgui makes their labels equally wide.
        self.extend(fields.make_fields(self._image_choices, self._model_choices, self._region_choices, settings.device))
        self._bar, self._message, self._scores, self._plan = QProgressBar(), Message(), ScorePanel(), Lines()
        self._lay_out()
        if settings.model in self._entries:
            self.model.value = settings.model
        self._timer = QTimer(self.native)
        self._timer.setSingleShot(True)
        self._timer.setInterval(_PLAN_DELAY)
        self._timer.timeout.connect(self._make_plan)
        self._refresh = QTimer(self.native)
        self._refresh.setInterval(_REFRESH)
        self._refresh.timeout.connect(self._show_growth)
        self._look = QTimer(self.native)
        self._look.setSingleShot(True)
        self._look.setInterval(_PLAN_DELAY)
        self._look.timeout.connect(self._sight_changed)
        self.image.changed.connect(self._image_changed)
        self.region.changed.connect(self._field_changed)
        self.model.changed.connect(self._model_changed)
        self.axes.changed.connect(self._axes_changed)
        self.zoom.changed.connect(self._zoom_changed)
        self.zoom.native.setPlaceholderText("by pixel size")
        self.device.changed.connect(self._field_changed)
        self.run.changed.connect(self._press)
        lifetime = Lifetime(self.native)
        lifetime.first_shown.connect(self._first_shown)
        lifetime.docked.connect(self._attach)
        lifetime.undocked.connect(self._detach)
        self.native.destroyed.connect(self._detach)
        self._attach()

    @property
    def busy(self) -> bool:
        """Whether a prediction is running."""
        return self._job is not None

    @property
    def plan_text(self) -> str:
        """What Run will do, in words; empty while that is not known."""
        return "\n".join(self._plan.words)

    @property
    def message(self) -> str:
        """What went wrong or well last, in words; empty when there is nothing to say."""
        return self._message.words

    def reset_choices(self, *_: Any) -> None:
        """Offer the layers and models that there are now; what was chosen stays chosen."""
        if not self._attached:
            return
        layer, model = self.image.value, self.model.value
        with self.image.changed.blocked(), self.model.changed.blocked():
            super().reset_choices()
            if layer in self.image.choices:
                self.image.value = layer
            if model in self.model.choices:
                self.model.value = model
        if self.image.value is not layer or self._watched is not layer:
            self._image_changed()
        if self.model.value != model:
            self._model_changed()

    # -------------------------------------------------------------------------------------------------- looks and life
    def _lay_out(self) -> None:
        """Put progress and words below the fields; the words scroll, Run stays in sight."""
        self._bar.hide()
        page, area = QWidget(), QScrollArea()
        words = QVBoxLayout(page)
        words.setContentsMargins(0, 0, 4, 0)
        words.setSpacing(10)
        for part in (self._message, self._scores, self._plan):
            words.addWidget(part)
        words.addStretch(1)
        area.setWidget(page)
        area.setWidgetResizable(True)
        area.setFrameShape(QFrame.Shape.NoFrame)
        area.setMinimumHeight(80)
        area.setMinimumWidth(1)
        layout = self.native.layout()
        layout.addWidget(self._bar)
        layout.addWidget(area, 1)
        self.native.setMinimumWidth(240)

    def _attach(self) -> None:
        """Listen to the viewer."""
        if self._attached:
            return
        self._attached = True
        for emitter, slot in self._connections():
            emitter.connect(slot)
        self.reset_choices()
        self._image_changed()
        self._model_changed()
        self._use_theme()
        self._active_changed()

    def _detach(self, *_: Any) -> None:
        """Let go of viewer and jobs, once the dock is closed; Qt's part of the widget may be gone already."""
        if not self._attached:
            return
        self._attached = False
        for emitter, slot in self._connections():
            emitter.disconnect(slot)
        self._watch(None)
        jobs = self._job, self._plan_job, self._warm_up
        self._job = self._plan_job = self._warm_up = None
        for job in jobs:
            with suppress(RuntimeError):  # deleted: then it was cancelled too, or is over
                if job is not None:
                    job.discard()
        with suppress(RuntimeError):  # the activity dock goes with its window
            self._close_activity()
        self._watch_run(None)
        self._growing = self._shown = None
        with suppress(RuntimeError):
            self._timer.stop()
            self._look.stop()
            self._idle()

    def _connections(self) -> list[tuple[Any, Any]]:
        viewer = self._viewer
        layers = viewer.layers.events
        camera = getattr(viewer, "scene", viewer).camera  # napari 0.9 moved it
        return [
            (layers.inserted, self.reset_choices),
            (layers.removed, self._removed),
            (layers.reordered, self.reset_choices),
            (layers.renamed, self.reset_choices),
            (viewer.layers.selection.events.active, self._active_changed),
            (viewer.dims.events.current_step, self._step_changed),
            (viewer.dims.events.ndisplay, self._look_later),
            (camera.events.center, self._look_later),
            (camera.events.zoom, self._look_later),
            (viewer.events.theme, self._use_theme),
            (news.library.changed, self.reset_choices),
        ]

    def _first_shown(self) -> None:
        """Load torch now that the widget is on the screen, rather than when Run is pressed."""
        fields.align_labels(self.native)  # with the fonts of the theme
        if self._attached and self.model.value is not None:
            self._warm_up = Job(partial(warm_up, self.model.value, self.device.value), self.native)

    def _use_theme(self, *_: Any) -> None:
        from napari.utils.theme import get_theme

        with suppress(KeyError, ValueError, AttributeError):  # a theme of somebody's: the palette's colour does
            self._scores.bars.set_accent(get_theme(str(self._viewer.theme)).current.as_hex())

    # --------------------------------------------------------------------------------------------------------- fields
    def _image_choices(self, _: Any = None) -> list[Any]:
        return fields.image_layers(self._viewer.layers)

    def _model_choices(self, _: Any = None) -> list[str]:
        self._entries = {entry.name: entry for entry in list_models()}
        return list(self._entries)

    def _region_choices(self, _: Any = None) -> list[str]:
        layer = self.image.value if self._attached else None  # the fields are made one after the other
        if layer is None:
            return [WHOLE]
        try:
            image = from_layer(layer, self.axes.value.strip() or None)
        except (TypeError, ValueError):  # told elsewhere
            return [WHOLE]
        return region_choices(image, layer, flat=self._viewer.dims.ndisplay == 2)

    def _offer_regions(self) -> None:
        """Offer parts of the image where they make a difference; what was chosen stays chosen while it is offered."""
        with self.region.changed.blocked():
            chosen = self.region.value
            self.region.reset_choices()
            self.region.value = chosen if chosen in self.region.choices else WHOLE
        self.region.visible = len(self.region.choices) > 1

    def _look_later(self, *_: Any) -> None:
        """Look what is in sight once the camera rests."""
        if self._attached:
            self._look.start()

    def _sight_changed(self) -> None:
        if not self._attached:
            return
        before = self.region.value
        self._offer_regions()
        if before != WHOLE:
            self._field_changed()

    def _step_changed(self, *_: Any) -> None:
        self._show_plane()
        if self.region.value != WHOLE:
            self._field_changed()

    def _active_changed(self, *_: Any) -> None:
        """Follow the active image; show the scores of the active result."""
        active = self._viewer.layers.selection.active
        layer = next((layer for layer in self._viewer.layers if layer == active), None)
        if layer in self.image.choices:
            self.image.value = layer
        elif stored_result(layer) is not None:
            self._shown = layer
            self._show_plane()

    def _image_changed(self, *_: Any) -> None:
        layer = self.image.value
        self._watch(layer)
        with self.axes.changed.blocked():
            self.axes.value = "" if layer is None else self._typed.get(layer.unique_id) or fields.guessed_axes(layer)
        self.axes.native.setPlaceholderText("" if layer is None else fields.axes_hint(layer))
        with self.zoom.changed.blocked():
            self.zoom.value = "" if layer is None else self._zooms.get(layer.unique_id, "")
        self._offer_regions()
        self._field_changed()

    def _zoom_changed(self, typed: str) -> None:
        if self.image.value is not None:
            self._zooms[self.image.value.unique_id] = typed
        self._field_changed()

    def _axes_changed(self, typed: str) -> None:
        if self.image.value is not None:
            self._typed[self.image.value.unique_id] = typed.strip()
        self._offer_regions()
        self._field_changed()

    def _model_changed(self, *_: Any) -> None:
        entry = self._entries.get(self.model.value)
        self.model.tooltip = fields.model_tooltip(entry.card if entry else None)
        self._field_changed()

    def _field_changed(self, *_: Any) -> None:
        """Plan anew; the news of the last run are old. A refusal stays until the new plan is there."""
        if not self.busy and self.message != self._refusal:
            self._message.say("")
        self._plan_later()

    def _watch(self, layer: Any) -> None:
        """Listen to the chosen layer, and no more to the one before."""
        for connect, one in (("disconnect", self._watched), ("connect", layer)):
            for name in _PLANNED_BY if one is not None else ():
                emitter = getattr(one.events, name, None)  # layers of an older napari have no units
                if emitter is not None:
                    getattr(emitter, connect)(self._image_changed)
        self._watched = layer

    def _removed(self, event: Any) -> None:
        self._typed.pop(event.value.unique_id, None)
        self._zooms.pop(event.value.unique_id, None)
        if event.value is self._shown:
            self._shown = None
            self._scores.clear()
        self.reset_choices()
        if event.value is self._running_on and self._job is not None:
            self._job.discard()
            self._message.say("The image was removed, so the run was cancelled.", warning=True)
            self._finish()

    # ----------------------------------------------------------------------------------------------------------- plan
    def _plan_later(self, *_: Any) -> None:
        """Plan once nothing has changed for a moment; a plan that is being made is out of date."""
        if self._plan_job is not None:
            self._plan_job.discard()
            self._plan_job = None
        if self._attached:
            self._timer.start()

    def _make_plan(self) -> None:
        if not self._attached or self.busy:
            return
        if self.image.value is None:
            self._show_plan((_NO_IMAGE,), heading="")
            return
        try:
            request = self._request()
        except (ValueError, TypeError) as error:
            self._show_plan((), refusal=in_words(error))
            return
        self._plan_job = Job(partial(plan_job, request), self.native)
        self._plan_job.happened.connect(self._planned)
        self._plan_job.ended.connect(self._plan_ended)

    def _planned(self, event: Any) -> None:
        if isinstance(event, Failed):
            self._show_plan((), refusal=in_words(event.error))
        elif isinstance(event, Finished) and event.result is not None:
            self._show_plan(event.result)

    def _plan_ended(self) -> None:
        self._plan_job = None

    def _show_plan(self, lines: Sequence[str], *, heading: str = "Run will do this", refusal: str = "") -> None:
        self._plan.say(lines, heading if lines else "")
        if refusal or self.message == self._refusal:  # other news, such as a failed run, stay until the next run
            self._message.say(refusal, warning=True)
        self._refusal = refusal

    def _request(self) -> Request:
        """Take from the fields what a job needs.

        Raises
        ------
        ValueError, TypeError
            If something is missing, or does not fit.
        """
        layer, model = self.image.value, self.model.value
        if layer is None:
            raise ValueError(f"there is no image layer. {_NO_IMAGE}")
        if model is None:
            raise ValueError("there is no model. Install the plugin again, or put a model file into your library.")
        image = from_layer(layer, self.axes.value.strip() or None)
        chosen = self.region.value or WHOLE
        region = Region() if chosen == WHOLE else take_region(chosen, image, layer, self._viewer.dims.point)
        settings, source = read_settings(), getattr(layer.source, "path", None)
        return Request(
            image, model, self.device.value, settings.tile_size, region, str(source) if source else None,
            settings.result_folder, fields.typed_zoom(self.zoom.value),
        )  # fmt: skip

    # ------------------------------------------------------------------------------------------------------------ run
    def _press(self, *_: Any) -> None:
        if self._job is not None:
            self._job.cancel()
            self.run.enabled, self.run.text = False, fields.CANCELLING
            return
        try:
            request = self._request()
        except (ValueError, TypeError) as error:
            self._message.say(in_words(error), warning=True)
            return
        self._plan_later()
        self._timer.stop()
        layer = self.image.value
        earlier = earlier_results(self._viewer.layers, layer, request.model, request.region.name)
        self._answer = self._growing = None
        self._watch_run(layer)
        self._message.say("")
        self.run.text = fields.CANCEL
        self._bar.setRange(0, 0)  # how many tiles there are is known a moment later
        self._bar.setFormat("Preparing")
        self._bar.show()
        self._job = job = Job(partial(predict_job, request, earlier), self.native)
        job.happened.connect(self._on_event)
        job.ended.connect(self._on_ended)
        activity = progress(total=0, desc=f"{request.model}: {layer.name}")  # napari processes events meanwhile
        if self._job is job:
            self._activity = activity
        else:
            activity.close()

    def _on_event(self, event: Any) -> None:
        if isinstance(event, Progress):
            self._bar.setRange(0, event.total)
            self._bar.setValue(event.done)
            self._bar.setFormat(f"{event.unit} %v of %m")
            activity = self._activity
            if activity is not None and event.done > activity.n:
                activity.total = event.total
                activity.update(event.done - activity.n)
        elif isinstance(event, Growing):
            self._grow(event)
        elif isinstance(event, Failed | Finished):
            self._answer = event

    def _grow(self, begun: Growing) -> None:
        """Show a large mask from its beginning on."""
        try:
            self._growing = show_growing(self._viewer, self._running_on, begun)
        except Exception as error:  # noqa: BLE001 - the mask is made all the same, and shown at the end
            self._message.say(in_words(error), warning=True)
            return
        if begun.resumed:
            self._message.say("Going on where the last run stopped.")
        self._refresh.start()

    def _show_growth(self) -> None:
        if self._growing is not None and self._growing in self._viewer.layers:
            self._growing.refresh()

    def _watch_run(self, layer: Any) -> None:
        """Notice when the layer of a run gets other data; None once the run is over."""
        if self._running_on is not None:
            self._running_on.events.data.disconnect(self._data_changed)
        if layer is not None:
            self._frame, self._changed = frame_of(layer), False
            layer.events.data.connect(self._data_changed)
        self._running_on = layer

    def _data_changed(self, *_: Any) -> None:
        self._changed = True

    def _on_ended(self, cancelled: bool) -> None:
        """Tell the answer, once the worker is gone: it meddles with Python's filters of warnings, as napari does."""
        answer, self._answer = self._answer, None
        if isinstance(answer, Finished):
            try:
                self._show(answer.result)
            except Exception as error:  # noqa: BLE001 - no memory for the layer, say; the widget must be ready again
                answer = Failed(error)
        if isinstance(answer, Failed):
            self._message.say(in_words(answer.error), warning=True)
        elif cancelled and answer is None:
            kept = self._growing is not None and self._growing in self._viewer.layers
            self._message.say(
                "Cancelled. What is done stays in its layer; Run goes on there." if kept else "Cancelled; nothing was changed."
            )
        self._finish()

    def _finish(self) -> None:
        """Be ready for the next run."""
        self._job = self._growing = None
        self._watch_run(None)
        self._close_activity()
        self._idle()
        self._plan_later()

    def _idle(self) -> None:
        self.run.text, self.run.enabled = fields.RUN, True
        self._refresh.stop()
        self._bar.hide()

    def _close_activity(self) -> None:
        activity, self._activity = self._activity, None
        if activity is not None:
            activity.close()

    def _show(self, labels: LabelsData) -> None:
        self._shown = show_result(self._viewer, self._running_on, labels, self._frame if self._changed else None)
        self._show_plane()
        stale = " The image was changed meanwhile: this is the result of what it showed before." if self._changed else ""
        self._message.say(labels.summary + stale)

    def _show_plane(self, *_: Any) -> None:
        """Show the scores of the plane that the sliders point at."""
        layer = self._shown
        if layer is None:
            return
        stored = stored_result(layer)
        try:
            if stored is not None:
                self._scores.show_plane(layer, stored, plane_index(layer, self._viewer.dims.point))
        except (ValueError, TypeError, IndexError, KeyError):  # metadata that somebody changed
            self._scores.clear()
