"""Pretrained trunks: the function is the one that was trained, whatever the channels, and a wrong file is refused."""

from __future__ import annotations

import hashlib
import http.server
import importlib.util
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from napari_resformer.network import ResFormer, ResFormerConfig, load_trunk, start_from_trunk
from napari_resformer.network.trunk import IMAGENET_DEVIATION, IMAGENET_MEAN, download_resnet34

ROOT = Path(__file__).parents[2]
STAGES = [(3, 1, 16, 1), (3, 6, 24, 2), (5, 6, 40, 2), (3, 6, 80, 3), (5, 6, 112, 3), (5, 6, 192, 4), (3, 6, 320, 1)]
STRIDES = [1, 2, 2, 2, 1, 2, 1]
"""Kernel, expansion, width, repeats and stride of EfficientNet-Lite0's stages, table 1 of arXiv 1905.11946."""


@pytest.fixture(scope="module")
def recipe() -> ModuleType:
    spec = importlib.util.spec_from_file_location("trunk_recipe", ROOT / "recipes" / "trunk.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def pretrained() -> ResFormer:
    torch.manual_seed(0)
    network = ResFormer(ResFormerConfig.preset("pretrained", image_classes=2))
    start_from_trunk(network)
    return network.eval()


def test_the_bundled_trunk_is_what_its_recipe_makes(recipe) -> None:
    content = recipe.RESULT.read_bytes()
    assert hashlib.sha256(content).hexdigest() == recipe.RESULT_SHA256
    assert len(content) < 7e6


def test_the_source_and_our_network_are_one_function(recipe) -> None:
    """A file of the source's names and shapes, run as the source does, against the network that the recipe makes of it."""
    torch.manual_seed(0)
    source = made_lite0()
    network = ResFormer(ResFormerConfig.preset("pretrained")).eval()
    network.load_state_dict(recipe.convert(source), strict=False)
    pixels = torch.rand(1, 3, 96, 64) * 255
    with torch.inference_mode():
        ours = network.encoder(pixels / 127.5 - 1, (0, 0))
        theirs = run_lite0(source, (pixels - 127) / 128)
    assert [tuple(level.shape[1:]) for level in ours] == [(16, 48, 32), (24, 24, 16), (40, 12, 8), (112, 6, 4), (320, 3, 2)]
    for level, expected in zip(ours, theirs, strict=True):
        torch.testing.assert_close(level, expected, atol=0.02 * float(expected.std()), rtol=1e-3)


def test_a_new_network_gives_just_the_maps_of_the_plain_trunk(pretrained: ResFormer) -> None:
    plain = ResFormer(ResFormerConfig.preset("pretrained", transformer=False, dfe=False))
    start_from_trunk(plain)
    plane = torch.rand(2, 3, 130, 70) * 2 - 1
    plane = F.pad(plane, (0, -70 % 32, 0, -130 % 32))
    with torch.inference_mode():
        ours, theirs = pretrained.encoder(plane, (0, 0)), plain.eval().encoder(plane, (0, 0))
        for mine, other, enhance in zip(ours, theirs, pretrained.enhance, strict=True):
            assert torch.equal(mine, other)
            assert torch.equal(enhance(mine), other)


def test_the_trunk_sees_more_than_noise(pretrained: ResFormer) -> None:
    """Real filters answer to structure: half of a photograph and its noise-free mirror image look alike, noise does not."""
    from skimage.data import astronaut

    photo = torch.tensor(astronaut()[::2, ::2], dtype=torch.float32).permute(2, 0, 1)[None] / 127.5 - 1
    noise = photo.flatten(2)[:, :, torch.randperm(256 * 256)].view_as(photo)
    with torch.inference_mode():
        one, mirrored, other = (
            pretrained.encoder(plane, (0, 0))[-1].mean((2, 3)).flatten() for plane in (photo, photo.flip(3), noise)
        )
    assert F.cosine_similarity(one, mirrored, dim=0) > 0.9 > F.cosine_similarity(one, other, dim=0) + 0.2


@pytest.mark.parametrize("channels", [1, 2, 5])
def test_a_gray_image_means_the_same_in_any_number_of_channels(pretrained: ResFormer, channels: int) -> None:
    network = ResFormer(ResFormerConfig.preset("pretrained", in_channels=channels))
    start_from_trunk(network)
    gray = torch.rand(1, 1, 64, 96) * 2 - 1
    with torch.inference_mode():
        colour = pretrained.encoder(gray.repeat(1, 3, 1, 1), (0, 0))
        ours = network.eval().encoder(gray.repeat(1, channels, 1, 1), (0, 0))
    for level, expected in zip(ours, colour, strict=True):
        torch.testing.assert_close(level, expected, atol=1e-3 * float(expected.abs().max()), rtol=1e-3)


def test_trunk_parameters_are_the_pretrained_ones(pretrained: ResFormer) -> None:
    slow = {id(parameter) for parameter in pretrained.trunk_parameters()}
    names = {name for name, parameter in pretrained.named_parameters() if id(parameter) in slow}
    assert names == load_trunk(pretrained.config).keys() & dict(pretrained.named_parameters()).keys()
    assert 2.9e6 < sum(parameter.numel() for parameter in pretrained.trunk_parameters()) < 3.1e6
    assert list(ResFormer(ResFormerConfig.preset("tiny")).trunk_parameters()) == []


def test_what_does_not_fit_the_trunk_is_refused() -> None:
    with pytest.raises(ValueError, match="name a trunk"):
        start_from_trunk(ResFormer(ResFormerConfig.preset("tiny")))
    wider = ResFormer(ResFormerConfig.preset("pretrained", stem_width=48))
    before = {name: tensor.clone() for name, tensor in wider.state_dict().items()}
    with pytest.raises(ValueError, match=r"do not fit this network .*encoder"):
        start_from_trunk(wider)
    assert all(torch.equal(tensor, before[name]) for name, tensor in wider.state_dict().items())
    with pytest.raises(ValueError, match="do not fit"):
        start_from_trunk(ResFormer(ResFormerConfig.preset("pretrained", norm="layer")))


def test_a_cut_file_is_refused(recipe, tmp_path: Path) -> None:
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(recipe.RESULT.read_bytes()[:100_000])
    with pytest.raises(ValueError, match=r"cut\.safetensors is no complete"):
        load_trunk(ResFormerConfig.preset("pretrained"), cut)


# ------------------------------------------------------------------------------------------------------------- ResNet-34


@pytest.fixture(scope="module")
def resnet34() -> dict[str, Tensor]:
    """A state dict with the names and shapes that torchvision's ResNet-34 has."""
    torch.manual_seed(0)
    state = {"conv1.weight": torch.randn(64, 3, 7, 7) * 0.1, **made_norm("bn1", 64)}
    before = 64
    for stage, (width, depth) in enumerate([(64, 3), (128, 4), (256, 6), (512, 3)], start=1):
        for block in range(depth):
            name = f"layer{stage}.{block}"
            state |= {f"{name}.conv1.weight": torch.randn(width, before, 3, 3) * 0.02, **made_norm(f"{name}.bn1", width)}
            state |= {f"{name}.conv2.weight": torch.randn(width, width, 3, 3) * 0.02, **made_norm(f"{name}.bn2", width)}
            if before != width:
                state[f"{name}.downsample.0.weight"] = torch.randn(width, before, 1, 1) * 0.1
                state |= made_norm(f"{name}.downsample.1", width)
            before = width
    return state | {"fc.weight": torch.randn(1000, 512), "fc.bias": torch.randn(1000)}


@pytest.fixture(scope="module")
def resnet34_file(resnet34, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("resnet34") / "resnet34.pth"
    torch.save(resnet34, path)
    return path


def test_paper_starts_from_resnet34(resnet34, resnet34_file: Path) -> None:
    """The first maps are those of the state dict on planes normalised as ImageNet is, away from the border."""
    network = ResFormer(ResFormerConfig.preset("paper", trunk="resnet34", zero_start=True, transformer=False, dfe=False)).eval()
    start_from_trunk(network, resnet34_file)
    fractions = torch.rand(1, 3, 64, 64)
    mean, deviation = (torch.tensor(values)[:, None, None] for values in (IMAGENET_MEAN, IMAGENET_DEVIATION))
    with torch.inference_mode():
        ours = network.encoder.pool(network.encoder.stem(fractions * 2 - 1))
        x = F.conv2d((fractions - mean) / deviation, resnet34["conv1.weight"], padding=3)
        x = F.max_pool2d(F.relu(norm(resnet34, "bn1", x, 1e-5)), 3, 2, 1)
        torch.testing.assert_close(ours[..., 2:-2, 2:-2], x[..., 2:-2, 2:-2], atol=1e-4, rtol=1e-4)
        for level, depth in enumerate((3, 4, 6, 3)):
            ours = network.encoder.levels[level].conv(x)
            for block in range(depth):
                x = run_basic_block(resnet34, f"layer{level + 1}.{block}", x, 2 if level and not block else 1)
            torch.testing.assert_close(ours, x, atol=1e-4 * float(x.std()), rtol=1e-4)
    assert sum(parameter.numel() for parameter in network.trunk_parameters()) == 21_284_672


def test_paper_takes_every_tensor_of_resnet34(resnet34, resnet34_file: Path) -> None:
    config = ResFormerConfig.preset("paper", trunk="resnet34", in_channels=1)
    assert len(load_trunk(config, resnet34_file)) == len(
        [name for name in resnet34 if "fc." not in name and "batches" not in name]
    )
    network = ResFormer(config)
    start_from_trunk(network, resnet34_file)
    assert network.encoder.stem[0].weight.shape == (64, 1, 7, 7)


@pytest.mark.parametrize("what", ["text", "list", "other network", "nothing"])
def test_another_file_than_resnet34_is_refused(what: str, tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    if what == "text":
        path.write_text("no weights")
    else:
        content = {"list": [1, 2], "other network": {"layer1.0.conv3.bias": torch.ones(1)}, "nothing": {}}[what]
        torch.save(content, path)
    network = ResFormer(ResFormerConfig.preset("paper", trunk="resnet34"))
    with pytest.raises(ValueError, match=r"get the file again|give a state dict|give the state dict|do not fit"):
        start_from_trunk(network, path)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    folder = tmp_path / "served"
    folder.mkdir()
    (folder / "resnet34.pth").write_bytes(b"weights")

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder))) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()
        thread.join()


