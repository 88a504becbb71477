"""Training on a small made-up data folder: it learns, goes on where it stopped, and refuses what cannot work."""

from __future__ import annotations

import copy
import csv
import errno
import json
import os
import signal
import subprocess
import sys
import threading
import time
import warnings
from collections import Counter
from pathlib import Path

import imageio.v3 as imageio
import numpy as np
import pytest
import torch

import napari_resformer as nr
from napari_resformer.cli import main
from napari_resformer.concurrency import prefetch
from napari_resformer.evaluation.evaluate import iter_evaluate
from napari_resformer.events import EpochDone, Finished, Notice, Snapshot, StepDone
from napari_resformer.images.image import from_array
from napari_resformer.network import ResFormer, ResFormerConfig, ResFormerOutput
from napari_resformer.preprocessing.normalise import Normalisation
from napari_resformer.preprocessing.pipeline import Preprocessor
from napari_resformer.samples.folder import read_folder
from napari_resformer.samples.pairs import LayerPair, samples_from_pairs
from napari_resformer.samples.sample import Sample, SampleSet
from napari_resformer.samples.survey import Survey, look_at
from napari_resformer.training.checkpoint import Checkpoint, LearnerState, ProgressState, save_checkpoint
from napari_resformer.training.loader import Batch, PlaneReader, epoch_batches, epoch_order
from napari_resformer.training.losses import MultiTaskLoss, class_weights
from napari_resformer.training.plan import make_plan
from napari_resformer.training.progress import ALIKE_SCORES
from napari_resformer.training.run_folder import RunFolder
from napari_resformer.training.settings import TrainSettings
from napari_resformer.training.trainer import train_samples
from napari_resformer.training.transfer import start_from

EPOCHS = 5
SMALL = {"preset": "tiny", "mode": "native"}  # the tests' images are small too


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory, make_folder):
    """The metrics of a run that nobody disturbed."""
    place = tmp_path_factory.mktemp("unbroken")
    run(make_folder(place / "data"), place / "run")
    return place / "run" / "metrics.csv"


def run(folder, run_folder, **changes):
    settings = {**SMALL, "epochs": EPOCHS, "crop_size": 64, "batch_size": 4, "device": "cpu", "run_folder": run_folder}
    return list(nr.iter_train(folder, **settings | changes))


def epochs_of(events):
    return [event for event in events if isinstance(event, EpochDone)]


def command(folder, output, *more):
    program = [sys.executable, "-m", "napari_resformer.cli", "train", str(folder), "-o", str(output), "--size", "64"]
    network = [] if "--from" in more else ["--preset", "tiny", "--mode", "native"]
    return [*program, *network, "--batch", "4", "--device", "cpu", "--epochs", str(EPOCHS), *more]


