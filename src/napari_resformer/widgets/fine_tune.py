"""The dock widget ``Fine-tune``: images with their labels and classes in, a model out."""

from __future__ import annotations

import time
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from magicgui.widgets import CheckBox, ComboBox, Container, LineEdit, PushButton, SpinBox
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QFileDialog, QLabel, QProgressBar, QPushButton
from superqt import QCollapsible

from napari_resformer.events import EpochDone, Failed, Finished, Progress, StepDone
from napari_resformer.model.library import ModelEntry, list_models
from napari_resformer.widgets import fields, news, train_fields
from napari_resformer.widgets.activity import Activity
from napari_resformer.widgets.annotation import (
    fitting_classes,
    give_class,
    give_classes,
    layer_image,
    plane_words,
    pointed_plane,
    type_axes,
    typed_axes,
)
from napari_resformer.widgets.class_field import ClassField
from napari_resformer.widgets.lifetime import Lifetime
from napari_resformer.widgets.pairs import mask_data
from napari_resformer.widgets.pairs_table import Pairs
from napari_resformer.widgets.preview import Preview, PreviewTarget, is_preview, show_preview
from napari_resformer.widgets.settings import read_settings
from napari_resformer.widgets.timing import Stopwatch, duration
from napari_resformer.widgets.train_fields import CANCEL, CANCELLING, RESUME, RUN, SCRATCH
from napari_resformer.widgets.train_jobs import (
    Begun,
    NoPreview,
    Outlook,
    PairData,
    Trained,
    TrainRequest,
    Watched,
    model_path,
    outlook_job,
    save_job,
    train_job,
    warm_up_training,
)
from napari_resformer.widgets.training_panel import TrainingPanel
from napari_resformer.widgets.worker import Job, in_words

if TYPE_CHECKING:
    import napari

PLUGIN = "napari-resformer"

_DELAY = 400  # milliseconds without a change before the samples are looked at anew
_PAINT_DELAY = 1500  # the same while somebody paints
_NO_PAIRS = "Open images, paint a Labels layer for each, or give them a class; they then stand in the table above."
_LATER = "Choose a smaller crop or batch, or the CPU as the device, or close other programs; then press Run again."

_CHECK = "Check the table of pairs and the options."


