"""The network: any size, both answers, every parameter learns."""

from __future__ import annotations

import json

import pytest
import torch
from torch import nn

from napari_resformer.network import ResFormer, ResFormerConfig, for_inference
from napari_resformer.network.config import PRESETS
from napari_resformer.network.inference import folded
from napari_resformer.network.layers import PaddedConv

SIZES = [(32, 32), (33, 47), (130, 65)]


@pytest.mark.parametrize("preset", PRESETS)
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


def test_gradients_reach_every_parameter_of_what_starts_as_nothing() -> None:
    """At the first step the last layers of the new branches learn, and from the second on all of them."""
    torch.manual_seed(0)
    network = ResFormer(ResFormerConfig.preset("pretrained", image_classes=2, drop_path=0.0))
    first = network(torch.randn(2, 3, 64, 64))
    (first.mask_logits.square().mean() + first.class_logits.square().mean()).backward()
    for level in network.encoder.levels[3:]:
        assert level.project.weight.grad.any()
    for enhance in network.enhance[1:]:
        assert enhance.project.weight.grad.any()
        assert enhance.gate.conv.weight.grad.any()
    torch.optim.AdamW(network.parameters(), 1e-2).step()
    network.zero_grad()
    check_gradients(network)


@pytest.mark.parametrize("fusion", ["parallel", "sequential"])
def test_any_network_can_start_as_its_convolutions(fusion: str) -> None:
    changes = {"zero_start": True, "fusion": fusion}
    network = ResFormer(ResFormerConfig.preset("tiny", **changes)).eval()
    plain = ResFormer(ResFormerConfig.preset("tiny", **changes, transformer=False)).eval()
    plain.load_state_dict({name: tensor for name, tensor in network.state_dict().items() if name in plain.state_dict()})
    plane = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        for ours, theirs in zip(network.encoder(plane, (0, 0)), plain.encoder(plane, (0, 0)), strict=True):
            assert torch.equal(ours, theirs)
            assert ours.any()


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


