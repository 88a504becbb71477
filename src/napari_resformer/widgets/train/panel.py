"""What the widget Fine-tune says below its fields: news, curves, the result, and what will be learned from."""

from __future__ import annotations

from collections.abc import Sequence

from qtpy.QtWidgets import QWidget

from napari_resformer.events import EpochDone, Notice
from napari_resformer.training.history import EpochPoint, history_row
from napari_resformer.training.session import SessionCheck, Trained
from napari_resformer.training.words import counted, share
from napari_resformer.widgets.base.text import Lines, Message, Paragraph, ScrollingWords, without_options
from napari_resformer.widgets.train.curves import Curves
from napari_resformer.widgets.train.summary import Summary


class TrainingPanel(ScrollingWords):
    """All of it, in the order that it matters.

    Parameters
    ----------
    message : Message
        The news, shown first.
    """

    def __init__(self, message: Message, parent: QWidget | None = None) -> None:
        self.time, self.summary, self.curves = Paragraph(), Summary(), Curves()
        self.facts, self.warnings, self.notes = Lines(), Lines(), Paragraph()
        parts = (message, self.summary, self.time, self.notes, self.curves, self.warnings, self.facts)
        super().__init__(parts, parent)
        self._points: list[EpochPoint] = []
        self._epochs = 1
        for part in (self.time, self.notes):
            part.hide()

    def set_accent(self, colour: str | None) -> None:
        """Paint in the theme's colour."""
        self.summary.confusion.set_accent(colour)

    # -------------------------------------------------------------------------------------------------------- before
    def show_check(self, check: SessionCheck) -> None:
        """Tell what a training would learn from, and what will work badly."""
        lines = list(check.facts)
        if done := check.resumable:
            lines.insert(0, f"An unfinished training of this name has finished {counted(done, 'epoch')}; Resume continues it")
        self._say(lines, check.warnings)

    def add_notice(self, notice: Notice) -> None:
        """Tell one more thing that a run has found: it may have begun before the check was done."""
        facts, warnings = self.facts.words, self.warnings.words
        self._say(*((facts, (*warnings, notice.text)) if notice.kind == "warning" else ((*facts, notice.text), warnings)))

    def _say(self, facts: Sequence[str], warnings: Sequence[str]) -> None:
        self.facts.say([_sentence(line) for line in facts], "Training data" if facts else "")
        self.warnings.say([_sentence(line) for line in warnings], "Warnings" if warnings else "")

    def show_words(self, lines: Sequence[str]) -> None:
        """Tell something else in the place of the check."""
        self.facts.say(lines)
        self.warnings.say(())

    # -------------------------------------------------------------------------------------------------------- meanwhile
    def begin(self, epochs: int, points: Sequence[EpochPoint]) -> None:
        """Begin with the epochs that were done before."""
        self._points, self._epochs = list(points), epochs
        self.curves.show_points(self._points, epochs)

    def clear_result(self) -> None:
        """Take away what an earlier run has left."""
        self.begin(1, ())
        self.summary.clear()
        self.time.say("")
        self.notes.say("")

    def add_epoch(self, event: EpochDone) -> None:
        """Go on with the curves."""
        self._points.append(EpochPoint.of(history_row(event)))
        self.curves.show_points(self._points, event.epochs)

    # ------------------------------------------------------------------------------------------------------------ after
    def show_trained(self, trained: Trained) -> None:
        """Sum up a training that ended well."""
        classes: Sequence[str] = ()
        counts: Sequence[Sequence[int]] = ()
        report = trained.report
        if report is not None and report.image_class is not None:
            classes, counts = report.image_class.classes, report.image_class.confusion
        self.summary.show_result(f"{trained.name} is ready", figures(trained), small_print(trained), classes, counts)
        self.ensureVisible(0, 0)


def figures(trained: Trained) -> list[str]:
    """Return the figures of the best epoch in sentences."""
    training, report = trained.card.training, trained.report
    images = training.get("validation_images")
    shown = counted(images, "validation image") if isinstance(images, int) else "the validation images"
    lines = [f"Best epoch: {training.get('best_epoch')} of {training.get('epochs_done')}, measured on {shown}."]
    if report is not None:
        dice = [f"{name} {score.dice:.3f}" for name, score in report.mask.items() if score.dice is not None]
        if dice:
            lines.append(f"Dice: {', '.join(dice)}.")
        if report.image_class is not None:
            found = report.image_class
            lines.append(f"Balanced accuracy: {share(found.balanced_accuracy)}; accuracy: {share(found.accuracy)}.")
    return lines


def small_print(trained: Trained) -> list[str]:
    """Return how far these figures can be trusted, and where the model is."""
    lines = [
        "The best epoch was picked on these images, so expect somewhat lower figures on others: test the model on new images.",
        trained.card.notice,
        f"File: {trained.path}",
    ]
    return [line for line in lines if line]


def _sentence(text: str) -> str:
    return without_options(text[:1].upper() + text[1:])
