"""The loop of the accuracy table trains as the trainer does, and what it finds is pooled as the package reports."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from napari_resformer.events import EpochDone, Finished
from napari_resformer.metrics import make_report
from napari_resformer.samples.folder import read_folder
from napari_resformer.samples.survey import iter_survey
from napari_resformer.training.plan import TrainPlan, make_plan
from napari_resformer.training.run_folder import RunFolder
from napari_resformer.training.settings import TrainSettings
from napari_resformer.training.trainer import train_samples

PROGRAMS = Path(__file__).resolve().parents[2] / "benchmarks" / "accuracy"
SETTINGS = TrainSettings(preset="pretrained", epochs=1, crop_size=64, mode="resize", keep="last")


@pytest.fixture(autouse=True)
def programs(monkeypatch: pytest.MonkeyPatch) -> None:
    if not PROGRAMS.exists():
        pytest.skip("the benchmarks are not there")
    monkeypatch.syspath_prepend(str(PROGRAMS))


@pytest.fixture
def plan(folder: Path) -> TrainPlan:
    samples = read_folder(folder)
    *_, survey = iter_survey(samples)
    assert isinstance(survey, Finished)
    return make_plan(samples, survey.result, SETTINGS, name="row")


def test_the_loop_gives_the_trainers_own_weights_and_figures(folder: Path, tmp_path: Path, plan: TrainPlan) -> None:
    from cell import judged
    from learning import learn
    from rows import ROWS

    events = list(train_samples(read_folder(folder), SETTINGS, RunFolder(tmp_path / "run"), name="row", device="cpu"))
    last, (epoch,) = events[-1], [event for event in events if isinstance(event, EpochDone)]
    assert isinstance(last, Finished)
    row = ROWS["pretrained"]
    ours = learn(row.network(plan.card.network, SETTINGS.seed), plan).network
    learned = {name: tensor for name, tensor in last.result.network.state_dict().items() if tensor.is_floating_point()}
    assert [name for name, tensor in learned.items() if not torch.equal(ours.state_dict()[name], tensor)] == []
    assert len(learned) > 200
    report = make_report(judged(ours, row, plan), plan.card.mask_classes, plan.card.image_classes)
    assert report == epoch.validation


def test_networks_of_any_kind_are_judged_by_the_same_way_from_plane_to_answer(plan: TrainPlan) -> None:
    from cell import judged
    from rows import ROWS
    from torch import nn

    class Disguised(nn.Module):
        def __init__(self, network: nn.Module) -> None:
            super().__init__()
            self.network = network

        def forward(self, x: torch.Tensor, valid: torch.Tensor | None = None) -> Any:
            return self.network(x, valid)

    row = ROWS["tiny"]
    network = row.network(plan.card.network, 0).eval()
    for ours, theirs in zip(judged(network, row, plan), judged(Disguised(network), row, plan), strict=True):
        np.testing.assert_allclose(ours.scores, theirs.scores, atol=1e-5)
        if ours.overlap is not None:
            assert abs(ours.overlap.predicted - theirs.overlap.predicted).max() <= 3


@pytest.mark.parametrize("row", ["plain", "plain-small", "class-only", "basic-unet", "swin-unetr"])
def test_a_peer_learns_what_its_row_says(plan: TrainPlan, row: str) -> None:
    from rows import ROWS

    if ROWS[row].needs:
        pytest.importorskip(ROWS[row].needs)
    network = ROWS[row].network(plan.card.network, 0).train()
    x, valid = torch.randn(2, len(plan.card.channels), 64, 64), torch.ones(2, 1, 64, 64)
    output = network(x, valid)
    assert output.mask_logits.shape == (2, 2, 64, 64)
    assert output.class_logits.shape == (2, 2)
    (output.mask_logits.square().mean() + output.class_logits.square().mean()).backward()
    without = [name for name, parameter in network.named_parameters() if parameter.grad is None]
    assert without == []


def test_the_table_pools_folds_compares_and_counts_what_is_missing(tmp_path: Path) -> None:
    from budgets import BUDGETS
    from pooling import BALANCED, DICE, Comparison, read_results
    from table import set_table, summary

    generator = np.random.default_rng(0)
    for row, skill in (("pretrained", 90), ("plain", 80)):
        for fold in BUDGETS["wbc1"].folds:
            images = []
            for number in range(12):
                both = min(skill + int(generator.integers(10)), 99)
                right = number % 4 < 3 or row == "pretrained"
                images.append({
                    "name": f"{fold}-{number}", "group": f"{fold}-{number // 2}", "true_class": "ab"[number % 2],
                    "scores": [0.9, 0.1] if (number % 2 == 0) is right else [0.1, 0.9], "dice": [both / 100],
                    "overlap": [[both], [100], [100]],
                })  # fmt: skip
            if (row, fold) == ("plain", "3"):
                continue
            told = {
                "data": "wbc1", "row": row, "seed": 0, "fold": fold, "mask_classes": ["cell"], "image_classes": ["a", "b"],
                "parameters": 4_000_000, "training_minutes": 5.0, "inference_ms": 40.0, "memory_mb": 500.0, "images": images,
            }  # fmt: skip
            (tmp_path / f"{row}{fold}.json").write_text(json.dumps(told))
    found = read_results(tmp_path, 100)
    ours, plain = found["wbc1"]["pretrained"], found["wbc1"]["plain"]
    assert ours.values[BALANCED] == 1
    assert plain.values[BALANCED] == pytest.approx(0.75)
    everything = [image["dice"][0] for file in plain.files.values() for image in file["images"]]
    assert plain.values[DICE] == pytest.approx(np.mean(everything))
    figure = Comparison(plain, ours).figure(DICE)
    assert figure is not None
    assert -0.13 < figure.low < figure.value < figure.high < -0.07
    lines = set_table("wbc1", found["wbc1"], ["pretrained", "plain", "tiny"])
    assert lines[-3].endswith("| 5 of 5 |")
    assert lines[-2].endswith("| 4 of 5 |")
    assert "**-0.25" in lines[-2]
    assert lines[-1].endswith("| missing | 0 of 5 |")
    assert "missing" in summary(found, ["tiny"])[-1]