@pytest.mark.parametrize("preset", ["tiny", "pretrained"])
def test_folding_changes_nothing_but_rounding(preset: str) -> None:
    network = alive(ResFormer(ResFormerConfig.preset(preset, image_classes=2)))
    x, folded = torch.randn(1, 3, 70, 64), for_inference(network)
    assert not [module for module in (*folded.encoder.modules(), *folded.decoder.modules()) if isinstance(module, nn.BatchNorm2d)]
    with torch.inference_mode():
        before, after = network(x), folded(x)
    torch.testing.assert_close(before.mask_logits, after.mask_logits, atol=1e-4, rtol=1e-3)
    torch.testing.assert_close(before.class_logits, after.class_logits, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("preset", ["tiny", "pretrained"])
def test_tiles_agree_with_the_whole_plane(preset: str) -> None:
    """A tile with a halo of 128 px, not at the origin, says of its own pixels what the whole plane says."""
    network = alive(ResFormer(ResFormerConfig.preset(preset, mask_classes=2, image_classes=2)))
    plane = nn.functional.interpolate(torch.randn(1, 3, 64, 64), (512, 512), mode="bicubic")
    with torch.inference_mode():
        whole = network.forward_tile(plane)
        features = torch.zeros_like(whole.feature_sum)
        for top, left in [(0, 0), (0, 256), (256, 0), (256, 256)]:
            rows, columns = (slice(max(start - 128, 0), start + 384) for start in (top, left))
            tile, owned = plane[..., rows, columns], torch.zeros(1, 1, 512, 512)
            owned[..., top : top + 256, left : left + 256] = 1
            answer = network.forward_tile(tile, owned[..., rows, columns], (rows.start, columns.start))
            features += answer.feature_sum
            inside = owned[..., rows, columns].bool()
            expected = whole.mask_logits[..., rows, columns]
            different = (answer.mask_logits.argmax(1, keepdim=True) != expected.argmax(1, keepdim=True)) & inside
            assert different.sum() / inside.sum() < 0.005
    torch.testing.assert_close(features, whole.feature_sum, rtol=2e-2, atol=2e-2 * float(whole.feature_sum.abs().max()))


def test_tiles_of_a_plane_are_cut_into_the_same_windows() -> None:
    """Attention alone, without the reach of the convolutions: a tile that holds whole windows gives just the plane's tokens."""
    from napari_resformer.network.layers import WindowAttention

    torch.manual_seed(0)
    attention, tokens = WindowAttention(32, 2, 4, shifted=True), torch.randn(1, 24, 24, 32)
    with torch.inference_mode():
        whole, tile = attention(tokens, (0, 0)), attention(tokens[:, 6:18, 2:22], (6, 2))
    torch.testing.assert_close(tile, whole[:, 6:18, 2:22])


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
        ({"token_widths": (16, 32)}, "token_widths"),
        ({"token_widths": (15, 30, 90, 190)}, "divide"),
        ({"block": "inverted"}, "stages"),
        ({"stages": (((3, 1, 16, 1),),) * 4}, "inverted"),
        ({"block": "inverted", "stages": (((3, 1, 16, 1),),) * 4}, "level 1: the stages make 1 blocks and 16 channels"),
        ({"block": "inverted", "stages": (((4, 1, 16, 1),),) * 4, "widths": (16,) * 4, "heads": (1,) * 4}, "odd"),
        ({"trunk": "vgg"}, "trunk"),
        ({"fusion": "sequential", "token_widths": (16, 32, 64, 96)}, "sequential"),
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


def test_a_configuration_of_the_first_release_still_means_the_same() -> None:
    """Field by field what the first release wrote into a card."""
    old = {
        "in_channels": 3, "mask_classes": 1, "image_classes": 6, "design_size": 128, "widths": [16, 32, 96, 192],
        "depths": [1, 1, 1, 1], "heads": [1, 2, 4, 6], "windows": [0, 0, 8, 8], "fusion": "parallel", "stem_kernel": 5,
        "stem_pool": False, "embed_kernels": [2, 4, 8, 16], "mlp_ratio": 2, "channel_gate": False,
        "dfe_rates": [[1, 2, 4], [1, 2, 4], [1, 2, 4], [1, 2, 4]], "dfe_reduction": 4, "head_levels": [0, 1, 2, 3],
        "head_hidden": 64, "head_dropout": 0.2, "drop_path": 0.05, "norm": "batch", "padding_value": -1.0, "transformer": True,
        "multi_scale_head": True, "dfe": True,
    }  # fmt: skip
    config = ResFormerConfig.model_validate_json(json.dumps(old))
    assert config == ResFormerConfig.preset("tiny", image_classes=6, padding_value=-1.0)


@pytest.mark.parametrize("preset", PRESETS)
def test_a_configuration_survives_json(preset: str) -> None:
    config = ResFormerConfig.preset(preset, in_channels=2, image_classes=3)
    assert ResFormerConfig.model_validate_json(config.model_dump_json()) == config


def alive(network: ResFormer) -> ResFormer:
    """Return the network as after some training: statistics moved, and no branch left at zero."""
    torch.manual_seed(0)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if not parameter.any() and "bias" not in name:
                parameter.normal_(std=0.02)
    for _ in range(20):
        network(torch.randn(4, 3, 64, 64))
    return network.eval()


def count(network: ResFormer) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


@pytest.mark.parametrize("slope", [1.0, 0.0, -1.0])
def test_the_class_head_sums_the_same_whichever_way_its_norms_point(slope: float) -> None:
    """In inference the norms are folded into the sums; slopes may be negative or nothing, and cells may count in part."""
    torch.manual_seed(0)
    network = alive(ResFormer(ResFormerConfig.preset("tiny", image_classes=2)))
    with torch.no_grad():
        for norm in network.head.norms:
            norm.weight.mul_(slope)
            norm.bias.add_(torch.randn_like(norm.bias))
    x, owned = torch.randn(2, 3, 70, 64), (torch.rand(2, 1, 70, 64) > 0.4).float()
    with torch.inference_mode():
        before, after = network.forward_tile(x, owned), for_inference(network).forward_tile(x, owned)
    torch.testing.assert_close(after.feature_sum / after.cells, before.feature_sum / before.cells, atol=1e-4, rtol=1e-3)
    torch.testing.assert_close(after.cells, before.cells)


def test_folding_leaves_plain_layers_that_pad_evenly() -> None:
    """What exporters read: each convolution with its own kernel and padding, and the answers as before."""
    network = alive(ResFormer(ResFormerConfig.preset("pretrained", image_classes=2)))
    plain, x = folded(network), torch.randn(1, 3, 70, 64)
    assert not [module for module in plain.modules() if isinstance(module, PaddedConv | nn.BatchNorm2d)]
    with torch.inference_mode():
        torch.testing.assert_close(plain(x).mask_logits, network(x).mask_logits, atol=1e-4, rtol=1e-3)
        torch.testing.assert_close(plain(x).class_logits, for_inference(network)(x).class_logits, atol=1e-4, rtol=1e-3)