def table(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def figures(path, key="loss"):
    return [float(row[key]) for row in table(path)]


def test_a_run_learns_and_its_model_predicts(folder, tmp_path) -> None:
    events = run(folder, tmp_path / "run")
    epochs = epochs_of(events)
    assert epochs[-1].loss < epochs[0].loss
    assert epochs[-1].held_out.loss < epochs[0].held_out.loss
    assert all(0 <= value <= 1 for epoch in epochs for value in (epoch.training.dice, epoch.training.accuracy))
    assert any("to validate on" in event.text for event in events if isinstance(event, Notice) and event.kind == "warning")
    assert isinstance(events[-1], Finished)
    card = events[-1].result.card
    assert set(card.image_classes) == {"bright", "dunkel, ü"}
    assert len(card.training["validation_names"]) == card.training["validation_images"] > 0
    path = events[-1].result.save(tmp_path / "m.safetensors")
    with pytest.warns(UserWarning, match="was trained on 10 of these 12 images"):
        report = nr.evaluate(nr.load_model(path), folder, device="cpu").to_dict()
    assert report["n"] == 12
    assert report["mask"]["class 1"]["n"] == 11
    assert set(report["class"]) >= {
        "accuracy",
        "balanced_accuracy",
        "auroc",
        "sensitivity",
        "specificity",
        "confusion",
        "classes",
    }
    for place, name in (("mask_mean", "dice"), ("class", "accuracy")):
        low, high = report["intervals"][place][name]
        assert low <= report[place][name] <= high
    assert report["intervals"]["groups"] == 12
    json.dumps(report)


def test_the_run_folder_tells_what_happened(folder, tmp_path) -> None:
    *_, finished = run(folder, tmp_path / "run", epochs=2)
    files = RunFolder(tmp_path / "run")
    rows = table(files.metrics)
    assert len(rows) == 2
    assert {"train_loss", "loss", "train_dice", "dice", "train_accuracy", "accuracy", "best"} <= set(rows[0])
    picture = imageio.imread(files.curves)
    assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 3  # ink, grid and two curves
    assert nr.load_model(files.best).card.training["best_epoch"] == finished.result.card.training["best_epoch"]
    assert json.loads(files.card.read_text(encoding="utf-8"))["name"] == "data"
    assert json.loads(files.settings.read_text(encoding="utf-8"))["settings"]["epochs"] == 2


def test_a_cancelled_run_goes_on_to_the_same_place(folder, tmp_path, unbroken) -> None:
    job = nr.iter_train(folder, **SMALL, epochs=EPOCHS, crop_size=64, batch_size=4, device="cpu", run_folder=tmp_path / "two")
    for event in job:
        if isinstance(event, StepDone) and event.epoch == 2:
            job.close()  # in the middle of an epoch
            break
    resumed = run(folder, tmp_path / "two", resume=True)
    assert [event.epoch for event in epochs_of(resumed)] == [2, 3, 4, 5]
    for key in ("train_loss", "loss", "dice"):
        np.testing.assert_allclose(figures(tmp_path / "two" / "metrics.csv", key), figures(unbroken, key), rtol=1e-4)
    with pytest.raises(ValueError, match="other settings: seed; use"):  # and not the data, which the seed draws from
        run(folder, tmp_path / "two", resume=True, seed=5)
    with pytest.raises(FileExistsError):
        run(folder, tmp_path / "two")
    finished = run(folder, tmp_path / "two", resume=True)
    assert not epochs_of(finished)
    assert isinstance(finished[-1], Finished)
    (folder / "labels.csv").write_text((folder / "labels.csv").read_text(encoding="utf-8").replace(",11", ",10"), "utf-8")
    with pytest.raises(ValueError, match="groups"):
        run(folder, tmp_path / "two", resume=True)


def test_a_killed_run_goes_on_to_the_same_place(folder, tmp_path, unbroken, capsys) -> None:
    output = tmp_path / "two.safetensors"
    process = subprocess.Popen(command(folder, output), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert b"epoch 1/5" in process.stdout.readline()
    time.sleep(0.3)
    process.kill()
    process.wait()
    process.stdout.close()
    assert not output.exists()
    (tmp_path / "two.run" / ".last.pt.abc.part").write_bytes(b"half")  # what a kill may leave
    arguments = command(folder, output, "--resume")[3:]
    assert main(arguments) == 0
    np.testing.assert_allclose(figures(tmp_path / "two.run" / "metrics.csv"), figures(unbroken), rtol=1e-4)
    assert not list((tmp_path / "two.run").glob(".*.part"))
    assert "resuming the run" in capsys.readouterr().err
    before = output.read_bytes()
    assert main(arguments) == 0  # finished: left alone
    assert output.read_bytes() == before
    assert main([*arguments[:3], str(tmp_path / "new.safetensors"), *arguments[4:], "--epochs", "1"]) == 0
    assert "starting from the beginning" in capsys.readouterr().err


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no Ctrl-C for a single process")
def test_ctrl_c_ends_a_run_after_its_step(folder, tmp_path) -> None:
    output = tmp_path / "stopped.safetensors"
    process = subprocess.Popen(command(folder, output, "--epochs", "50"), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert b"epoch 1/50" in process.stdout.readline()
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 130
    assert b"Traceback" not in told
    assert b"nothing half-written was left; resume with --resume" in told
    assert not output.exists()
    assert not list((tmp_path / "stopped.run").glob(".*.part"))
    assert 1 <= RunFolder(tmp_path / "stopped.run").load().progress.epoch < 50


@pytest.mark.timeout(600)  # four processes load torch: slow on a busy machine
def test_two_processes_train_as_one_stop_together_and_go_on(folder, tmp_path) -> None:
    run(folder, tmp_path / "one", batch_size=10, epochs=8)
    output = tmp_path / "two.safetensors"
    arguments = command(folder, output, "--devices", "2", "--batch", "10", "--epochs", "8")
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment)
    assert b"epoch 1/8" in process.stdout.readline()
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=280)  # the pipes close only once both processes are gone
    assert process.returncode == 130, said.decode()
    assert b"--resume" in said
    assert b"Traceback" not in said
    metrics = tmp_path / "two.run" / "metrics.csv"
    assert 1 <= len(table(metrics)) < 8
    done = subprocess.run([*arguments, "--resume"], capture_output=True, env=environment, check=False, timeout=280)
    assert done.returncode == 0, done.stderr.decode()
    one = tmp_path / "one" / "metrics.csv"
    np.testing.assert_allclose(figures(metrics, "train_loss"), figures(one, "train_loss"), rtol=0.06)
    assert output.exists()


def test_masks_may_number_objects(folder, tmp_path, capsys) -> None:
    for number, path in enumerate(sorted((folder / "masks").iterdir())):
        imageio.imwrite(path, imageio.imread(path).astype(np.uint16) * (300 + number))
    model, report = tmp_path / "m.safetensors", tmp_path / "report.json"
    command = ["train", str(folder), "-o", str(model), "--preset", "tiny", "--epochs", "1", "--size", "64", "--device", "cpu"]
    assert main([*command, "--mask-kind", "classes"]) == 1
    assert "label values up to" in capsys.readouterr().err
    assert main([*command, "--instance-labels", "--overwrite"]) == 0
    assert nr.load_model(model).card.mask_classes == ("class 1",)
    measure = ["evaluate", str(folder), "--model", str(model), "-o", str(report), "--device", "cpu"]
    assert main([*measure, "--mask-kind", "classes"]) == 1
    assert main([*measure, "--instance-labels"]) == 0
    with pytest.warns(UserWarning, match="was trained on 10 of these 12 images"):
        again = nr.evaluate(nr.load_model(model), folder, instance_labels=True, device="cpu")
    assert report.read_text(encoding="utf-8") == json.dumps(again.to_dict(), indent=1, ensure_ascii=False)


def test_what_is_found_in_the_data_reaches_all_who_ask(folder, tmp_path, capsys) -> None:
    imageio.imwrite(folder / "masks" / "nobody.png", np.zeros((10, 10), np.uint8))
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        model = nr.train(folder, epochs=1, crop_size=64, device="cpu")
    assert any("nobody.png" in str(warning.message) for warning in warned)
    assert any("nobody.png" in note for note in model.notes)
    assert any("annotated image" in note for note in model.notes)
    assert nr.load_model(model.save(tmp_path / "kept.safetensors")).notes == ()
    capsys.readouterr()
    command = ["train", str(folder), "-o", str(tmp_path / "m.safetensors"), "--epochs", "1", "--size", "64", "--device", "cpu"]
    assert main(command) == 0
    told = capsys.readouterr().err
    assert all(note in told for note in model.notes)


def test_what_cannot_be_trained_on_is_refused(folder, tmp_path) -> None:
    imageio.imwrite(folder / "masks" / "i3.png", np.zeros((10, 10), np.uint8))
    with pytest.raises(ValueError, match=r"i3\.png"):
        run(folder, tmp_path / "run")
    imageio.imwrite(folder / "masks" / "i3.png", np.eye(64, dtype=np.uint8)[..., None] * np.uint8([1, 2, 3]))
    with pytest.raises(ValueError, match="color"):
        run(folder, tmp_path / "run")
    imageio.imwrite(folder / "masks" / "i3.png", np.eye(64, dtype=np.uint8))
    with pytest.raises(ValueError, match="cannot be shared by 4 processes"):
        next(train_samples(read_folder(folder), TrainSettings(**SMALL, batch_size=4), RunFolder(tmp_path), name="x", devices=4))
    with (folder / "labels.csv").open("a") as file:
        file.write("\nnowhere.png,dark,9")
    with pytest.raises(ValueError, match="nowhere"):
        run(folder, tmp_path / "run")


def test_a_full_disk_leaves_the_earlier_files_whole(folder, tmp_path, monkeypatch) -> None:
    files = RunFolder(tmp_path / "run")
    job = nr.iter_train(folder, **SMALL, epochs=EPOCHS, crop_size=64, batch_size=4, device="cpu", run_folder=files.path)
    while not isinstance(next(job), EpochDone):
        pass
    job.close()
    sync = os.fsync
    for failing in (files.checkpoint, files.best, files.curves):
        before = {path.name: path.read_bytes() for path in files.path.iterdir()}

        def full(handle: int, name: str = failing.name) -> None:
            if list(files.path.glob(f".{name}.*.part")):
                raise OSError(errno.ENOSPC, "No space left on device")
            sync(handle)

        with monkeypatch.context() as patched:
            patched.setattr(os, "fsync", full)
            with pytest.raises(OSError, match=f"no space is left to write .*{failing.name}"):
                run(folder, files.path, resume=True)
        after = {path.name: path.read_bytes() for path in files.path.iterdir()}
        assert after.keys() == before.keys()
        assert after[failing.name] == before[failing.name]
    assert isinstance(run(folder, files.path, resume=True)[-1], Finished)


def test_no_refusal_and_no_full_disk_costs_an_earlier_run(folder, tmp_path, monkeypatch, capsys) -> None:
    output, place = tmp_path / "m.safetensors", tmp_path / "m.run"
    arguments = [*command(folder, output)[3:], "--epochs", "1"]
    sync = os.fsync

    def full(handle: int) -> None:
        if list(tmp_path.glob(".m.safetensors.*.part")):
            raise OSError(errno.ENOSPC, "No space left on device")
        sync(handle)

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        assert main(arguments) == 1
    assert f"no space is left to write {output}" in capsys.readouterr().err.splitlines()[-1]
    assert not list(tmp_path.glob("*.part")) + list(tmp_path.glob(".*"))
    assert main(arguments) == 1
    assert "--resume" in capsys.readouterr().err.splitlines()[-1]
    assert main([*arguments, "--resume"]) == 0
    assert "epoch 1/1" not in capsys.readouterr().out  # it was done already

    before = {path.name: path.read_bytes() for path in (output, *place.iterdir())}
    imageio.imwrite(folder / "masks" / "i3.png", np.zeros((10, 10), np.uint8))
    assert main([*arguments, "--overwrite"]) == 1
    assert main([*arguments, "--overwrite", "--json-log", str(tmp_path)]) == 2
    assert {path.name: path.read_bytes() for path in (output, *place.iterdir())} == before
    (folder / "masks" / "i3.png").unlink()
    assert main([*arguments, "--overwrite", "--seed", "1"]) == 0
    assert json.loads((place / "settings.json").read_text(encoding="utf-8"))["settings"]["seed"] == 1


def test_an_earlier_run_stays_until_the_new_one_can_be_resumed(folder, tmp_path, monkeypatch) -> None:
    samples, files = read_folder(folder), RunFolder(tmp_path / "run")

    def job(lr, existing="replace"):
        settings = TrainSettings(**SMALL, epochs=2, crop_size=64, lr=lr)
        return train_samples(samples, settings, files, name="m", device="cpu", existing=existing)

    for event in (first := job(1e-3)):
        if isinstance(event, EpochDone):
            break
    first.close()
    before = {path.name: path.read_bytes() for path in files.path.iterdir()}
    for event in (second := job(2e-3)):
        if isinstance(event, StepDone):
            break
    second.close()
    assert {path.name: path.read_bytes() for path in files.path.iterdir()} == before
    sync = os.fsync

    def full(handle: int) -> None:
        if list(files.path.glob("*.first*")) or list(files.path.glob(".*first*")):
            raise OSError(errno.ENOSPC, "No space left on device")
        sync(handle)

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="no space is left"):
            list(job(2e-3))
    assert {path.name: path.read_bytes() for path in files.path.iterdir()} == before
    resumed = list(job(1e-3, "resume"))
    assert [event.epoch for event in resumed if isinstance(event, EpochDone)] == [2]
    (said,) = [event.text for event in resumed if isinstance(event, Notice) and "resuming" in event.text]
    assert f"started on {files.started:%Y-%m-%d at %H:%M}, after epoch 1 of 2" in said  # which of the two runs it is
    with pytest.raises(ValueError, match="other settings: lr"):
        list(job(2e-3, "resume"))
    assert [event.epoch for event in job(2e-3, "resume or replace") if isinstance(event, EpochDone)] == [1, 2]
    assert not [event for event in job(2e-3, "resume or replace") if isinstance(event, EpochDone)]
    assert files.load().progress.epoch == 2
    assert json.loads(files.settings.read_text(encoding="utf-8"))["settings"]["lr"] == 2e-3


