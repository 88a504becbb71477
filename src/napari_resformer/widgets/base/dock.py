"""What both dock widgets are: a form that follows its viewer, looks ahead while it is changed, and runs one job at a time."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from magicgui.widgets import Container, PushButton
from qtpy.QtCore import QTimer

from napari_resformer.engine.faults import Failed, describe
from napari_resformer.engine.job import Job
from napari_resformer.events import Finished, Progress
from napari_resformer.widgets.base import signals
from napari_resformer.widgets.base.engines import engine_of
from napari_resformer.widgets.base.fields import CANCEL, CANCELLING
from napari_resformer.widgets.base.job import DockJob
from napari_resformer.widgets.base.lifetime import Lifetime, share_tabs
from napari_resformer.widgets.base.progress import Activity, RunBar
from napari_resformer.widgets.base.text import Message, scrollable, without_options

if TYPE_CHECKING:
    import napari


class JobDock(Container[Any]):
    """The base of the dock widgets.

    Jobs run in the worker process that the docks of a viewer share. A subclass makes its fields, among them ``run``, lays them
    out with ``_bar`` and ``_message``, and calls :meth:`_begin_life` last. It says what it listens to (:meth:`_connections`),
    what is looked at ahead (:meth:`_look_ahead`), what a run is (:meth:`_begin_run`), and what its events and its answer mean
    (:meth:`_on_event`, :meth:`_show_answer`).

    Parameters
    ----------
    napari_viewer : napari.viewer.Viewer
        The viewer, or napari's public proxy of it.
    delay : int
        Milliseconds without a change before the look ahead.
    """

    run: PushButton
    _title: ClassVar[str]
    """What the widget is called."""
    _run_words: ClassVar[str]
    """What the button says that starts a run."""
    _patience: ClassVar[int | None] = None
    """Milliseconds that a cancelled run has to end before it is left to itself; None to wait for its end."""

    def __init__(self, napari_viewer: napari.viewer.Viewer, delay: int) -> None:
        super().__init__()
        self._viewer = napari_viewer
        self._engine = engine_of(napari_viewer)
        self._message = Message()
        self._attached = False
        self._job: DockJob | None = None
        self._left: DockJob | None = None  # cancelled, and perhaps not at its end yet
        self._ahead: DockJob | None = None
        self._warm_up: DockJob | None = None
        self._answer: Failed | Finished[Any] | None = None
        self._refusal = ""
        self._activity: Activity | None = None
        self._bar = RunBar()
        self._bar.hide()
        self._delay = delay
        self._timer = QTimer(self.native)
        self._timer.setSingleShot(True)
        self._timer.timeout.connect(self._time_to_look)

    @property
    def busy(self) -> bool:
        """Whether a job is running."""
        return self._job is not None

    @property
    def message(self) -> str:
        """What went wrong or well last, in words; empty when there is nothing to say."""
        return self._message.words

    # ----------------------------------------------------------------------------------------------- for subclasses
    def _connections(self) -> list[tuple[Any, Any]]:
        """Return emitters of the viewer, each with the method that listens to it."""
        return [(self._viewer.events.theme, self._use_theme), (signals.library.changed, self.reset_choices)]

    @abstractmethod
    def _follow(self) -> None:
        """Take over what the viewer shows, when the widget is docked."""

    @abstractmethod
    def _unfollow(self) -> None:
        """Let go of it; Qt's part of the widget may be gone already."""

    @abstractmethod
    def _first_shown(self) -> None:
        """Load libraries now that the widget is on the screen, rather than when Run is pressed."""

    @abstractmethod
    def _set_accent(self, colour: str) -> None:
        """Paint in the theme's colour."""

    @abstractmethod
    def _look_ahead(self) -> None:
        """Find out what Run would do, once nothing changes."""

    @abstractmethod
    def _begin_run(self) -> None:
        """Start the job that Run is for."""

    @abstractmethod
    def _show_answer(self, answer: Failed | Finished[Any] | None, *, cancelled: bool) -> None:
        """Tell how a job has ended."""

    # ------------------------------------------------------------------------------------------------------------ life
    def _begin_life(self) -> None:
        self._content = scrollable(self.native)
        lifetime = Lifetime(self.native)
        lifetime.first_shown.connect(self._first_shown)
        lifetime.docked.connect(self._attach)
        lifetime.docked.connect(self._share_tabs)
        lifetime.first_shown.connect(self._share_tabs)
        lifetime.undocked.connect(self._detach)
        self.native.destroyed.connect(self._detach)
        self.run.changed.connect(self._press)
        self._attach()

    def _attach(self) -> None:
        """Listen to the viewer."""
        if self._attached:
            return
        self._attached = True
        for emitter, slot in self._connections():
            emitter.connect(slot)
        self._follow()
        self._use_theme()

    def _share_tabs(self) -> None:
        share_tabs(self.native, self._title)

    def _detach(self, *_: Any) -> None:
        """Let go of viewer and jobs, once the dock is closed; Qt's part of the widget may be gone already."""
        if not self._attached:
            return
        self._attached = False
        for emitter, slot in self._connections():
            emitter.disconnect(slot)
        jobs = self._job, self._ahead, self._warm_up
        self._job = self._ahead = self._warm_up = None
        for job in jobs:
            with suppress(RuntimeError):  # deleted: then it was cancelled too, or is over
                if job is not None:
                    job.discard()
        self._unfollow()
        self._close_activity()
        with suppress(RuntimeError):
            self._timer.stop()
            self._idle()

    def _use_theme(self, *_: Any) -> None:
        from napari.utils.theme import get_theme

        with suppress(KeyError, ValueError, AttributeError):  # a theme of somebody's: the palette's colour does
            self._set_accent(get_theme(str(self._viewer.theme)).current.as_hex())

    # ------------------------------------------------------------------------------------------------------ look ahead
    def _field_changed(self, *_: Any) -> None:
        """Look ahead anew; the news of the last run are old. A refusal stays until the new look is done."""
        if not self.busy and self.message != self._refusal:
            self._say("")
        self._look_later()

    def _look_later(self, delay: int | None = None) -> None:
        """Look once nothing has changed for a moment; a look that is under way is out of date."""
        if self._ahead is not None:
            self._ahead.discard()
            self._ahead = None
        if self._attached:
            self._timer.start(self._delay if delay is None else delay)

    def _time_to_look(self) -> None:
        if self._attached and not self.busy:
            self._look_ahead()

    def _start_look(self, job: Job, seen: Callable[[Any], None]) -> None:
        """Look in the worker process."""
        self._ahead = DockJob(self._engine, job, self.native)
        self._ahead.happened.connect(seen)
        self._ahead.ended.connect(self._look_ended)

    def _look_ended(self) -> None:
        self._ahead = None

    def _refuse(self, refusal: str) -> None:
        """Tell why Run would not work; empty if it would."""
        if refusal or self.message == self._refusal:  # other news, such as a failed run, stay until the next run
            self._say(refusal, warning=True)
        self._refusal = without_options(refusal)

    def _say_error(self, error: Exception) -> None:
        """Tell what went wrong in napari's own process."""
        self._say(describe(error).text, warning=True)

    def _say(self, words: str, *, warning: bool = False) -> None:
        self._message.say(without_options(words), warning=warning)

    # ------------------------------------------------------------------------------------------------------------- run
    def _press(self, *_: Any) -> None:
        if self._job is None:
            self._begin_run()
        else:
            self._job.cancel()
            self.run.enabled, self.run.text = False, CANCELLING
            if self._patience is not None:
                QTimer.singleShot(self._patience, partial(self._leave, self._job))

    def _leave(self, job: DockJob) -> None:
        """Be ready again though a cancelled run is still at its last piece of work."""
        if self._job is job:
            job.discard()
            self._left = job
            self._on_ended(True)

    def _start(self, work: Job, words: str) -> None:
        """Start a job; ``words`` name it in the activity dock."""
        self._look_later()
        self._timer.stop()
        self._answer = None
        self._say("")
        self.run.text = CANCEL
        self._bar.say("Preparing")  # how much there is to do is known a moment later
        self._bar.show()
        self._job = job = DockJob(self._engine, work, self.native, self._left)
        job.happened.connect(self._on_event)
        job.ended.connect(self._on_ended)
        activity = Activity(words)  # napari processes events meanwhile
        if self._job is job:
            self._activity = activity
        else:
            activity.close()

    def _on_event(self, event: Any) -> None:
        if isinstance(event, Progress):
            self._bar.say(f"{event.unit} %v of %m", event.done, event.total)
        elif isinstance(event, Failed | Finished):
            self._answer = event

    def _on_ended(self, cancelled: bool) -> None:
        answer, self._answer = self._answer, None
        self._show_answer(answer, cancelled=cancelled)
        self._finish()

    def _finish(self) -> None:
        """Be ready for the next run."""
        self._job = None
        self._close_activity()
        self._idle()
        self._look_later()

    def _idle(self) -> None:
        self.run.text, self.run.enabled = self._run_words, True
        self._bar.hide()

    def _close_activity(self) -> None:
        activity, self._activity = self._activity, None
        if activity is not None:
            activity.close()
