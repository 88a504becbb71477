"""The table of pairs, a field of the widget: an image layer, its labels and its class in each row."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

from magicgui.widgets import Container
from psygnal import Signal
from qtpy.QtCore import QAbstractItemModel, QAbstractTableModel, QModelIndex, QPersistentModelIndex, QSize, Qt, QTimer
from qtpy.QtWidgets import (
    QAbstractItemView,
    QApplication,
    QComboBox,
    QHeaderView,
    QStyle,
    QStyledItemDelegate,
    QStyleOptionViewItem,
    QTableView,
    QWidget,
)

from napari_resformer.widgets.train.annotation import fitting_classes, give_class, known_classes
from napari_resformer.widgets.train.pairs import PairRow, RowState, find_pairs, image_layers, labels_layers, row_state

IMAGE, LABELS, CLASS = range(3)
NO_LABELS = "none"

_HEADINGS = ("Image", "Labels", "Class")
_EXPLAINED = (
    "Tick the images to train on.",
    "The Labels layer that holds the image's mask. With none, only the class is learned.",
    "The class of the whole image. For a stack: how many of its planes have a class.",
)
_FEWEST_ROWS, _MOST_ROWS = 3, 6
_NARROWEST, _WIDEST = 60, {IMAGE: 200, LABELS: 84, CLASS: 115}  # pixels of a column
_INSIDE = 5  # pixels between a cell's border and its words
_Index = QModelIndex | QPersistentModelIndex


class Pairs(Container[Any]):
    """The table as a field that is reached by name.

    Rows are found by themselves: each image layer of the viewer, with the Labels layer that fits it by shape and name.
    What a user or a script chose stays chosen.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
        Whose layers are offered.
    classes : callable
        Returns class names to offer beside those in use.

    Attributes
    ----------
    changed : Signal
        Rows, labels, classes or ticks are others now; carries :attr:`value`.
    row_clicked : Signal
        The image of a row was clicked; carries the :class:`~napari_resformer.widgets.train.pairs.PairRow`.
    """

    row_clicked = Signal(object)

    def __init__(self, viewer: Any, classes: Callable[[], Iterable[str]] = tuple, *, name: str = "pairs") -> None:
        super().__init__(name=name, labels=False)
        self.margins = (0, 0, 0, 0)
        self._viewer = viewer
        self._classes = classes
        self._chosen: dict[Any, Any] = {}  # labels by the image layer's id; None for "none"
        self._used: dict[Any, bool] = {}
        self.shown_rows: tuple[PairRow, ...] = ()
        self.shown_states: tuple[RowState, ...] = ()
        self._stale = True
        self._most = _MOST_ROWS
        self._table = _Table(self)
        self.view = QTableView()
        self._later = QTimer(self.native)
        self._later.setSingleShot(True)
        self._later.setInterval(0)
        self._later.timeout.connect(self.update_rows)
        self._lay_out()

    # ---------------------------------------------------------------------------------------------------------- value
    @property
    def value(self) -> tuple[PairRow, ...]:
        """The rows, in the order of the layer list.

        Set it to choose them by a script: rows, or tuples ``(image, labels)`` or ``(image, labels, use)``. Image layers
        that are not among them are switched off.
        """
        self.update_rows()
        return self.shown_rows

    @value.setter
    def value(self, rows: Iterable[PairRow | Sequence[Any]]) -> None:
        given = [row if isinstance(row, PairRow) else PairRow(*row) for row in rows]
        images = {layer.unique_id: layer for layer in image_layers(self._viewer.layers)}
        labels = {layer.unique_id: layer for layer in labels_layers(self._viewer.layers)}
        for row in given:
            for layer, there, kind in ((row.image, images, "image"), (row.labels, labels, "Labels")):
                if (layer is not None or kind == "image") and getattr(layer, "unique_id", None) not in there:
                    raise ValueError(f"{layer} is no {kind} layer of this viewer; add it to the viewer first")
        self._used = dict.fromkeys(images, False)
        for row in given:
            self._used[row.image.unique_id] = bool(row.use)
            self._chosen[row.image.unique_id] = None if row.labels is None else row.labels.unique_id
        self._stale = True
        self.update_rows()

    @property
    def states(self) -> tuple[RowState, ...]:
        """What is known of each row."""
        self.update_rows()
        return self.shown_states

    # ----------------------------------------------------------------------------------------------------------- rows
    def layers_changed(self, *_: Any) -> None:
        """Look for rows again, once all layers that are being added are there."""
        self._stale = True
        self._later.start()

    def forget(self, layer: Any) -> None:
        """Drop what was chosen for a layer that is gone."""
        self._chosen.pop(layer.unique_id, None)
        self._used.pop(layer.unique_id, None)
        self.layers_changed()

    def update_rows(self) -> None:
        """Look for rows now, if anything has changed."""
        if not self._stale:
            return
        self._stale = False
        layers = list(self._viewer.layers)
        found = find_pairs(layers)
        by_id = {layer.unique_id: layer for layer in labels_layers(layers)}
        rows = []
        for image in image_layers(layers):
            key = image.unique_id
            labels = found.get(key)
            if key in self._chosen and (self._chosen[key] is None or self._chosen[key] in by_id):
                labels = None if self._chosen[key] is None else by_id[self._chosen[key]]
            row = PairRow(image, labels)
            state = row_state(row)
            use = self._used.get(key, labels is not None or bool(state.classified))
            rows.append((PairRow(image, labels, use), state))
        before = [_told(*both) for both in zip(self.shown_rows, self.shown_states, strict=True)]
        if [_told(*both) for both in rows] == before:  # perhaps with other data: they are kept, but nothing is to be shown
            self.shown_rows, self.shown_states = tuple(row for row, _ in rows), tuple(state for _, state in rows)
            return
        self._table.beginResetModel()
        self.shown_rows, self.shown_states = tuple(row for row, _ in rows), tuple(state for _, state in rows)
        self._table.endResetModel()
        self._fit_height()
        self.changed.emit(self.shown_rows)

    # ------------------------------------------------------------------------------------------------- what is offered
    def labels_choices(self) -> list[Any]:
        """Return the Labels layers of the viewer, the topmost first."""
        return labels_layers(reversed(list(self._viewer.layers)))

    def class_choices(self) -> list[str]:
        """Return the class names that are known."""
        return known_classes(image_layers(self._viewer.layers), self._classes())

    # ------------------------------------------------------------------------------------------------------ the user's
    def choose_labels(self, row: int, labels: Any | None) -> None:
        """Choose the labels of a row."""
        self.choose(self.shown_rows[row].image, labels)

    def choose(self, image: Any, labels: Any | None) -> None:
        """Choose the labels of an image layer."""
        self._chosen[image.unique_id] = None if labels is None else labels.unique_id
        self.layers_changed()

    def use(self, row: int, *, use: bool) -> None:
        """Switch a row on or off."""
        self._used[self.shown_rows[row].image.unique_id] = use
        self.layers_changed()

    def row_class(self, row: int) -> str:
        """Return the class of a single plane, or how many planes of a stack have one."""
        state, pair = self.shown_states[row], self.shown_rows[row]
        if state.image is None:
            return ""
        if state.planes > 1:
            return f"{state.classified} of {state.planes}"
        return next(iter(fitting_classes(pair.image, state.image).values()), "")

    def give_class(self, row: int, name: str) -> None:
        """Give the only plane of a row its class."""
        state = self.shown_states[row]
        if state.image is not None and state.planes == 1:
            give_class(self.shown_rows[row].image, (), name)

    def _lay_out(self) -> None:
        view = self.view
        view.setModel(self._table)
        view.setItemDelegate(_Choices(self, view))
        view.setEditTriggers(
            QAbstractItemView.EditTrigger.CurrentChanged
            | QAbstractItemView.EditTrigger.SelectedClicked
            | QAbstractItemView.EditTrigger.DoubleClicked
            | QAbstractItemView.EditTrigger.EditKeyPressed
        )
        view.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        view.setTextElideMode(Qt.TextElideMode.ElideNone)  # the delegate does it
        view.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        view.setAccessibleName("Pairs of images and labels")
        view.setMinimumWidth(1)
        for header, mode in ((view.horizontalHeader(), QHeaderView.ResizeMode.Stretch), (view.verticalHeader(), None)):
            assert header is not None
            if mode is None:
                header.hide()
                header.setDefaultSectionSize(view.fontMetrics().height() + 10)
            else:
                header.setSectionResizeMode(mode)
                for column in (LABELS, CLASS):
                    header.setSectionResizeMode(column, QHeaderView.ResizeMode.ResizeToContents)
                header.setMinimumSectionSize(20)
        view.clicked.connect(self._clicked)
        self.native.layout().addWidget(view)
        self._fit_height()

    def set_compact(self, compact: bool) -> None:
        """Take less room, while something else is more important."""
        self._most = _FEWEST_ROWS if compact else _MOST_ROWS
        self._fit_height()

    def _fit_height(self) -> None:
        """Show all rows up to some; more of them scroll."""
        header, rows = self.view.horizontalHeader(), self.view.verticalHeader()
        assert header is not None
        assert rows is not None
        shown = min(max(len(self.shown_rows), _FEWEST_ROWS), self._most)
        frame = 2 * self.view.frameWidth() + 2
        self.view.setFixedHeight(header.sizeHint().height() + shown * rows.defaultSectionSize() + frame)

    def _clicked(self, index: QModelIndex) -> None:
        if index.column() == IMAGE and index.row() < len(self.shown_rows):
            self.row_clicked.emit(self.shown_rows[index.row()])


class _Table(QAbstractTableModel):
    """The rows as Qt sees them."""

    def __init__(self, pairs: Pairs) -> None:
        super().__init__(pairs.native)
        self._pairs = pairs

    def rowCount(self, parent: _Index = QModelIndex()) -> int:  # noqa: B008, N802 - Qt's own signature
        return 0 if parent.isValid() else len(self._pairs.shown_rows)

    def columnCount(self, parent: _Index = QModelIndex()) -> int:  # noqa: B008, N802
        return 0 if parent.isValid() else len(_HEADINGS)

    def headerData(self, section: int, orientation: Qt.Orientation, role: int = Qt.ItemDataRole.DisplayRole) -> Any:  # noqa: N802
        if orientation == Qt.Orientation.Horizontal and role == Qt.ItemDataRole.DisplayRole:
            return _HEADINGS[section]
        if orientation == Qt.Orientation.Horizontal and role == Qt.ItemDataRole.ToolTipRole:
            return _EXPLAINED[section]
        return None

    def data(self, index: _Index, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        row, state = self._pairs.shown_rows[index.row()], self._pairs.shown_states[index.row()]
        if role in (Qt.ItemDataRole.DisplayRole, Qt.ItemDataRole.EditRole):
            return self._words(index.row(), index.column(), edit=role == Qt.ItemDataRole.EditRole)
        if role == Qt.ItemDataRole.CheckStateRole and index.column() == IMAGE:
            return Qt.CheckState.Checked if row.use else Qt.CheckState.Unchecked
        if role == Qt.ItemDataRole.ToolTipRole:
            return _tooltip(row, state, index.column())
        if role == Qt.ItemDataRole.DecorationRole and index.column() == LABELS and row.use and state.trouble:
            style = QApplication.style()
            return style.standardIcon(QStyle.StandardPixmap.SP_MessageBoxWarning) if style else None
        if role == Qt.ItemDataRole.ForegroundRole and not row.use:
            colour = self._pairs.view.palette().text().color()
            colour.setAlphaF(0.5)
            return colour
        return None

    def setData(self, index: _Index, value: Any, role: int = Qt.ItemDataRole.EditRole) -> bool:  # noqa: N802
        if role == Qt.ItemDataRole.CheckStateRole:
            self._pairs.use(index.row(), use=Qt.CheckState(value) == Qt.CheckState.Checked)
        elif role == Qt.ItemDataRole.EditRole and index.column() == LABELS:
            self._pairs.choose_labels(index.row(), value)
        elif role == Qt.ItemDataRole.EditRole and index.column() == CLASS:
            self._pairs.give_class(index.row(), str(value))
        else:
            return False
        return True

    def flags(self, index: _Index) -> Qt.ItemFlag:
        flags = Qt.ItemFlag.ItemIsEnabled | Qt.ItemFlag.ItemIsSelectable
        if index.column() == IMAGE:
            return flags | Qt.ItemFlag.ItemIsUserCheckable
        stack = self._pairs.shown_states[index.row()].planes > 1
        return flags if index.column() == CLASS and stack else flags | Qt.ItemFlag.ItemIsEditable

    def _words(self, row: int, column: int, *, edit: bool) -> str:
        pair = self._pairs.shown_rows[row]
        if column == IMAGE:
            return str(pair.image.name)
        if column == LABELS:
            return NO_LABELS if pair.labels is None else str(pair.labels.name) if edit else _short_name(pair)
        return self._pairs.row_class(row) or ("" if edit else "–")


class _Choices(QStyledItemDelegate):
    """Edits labels by a list, and classes by a list with free entry; cuts long names in their middle."""

    def __init__(self, pairs: Pairs, view: QTableView) -> None:
        super().__init__(view)
        self._pairs = pairs

    def initStyleOption(self, option: QStyleOptionViewItem | None, index: QModelIndex) -> None:  # noqa: N802
        super().initStyleOption(option, index)
        assert option is not None
        icons = 0 if index.column() == CLASS else option.decorationSize.width() + _INSIDE
        taken = icons if index.column() == IMAGE or not option.icon.isNull() else 0
        room = option.rect.width() - taken - 2 * _INSIDE
        option.text = option.fontMetrics.elidedText(option.text, Qt.TextElideMode.ElideMiddle, room)

    def sizeHint(self, option: QStyleOptionViewItem, index: QModelIndex) -> QSize:  # noqa: N802
        """Return room for a class, since nothing else tells it, and some for labels; images take what is left."""
        hint = super().sizeHint(option, index)
        words = option.fontMetrics.horizontalAdvance(str(index.data(Qt.ItemDataRole.DisplayRole))) + 3 * _INSIDE
        return QSize(min(max(words, _NARROWEST), _WIDEST[index.column()]), hint.height())

    def createEditor(self, parent: QWidget | None, option: QStyleOptionViewItem, index: QModelIndex) -> QWidget:  # noqa: ARG002, N802
        box = QComboBox(parent)
        if index.column() == CLASS:
            box.setEditable(True)
            box.addItems(self._pairs.class_choices())
        else:
            box.addItem(NO_LABELS, None)
            for layer in self._pairs.labels_choices():
                box.addItem(layer.name, layer)
            box.activated.connect(lambda: self._done(box))
            QTimer.singleShot(0, partial(_open_list, box))
        return box

    def setEditorData(self, editor: QWidget | None, index: QModelIndex) -> None:  # noqa: N802
        assert isinstance(editor, QComboBox)
        words = index.data(Qt.ItemDataRole.EditRole)
        if editor.isEditable():
            editor.setEditText(words)
        else:
            editor.setCurrentText(words)

    def setModelData(self, editor: QWidget | None, model: QAbstractItemModel | None, index: QModelIndex) -> None:  # noqa: N802
        assert isinstance(editor, QComboBox)
        assert model is not None
        if editor.currentText() != index.data(Qt.ItemDataRole.EditRole):  # else it was only looked at
            model.setData(index, editor.currentText() if editor.isEditable() else editor.currentData())

    def _done(self, box: QComboBox) -> None:
        self.commitData.emit(box)
        self.closeEditor.emit(box)


def _open_list(box: QComboBox) -> None:
    with suppress(RuntimeError):  # the editor is gone already
        box.showPopup()


def _told(row: PairRow, state: RowState) -> tuple[Any, ...]:
    """Return what the table shows of a row."""
    labels = None if row.labels is None else (row.labels.unique_id, row.labels.name)
    classes = () if state.image is None else tuple(sorted(fitting_classes(row.image, state.image).items()))
    return row.image.unique_id, row.image.name, labels, row.use, state.planes, classes, state.trouble


def _short_name(pair: PairRow) -> str:
    """Return the name of the labels without that of the image, which stands beside it: both would not fit."""
    name, start = str(pair.labels.name), str(pair.image.name)  # type: ignore[union-attr]
    rest = name.removeprefix(start)
    return f"… {rest.strip()}" if rest.strip() and rest != name and not rest[0].isalnum() else name


def _tooltip(row: PairRow, state: RowState, column: int) -> str:
    if column == CLASS and state.planes > 1:
        what = f"{state.classified} of {state.planes} planes have a class. Move the slider, then use the field below the table"
    else:
        name = row.image if column == IMAGE else row.labels
        what = "" if name is None or column == CLASS else str(name.name)
    return "\n".join(part for part in (what, state.trouble) if part)
