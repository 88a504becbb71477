"""The network: any size, both answers, every parameter learns."""

from __future__ import annotations

import pytest
import torch

from napari_resformer.network import ResFormer, ResFormerConfig, for_inference

SIZES = [(32, 32), (33, 47), (130, 65)]


@pytest.mark.parametrize("preset", ["tiny", "small", "paper"])
@pytest.mark.parametrize("size", SIZES)
def test_both_answers_at_any_size(preset: str, size: tuple[int, int]) -> None:
    network = ResFormer(ResFormerConfig.preset(preset, in_channels=2, mask_classes=3, image_classes=5)).eval()
    with torch.inference_mode():
        output = network(torch.randn(2, 2, *size))
    assert output.mask_logits.shape == (2, 4, *size)
    assert output.class_logits.shape == (2, 5)
    assert torch.isfinite(output.mask_logits).all()


@pytest.mark.parametrize("preset", ["tiny", "small", "paper"])
def test_gradients_reach_every_parameter_of_a_preset(preset: str) -> None:
    check_gradients(ResFormer(ResFormerConfig.preset(preset, image_classes=2, drop_path=0.0)))


@pytest.mark.parametrize("changes", [{"fusion": "sequential"}, {"norm": "group"}, {"norm": "layer"}, {"channel_gate": True}])
def test_gradients_reach_every_parameter(changes: dict[str, object]) -> None:
    check_gradients(ResFormer(ResFormerConfig.preset("tiny", image_classes=2, drop_path=0.0, windows=(8, 8, 8, 8), **changes)))


def check_gradients(network: ResFormer) -> None:
    output = network(torch.randn(2, 3, 64, 64))
    (output.mask_logits.square().mean() + output.class_logits.square().mean()).backward()
    without = [name for name, parameter in network.named_parameters() if parameter.grad is None or not parameter.grad.any()]
    assert without == []


@pytest.mark.parametrize("switch", ["transformer", "multi_scale_head", "dfe"])
def test_each_ablation_switch_takes_parameters_away(switch: str) -> None:
    whole = ResFormer(ResFormerConfig.preset("tiny", image_classes=2))
    part = ResFormer(ResFormerConfig.preset("tiny", image_classes=2, **{switch: False}))
    assert count(part) < count(whole)
    assert part(torch.randn(2, 3, 40, 40)).mask_logits.shape == (2, 2, 40, 40)


def test_paper_has_the_authors_size() -> None:
    config = ResFormerConfig.preset("paper")
    assert config.widths == (64, 128, 256, 512)
    assert config.depths == (3, 4, 6, 3)
    assert 55e6 < count(ResFormer(config)) < 58e6


def test_folding_changes_nothing_but_rounding() -> None:
    torch.manual_seed(0)
    network = ResFormer(ResFormerConfig.preset("tiny", image_classes=2))
    network(torch.randn(4, 3, 64, 64))  # moves the running statistics
    network.eval()
    x = torch.randn(1, 3, 70, 64)
    with torch.inference_mode():
        before, after = network(x), for_inference(network)(x)
    torch.testing.assert_close(before.mask_logits, after.mask_logits, atol=1e-4, rtol=1e-3)
    torch.testing.assert_close(before.class_logits, after.class_logits, atol=1e-4, rtol=1e-3)


def test_padding_is_left_out_of_the_class() -> None:
    network = ResFormer(ResFormerConfig.preset("tiny", image_classes=2)).eval()
    x, valid = torch.randn(1, 3, 64, 64), torch.zeros(1, 1, 64, 64)
    valid[..., :64, :32] = 1
    with torch.inference_mode():
        half = network.forward_tile(x, valid)
    assert half.cells[0, 0] == 32 * 16


@pytest.mark.parametrize("value", [-1.0, 0.0])
def test_a_plane_is_filled_up_with_what_the_configuration_says(value: float) -> None:
    torch.manual_seed(0)
    network = ResFormer(ResFormerConfig.preset("tiny", image_classes=2, padding_value=value)).eval()
    plane, frame, valid = torch.rand(1, 3, 40, 50), torch.full((1, 3, 48, 64), value), torch.zeros(1, 1, 48, 64)
    frame[..., :40, :50], valid[..., :40, :50] = plane, 1
    with torch.inference_mode():
        ours, filled = network(plane), network(frame, valid)
    torch.testing.assert_close(ours.mask_logits, filled.mask_logits[..., :40, :50])
    torch.testing.assert_close(ours.class_logits, filled.class_logits)


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"widths": (16,)}, "widths"),
        ({"heads": (3, 2, 4, 6)}, "divide"),
        ({"dfe_rates": ((1, 2, 4),) * 3 + ((1, 2, 8),)}, "padding"),
    ],
)
def test_a_network_that_cannot_work_is_refused(changes: dict[str, object], word: str) -> None:
    with pytest.raises(ValueError, match=word):
        ResFormerConfig.preset("tiny", **changes)


@pytest.mark.parametrize("shape", [(3, 64, 64), (1, 4, 64, 64), (1, 3, 31, 64)])
def test_a_wrong_tensor_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="needs"):
        ResFormer(ResFormerConfig.preset("tiny"))(torch.zeros(shape))


def test_two_images_overfit() -> None:
    torch.manual_seed(0)
    network = ResFormer(ResFormerConfig.preset("tiny", image_classes=2))
    x, truth = torch.full((2, 3, 64, 64), -1.0), torch.zeros(2, 64, 64, dtype=torch.long)
    truth[0, 10:40, 12:50], truth[1, 30:60, 5:30] = 1, 1
    x += truth[:, None] * torch.tensor([1.5, 0.7])[:, None, None, None] + 0.1 * torch.randn_like(x)
    optimizer = torch.optim.AdamW(network.parameters(), 3e-3)
    for _ in range(60):
        output = network(x)
        loss = torch.nn.functional.cross_entropy(output.mask_logits, truth)
        loss = loss + torch.nn.functional.cross_entropy(output.class_logits, torch.tensor([0, 1]))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    output = network(x)
    found = output.mask_logits.argmax(1)
    dice = 2 * (found & truth).sum() / (found.sum() + truth.sum())
    assert dice > 0.98
    assert output.class_logits.argmax(1).tolist() == [0, 1]


def count(network: ResFormer) -> int:
    return sum(parameter.numel() for parameter in network.parameters())
