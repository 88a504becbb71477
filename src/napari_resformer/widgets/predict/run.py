"""A run of Segment & Classify, as its layers see it: from the image that it began with to the layer of its result."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from qtpy.QtCore import QObject, QTimer

from napari_resformer.engine.job import Engine, Job
from napari_resformer.widgets.base.job import DockJob
from napari_resformer.widgets.predict.edit_tracker import EditTracker
from napari_resformer.widgets.predict.jobs import remove_stores
from napari_resformer.widgets.results.contents import Asked, Earlier, Growing, LabelsData
from napari_resformer.widgets.results.placement import Frame, frame_of
from napari_resformer.widgets.results.result_layer import earlier_results, not_shown, show_growing, show_result, stores

_REFRESH = 1500  # milliseconds between two looks at a mask that grows


class ResultRun(QObject):
    """Knows the image of a run, and the earlier results that it may replace.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
        Where results are shown.
    image : napari.layers.Image
        What is predicted.
    asked : Asked
        What the result answers to.
    engine : Engine
        Where stores are removed that nothing shows any more.
    parent : QObject
        Lives no longer than that.

    Attributes
    ----------
    replaceable : tuple of Earlier
        For the job: results that were asked for the same; it finds out which of them nobody has painted in.
    changed : bool
        Whether the image got other data since the run began.
    """

    def __init__(self, viewer: Any, image: Any, asked: Asked, engine: Engine, parent: QObject) -> None:
        super().__init__(parent)
        self._viewer, self._engine, self._dock = viewer, engine, parent
        self.image = image
        self.changed = False
        self._earlier = earlier_results(viewer.layers, image, asked)
        self.replaceable: tuple[Earlier, ...] = tuple(one.light() for one in self._earlier)
        self._frame: Frame = frame_of(image)  # where it lay when the run began
        self._growing: Any = None  # the layer of a mask that is being made
        of_old = {one.layer_id for one in self._earlier}
        self._edits = EditTracker(one for one in viewer.layers if str(one.unique_id) in of_old)
        image.events.data.connect(self._data_changed)
        self._timer = QTimer(self)
        self._timer.setInterval(_REFRESH)
        self._timer.timeout.connect(self._refresh)

    def end(self) -> None:
        """Let go of all layers; Qt's part of this may be gone already."""
        self.image.events.data.disconnect(self._data_changed)
        self._edits.stop()
        with suppress(RuntimeError):
            self._timer.stop()
            self.deleteLater()

    def grow(self, begun: Growing) -> None:
        """Show a large mask from its beginning on."""
        self._growing = show_growing(self._viewer, self.image, begun, self._place)
        self._timer.start()

    @property
    def kept(self) -> bool:
        """Whether a part of the mask is shown, and stays if the run is cancelled."""
        return self._growing is not None and self._growing in self._viewer.layers

    def show(self, labels: LabelsData) -> Any:
        """Show the result; return its layer."""
        earlier = [one for one in self._earlier if one.layer_id not in self._edits.painted]
        before = stores(self._viewer.layers)
        layer = show_result(self._viewer, self.image, labels, earlier, self._place)
        if replaced := not_shown(before, self._viewer.layers):
            DockJob(self._engine, Job.of(remove_stores, replaced), self._dock)
        return layer

    @property
    def _place(self) -> Frame | None:
        return self._frame if self.changed else None

    def _refresh(self) -> None:
        if self.kept:
            self._growing.refresh()

    def _data_changed(self, *_: Any) -> None:
        self.changed = True
