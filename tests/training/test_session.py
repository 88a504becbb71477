"""The training session: from annotated layers or a data folder to a model file, without Qt and without torch outside."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from napari_resformer.events import EpochDone, Finished, Notice, Progress, StepDone, TrainingStarted
from napari_resformer.images.image import from_array
from napari_resformer.model.library import list_models, load_model
from napari_resformer.samples.folder import read_folder
from napari_resformer.samples.pairs import LayerPair
from napari_resformer.training.preview import NoPreview, Preview, PreviewTarget
from napari_resformer.training.run_folder import RunFolder
from napari_resformer.training.session import (
    SessionCheck,
    TrainRequest,
    check_output,
    check_session,
    keep_best,
    library_request,
    model_path,
    name_fault,
    save_annotations,
    train_session,
)
from napari_resformer.training.settings import TrainSettings

CLASSES = ("a, b", "间期")


class Served:
    """An array that offers no more than one of another process may: it is read plane by plane."""

    def __init__(self, values: np.ndarray) -> None:
        self.shape, self.dtype, self.ndim = values.shape, values.dtype, values.ndim
        self._values = values

    def __getitem__(self, key: Any) -> np.ndarray:
        assert isinstance(key, tuple)
        assert all(type(part) in (int, slice) for part in key)
        assert sum(isinstance(part, int) for part in key) >= self.ndim - 3, "more than a plane is read at once"
        return self._values[key].copy()


class Box:
    """An inbox, and how often it was asked."""

    def __init__(self, message: Any = None) -> None:
        self.message, self.asked = message, 0

    def latest(self) -> Any:
        self.asked += 1
        return self.message


def make_pairs(count: int = 4) -> list[LayerPair]:
    generator = np.random.default_rng(0)
    pairs = []
    for number in range(count):
        mask = np.zeros((64, 64), np.int32)
        mask[10 + number : 34 + number, 12:44] = 1
        pixels = generator.integers(0, 60, mask.shape, dtype=np.uint8) + (mask * (80 + 80 * (number % 2))).astype(np.uint8)
        pairs.append(LayerPair(from_array(pixels, "YX", name=f"cell {number}"), mask, {(): CLASSES[number % 2]}))
    return pairs


def ask(data: Any = None, *, name: str = "mine", epochs: int = 2, **more: Any) -> TrainRequest:
    settings = TrainSettings(preset="tiny", mode="native", epochs=epochs, crop_size=32, batch_size=2, **more.pop("settings", {}))
    return library_request(tuple(make_pairs() if data is None else data), name, settings, device="cpu", **more)


def epochs_of(events: list[Any]) -> list[int]:
    return [event.epoch for event in events if isinstance(event, EpochDone)]


def until(job: Any, kind: type, number: int = 1) -> list[Any]:
    """Follow a session to so many events of a kind, and cancel it."""
    events = []
    for event in job:
        events.append(event)
        if sum(isinstance(one, kind) for one in events) == number:
            break
    job.close()
    return events


def looked(request: TrainRequest) -> SessionCheck:
    *_, last = check_session(request)
    assert isinstance(last, Finished)
    return last.result


# ---------------------------------------------------------------------------------------------------------- the whole job
def test_annotated_layers_become_a_model_of_the_library() -> None:
    request = ask()
    assert "4 annotated images" in looked(request).facts
    assert not RunFolder(request.run_folder).path.exists()  # a look changes nothing
    *events, last = train_session(request)
    assert isinstance(last, Finished)
    assert epochs_of(events) == [1, 2]
    assert [event.history for event in events if isinstance(event, TrainingStarted)] == [()]
    trained = last.result
    assert (trained.name, trained.path) == ("mine", model_path("mine"))
    assert "mine" in {entry.name for entry in list_models()}
    assert load_model("mine").card == trained.card
    assert set(trained.card.image_classes) == set(CLASSES)
    assert trained.report.mask_mean.dice == trained.card.metrics["validation"]["dice"]
    folder = RunFolder(request.run_folder)
    assert not folder.checkpoint.exists()
    assert folder.metrics.exists()
    with pytest.raises(FileExistsError, match="already a model mine"):
        next(train_session(request))


def test_a_data_folder_is_trained_on_where_it_says(tmp_path: Path) -> None:
    *_, saved = save_annotations(tuple(make_pairs()), tmp_path / "data")
    settings = TrainSettings(preset="tiny", mode="native", epochs=1, crop_size=32, batch_size=2)
    request = TrainRequest(saved.result, tmp_path / "out.safetensors", tmp_path / "run", settings, device="cpu")
    *events, last = train_session(request)
    assert last.result.path == tmp_path / "out.safetensors"
    assert last.result.card.data[0].name == "data"
    assert any("4 annotated images" in event.text for event in events if isinstance(event, Notice))
    assert RunFolder(request.run_folder).checkpoint.exists()  # not asked to tidy up


def test_what_goes_in_and_comes_out_travels_without_torch() -> None:
    target = PreviewTarget("key", make_pairs()[0].image, ())
    request = ask(epochs=1)
    events = [*check_session(request), *train_session(request, Box(target)), *save_kept(request)]
    kinds = {type(event).__name__ for event in events}
    assert kinds >= {"Progress", "Notice", "TrainingStarted", "StepDone", "EpochDone", "Preview", "Finished"}
    code = "import sys, pickle; print(len(pickle.load(sys.stdin.buffer))); assert 'torch' not in sys.modules"
    sent = pickle.dumps([request, target, *events])
    done = subprocess.run([sys.executable, "-c", code], input=sent, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    assert int(done.stdout) == len(events) + 2


def save_kept(request: TrainRequest) -> list[Any]:
    """Return the events of keeping the best model of a cancelled run."""
    other = ask(name="kept", epochs=3)
    until(train_session(other), EpochDone)
    return list(keep_best(other))


def test_the_module_loads_no_torch() -> None:
    code = "import sys, napari_resformer.training.session; assert 'torch' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_arrays_of_another_process_are_read_plane_by_plane() -> None:
    plain, served = [], []
    for number, pair in enumerate(make_pairs(3)):
        pixels, mask = (np.stack([np.asarray(values)] * 2) for values in (pair.image.data, pair.labels))
        classes = {(0,): CLASSES[number % 2]}
        for pairs, wrap in ((plain, np.asarray), (served, Served)):
            pairs.append(LayerPair(from_array(wrap(pixels), "ZYX", name=f"stack {number}"), wrap(mask), classes))
    assert looked(ask(served)) == looked(ask(plain))
    one, two = (list(train_session(ask(pairs, name=name, epochs=1))) for pairs, name in ((plain, "one"), (served, "two")))
    figures = [[event.training for event in events if isinstance(event, EpochDone)] for events in (one, two)]
    assert figures[0] == figures[1]


def test_painting_on_does_not_change_what_is_learned() -> None:
    undisturbed = [event.validation for event in train_session(ask(name="quiet")) if isinstance(event, EpochDone)]
    pairs = make_pairs()
    disturbed = []
    for event in train_session(ask(pairs)):
        if isinstance(event, Progress) and event.unit == "checking image":
            for pair in pairs:
                pair.labels[:] = 7
        disturbed += [event.validation] if isinstance(event, EpochDone) else []
    assert disturbed == undisturbed


# ------------------------------------------------------------------------------------------------- cancel, resume, start over
def test_a_cancelled_session_is_resumed_with_its_history_and_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    scores = iter([0.9, 0.1, 0.1])
    monkeypatch.setattr("napari_resformer.training.progress.selection_score", lambda _: next(scores))
    request = ask(epochs=3)
    first = until(train_session(request), EpochDone)
    assert looked(request).resumable == 1
    *events, last = train_session(request)
    (started,) = [event for event in events if isinstance(event, TrainingStarted)]
    assert [row["epoch"] for row in started.history] == [1]
    assert epochs_of(events) == [2, 3]
    assert last.result.card.training["best_epoch"] == 1
    assert last.result.report == first[-1].validation  # of the epoch before the break


def test_a_run_with_other_settings_gives_way_and_one_can_start_over() -> None:
    until(train_session(ask(epochs=3)), EpochDone)
    changed = ask(epochs=4)
    check = looked(changed)
    assert check.resumable == 0
    assert any("cannot be resumed" in text and "epochs" in text for text in check.warnings)
    assert looked(ask(epochs=3)).resumable == 1
    assert epochs_of(until(train_session(ask(epochs=3, start_over=True)), EpochDone)) == [1]
    assert epochs_of(until(train_session(changed), EpochDone, 2)) == [1, 2]
    assert looked(changed).resumable == 2


def test_the_best_model_of_a_cancelled_session_can_be_kept_and_the_session_still_resumed() -> None:
    request = ask(epochs=4)
    with pytest.raises(ValueError, match="no epoch of mine is finished yet"):
        list(keep_best(request))
    until(train_session(request), EpochDone, 2)
    *_, last = keep_best(request)
    kept = last.result
    assert kept.report is not None
    assert kept.card.training["epochs_done"] == 2
    assert load_model("mine").card == kept.card
    assert looked(request).resumable == 2
    until(train_session(request), EpochDone)  # the kept model is of this very run, and in nobody's way
    list(keep_best(request))
    assert load_model("mine").card.training["epochs_done"] == 3
    *_, last = train_session(request)
    assert load_model("mine").card.training["epochs_done"] == 4
    with pytest.raises(FileExistsError):
        check_output(request)
    with pytest.raises(FileExistsError):
        next(keep_best(request))


def test_a_model_that_somebody_else_made_is_not_replaced_by_a_kept_one() -> None:
    request = ask(epochs=3)
    until(train_session(request), EpochDone)
    list(train_session(ask(name="other", epochs=1)))
    model_path("other").rename(model_path("mine"))
    before = model_path("mine").read_bytes()
    for job in (keep_best(request), train_session(request)):
        with pytest.raises(FileExistsError):
            next(job)
    assert model_path("mine").read_bytes() == before


# ------------------------------------------------------------------------------------------------------- previews and names
def test_the_inbox_says_what_is_previewed() -> None:
    large = from_array(np.zeros((3, 1100, 1301), np.uint8), "ZYX", name="large")
    box = Box(PreviewTarget("layer", large, (2,)))
    previews = [event for event in train_session(ask(epochs=1), box) if isinstance(event, Preview)]
    assert box.asked == len(previews) == 2  # after the epoch, and of the best one in the end
    assert previews[0].mask.shape == (1024, 1024)
    assert (previews[0].key, previews[0].index, previews[0].rows) == ("layer", (2,), slice(38, 1062))
    box = Box(PreviewTarget("layer", from_array(np.zeros((5, 64, 64), np.uint8), "CYX", name="five"), ()))
    events = list(train_session(ask(name="second", epochs=1), box))
    assert [event for event in events if isinstance(event, NoPreview)]
    assert isinstance(events[-1], Finished)  # a picture to look at does not cost the training
    assert not [event for event in train_session(ask(name="third", epochs=1), Box()) if isinstance(event, Preview | NoPreview)]


@pytest.mark.parametrize("name", ["", ".", "a/b", "a\\b", "con", "a\nb", "a\x07", " a", "a.", "x" * 201, 'say "a"'])
def test_names_that_cannot_be_files_are_refused(name: str) -> None:
    assert name_fault(name)
    with pytest.raises(ValueError, match="name"):
        ask(name=name)


def test_ordinary_names_are_taken_but_for_those_of_bundled_models() -> None:
    assert not any(map(name_fault, ("mine", "my model 2", "zelle ä", "v1.2", "细胞")))
    with pytest.raises(ValueError, match="comes with the plugin"):
        ask(name="nuclei")


def test_what_cannot_be_trained_on_is_refused_before_and_then() -> None:
    request = ask(make_pairs(1))
    (refusal,) = looked(request).refusals
    assert "at least 2 groups" in refusal
    with pytest.raises(ValueError, match="at least 2 groups"):
        list(train_session(request))
    assert not model_path("mine").exists()


def test_a_save_that_is_cancelled_leaves_nothing(tmp_path: Path) -> None:
    job = save_annotations(tuple(make_pairs()), tmp_path / "data")
    until(job, Progress, 6)
    assert not list((tmp_path / "data").iterdir())
    *_, saved = save_annotations(tuple(make_pairs()), tmp_path / "data")
    assert len(read_folder(saved.result).samples) == 4


def test_a_session_that_is_cancelled_within_its_first_epoch_keeps_nothing() -> None:
    request = ask()
    until(train_session(request), StepDone)
    assert looked(request).resumable == 0
    assert not model_path("mine").exists()