def test_two_trainings_do_not_share_a_folder(folder, tmp_path) -> None:
    samples, files, settings = read_folder(folder), RunFolder(tmp_path / "run"), TrainSettings(**SMALL, epochs=1, crop_size=64)
    first, second = (train_samples(samples, settings, files, name="m", device="cpu", existing="resume") for _ in range(2))
    next(event for event in first if isinstance(event, StepDone))
    with pytest.raises(ValueError, match="another window or command is training in"):
        list(second)
    assert isinstance(list(first)[-1], Finished)
    assert isinstance(list(train_samples(samples, settings, files, name="m", device="cpu", existing="resume"))[-1], Finished)


def test_a_loss_that_is_no_number_is_one_clear_error(folder, tmp_path) -> None:
    with pytest.raises(
        ValueError, match=r"the loss became NaN or infinite \(epoch 1, step \d+\); train with a lower learning rate"
    ):
        run(folder, tmp_path / "run", lr=1e30)
    assert not RunFolder(tmp_path / "run").checkpoint.exists()


def test_the_figures_on_a_card_are_those_of_its_file(folder, tmp_path) -> None:
    settings = TrainSettings(**SMALL, epochs=2, crop_size=64)
    model = list(train_samples(read_folder(folder), settings, RunFolder(tmp_path / "run"), name="m", device="cpu"))[-1].result
    stored = nr.load_model(model.save(tmp_path / "m.safetensors"))
    samples, names = read_folder(folder), stored.card.training["validation_names"]
    *_, done = iter_evaluate(stored, samples.subset([one for one in samples.samples if one.name in names]), device="cpu")
    report = done.result
    noted = stored.card.metrics["validation"]
    assert report.mask_mean.dice == pytest.approx(noted["dice"], abs=1e-6)
    assert report.image_class.auroc == pytest.approx(noted["auroc"], abs=1e-6)


