"""The dock widget ``Segment & Classify``: an image layer in, a Labels layer and the image class out."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from magicgui.widgets import ComboBox, LineEdit, PushButton

from napari_resformer.engine.faults import Failed, describe
from napari_resformer.engine.job import Job
from napari_resformer.events import Finished, Progress
from napari_resformer.images.image import Image
from napari_resformer.images.layers import from_layer
from napari_resformer.model.library import ModelEntry, list_models
from napari_resformer.widgets.base import fields
from napari_resformer.widgets.base.dock import JobDock
from napari_resformer.widgets.base.job import DockJob
from napari_resformer.widgets.base.settings import read_settings
from napari_resformer.widgets.base.text import Lines, ScrollingWords
from napari_resformer.widgets.predict.jobs import Request, plan_job, predict_job, warm_up
from napari_resformer.widgets.predict.region import WHOLE, Region, region_choices, take_region
from napari_resformer.widgets.predict.run import ResultRun
from napari_resformer.widgets.predict.sight import Sight
from napari_resformer.widgets.predict.typed import AXES, CHANNELS, ZOOM, Typed
from napari_resformer.widgets.results.contents import Growing, LabelsData
from napari_resformer.widgets.results.result_layer import follow_names, latest_result, stored_result
from napari_resformer.widgets.results.scores import ScorePanel

if TYPE_CHECKING:
    import napari

_PLAN_DELAY = 250  # milliseconds without a change before the plan is made anew
_PLANNED_BY = ("data", "axis_labels", "scale", "units")  # events of a layer that change its plan
_NO_IMAGE = "Open an image, or try one from File > Open Sample > ResFormer."


class SegmentClassify(JobDock):
    """Segment and classify the chosen image layer.

    Parameters
    ----------
    napari_viewer : napari.viewer.Viewer
        The viewer, or napari's public proxy of it.

    Attributes
    ----------
    image, model, axes, channels, region, zoom, device, run
        The fields, as magicgui widgets; ``run`` starts, and cancels while :attr:`busy`.
    """

    image: ComboBox
    model: ComboBox
    axes: LineEdit
    channels: LineEdit
    zoom: LineEdit
    region: ComboBox
    device: ComboBox
    run: PushButton
    _title, _run_words, _patience = "Segment & Classify", fields.RUN, 200

    def __init__(self, napari_viewer: napari.viewer.Viewer) -> None:
        super().__init__(napari_viewer, _PLAN_DELAY)
        self._entries: dict[str, ModelEntry] = {}
        self._typed = Typed()
        self._wanted, self._offered = WHOLE, [WHOLE]  # region that the user chose last, regions that there are
        self._watched: Any = None
        self._running: ResultRun | None = None
        self._shown: Any = None
        settings = read_settings()
        # Appended one by one, since only then magicgui makes their labels equally wide.
        self.extend(fields.make_fields(self._image_choices, self._model_choices, self._region_choices, settings.device))
        self.zoom.native.setPlaceholderText("by pixel size")
        self._scores, self._plan = ScorePanel(), Lines()
        layout = self.native.layout()
        layout.addWidget(self._bar)
        layout.addWidget(ScrollingWords((self._message, self._scores, self._plan)), 1)  # Run stays in sight
        self.native.setMinimumWidth(240)
        if settings.model in self._entries:
            self.model.value = settings.model
        self._sight = Sight(self._viewer, _PLAN_DELAY, self.native)
        self._sight.changed.connect(self._sight_changed)
        self.image.changed.connect(self._image_changed)
        self.region.changed.connect(self._region_changed)
        self.model.changed.connect(self._model_changed)
        self.axes.changed.connect(self._axes_changed)
        self.channels.changed.connect(self._channels_changed)
        self.zoom.changed.connect(self._zoom_changed)
        self.device.changed.connect(self._field_changed)
        self._begin_life()

    @property
    def plan_text(self) -> str:
        """What Run will do, in words; empty while that is not known."""
        return "\n".join(self._plan.words)

    def reset_choices(self, *_: Any) -> None:
        """Offer the layers and models that there are now; what was chosen stays chosen."""
        if not self._attached:
            return
        layer, model = self.image.value, self.model.value
        with self.image.changed.blocked(), self.model.changed.blocked(), self.region.changed.blocked():
            super().reset_choices()
            if layer in self.image.choices:
                self.image.value = layer
            if model in self.model.choices:
                self.model.value = model
        if self.image.value is not layer or self._watched is not layer:
            self._image_changed()
        elif self.region.value != self._wanted:
            self._offer_regions()
        if self.model.value != model:
            self._model_changed()

    # ----------------------------------------------------------------------------------------------------------- life
    def _follow(self) -> None:
        self._renamed()  # while the dock was closed
        self._image_changed()
        self._model_changed()
        self._active_changed()

    def _unfollow(self) -> None:
        self._watch(None)
        self._end_run()
        self._shown = None
        self._sight.stop()

    def _connections(self) -> list[tuple[Any, Any]]:
        viewer = self._viewer
        layers = viewer.layers.events
        return [
            *super()._connections(),
            (layers.inserted, self.reset_choices),
            (layers.removed, self._removed),
            (layers.reordered, self.reset_choices),
            (layers.renamed, self._renamed),
            (viewer.layers.selection.events.active, self._active_changed),
            (viewer.layers.selection.events.changed, self._selection_changed),
            (viewer.dims.events.current_step, self._step_changed),
            *self._sight.emitters(),
        ]

    def _first_shown(self) -> None:
        fields.align_labels(self._content)  # with the fonts of the theme
        if self._attached and self.model.value is not None:
            self._warm_up = DockJob(self._engine, Job.of(warm_up, self.model.value, self.device.value), self.native)

    def _set_accent(self, colour: str) -> None:
        self._scores.bars.set_accent(colour)

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
        with suppress(TypeError, ValueError):  # told elsewhere; axes that are half typed take no choice away
            self._offered = region_choices(self._named(layer), layer, flat=self._flat, chosen=self._wanted)
        return self._offered

    @property
    def _flat(self) -> bool:
        """Whether the viewer shows a plane, not a volume."""
        return bool(self._viewer.dims.ndisplay == 2)

    def _offer_regions(self) -> None:
        """Offer parts of the image where they make a difference; what the user chose comes back once there is such a part."""
        with self.region.changed.blocked():
            self.region.reset_choices()
            self.region.value = self._wanted if self._wanted in self.region.choices else WHOLE
        self.region.visible = len(self.region.choices) > 1
        self._show_channels()

    def _show_channels(self) -> None:
        """Show the field of channels where there are some to choose from."""
        several = False
        with suppress(TypeError, ValueError):  # told elsewhere
            several = self.image.value is not None and self._named(self.image.value).channels > 1
        self.channels.visible = several or bool(self.channels.value)

    def _region_changed(self, chosen: str) -> None:
        if self._attached:  # else nobody chose: without a viewer there is no choice
            self._wanted = chosen
        self._field_changed()

    def _sight_changed(self) -> None:
        if not self._attached:
            return
        before = self.region.value
        self._offer_regions()
        if before != WHOLE:
            self._field_changed()

    def _selection_changed(self, *_: Any) -> None:
        self._look_later()

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
            self._show_scores(latest_result(self._viewer.layers, layer))
        elif stored_result(layer) is not None:
            self._show_scores(layer)

    def _show_scores(self, result: Any | None) -> None:
        """Show the scores of a result; nothing for none: those of another image would be taken for this one's."""
        self._shown = result
        if result is None:
            self._scores.clear()
        self._show_plane()

    def _renamed(self, *_: Any) -> None:
        follow_names(self._viewer.layers)
        self.reset_choices()
        self._show_plane()

    def _image_changed(self, *_: Any) -> None:
        layer = self.image.value
        if layer is not None and layer is not self._watched:
            self._show_scores(latest_result(self._viewer.layers, layer))
        self._watch(layer)
        self._show_axes()
        with self.zoom.changed.blocked(), self.channels.changed.blocked():
            self.zoom.value = self._typed.get(ZOOM, layer)
            self.channels.value = self._typed.get(CHANNELS, layer)
        self._offer_regions()
        self._field_changed()

    def _show_axes(self) -> None:
        """Show the axes of the chosen layer: as typed, else as it and the model tell."""
        layer = self.image.value
        with self.axes.changed.blocked():
            self.axes.value = self._typed.get(AXES, layer) or ("" if layer is None else fields.guessed_axes(layer, self._needed))
        self.axes.native.setPlaceholderText("" if layer is None else fields.axes_hint(layer, self._needed))

    @property
    def _needed(self) -> int:
        """Channels that the chosen model cannot do without; 0 where the user has chosen which ones it gets."""
        entry = self._entries.get(self.model.value)
        return entry.card.needed_channels if entry and not self.channels.value.strip() else 0

    def _named(self, layer: Any) -> Image:
        """Return the image of a layer with the axes of the field."""
        return from_layer(layer, self.axes.value.strip() or None, self._needed)

    def _zoom_changed(self, typed: str) -> None:
        self._typed.keep(ZOOM, self.image.value, typed)
        self._field_changed()

    def _channels_changed(self, typed: str) -> None:
        self._typed.keep(CHANNELS, self.image.value, typed)
        self._field_changed()

    def _axes_changed(self, typed: str) -> None:
        self._typed.keep(AXES, self.image.value, typed)
        self._offer_regions()
        self._field_changed()

    def _model_changed(self, *_: Any) -> None:
        entry = self._entries.get(self.model.value)
        self.model.tooltip = fields.model_tooltip(entry.card if entry else None)
        self._show_axes()
        self._offer_regions()
        self._field_changed()

    def _watch(self, layer: Any) -> None:
        """Listen to the chosen layer, and no more to the one before."""
        for connect, one in (("disconnect", self._watched), ("connect", layer)):
            for name in _PLANNED_BY if one is not None else ():
                getattr(getattr(one.events, name), connect)(self._image_changed)
        self._watched = layer

    def _removed(self, event: Any) -> None:
        self._typed.forget(event.value)
        if event.value is self._shown:
            self._show_scores(None)
        self.reset_choices()
        if self._running is not None and event.value is self._running.image and self._job is not None:
            self._job.discard()
            self._say("The image was removed, so the run was cancelled.", warning=True)
            self._finish()

    # ----------------------------------------------------------------------------------------------------------- plan
    def _look_ahead(self) -> None:
        if self.image.value is None:
            self._show_plan((_NO_IMAGE,), heading="")
            return
        try:
            request = self._request()
        except (ValueError, TypeError) as error:
            self._show_plan((), refusal=describe(error).text)
            return
        self._start_look(Job.of(plan_job, request), self._planned)

    def _planned(self, event: Any) -> None:
        if isinstance(event, Failed):
            self._show_plan((), refusal=event.fault.text)
        elif isinstance(event, Finished) and event.result is not None:
            self._show_plan(event.result)

    def _show_plan(self, lines: Sequence[str], *, heading: str = "What Run will do", refusal: str = "") -> None:
        if lines:
            lines = (*fields.others_selected(self._viewer.layers.selection, self.image), *lines)
        self._plan.say(lines, heading if lines else "")
        self._refuse(refusal)

    def _request(self) -> Request:
        """Take from the fields what a job needs; ValueError and TypeError say what is missing, or does not fit."""
        layer, model = self.image.value, self.model.value
        if layer is None:
            raise ValueError(f"there is no image layer. {_NO_IMAGE}")
        if model is None:
            raise ValueError("there is no model. Install the plugin again, or put a model file into your library.")
        image = self._named(layer)
        chosen = self.region.value or WHOLE
        region = Region() if chosen == WHOLE else take_region(chosen, image, layer, self._viewer.dims.point, flat=self._flat)
        settings, source = read_settings(), getattr(layer.source, "path", None)
        return Request(
            image, model, self.device.value, settings.tile_size, region, str(source) if source else None,
            settings.result_folder, fields.typed_zoom(self.zoom.value), fields.typed_channels(self.channels.value),
        )  # fmt: skip

    # ------------------------------------------------------------------------------------------------------------ run
    def _begin_run(self) -> None:
        try:
            request = self._request()
        except (ValueError, TypeError) as error:
            self._say_error(error)
            return
        layer = self.image.value
        self._end_run()
        self._running = ResultRun(self._viewer, layer, request.asked, self._engine, self.native)
        self._start(Job.of(predict_job, request, self._running.replaceable), f"{request.model}: {layer.name}")

    def _on_event(self, event: Any) -> None:
        super()._on_event(event)
        if isinstance(event, Progress) and self._activity is not None:
            self._activity.show(event.done, event.total)
        elif isinstance(event, Growing):
            self._grow(event)

    def _grow(self, begun: Growing) -> None:
        """Show a large mask from its beginning on."""
        if self._running is None:
            return
        try:
            self._running.grow(begun)
        except Exception as error:  # noqa: BLE001 - the mask is made all the same, and shown at the end
            self._say_error(error)
            return
        if begun.resumed:
            self._say("Continuing where the last run stopped.")

    def _show_answer(self, answer: Failed | Finished[Any] | None, *, cancelled: bool) -> None:
        if isinstance(answer, Finished):
            try:
                self._show(answer.result)
            except Exception as error:  # noqa: BLE001 - no memory for the layer, say; the widget must be ready again
                answer = Failed(describe(error))
        if isinstance(answer, Failed):
            self._say(answer.fault.text, warning=True)
        elif cancelled and answer is None:
            kept = self._running is not None and self._running.kept
            stays = "Cancelled. The finished part stays in its layer; Run continues from there."
            self._say(stays if kept else "Cancelled; nothing was changed.")

    def _finish(self) -> None:
        self._end_run()
        super()._finish()

    def _end_run(self) -> None:
        if self._running is not None:
            self._running.end()
        self._running = None

    def _show(self, labels: LabelsData) -> None:
        assert self._running is not None
        self._shown = self._running.show(labels)
        self._show_plane()
        stale = " The image has changed since: this result belongs to what it showed before." if self._running.changed else ""
        self._say(labels.summary + stale)

    def _show_plane(self, *_: Any) -> None:
        """Show the scores of the plane that the sliders point at."""
        if self._shown is not None:
            self._scores.show_at(self._shown, self._viewer.dims.point)
