"""The field for the class of the image or plane that is looked at, and for axes that a layer does not tell."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from qtpy.QtCore import Qt, Signal  # type: ignore[attr-defined]
from qtpy.QtWidgets import QComboBox, QHBoxLayout, QLineEdit, QPushButton, QSizePolicy, QVBoxLayout, QWidget
from superqt import QElidingLabel


class ClassField(QWidget):
    """A list of the known classes with free entry, under a line that says whose class it is.

    Attributes
    ----------
    given : Signal
        The plane, as it was given to :meth:`show_plane`, and the class that was chosen or typed for it; empty to take the
        class away.
    given_to_all : Signal
        The class for all planes of the stack.
    axes_typed : Signal
        The axes that were typed.
    """

    given = Signal(object, str)
    given_to_all = Signal(str)
    axes_typed = Signal(str)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._shown = self._axes_shown = ""
        self._plane: Any = None
        self.caption = QElidingLabel()
        self.caption.setElideMode(Qt.TextElideMode.ElideMiddle)
        self.caption.setMinimumWidth(1)
        self.box = QComboBox()
        self.box.setEditable(True)
        self.box.setInsertPolicy(QComboBox.InsertPolicy.NoInsert)
        self.box.setCompleter(None)  # type: ignore[arg-type]  # "T cell" must not become "t cell"
        self.box.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.box.setMinimumContentsLength(6)
        self.box.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.box.setToolTip(
            "Choose a class or type a new one, then press Enter. Leave it empty for no class.\n"
            "The class is kept with the image layer."
        )
        self.all_planes = QPushButton("All planes")
        self.all_planes.setToolTip("Give this class to all planes of the stack")
        self.axes = QLineEdit()
        self.axes.setToolTip("One letter per dimension: T time, Z depth, C channels, Y and X; P for any other, such as positions")
        edit = self.box.lineEdit()
        if edit is not None:
            edit.setPlaceholderText("choose or type a class")
            edit.editingFinished.connect(self._finished)
        self.box.activated.connect(self._finished)
        self.all_planes.clicked.connect(self._give_to_all)
        self.axes.editingFinished.connect(self._axes_finished)
        line = QHBoxLayout()
        line.addWidget(self.box, 1)
        line.addWidget(self.all_planes)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(3)
        layout.addWidget(self.caption)
        layout.addWidget(self.axes)
        layout.addLayout(line)

    def show_plane(self, plane: Any, caption: str, name: str, choices: Sequence[str], *, stack: bool) -> None:
        """Show whose class it is, the class, and what may be chosen.

        What was typed for the plane before, and not yet entered, is given to that one: a slider takes no focus away.
        """
        if plane == self._plane and self._is_typing():
            return
        self._finished()
        self._plane = plane
        self._tell(caption)
        known = [self.box.itemText(number) for number in range(self.box.count())]
        if known != list(choices):
            self.box.clear()
            self.box.addItems(list(choices))
        self._shown = name
        self.box.setCurrentIndex(choices.index(name) if name in choices else -1)
        self.box.setEditText(name)
        self.box.setEnabled(True)
        self.all_planes.setVisible(stack)

    def show_nothing(self, caption: str) -> None:
        """Say why there is nothing to give a class to."""
        self._finished()
        self._plane = None
        self._tell(caption)
        self._shown = ""
        self.box.setCurrentIndex(-1)
        self.box.setEditText("")
        self.box.setEnabled(False)
        self.all_planes.hide()

    def ask_axes(self, axes: str, hint: str, *, visible: bool) -> None:
        """Show the field for axes, or hide it where the layer tells them itself."""
        self._axes_shown = axes
        self.axes.setText(axes)
        self.axes.setPlaceholderText(hint)
        self.axes.setVisible(visible)

    def _tell(self, caption: str) -> None:
        self.caption.setText(caption)
        self.caption.setToolTip(caption)

    def _is_typing(self) -> bool:
        edit = self.box.lineEdit()
        return edit is not None and edit.hasFocus() and self.box.currentText().strip() != self._shown

    def _finished(self, *_: object) -> None:
        name = self.box.currentText().strip()
        if name != self._shown and self._plane is not None:
            self._shown = name
            self.given.emit(self._plane, name)

    def _give_to_all(self) -> None:
        if name := self.box.currentText().strip():  # nothing chosen is no wish to take all classes away
            self.given_to_all.emit(name)

    def _axes_finished(self) -> None:
        axes = self.axes.text().strip()
        if axes != self._axes_shown:
            self._axes_shown = axes
            self.axes_typed.emit(axes)
