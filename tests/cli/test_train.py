"""``napari-resformer train``: options are the settings, and an interrupted run says what can be resumed."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import imageio.v3 as imageio
import numpy as np
import pytest

from napari_resformer.cli import main
from napari_resformer.cli.program import _parser
from napari_resformer.cli.settings import FURTHER, MAIN, given_settings, spell
from napari_resformer.model.library import load_model
from napari_resformer.training.learner import Learner
from napari_resformer.training.settings import TrainSettings, describe_setting


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    (folder / "images").mkdir(parents=True)
    (folder / "masks").mkdir()
    generator = np.random.default_rng(0)
    for number in range(4):
        mask = np.zeros((64, 64), np.uint8)
        mask[10 + number : 40, 8:40] = 1
        imageio.imwrite(folder / "images" / f"i{number}.png", generator.integers(0, 60, mask.shape, dtype=np.uint8) + 150 * mask)
        imageio.imwrite(folder / "masks" / f"i{number}.png", mask)
    return folder


def command(data: Path, *more: str) -> list[str]:
    output = str(data.parent / "m.safetensors")
    return ["train", str(data), "-o", output, "--epochs", "2", "--size", "32", "--batch", "2", "--device", "cpu", *more]


def parsed(*options: str) -> TrainSettings:
    return given_settings(_parser().parse_args(["train", "data", "-o", "m.safetensors", *options]))


def test_each_setting_has_an_option_and_none_is_set_unasked() -> None:
    assert sorted((*MAIN, *FURTHER)) == sorted(TrainSettings.model_fields)
    nothing = parsed()
    assert nothing == TrainSettings()
    assert not nothing.model_fields_set  # so that mode and crop size follow a model to start from


@pytest.mark.parametrize(
    ("options", "values"),
    [
        (["--size", "64", "--batch", "8", "--lr", "0.01"], {"crop_size": 64, "batch_size": 8, "lr": 0.01}),
        (["--folds", "1,2", "--val-folds", "0"], {"folds": ("1", "2"), "val_folds": ("0",)}),
        (["--mask-classes", "a,b", "--mode", "resize"], {"mask_classes": ("a", "b"), "mode": "resize"}),
        (["--zoom", "0.5,2", "--padding", "reflect", "--no-rgb"], {"zoom": (0.5, 2.0), "padding": "reflect", "rgb": False}),
        (["--rgb", "--freeze-encoder", "--ema-decay", "0"], {"rgb": True, "freeze_encoder": True, "ema_decay": 0.0}),
        (["--preset", "small", "--keep", "last", "--seed", "7"], {"preset": "small", "keep": "last", "seed": 7}),
    ],
)
def test_options_become_settings(options: list[str], values: dict[str, Any]) -> None:
    given = parsed(*options)
    assert given == TrainSettings(**values)
    assert given.model_fields_set == set(values)


def test_the_help_tells_defaults_and_meanings(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["train", "--help"])
    text = " ".join(capsys.readouterr().out.split())
    for name in TrainSettings.model_fields:
        info = describe_setting(name)
        assert f"{spell(name)} " in text
        assert " ".join(info.help[1:24].rstrip(".").split()) in text
    assert "(default: that of --from, or chosen from the images)" in text
    assert "object-numbers" not in text
    assert "``" not in text


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--seed", "99999999999999999999"], "--seed is 99999999999999999999; it must be 9223372036854775807 or less"),
        (["--size", "8"], "--size is 8; it must be 32 or more"),
        (["--batch", "1"], "--batch is 1; it must be 2 or more"),
        (["--lr", "-1"], "--lr is -1.0; it must be more than 0.0"),
        (["--zoom", "2,1"], "zoom is (2.0, 1.0); give two positive numbers"),
        (["--mode", "resize", "--padding", "reflect"], "resized planes are padded"),
        (["--folds", "0,1", "--val-folds", "1"], "fold 1 is named for training and for validation"),
        (["--freeze-encoder"], "name the model by --from"),
        (["--from", "nowhere"], "there is no model 'nowhere'"),
    ],
)
def test_bad_usage_is_one_sentence_by_the_options_own_name(
    data: Path, options: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(command(data, *options)) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("napari-resformer: ")
    assert words in line


def test_label_values_may_be_instances_by_the_new_and_the_earlier_name(data: Path) -> None:
    for path in (data / "masks").iterdir():
        imageio.imwrite(path, imageio.imread(path).astype(np.uint16) * 400)
    assert main(command(data, "--mask-kind", "classes")) == 1
    for option in ("--instance-labels", "--object-numbers"):
        assert main(command(data, option, "--epochs", "1", "--overwrite")) == 0


def interrupt(monkeypatch: pytest.MonkeyPatch, after: int) -> None:
    """Press Ctrl-C in the given training step from now."""
    learn, steps = Learner.learn, iter(range(1, 1000))

    def learn_and_press(*arguments: Any) -> Any:
        if next(steps) == after:
            signal.raise_signal(signal.SIGINT)
        return learn(*arguments)

    monkeypatch.setattr(Learner, "learn", learn_and_press)


def test_an_interrupted_run_says_what_can_be_resumed(
    data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(*more: str, press: int = 0) -> tuple[int, str]:
        with monkeypatch.context() as patch:
            interrupt(patch, press)
            status = main(command(data, *more))
        lines = capsys.readouterr().err.splitlines()  # among those of the progress bar
        return status, "\n".join(line for line in lines if line.strip() and "/s]" not in line)

    status, said = run(press=1)
    assert status == 130
    assert said.splitlines()[-1] == "napari-resformer: interrupted; no epoch was finished, so there is nothing to resume"
    status, said = run("--resume", press=2)
    assert "there is no checkpoint in" in said
    assert "nothing half-written was left; resume with --resume" in said.splitlines()[-1]
    assert load_model(data.parent / "m.run" / "best.safetensors").card.training["epochs_done"] == 1
    started = json.loads((data.parent / "m.run" / "settings.json").read_text(encoding="utf-8"))["started"]
    before = {path.name: path.read_bytes() for path in (data.parent / "m.run").iterdir()}

    status, said = run("--overwrite", press=1)  # cancelled in its first epoch: the earlier run stays, and it says so
    assert status == 130
    assert "the earlier run in" in said.splitlines()[-1]
    assert "--overwrite starts over" in said.splitlines()[-1]
    assert {path.name: path.read_bytes() for path in (data.parent / "m.run").iterdir()} == before
    status, said = run("--resume")
    assert status == 0
    assert f"started on {started[:10]} at {started[11:16]}, after epoch 1 of 2" in said
    status, said = run("--resume")
    assert (status, said) == (0, "")  # finished: left alone
    assert main(command(data, "--resume", "--epochs", "3")) == 0  # nor taken for what was not trained
    assert "there is nothing to resume; it was trained with --epochs 2: --overwrite trains it anew" in capsys.readouterr().out