@pytest.mark.skipif(not hasattr(signal, "SIGXFSZ"), reason="needs limits of file size")
def test_a_checkpoint_that_does_not_fit_is_one_clear_error(tmp_path) -> None:
    # torch writes through C++, and says nothing of the cause by itself; only a real limit shows that ours is kept
    import resource

    path = tmp_path / "last.pt"

    def save(side: int) -> None:
        learner = LearnerState({"w": torch.zeros(side, side)}, {}, {}, {})
        save_checkpoint(Checkpoint(learner, ProgressState({})), path)

    save(8)
    size = path.stat().st_size
    before, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, before[1]))
        with pytest.raises(OSError, match="no space is left"):
            save(900)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert [path.stat().st_size for path in tmp_path.iterdir()] == [size]


def test_early_stopping_and_snapshots(folder, tmp_path) -> None:
    settings = TrainSettings(**SMALL, epochs=30, crop_size=64, batch_size=4, lr=1e-9, patience=2)  # nothing gets better
    job = train_samples(read_folder(folder), settings, RunFolder(tmp_path), name="x", device="cpu", snapshots=True)
    events = list(job)
    epochs, snapshots = epochs_of(events), [event for event in events if isinstance(event, Snapshot)]
    assert len(epochs) - max(epoch.epoch for epoch in epochs if epoch.best) == 2
    assert [shot.epoch for shot in snapshots] == [epoch.epoch for epoch in epochs]
    assert snapshots[0].model.network is not snapshots[1].model.network
    assert nr.predict(snapshots[0].model, np.zeros((64, 64), np.uint8), axes="YX", device="cpu").mask.shape == (64, 64)