class FineTune(Container[Any]):
    """Train a model on image layers with their labels and classes.

    Parameters
    ----------
    napari_viewer : napari.viewer.Viewer
        The viewer, or napari's public proxy of it.

    Attributes
    ----------
    pairs, model, epochs, model_name, mask_names, replace, run, start_anew
        The fields, as magicgui widgets; ``pairs.value`` is a tuple of :class:`~napari_resformer.widgets.pairs.PairRow`;
        ``run`` starts or goes on, and cancels while :attr:`busy`.
    more : magicgui.widgets.Container
        Further fields: ``label_values``, ``preset``, ``crop``, ``batch``, ``mode``, ``freeze_encoder``, ``device``.
    """

    pairs: Pairs
    model: ComboBox
    epochs: SpinBox
    model_name: LineEdit
    mask_names: LineEdit
    replace: CheckBox
    run: PushButton
    start_anew: PushButton

    def __init__(self, napari_viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        self._viewer = napari_viewer
        self._attached = False
        self._entries: dict[str, ModelEntry] = {}
        self._job: Job | None = None
        self._look: Job | None = None
        self._warm_up: Job | None = None
        self._answer: Failed | Finished[Any] | None = None
        self._refusal = ""
        self._painted: list[Any] = []
        self._watched = Watched()
        self._preview: Any = None
        self._wants_preview = False
        self._trained = self._epoch_words = ""
        self._stopwatch = Stopwatch()
        self._epoch_seconds: tuple[Any, float] | None = None
        self._activity: Activity | None = None
        settings = read_settings()
        self.more = train_fields.make_options(settings.device)
        self._bar, self._panel, self._class_field = QProgressBar(), TrainingPanel(), ClassField()
        self._save, self._folded = QPushButton("Save as data folder …"), QCollapsible("More options", collapsedIcon="▶")
        self.append(Pairs(self._viewer, self._model_classes))
        self.extend(train_fields.make_fields(self._model_choices))
        self.extend(train_fields.make_buttons())
        self._timer = QTimer(self.native)
        self._timer.setSingleShot(True)
        self._timer.timeout.connect(self._look_at_samples)
        self._lay_out()
        self.reset_choices()
        if settings.model in self._entries:
            self.model.value = settings.model
        self._connect_fields()
        lifetime = Lifetime(self.native)
        lifetime.first_shown.connect(self._first_shown)
        lifetime.docked.connect(self._attach)
        lifetime.undocked.connect(self._detach)
        self.native.destroyed.connect(self._detach)
        self._attach()

    # --------------------------------------------------------------------------------------------------- for scripts
    @property
    def busy(self) -> bool:
        """Whether a training, or the writing of a data folder, is running."""
        return self._job is not None

    @property
    def message(self) -> str:
        """What went wrong or well last, in words; empty when there is nothing to say."""
        return self._panel.message.words

    @property
    def plan_text(self) -> str:
        """What Run will learn from and what to mind, in words; empty while that is not known."""
        return "\n".join((*self._panel.facts.words, *self._panel.warnings.words))

    @property
    def summary_text(self) -> str:
        """The result of the last training, in words; empty if there is none."""
        return self._panel.summary.words

    def give_class(self, name: str) -> None:
        """Give the active image its class, or, in a stack, the plane that the sliders show; empty to take it away."""
        found = self._active_plane()
        if found is not None:
            give_class(found[0], found[2], name)

    def save_data_folder(self, path: str | Path) -> None:
        """Write images, masks and classes of the rows in use as a data folder; :attr:`busy` meanwhile.

        Parameters
        ----------
        path : str or Path
            A folder that is empty or not there yet; else nothing is written, and the widget says so.
        """
        if self.busy:
            return
        path = Path(path)
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            self._say(f"{path} is not empty: choose an empty folder, or a new one.", warning=True)
            return
        try:
            request = self._request()
        except (ValueError, TypeError) as error:
            self._say(in_words(error), warning=True)
            return
        self._panel.clear_result()
        self._start(partial(save_job, request, path), f"Saving {path.name}")

    # -------------------------------------------------------------------------------------------------- looks and life
    def _lay_out(self) -> None:
        layout = self.native.layout()
        row = layout.itemAt(0).widget()
        for label in row.findChildren(QLabel):  # the table takes the whole width
            label.hide()
        self._save.setToolTip("Write the images with their masks and classes as files that can be trained on again")
        self._save.clicked.connect(self._choose_folder)
        self._folded.addWidget(self.more.native)
        self._folded.setDuration(0)
        for part in (self._folded, self._folded.content()):
            inner = part.layout()
            assert inner is not None
            inner.setContentsMargins(0, 0, 0, 0)
        layout.insertWidget(1, self._class_field)
        layout.insertWidget(2, self._save)
        layout.insertWidget(layout.count() - 2, self._folded)
        self._bar.hide()
        layout.addWidget(self._bar)
        layout.addWidget(self._panel, 1)
        self.native.setMinimumWidth(260)

    def _connect_fields(self) -> None:
        self.pairs.changed.connect(self._pairs_changed)
        self.model.changed.connect(self._model_changed)
        self.model_name.changed.connect(self._name_changed)
        for one in (self.epochs, self.mask_names, self.replace, *self.more):
            one.changed.connect(self._field_changed)
        self.run.changed.connect(self._press)
        self.start_anew.changed.connect(self._press_anew)
        self._class_field.given.connect(self.give_class)
        self._class_field.given_to_all.connect(self._give_all)
        self._class_field.axes_typed.connect(self._type_axes)
        self._panel.summary.open_pressed.connect(self._open_model)

    def _attach(self) -> None:
        """Listen to the viewer."""
        if self._attached:
            return
        self._attached = True
        for emitter, slot in self._connections():
            emitter.connect(slot)
        self.reset_choices()
        self._layers_changed()
        self._model_changed()
        self._name_changed()
        self._use_theme()

    def _detach(self, *_: Any) -> None:
        """Let go of viewer and jobs, once the dock is closed; Qt's part of the widget may be gone already."""
        if not self._attached:
            return
        self._attached = False
        for emitter, slot in self._connections():
            emitter.disconnect(slot)
        self._watch_layers(())
        jobs = self._job, self._look, self._warm_up
        self._job = self._look = self._warm_up = None
        for job in jobs:
            with suppress(RuntimeError):  # deleted: then it was cancelled too, or is over
                if job is not None:
                    job.discard()
        self._watched.target = self._preview = None
        self._close_activity()
        with suppress(RuntimeError):
            self._timer.stop()
            self._idle()

    def _connections(self) -> list[tuple[Any, Any]]:
        viewer = self._viewer
        layers = viewer.layers.events
        return [
            (layers.inserted, self._layers_changed),
            (layers.removed, self._removed),
            (layers.reordered, self._layers_changed),
            (layers.renamed, self._layers_changed),
            (viewer.layers.selection.events.active, self._plane_changed),
            (viewer.dims.events.current_step, self._plane_changed),
            (viewer.events.theme, self._use_theme),
            (news.library.changed, self.reset_choices),
        ]

    def _first_shown(self) -> None:
        """Load torch now that the widget is on the screen, rather than when Run is pressed."""
        fields.align_labels(self.native)
        fields.align_labels(self.more.native)
        if self._attached:
            self._warm_up = Job(warm_up_training, self.native)

    def _use_theme(self, *_: Any) -> None:
        from napari.utils.theme import get_theme

        with suppress(KeyError, ValueError, AttributeError):  # a theme of somebody's: the palette's colour does
            self._panel.set_accent(get_theme(str(self._viewer.theme)).current.as_hex())

    # --------------------------------------------------------------------------------------------------------- fields
    def reset_choices(self, *_: Any) -> None:
        """Offer the models that there are now; what was chosen stays chosen."""
        model = self.model.value
        with self.model.changed.blocked():
            self.model.reset_choices()
            if model in self.model.choices:
                self.model.value = model
        if self.model.value != model:
            self._model_changed()

    def _model_choices(self, _: Any = None) -> list[str]:
        self._entries = {entry.name: entry for entry in list_models()}
        return [*self._entries, SCRATCH]

    def _model_classes(self) -> tuple[str, ...]:
        entry = self._entries.get(self.model.value)
        return entry.card.image_classes if entry else ()

    def _model_changed(self, *_: Any) -> None:
        """Take what follows from the model to start from; nothing of it is a choice of the user's yet."""
        entry = self._entries.get(self.model.value)
        self.model.tooltip = fields.model_tooltip(entry.card if entry else None)
        self.more.preset.enabled = entry is None
        self.more.freeze_encoder.enabled = entry is not None
        with self.more.crop.changed.blocked(), self.more.mode.changed.blocked():
            self.more.crop.value = entry.card.input_size if entry else 128
            self.more.mode.value = entry.card.input_mode if entry else "native"
        self._field_changed()

    def _name_changed(self, *_: Any) -> None:
        name = self.model_name.value.strip()
        self.replace.visible = not train_fields.name_fault(name) and model_path(name).exists()
        self._field_changed()

    def _field_changed(self, *_: Any) -> None:
        """Look at the samples anew; the news of the last run are old. A refusal stays until the new look is done."""
        if not self.busy and self.message != self._refusal:
            self._say("")
        self._show_cost()
        self._look_later()

    def _show_cost(self) -> None:
        """Tell what the epochs will cost, once a run like this was measured."""
        if self.busy:
            return
        if self._epoch_seconds is None or self._epoch_seconds[0] != self._cost_key():
            self._panel.time.say("")
            return
        each = self._epoch_seconds[1]
        self._panel.time.say(
            f"{self.epochs.value} epochs take about {duration(each * self.epochs.value)}, {duration(each)} each, as measured."
        )

    def _cost_key(self) -> tuple[Any, ...]:
        """Return what the time of an epoch depends on."""
        more = self.more
        images = tuple(
            (row.image.unique_id, state.planes) for row, state in zip(self.pairs.value, self.pairs.states, strict=True) if row.use
        )
        return (
            images, self.model.value, more.preset.value, more.crop.value, more.batch.value, more.mode.value,
            more.freeze_encoder.value, more.device.value,
        )  # fmt: skip

    # ---------------------------------------------------------------------------------------------- layers and planes
    def _layers_changed(self, *_: Any) -> None:
        self._watch_layers(list(self._viewer.layers))
        self.pairs.layers_changed()
        self._plane_changed()

    def _removed(self, event: Any) -> None:
        if self._preview is not None and event.value.unique_id == self._preview.unique_id:
            self._preview, self._wants_preview = None, False  # the user does not want it
        self._watch_layers(list(self._viewer.layers))
        self.pairs.forget(event.value)
        self._plane_changed()

    def _watch_layers(self, layers: Any) -> None:
        """Listen to these layers, and to no others."""
        for connect, some in (("disconnect", self._painted), ("connect", layers)):
            for layer in some:
                for name, slot in (
                    ("paint", self._painted_in),
                    ("data", self._data_changed),
                    ("metadata", self._metadata_changed),
                    ("axis_labels", self._data_changed),
                    ("scale", self._field_changed),
                ):
                    emitter = getattr(layer.events, name, None)
                    if emitter is not None and not is_preview(layer):
                        getattr(emitter, connect)(slot)
        self._painted = [layer for layer in layers if not is_preview(layer)]

    def _painted_in(self, *_: Any) -> None:
        self._look_later(_PAINT_DELAY)

    def _data_changed(self, *_: Any) -> None:
        self.pairs.layers_changed()

    def _metadata_changed(self, *_: Any) -> None:
        self.pairs.layers_changed()
        self._plane_changed()

    def _pairs_changed(self, *_: Any) -> None:
        self._field_changed()
        self._plane_changed()

    def _active_image(self) -> Any | None:
        """Return the image layer that is worked on: the active one, or that of the active labels."""
        active = self._viewer.layers.selection.active
        if active is None:
            return None
        for row in self.pairs.value:
            if active.unique_id in (row.image.unique_id, getattr(row.labels, "unique_id", None)):
                return row.image
        return None

    def _active_plane(self) -> tuple[Any, Any, tuple[int, ...]] | None:
        """Return the layer that is worked on, with named axes, and its plane that is shown."""
        layer = self._active_image()
        if layer is None:
            return None
        labels = next((row.labels for row in self.pairs.value if row.image is layer), None)
        try:
            image = layer_image(layer, labels)
            return layer, image, pointed_plane(layer, image, self._viewer.dims.point)
        except (ValueError, TypeError, IndexError):
            return None

    def _plane_changed(self, *_: Any) -> None:
        """Follow the active layer and the sliders: the class field, and what is previewed."""
        if not self._attached:
            return
        found, layer, field = self._active_plane(), self._active_image(), self._class_field
        if layer is None:
            field.show_nothing("Select an image layer to give it a class.")
            field.ask_axes("", "", visible=False)
        elif found is None:
            field.show_nothing(f"{layer.name}: which axes does it have?")
            field.ask_axes(typed_axes(layer), fields.axes_hint(layer), visible=True)
        else:
            layer, image, index = found
            where = plane_words(image, index)
            name = fitting_classes(layer, image).get(index, "")
            caption = f"Class of {layer.name}" + (f", plane {where}" if where else "")
            field.show_plane(caption, name, self.pairs.class_choices(), stack=bool(where))
            field.ask_axes(typed_axes(layer), image.axes, visible=bool(typed_axes(layer)))
            self._watched.target = PreviewTarget(layer.unique_id, image, index) if self._wants_preview else None
        if not self._wants_preview:
            self._watched.target = None

    def _give_all(self, name: str) -> None:
        found = self._active_plane()
        if found is not None:
            give_classes(found[0], dict.fromkeys(found[1].plane_indices(), name))

    def _type_axes(self, axes: str) -> None:
        layer = self._active_image()
        if layer is not None:
            type_axes(layer, axes)

    # ------------------------------------------------------------------------------------------------------- pre-flight
    def _look_later(self, delay: int = _DELAY) -> None:
        """Look once nothing has changed for a moment; a look that is under way is out of date."""
        if self._look is not None:
            self._look.discard()
            self._look = None
        if self._attached:
            self._timer.start(delay)

    def _look_at_samples(self) -> None:
        if not self._attached or self.busy:
            return
        self._name_taken()
        try:
            request = self._request()
        except (ValueError, TypeError) as error:
            nothing = not any(row.use for row in self.pairs.value)
            self._refuse("" if nothing else in_words(error))
            self._panel.show_words([_NO_PAIRS] if nothing else ())
            self._offer_resume(0)
            return
        self._look = Job(partial(outlook_job, request), self.native)
        self._look.happened.connect(self._looked)
        self._look.ended.connect(self._look_ended)

    def _looked(self, event: Any) -> None:
        if isinstance(event, Failed):
            self._panel.show_words(())
            self._refuse(in_words(event.error))
            self._offer_resume(0)
        elif isinstance(event, Finished):
            outlook: Outlook = event.result
            self._panel.show_outlook(outlook)
            self._refuse(" ".join(f"This cannot run: {refusal}." for refusal in outlook.refusals))
            self._offer_resume(outlook.resumable)

    def _look_ended(self) -> None:
        self._look = None

    def _refuse(self, refusal: str) -> None:
        if refusal or self.message == self._refusal:  # other news, such as a failed run, stay until the next run
            self._say(refusal, warning=True)
        self._refusal = refusal

    def _name_taken(self) -> None:
        name = self.model_name.value.strip()
        self.replace.visible = not train_fields.name_fault(name) and model_path(name).exists()

    def _request(self, *, anew: bool = False) -> TrainRequest:
        """Take from the fields what a job needs.

        Raises
        ------
        ValueError, TypeError
            If something is missing, or does not fit.
        """
        from napari_resformer.training.settings import TrainSettings

        used = [(row, state) for row, state in zip(self.pairs.value, self.pairs.states, strict=True) if row.use]
        if not used:
            raise ValueError(f"no image is ticked. {_NO_PAIRS}")
        if trouble := [state.trouble for _, state in used if state.trouble]:
            raise ValueError("; ".join(trouble))
        data = []
        for row, state in used:
            assert state.image is not None, "a row without trouble has its axes"
            labels = None if row.labels is None else mask_data(state.image, row.labels)
            data.append(PairData(state.image, labels, fitting_classes(row.image, state.image)))
        name = self.model_name.value.strip()
        if fault := train_fields.name_fault(name):
            raise ValueError(fault)
        more, scratch = self.more, self.model.value == SCRATCH
        names = tuple(part.strip() for part in self.mask_names.value.split(",") if part.strip())
        settings = TrainSettings(
            preset=more.preset.value,
            epochs=self.epochs.value,
            batch=more.batch.value,
            size=more.crop.value,
            mode=more.mode.value,
            mask_classes=names,
            freeze_encoder=more.freeze_encoder.value and not scratch,
        )
        return TrainRequest(
            tuple(data),
            name,
            None if scratch else self.model.value,
            settings,
            more.device.value,
            objects=more.label_values.value == train_fields.VALUES_ARE_OBJECTS,
            replace=bool(self.replace.value),
            anew=anew,
        )

    # ------------------------------------------------------------------------------------------------------------ run
    def _press(self, *_: Any) -> None:
        if self._job is not None:
            self._job.cancel()
            self.run.enabled, self.run.text = False, CANCELLING
        else:
            self._train(anew=False)

    def _press_anew(self, *_: Any) -> None:
        if self._job is None:
            self._train(anew=True)

    def _train(self, *, anew: bool) -> None:
        try:
            request = self._request(anew=anew)
        except (ValueError, TypeError) as error:
            self._say(in_words(error), warning=True)
            return
        self._panel.clear_result()
        self._panel.show_words(())
        self._stopwatch, self._trained = Stopwatch(), ""
        self._wants_preview = True
        self._watched = Watched()
        self._plane_changed()
        if self._watched.target is None:
            self._watch_first(request)
        self._start(partial(train_job, request, self._watched), f"Training {request.name}")

    def _watch_first(self, request: TrainRequest) -> None:
        """Preview the first pair while no image is selected."""
        row = next(row for row in self.pairs.value if row.use)
        image = request.pairs[0].image
        self._watched.target = PreviewTarget(row.image.unique_id, image, (0,) * len(image.loop_shape))

    def _start(self, start: Any, words: str) -> None:
        self._look_later()
        self._timer.stop()
        self._answer = None
        self._say("")
        self.run.text = CANCEL
        self.start_anew.visible = False
        self._save.hide()
        self.pairs.set_compact(True)
        self._bar.setRange(0, 0)
        self._bar.setFormat("Preparing")
        self._bar.show()
        self._job = job = Job(start, self.native)
        job.happened.connect(self._on_event)
        job.ended.connect(self._on_ended)
        activity = Activity(words)  # napari processes events meanwhile
        if self._job is job:
            self._activity = activity
        else:
            activity.close()

    def _on_event(self, event: Any) -> None:
        if isinstance(event, Progress):
            self._show_progress(event)
        elif isinstance(event, StepDone):
            self._show_step(event)
        elif isinstance(event, EpochDone):
            self._stopwatch.epoch(event)
            self._panel.add_epoch(event)
        elif isinstance(event, Begun):
            self._panel.begin(self.epochs.value, event.points)
        elif isinstance(event, Preview):
            self._show_preview(event)
        elif isinstance(event, NoPreview):
            self._panel.notes.say(f"No preview: {event.reason}")
        elif isinstance(event, Failed | Finished):
            self._answer = event

    def _show_progress(self, event: Progress) -> None:
        if "validation" in event.unit:
            self._bar.setFormat(f"{self._epoch_words}: {event.unit} {event.done} of {event.total}")
        else:
            self._bar.setRange(0, event.total)
            self._bar.setValue(event.done)
            self._bar.setFormat(f"{event.unit} %v of %m")

    def _show_step(self, event: StepDone) -> None:
        self._stopwatch.step(event, time.monotonic())
        done, total = (event.epoch - 1) * event.steps + event.step, event.epochs * event.steps
        self._bar.setRange(0, total)
        self._bar.setValue(done)
        self._epoch_words = f"Epoch {event.epoch} of {event.epochs}"
        self._bar.setFormat(self._epoch_words)
        if self._activity is not None:
            self._activity.show(done, total)
        each, remaining = self._stopwatch.epoch_seconds, self._stopwatch.remaining
        if each is not None and remaining is not None:
            whole = duration(each * event.epochs)
            self._panel.time.say(f"{event.epochs} epochs take about {whole}, {duration(each)} each; {duration(remaining)} to go.")

    def _show_preview(self, preview: Preview) -> None:
        if not self._wants_preview:
            return
        there = {layer.unique_id: layer for layer in self._viewer.layers}
        old = self._preview
        if old is None:  # that of an earlier run
            old = next((layer for layer in there.values() if is_preview(layer)), None)
        self._preview = None  # replacing it is no removal by the user
        with suppress(ValueError, RuntimeError):  # the image was changed in mid-run; the next epoch has a new target
            self._preview = show_preview(self._viewer, old, preview)

    def _on_ended(self, cancelled: bool) -> None:
        answer, self._answer = self._answer, None
        if isinstance(answer, Failed):
            self._say(in_words(answer.error, memory=_LATER, otherwise=_CHECK), warning=True)
        elif isinstance(answer, Finished) and isinstance(answer.result, Trained):
            self._show_trained(answer.result)
        elif isinstance(answer, Finished):
            self._say(f"Saved in {answer.result}.")
        elif cancelled:
            kept = bool(self._panel.curves.points)
            self._say(
                "Cancelled. The finished epochs are kept: Resume goes on from there."
                if kept
                else "Cancelled; nothing was changed."
            )
        self._finish()

    def _show_trained(self, trained: Trained) -> None:
        self._trained = trained.name
        self._panel.show_trained(trained)
        self.replace.value = False
        news.library.changed.emit(trained.name)

    def _finish(self) -> None:
        """Be ready for the next run."""
        self._job = None
        self._wants_preview = False
        self._watched.target = self._preview = None
        if (each := self._stopwatch.epoch_seconds) is not None:
            self._epoch_seconds = (self._cost_key(), each)
        self._close_activity()
        self._idle()
        self._show_cost()
        self._look_later()

    def _idle(self) -> None:
        self.run.text, self.run.enabled = RUN, True
        self._save.show()
        self.pairs.set_compact(False)
        self._bar.hide()

    def _offer_resume(self, epochs: int) -> None:
        if not self.busy:
            self.run.text = RESUME if epochs else RUN
            self.start_anew.visible = bool(epochs)

    def _close_activity(self) -> None:
        activity, self._activity = self._activity, None
        if activity is not None:
            activity.close()

    def _say(self, words: str, *, warning: bool = False) -> None:
        self._panel.message.say(words, warning=warning)

    # ------------------------------------------------------------------------------------------------------- the buttons
    def _choose_folder(self) -> None:
        path = QFileDialog.getExistingDirectory(self.native, "An empty folder for images, masks and classes")
        if path:
            self.save_data_folder(path)

    def _open_model(self) -> None:
        """Choose the new model in Segment & Classify, which is opened if need be."""
        window = getattr(self._viewer, "window", None)
        if window is None or not self._trained:
            return
        _, widget = window.add_plugin_dock_widget(PLUGIN, "Segment & Classify")
        widget.reset_choices()
        widget.model.value = self._trained
