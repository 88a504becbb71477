"""The dock widget ``Fine-tune``: images with their labels and classes in, a model out."""

from __future__ import annotations

import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from magicgui.widgets import CheckBox, ComboBox, LineEdit, PushButton, SpinBox
from qtpy.QtWidgets import QFileDialog
from superqt import QCollapsible

from napari_resformer.engine.faults import Failed, describe
from napari_resformer.engine.job import Job
from napari_resformer.events import EpochDone, Finished, Notice, Progress, StepDone, TrainingStarted
from napari_resformer.model.library import ModelEntry, list_models
from napari_resformer.training import session
from napari_resformer.training.history import EpochPoint
from napari_resformer.training.preview import NoPreview, Preview
from napari_resformer.widgets.base import fields, signals
from napari_resformer.widgets.base.dock import JobDock
from napari_resformer.widgets.base.job import DockJob
from napari_resformer.widgets.base.settings import read_settings
from napari_resformer.widgets.train import fields as train_fields
from napari_resformer.widgets.train.annotating import Annotating
from napari_resformer.widgets.train.annotation import give_class
from napari_resformer.widgets.train.class_field import ClassField
from napari_resformer.widgets.train.eta import Stopwatch, cost_words
from napari_resformer.widgets.train.fields import AUTOMATIC, RESUME, SCRATCH, TRAIN
from napari_resformer.widgets.train.pairs_table import Pairs
from napari_resformer.widgets.train.panel import TrainingPanel
from napari_resformer.widgets.train.preview import LivePreview
from napari_resformer.widgets.train.request import NO_PAIRS, annotated_pairs, cost_key, make_request
from napari_resformer.widgets.train.tools import AnnotationTools, open_segmenter

if TYPE_CHECKING:
    import napari

_DELAY = 400  # milliseconds without a change before the samples are looked at anew
_PAINT_DELAY = 1500  # the same while somebody paints
_REMEDIES = {
    "memory": "Choose a smaller crop or batch size, or the CPU as the device, or close other programs; then press Train again.",
    "crashed": "Every layer is still here, and so are the finished epochs: press Train to continue.",
    "unexpected": "Check the table of pairs and the options. If it fails again, please report it with these words.",
}