# -------------------------------------------------------------------------------------------------------------- the losses
def test_what_is_not_annotated_adds_no_gradient() -> None:
    torch.manual_seed(0)
    network = ResFormer(ResFormerConfig.preset("tiny", mask_classes=2, image_classes=3)).eval()
    images, valid = torch.randn(4, 3, 64, 64), torch.ones(4, 1, 64, 64)
    masks, classes = torch.randint(0, 3, (4, 64, 64)), torch.tensor([0, 1, 2, 1])
    everything, nothing = torch.ones(4, dtype=torch.bool), torch.zeros(4, dtype=torch.bool)

    def gradients(weight, has_mask, classes, part=None):
        network.zero_grad()
        output = network(images, valid)
        batch = Batch(images, masks, has_mask, classes, valid)
        parts = MultiTaskLoss(weight, torch.ones(3))(output, batch)
        getattr(parts, part or "total").backward()
        return {name: torch.zeros_like(p) if p.grad is None else p.grad.clone() for name, p in network.named_parameters()}

    def assert_equal(ours, theirs):
        for name, gradient in ours.items():
            torch.testing.assert_close(gradient, theirs[name], rtol=0, atol=0, msg=name)

    unknown = torch.full((4,), -1)
    assert_equal(gradients(0.25, everything, unknown), gradients(0.0, everything, classes, "mask"))
    assert_equal(gradients(1.0, nothing, classes), gradients(1.0, everything, classes, "image_class"))
    half = torch.tensor([True, False, True, False])
    output = ResFormerOutput(torch.randn(4, 3, 64, 64), torch.randn(4, 3))
    criterion = MultiTaskLoss(0.25, torch.tensor([1.0, 2.0, 0.5]))
    some = criterion(output, Batch(images, masks, half, torch.tensor([0, -1, -1, 1]), valid))
    few = ResFormerOutput(output.mask_logits[half], output.class_logits[[0, 3]])
    alone = criterion(few, Batch(images[:2], masks[half], everything[:2], torch.tensor([0, 1]), valid[:2]))
    torch.testing.assert_close(some.total, alone.total)


