"""On an accelerator: the same answers as on the CPU, from several threads at once, also for the largest preset."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import Tensor

from napari_resformer.devices import choose_device
from napari_resformer.network import PreparedNetwork, ResFormer, ResFormerConfig
from napari_resformer.network.inference import Answer

pytestmark = pytest.mark.gpu


def made(preset: str) -> ResFormer:
    """Return a network with statistics as after a training."""
    torch.manual_seed(0)
    network = ResFormer(ResFormerConfig.preset(preset, mask_classes=2, image_classes=3)).train()  # type: ignore[arg-type]
    with torch.no_grad():
        for _ in range(2):
            network(torch.randn(2, 3, 224, 224))
    return network.eval()


def answer(network: PreparedNetwork, plane: Tensor) -> Answer:
    return network.send(plane, torch.ones(plane.shape[0], 1, *plane.shape[2:]))


def check_alike(ours: Answer, theirs: Answer) -> None:
    """Convolutions on a GPU round their factors (TF32): a thousandth of the largest value, a few pixels on an edge."""
    (logits, features, cells), (expected, expected_features, expected_cells) = ours.fetch(), theirs.fetch()
    assert abs(logits - expected).max() < 2e-2 * abs(expected).max()
    assert (logits.argmax(1) != expected.argmax(1)).mean() < 5e-3
    assert abs(features - expected_features).max() < 2e-2 * abs(expected_features).max()
    assert (cells == expected_cells).all()


@pytest.mark.parametrize("preset", ["tiny", "pretrained", "small"])
def test_an_accelerator_agrees_with_the_cpu(preset: str) -> None:
    network, plane = made(preset), torch.randn(2, 3, 200, 264)
    check_alike(answer(PreparedNetwork(network, choose_device("auto").name), plane), answer(PreparedNetwork(network), plane))


def test_paper_runs_and_learns_at_512_pixels() -> None:
    device = choose_device("auto").name
    network, plane = made("paper"), torch.randn(1, 3, 512, 512)
    check_alike(answer(PreparedNetwork(network, device), plane), answer(PreparedNetwork(network), plane))
    network = network.train().to(device)
    output = network(torch.randn(2, 3, 512, 512, device=device))
    (output.mask_logits.square().mean() + output.class_logits.square().mean()).backward()
    assert all(torch.isfinite(parameter.grad).all() for parameter in network.parameters() if parameter.grad is not None)
    assert network.encoder.stem[0].weight.grad.any()


def test_two_streams_do_not_disturb_each_other() -> None:
    device = choose_device("auto").name
    if not device.startswith("cuda"):
        pytest.skip("streams are CUDA's")
    network = PreparedNetwork(made("pretrained"), device)
    planes = [torch.randn(2, 3, 256, 256).pin_memory() for _ in range(2)]
    alone = [answer(network, plane).fetch()[0].copy() for plane in planes]

    def many(number: int) -> bool:
        with torch.cuda.stream(torch.cuda.Stream(device)):
            found = [answer(network, planes[number]) for _ in range(20)]
            return all(abs(one.fetch()[0] - alone[number]).max() < 1e-3 * abs(alone[number]).max() for one in found)

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(many, range(2))) == [True, True]
    assert abs(alone[0] - alone[1]).max() > 0.1 * abs(alone[0]).max()  # the planes do differ