def test_a_download_is_checked_and_kept(server: str, tmp_path: Path) -> None:
    url, kept = f"{server}/resnet34.pth", tmp_path / "kept"
    with pytest.raises(ValueError, match="hash"):
        download_resnet34(url, "0" * 64, kept)
    assert not list(kept.glob("*.pth"))
    path = download_resnet34(url, hashlib.sha256(b"weights").hexdigest(), kept)
    assert path.read_bytes() == b"weights"
    assert download_resnet34("http://127.0.0.1:1/gone", hashlib.sha256(b"weights").hexdigest(), kept) == path


def test_a_download_that_fails_is_an_os_error(server: str, tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"404|missing"):
        download_resnet34(f"{server}/missing.pth", "0" * 64, tmp_path / "kept")


# ------------------------------------------------------------------------------------- the source networks, in few lines


def made_norm(name: str, width: int) -> dict[str, Tensor]:
    return {
        f"{name}.weight": torch.rand(width) + 0.5, f"{name}.bias": torch.randn(width) * 0.3,
        f"{name}.running_mean": torch.randn(width) * 0.1, f"{name}.running_var": torch.rand(width) + 0.5,
        f"{name}.num_batches_tracked": torch.tensor(7),
    }  # fmt: skip


def made_lite0() -> dict[str, Tensor]:
    """A state dict with the names and shapes of the source's file."""
    state = {"_conv_stem.weight": torch.randn(32, 3, 3, 3) * 0.2, **made_norm("_bn0", 32)}
    before, number = 32, 0
    for kernel, expansion, width, repeats in STAGES:
        for _ in range(repeats):
            name, hidden = f"_blocks.{number}", before * expansion
            if expansion > 1:
                state |= {f"{name}._expand_conv.weight": torch.randn(hidden, before, 1, 1) / before**0.5}
                state |= made_norm(f"{name}._bn0", hidden)
            state |= {f"{name}._depthwise_conv.weight": torch.randn(hidden, 1, kernel, kernel) / kernel}
            state |= made_norm(f"{name}._bn1", hidden)
            state |= {f"{name}._project_conv.weight": torch.randn(width, hidden, 1, 1) / hidden**0.5}
            state |= made_norm(f"{name}._bn2", width)
            before, number = width, number + 1
    state |= {"_conv_head.weight": torch.randn(1280, 320, 1, 1), **made_norm("_bn1", 1280)}
    return state | {"_fc.weight": torch.randn(1000, 1280), "_fc.bias": torch.randn(1000)}