def test_prediction_fills_planes_up_with_what_training_showed_beyond_them(folder, random_model) -> None:
    samples = read_folder(folder)
    survey = Survey(tuple(look_at(sample) for sample in samples.samples))

    def filling(**settings):
        start = settings.pop("start", None)
        return make_plan(samples, survey, TrainSettings(**SMALL | settings), name="m", start=start).card.network.padding_value

    assert random_model.card.network.padding_value == 0
    assert filling() == filling(start=random_model.card) == -1
    assert filling(padding="reflect") == 0


def test_other_channels_than_those_of_the_model_to_start_from_have_a_brightness_of_their_own(random_model) -> None:
    generator = np.random.default_rng(0)
    pairs = [
        LayerPair(from_array(generator.integers(0, 255, (2, 64, 64), dtype=np.uint8), "CYX", name=f"i{number}"), None, {(): kind})
        for number, kind in enumerate("abab")
    ]
    samples = samples_from_pairs(pairs, "stains")
    survey = Survey(tuple(look_at(sample) for sample in samples.samples))
    assert not random_model.card.normalisation.per_channel
    assert make_plan(samples, survey, TrainSettings(), name="m", start=random_model.card).card.normalisation.per_channel


# ------------------------------------------------------------------------------------------------------- a model to start from
def test_only_what_must_change_is_replaced(random_model) -> None:
    theirs = random_model.card

    def begin(mask_classes=theirs.mask_classes, image_classes=theirs.image_classes, channels=theirs.channels):
        sizes = {"mask_classes": len(mask_classes), "image_classes": len(image_classes), "in_channels": len(channels)}
        card = theirs.model_copy(
            update={"network": theirs.network.model_copy(update=sizes), "mask_classes": mask_classes,
                    "image_classes": image_classes, "channels": channels}
        )  # fmt: skip
        network = ResFormer(card.network)
        return network.eval(), set(start_from(random_model, card, network))

    old = copy.deepcopy(random_model.network).eval()
    image = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        same, changed = begin()
        assert not changed
        torch.testing.assert_close(same(image).mask_logits, old(image).mask_logits)

        other, changed = begin(mask_classes=("outer", "new"), image_classes=("c", "z", "a"))
        assert changed == {"decoder.logits.weight", "decoder.logits.bias", "head.classify.3.weight", "head.classify.3.bias"}
        ours, before = other(image), old(image)
        torch.testing.assert_close(ours.mask_logits[:, :2], before.mask_logits[:, [0, 2]])
        torch.testing.assert_close(ours.class_logits[:, [0, 2]], before.class_logits[:, [2, 0]])

        gray, changed = begin(channels=("gray",))
        assert all("encoder" in name for name in changed)
        torch.testing.assert_close(gray(image[:, :1]).mask_logits, old(image[:, :1].expand(-1, 3, -1, -1)).mask_logits)

        without, _ = begin(image_classes=())
        assert without(image).class_logits.shape == (1, 0)