class FineTune(JobDock):
    """Train a model on image layers with their labels and classes.

    Parameters
    ----------
    napari_viewer : napari.viewer.Viewer
        The viewer, or napari's public proxy of it.

    Attributes
    ----------
    pairs, model, epochs, model_name, mask_names, replace, run, start_anew, keep_best
        The fields, as magicgui widgets; ``pairs.value`` is a tuple of :class:`~napari_resformer.widgets.train.pairs.PairRow`;
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
    keep_best: PushButton
    _title, _run_words = "Fine-tune", TRAIN

    def __init__(self, napari_viewer: napari.viewer.Viewer) -> None:
        super().__init__(napari_viewer, _DELAY)
        self._entries: dict[str, ModelEntry] = {}
        self._requested: session.TrainRequest | None = None  # of the last training
        self._preview = LivePreview(self._viewer)
        self._stopwatch = Stopwatch()
        self._epoch_seconds: tuple[Any, float] | None = None
        self._saving: Path | None = None
        self._running: tuple[int, Any] = (1, None)  # epochs, and what their time depends on
        self._trained = self._epoch_words = ""
        settings = read_settings()
        self.more = train_fields.make_options(settings.device)
        self._panel, self._class_field = TrainingPanel(self._message), ClassField()
        self._tools, self._folded = AnnotationTools(), QCollapsible("More options", collapsedIcon="▶")
        self.append(Pairs(self._viewer, self._model_classes))
        self.extend(train_fields.make_fields(self._model_choices))
        self.extend(train_fields.make_buttons())
        self._annotating = Annotating(self._viewer, self.pairs, self._class_field, self.native)
        self._lay_out()
        self.reset_choices()
        if settings.model in self._entries:
            self.model.value = settings.model
        self._connect_fields()
        self._begin_life()

    # --------------------------------------------------------------------------------------------------- for scripts
    @property
    def plan_text(self) -> str:
        """What will be learned from, and the warnings, in words; empty while that is not known."""
        return "\n".join((*self._panel.facts.words, *self._panel.warnings.words))

    @property
    def summary_text(self) -> str:
        """The result of the last training, in words; empty if there is none."""
        return self._panel.summary.words

    def give_class(self, name: str) -> None:
        """Give the active image its class, or, in a stack, the plane that the sliders show; empty to take it away."""
        shown = self._annotating.shown_plane()
        if shown is not None:
            give_class(shown.layer, shown.index, name)

    def save_data_folder(self, path: str | Path) -> None:
        """Write all that was annotated, ticked or not, as a data folder; :attr:`busy` meanwhile.

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
            pairs = annotated_pairs(self.pairs)
        except ValueError as error:
            self._say_error(error)
            return
        self._saving = path
        self._start(Job.of(session.save_annotations, pairs, path), f"Saving {path.name}")

    # -------------------------------------------------------------------------------------------------- looks and life
    def _lay_out(self) -> None:
        layout = self.native.layout()
        train_fields.hide_labels(layout.itemAt(0).widget())  # the table takes the whole width
        train_fields.fold(self._folded, self.more.native)
        layout.insertWidget(1, self._class_field)
        layout.insertWidget(2, self._tools)
        layout.insertWidget(layout.count() - 2, self._folded)
        layout.addWidget(self._bar)
        layout.addWidget(self._panel, 1)
        self.native.setMinimumWidth(260)

    def _connect_fields(self) -> None:
        self._tools.save.connect(self._choose_folder)
        self._tools.new_labels.connect(self._annotating.add_labels)
        self._tools.show_all.connect(self._annotating.show_all)
        self._annotating.focus_changed.connect(self._focus_changed)
        self.pairs.changed.connect(self._field_changed)
        self.model.changed.connect(self._model_changed)
        self.model_name.changed.connect(self._name_changed)
        for one in (self.epochs, self.mask_names, self.replace, *self.more):
            one.changed.connect(self._field_changed)
        self.start_anew.changed.connect(self._press_anew)
        self.keep_best.changed.connect(self._press_keep)
        self._annotating.shown_changed.connect(self._watch_shown)
        self._annotating.painted.connect(partial(self._look_later, _PAINT_DELAY))
        self._annotating.moved.connect(self._look_later)
        self._panel.summary.open_pressed.connect(self._open_model)

    def _connections(self) -> list[tuple[Any, Any]]:
        return [*super()._connections(), (self._viewer.layers.events.removed, self._preview.removed)]

    def _follow(self) -> None:
        self.reset_choices()
        self._annotating.attach()
        self._model_changed()
        self._name_changed()

    def _unfollow(self) -> None:
        self._annotating.detach()
        self._preview.end()

    def _first_shown(self) -> None:
        fields.align_labels(self._content, self.more.native)
        if self._attached:
            self._warm_up = DockJob(self._engine, Job.of(session.warm_up), self.native)

    def _set_accent(self, colour: str) -> None:
        self._panel.set_accent(colour)

    def _focus_changed(self) -> None:
        self._tools.offer(alone=self._annotating.focus.image is not None)

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
            self.more.crop.value, self.more.mode.value = 0, AUTOMATIC
        self._field_changed()

    def _name_changed(self, *_: Any) -> None:
        self.replace.value = False  # it was said of another model
        self._offer_to_replace()
        self._field_changed()

    def _field_changed(self, *_: Any) -> None:
        super()._field_changed()
        self._show_cost()

    def _show_cost(self) -> None:
        """Tell what the epochs will cost, once a training like this was measured."""
        if not self.busy:
            known = self._epoch_seconds is not None and self._epoch_seconds[0] == cost_key(self)
            self._panel.time.say(cost_words(self.epochs.value, self._epoch_seconds[1]) if known and self._epoch_seconds else "")

    # ------------------------------------------------------------------------------------------------------- pre-flight
    def _look_ahead(self) -> None:
        self._offer_to_replace()
        try:
            request = make_request(self)
        except (ValueError, TypeError) as error:
            nothing = not any(row.use for row in self.pairs.value)
            self._refuse("" if nothing else describe(error).text)
            self._panel.show_words([NO_PAIRS] if nothing else ())
            self._offer_resume(0)
            return
        self._start_look(Job.of(session.check_session, request), self._looked)

    def _looked(self, event: Any) -> None:
        if isinstance(event, Failed):
            self._panel.show_words(())
            self._refuse(event.fault.text)
            self._offer_resume(0)
        elif isinstance(event, Finished):
            check: session.SessionCheck = event.result
            self._panel.show_check(check)
            self._refuse(" ".join(f"Training is not possible: {refusal}." for refusal in check.refusals))
            self._offer_resume(check.resumable)

    def _offer_to_replace(self) -> None:
        name = self.model_name.value.strip()
        self.replace.visible = not train_fields.name_trouble(name) and session.model_path(name).exists()

    # ------------------------------------------------------------------------------------------------------------ run
    def _begin_run(self) -> None:
        self._train(anew=False)

    def _press_anew(self, *_: Any) -> None:
        if self._job is None:
            self._train(anew=True)

    def _train(self, *, anew: bool) -> None:
        self.pairs.layers_changed()  # a script may have changed metadata in place, which tells nobody
        try:
            request = make_request(self, start_over=anew)
            session.check_output(request)
        except (ValueError, TypeError, FileExistsError) as error:
            self._say_error(error)
            return
        self._panel.clear_result()
        self._panel.show_words(())
        self._stopwatch, self._trained = Stopwatch(), ""
        self._saving, self._epoch_words = None, "Epoch 1"
        self._running = request.settings.epochs, cost_key(self)
        self._requested = request
        self._preview.begin()
        first, state = next(pair for pair in zip(self.pairs.value, self.pairs.states, strict=True) if pair[0].use)
        if state.image is not None:  # what is previewed while no image is selected
            self._preview.watch(first.image, state.image, (0,) * len(state.image.loop_shape))
        self._watch_shown()
        self._start(Job.of(session.train_session, request, self._preview.inbox), f"Training {request.name}")

    def _press_keep(self, *_: Any) -> None:
        """Keep the best model of a training that was cancelled."""
        if self._job is None and self._requested is not None:
            request = replace(self._requested, replace=bool(self.replace.value))
            self._start(Job.of(session.keep_best, request), f"Saving {request.name}")

    def _watch_shown(self) -> None:
        """Preview what is looked at."""
        shown = self._annotating.shown_plane() if self._preview.wanted else None
        if shown is not None:
            self._preview.watch(shown.layer, shown.image, shown.index)

    def _start(self, work: Job, words: str) -> None:
        self.start_anew.visible = self.keep_best.visible = False
        self._tools.hide()
        self.pairs.set_compact(True)
        super()._start(work, words)

    def _on_event(self, event: Any) -> None:
        if isinstance(event, Progress) and "validation" in event.unit:  # the bar stays where the steps have brought it
            self._bar.setFormat(f"{self._epoch_words}: {event.unit} {event.done} of {event.total}")
        elif isinstance(event, StepDone):
            self._show_step(event)
        elif isinstance(event, EpochDone):
            self._stopwatch.epoch(event, time.monotonic())
            self._panel.add_epoch(event)
        elif isinstance(event, TrainingStarted):
            self._panel.begin(self._running[0], [EpochPoint.of(row) for row in event.history])
        elif isinstance(event, Notice):
            self._panel.add_notice(event)
        elif isinstance(event, Preview):
            self._panel.notes.say(self._preview.show(event))
        elif isinstance(event, NoPreview):
            self._panel.notes.say(f"No preview: {event.reason}")
        else:
            super()._on_event(event)

    def _show_step(self, event: StepDone) -> None:
        self._stopwatch.step(event, time.monotonic())
        done, total = (event.epoch - 1) * event.steps + event.step, event.epochs * event.steps
        self._epoch_words = f"Epoch {event.epoch} of {event.epochs}"
        self._bar.say(self._epoch_words, done, total)
        if self._activity is not None:
            self._activity.show(done, total)
        self._panel.time.say(self._stopwatch.words())

    def _show_answer(self, answer: Failed | Finished[Any] | None, *, cancelled: bool) -> None:
        if isinstance(answer, Failed):
            fault = answer.fault
            self._say(f"{fault.what} {_REMEDIES.get(fault.kind, fault.remedy)}".strip(), warning=True)
            self._offer_to_keep()
        elif isinstance(answer, Finished) and isinstance(answer.result, session.Trained):
            self._show_trained(answer.result)
        elif isinstance(answer, Finished):
            self._say(f"Saved in {answer.result}.")
        elif cancelled:
            self._say(self._cancelled())

    def _cancelled(self) -> str:
        if self._saving is not None:
            return "Cancelled; nothing was saved."
        if self._panel.curves.points:
            self._offer_to_keep()
            return "Cancelled. Resume continues after the last finished epoch."
        return "Cancelled; nothing was changed."

    def _offer_to_keep(self) -> None:
        self.keep_best.visible = self._saving is None and bool(self._panel.curves.points)

    def _show_trained(self, trained: session.Trained) -> None:
        self._trained = trained.name
        self._panel.show_trained(trained)
        self.replace.value = False
        signals.library.changed.emit(trained.name)

    def _finish(self) -> None:
        self._preview.end()
        if (each := self._stopwatch.epoch_seconds) is not None:
            self._epoch_seconds = (self._running[1], each)
        super()._finish()
        self._show_cost()

    def _idle(self) -> None:
        super()._idle()
        self._tools.show()
        self.pairs.set_compact(False)

    def _offer_resume(self, epochs: int) -> None:
        if not self.busy:
            self.run.text = RESUME if epochs else self._run_words
            self.start_anew.visible = bool(epochs)

    # ------------------------------------------------------------------------------------------------------- the buttons
    def _choose_folder(self) -> None:
        path = QFileDialog.getExistingDirectory(self.native, "An empty folder for images, masks and classes")
        if path:
            self.save_data_folder(path)

    def _open_model(self) -> None:
        """Choose the new model in Segment & Classify, which is opened if need be."""
        if self._trained:
            open_segmenter(self._viewer, self._trained)