def run_lite0(state: dict[str, Tensor], x: Tensor) -> list[Tensor]:
    """Return the map after the last block of each stride."""

    def conv(name: str, x: Tensor, stride: int = 1) -> Tensor:
        weight = state[f"{name}.weight"]
        around = weight.shape[2] - stride
        x = F.pad(x, (around // 2, around - around // 2) * 2)  # as TensorFlow pads maps of even sides
        return F.conv2d(x, weight, stride=stride, groups=x.shape[1] if weight.shape[1] == 1 else 1)

    x = F.relu6(norm(state, "_bn0", conv("_conv_stem", x, 2), 1e-3))
    maps, number = [], 0
    for (_, expansion, _, repeats), first in zip(STAGES, STRIDES, strict=True):
        if first == 2:
            maps.append(x)
        for block in range(repeats):
            name, stride, given = f"_blocks.{number}", 1 if block else first, x
            if expansion > 1:
                x = F.relu6(norm(state, f"{name}._bn0", conv(f"{name}._expand_conv", x), 1e-3))
            x = F.relu6(norm(state, f"{name}._bn1", conv(f"{name}._depthwise_conv", x, stride), 1e-3))
            x = norm(state, f"{name}._bn2", conv(f"{name}._project_conv", x), 1e-3)
            x = x + given if x.shape == given.shape else x
            number += 1
    return [*maps, x]


def run_basic_block(state: dict[str, Tensor], name: str, x: Tensor, stride: int) -> Tensor:
    y = F.relu(norm(state, f"{name}.bn1", F.conv2d(x, state[f"{name}.conv1.weight"], stride=stride, padding=1), 1e-5))
    y = norm(state, f"{name}.bn2", F.conv2d(y, state[f"{name}.conv2.weight"], padding=1), 1e-5)
    if f"{name}.downsample.0.weight" in state:
        x = norm(state, f"{name}.downsample.1", F.conv2d(x, state[f"{name}.downsample.0.weight"], stride=stride), 1e-5)
    return F.relu(x + y)


def norm(state: dict[str, Tensor], name: str, x: Tensor, eps: float) -> Tensor:
    parts = (state[f"{name}.{part}"] for part in ("running_mean", "running_var", "weight", "bias"))
    mean, variance, weight, bias = (part[:, None, None] for part in parts)
    return (x - mean) / (variance + eps).sqrt() * weight + bias