def test_a_frozen_encoder_stays_as_it_is(folder, tmp_path) -> None:
    start = run(folder, tmp_path / "first", epochs=1)[-1].result.save(tmp_path / "start.safetensors")
    (folder / "labels.csv").unlink()  # segmentation only from here
    output = tmp_path / "next.safetensors"
    arguments = command(folder, output, "--epochs", "2", "--from", str(start), "--freeze-encoder", "--mask-classes", "object")
    assert main([word for word in arguments[3:] if word not in ("--size", "64")]) == 0
    before, after = nr.load_model(start), nr.load_model(output)
    assert after.card.training["start"]["sha256"] == before.sha256
    assert (after.card.mask_classes, after.card.image_classes, after.card.input_size) == (("object",), (), 64)
    assert "decoder.logits.weight" in after.card.training["start"]["replaced"]
    ours, theirs = after.network.state_dict(), before.network.state_dict()
    moved = {name for name in ours if not torch.equal(ours[name], theirs[name])}
    assert not [name for name in moved if name.startswith("encoder.")]
    assert [name for name in moved if name.startswith("decoder.")]
    assert main([*arguments[3:], "--overwrite", "--epochs", "0"]) == 2
    assert main([word for word in arguments[3:] if word not in ("--from", str(start))]) == 2


def test_the_last_epoch_is_kept_where_that_is_asked_for(folder, tmp_path) -> None:
    settings = TrainSettings(**SMALL, epochs=3, crop_size=64, batch_size=4, lr=0.05, keep="last")
    place = RunFolder(tmp_path / "run")
    events = list(train_samples(read_folder(folder), settings, place, name="last", device="cpu"))
    model = events[-1].result
    assert model.card.training["best_epoch"] == 3
    assert model.card.metrics["validation"]["epoch"] == 3
    assert nr.load_model(place.best).card.training["best_epoch"] == 3
    scores = [event.score for event in epochs_of(events)]
    assert [event.best for event in epochs_of(events)] == [
        score > max(scores[:number], default=-1) - ALIKE_SCORES for number, score in enumerate(scores)
    ]
    with pytest.raises(ValueError, match="patience"):
        TrainSettings(keep="last", patience=3)


def test_of_epochs_that_are_alike_the_last_is_kept(folder, tmp_path, monkeypatch) -> None:
    scores = iter([0.5, 0.8, 0.7, 0.797, 0.6])
    monkeypatch.setattr("napari_resformer.training.progress.selection_score", lambda _: next(scores))
    settings = TrainSettings(**SMALL, epochs=8, crop_size=64, batch_size=4, patience=3)
    events = list(train_samples(read_folder(folder), settings, RunFolder(tmp_path / "run"), name="alike", device="cpu"))
    assert [event.best for event in epochs_of(events)] == [True, True, False, True, False]
    assert len(epochs_of(events)) == 5  # patience counts from the highest score, the second
    assert events[-1].result.card.training["best_epoch"] == 4


def test_batches_made_ahead_are_the_plain_ones_and_leave_the_cores_to_the_network(folder) -> None:
    class Reader(PlaneReader):
        def read(self, sample):
            threads.add((threading.current_thread().name, torch.get_num_threads()))
            return super().read(sample)

    def first_asked() -> None:
        torch.ones(1 << 20).sum()
        later.append(torch.get_num_threads())

    threads, later = set(), []
    preprocessor = Preprocessor(("red",), Normalisation(), "native", 64)
    samples, settings = read_folder(folder), TrainSettings(**SMALL, crop_size=64, batch_size=4)
    ours = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        ahead = list(prefetch(epoch_batches(samples, Reader(preprocessor), settings, 3)))
        assert torch.get_num_threads() == 2
        other = threading.Thread(target=first_asked)
        other.start()
        other.join()
    finally:
        torch.set_num_threads(ours)
    assert {number for _, number in threads} == {1}
    assert all(name.startswith("resformer-prefetch") for name, _ in threads)
    assert later == [2]
    plain = list(epoch_batches(samples, Reader(preprocessor), settings, 3))
    assert len(ahead) == len(plain) == 3
    for one, two in zip(ahead, plain, strict=True):
        assert all(torch.equal(getattr(one, name), getattr(two, name)) for name in one.__dataclass_fields__)


def drawn_often(samples: SampleSet, epochs: int = 100, **settings: float) -> Counter[tuple[str | None, bool]]:
    """Count how often samples of each class, with and without a mask, are drawn."""
    given = TrainSettings(**SMALL | settings)
    numbers = (number for epoch in range(epochs) for number in epoch_order(samples, given, epoch))
    return Counter((one.image_class, one.mask_source is not None) for one in map(samples.samples.__getitem__, numbers))


def some(counts: dict[tuple[str, bool], int]) -> SampleSet:
    """Return a set of so many samples of each class, with or without a mask."""
    kinds = [(f"{name}{masked}{number}", name, masked) for (name, masked), many in counts.items() for number in range(many)]
    return SampleSet("s", tuple(Sample(one, Path(), Path() if masked else None, name, one) for one, name, masked in kinds), ())


def test_the_few_images_with_a_mask_are_drawn_more_often() -> None:
    counts = {("a", True): 10, ("a", False): 90, ("b", True): 60, ("b", False): 40, ("c", True): 1, ("c", False): 99}
    drawn = drawn_often(some(counts))
    assert drawn["a", True] == pytest.approx(drawn["a", False], rel=0.02)
    assert drawn["b", True] == pytest.approx(1.5 * drawn["b", False], rel=0.02)  # there most have one
    assert drawn["c", True] == pytest.approx(8 / 92 * drawn["c", False], rel=0.02)  # eight times in an epoch, and no more
    assert [sum(drawn[name, masked] for masked in (True, False)) for name in "abc"] == pytest.approx([10_000] * 3, rel=0.01)
    as_they_come = drawn_often(some(counts), masked_fraction=0)
    assert {kind: count / 100 for kind, count in as_they_come.items()} == pytest.approx(counts)


def test_a_class_of_one_image_is_not_made_important() -> None:
    counts = {"common": 40, "rare": 10, "single": 1}
    numbered = [(name, number) for name, count in counts.items() for number in range(count)]
    samples = SampleSet("s", tuple(Sample(f"{name}{number}", Path(), None, name, name) for name, number in numbered), ())
    drawn = Counter({name: count for (name, _), count in drawn_often(samples, 200).items()})
    often = {name: drawn[name] / counts[name] for name in counts}
    assert often["rare"] == pytest.approx(2 * often["common"], rel=0.05)
    assert often["single"] == pytest.approx(often["rare"] * 2**0.5, rel=0.1)  # as one of five
    weights = class_weights(list(counts.values()), 0.5)
    assert weights[2] == class_weights([40, 10, 5], 0.5)[2]
    assert weights[2] > weights[1] > weights[0]
