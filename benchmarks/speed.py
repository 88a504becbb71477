"""How fast the networks are, on the CPU.

    python benchmarks/speed.py [--threads 2] [--networks pretrained,plain] [--side 2048] [--clock cpu]

Ours (tiny, pretrained, small, paper) against MONAI's BasicUNet, the trunk of ``pretrained`` with plain decoders, and ONNX Runtime
where ``onnx`` and ``onnxruntime`` are installed. Weights are random, apart from the trunk: they do not matter here. Contenders
take turns, so that a busy machine slows all; a figure is the least of the rounds. Beside milliseconds stands the ratio to the
reference. Memory is what a process of its own needs above what it held before, to predict a plane and to train a step.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")  # as the command line does; read when torch starts
sys.path.insert(0, str(Path(__file__).parent / "accuracy"))

import numpy as np
import torch
from cell import peak_mb
from learning import PreparedPeer, prepared
from peers import BasicUNetWithHead, TrunkUNet
from rows import ROWS
from torch import Tensor, nn

import napari_resformer as nr
from napari_resformer.model.card import Card
from napari_resformer.model.file import Model
from napari_resformer.network import ResFormer, ResFormerConfig
from napari_resformer.network.inference import folded
from napari_resformer.preprocessing.channels import COLOUR
from napari_resformer.training.loader import Batch
from napari_resformer.training.losses import MultiTaskLoss
from napari_resformer.training.optim import make_optimizer
from napari_resformer.training.settings import TrainSettings

MASKS, CLASSES = ("inner", "outer"), ("a", "b", "c")
Make = Callable[[], nn.Module]


def config(preset: str) -> ResFormerConfig:
    """Return a preset for what is predicted here."""
    return ResFormerConfig.preset(preset, mask_classes=len(MASKS), image_classes=len(CLASSES))  # type: ignore[arg-type]


def contenders() -> dict[str, Make]:
    """Return what makes each network, by its name."""
    made: dict[str, Make] = {
        name: lambda name=name: ResFormer(config(name))  # type: ignore[misc]
        for name in ("pretrained", "tiny", "small", "paper")
    }
    made["plain-small"] = lambda: ROWS["plain-small"].network(config("pretrained"), 0)
    made["plain"] = lambda: TrunkUNet(config("pretrained"))
    made["basic-unet"] = lambda: BasicUNetWithHead(config("pretrained"))
    return made


def main() -> None:
    """Print a table of each figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", default=",".join(contenders()))
    parser.add_argument("--reference", default="pretrained", help="what the ratios are to")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=15, help="for small planes; large ones and steps get a fifth")
    parser.add_argument("--side", type=int, default=2048, help="of the large plane")
    parser.add_argument("--clock", choices=("wall", "cpu"), default="wall", help="cpu: of the processor; for a busy machine")
    parser.add_argument("--skip", default="", help="of latency,throughput,step,memory")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    clock = time.perf_counter if options.clock == "wall" else time.process_time
    names, skipped = options.networks.split(","), options.skip.split(",")
    networks = {name: contenders()[name]() for name in names}
    print(f"torch {torch.__version__}, {options.threads} threads, {options.clock} clock, weights: " + ", ".join(
        f"{name} {sum(part.numel() for part in network.parameters()) / 1e6:.2f} M" for name, network in networks.items()
    ))  # fmt: skip
    few = max(options.rounds // 5, 2)
    if "latency" not in skipped:
        for side, rounds in ((256, options.rounds), (768, few)):
            show(f"{side} x {side} px, one plane", least(latency_calls(networks, side), rounds, clock), options.reference)
    if "throughput" not in skipped:
        found = least(throughput_calls(networks, options.side), few, clock)
        show(f"{options.side} x {options.side} px through the package's tiles", found, options.reference)
    if "step" not in skipped:
        show("training step, 4 crops of 160 px", least(step_calls(networks), few, clock), options.reference)
    if "memory" not in skipped:
        for name in names:
            with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
                predict, step = pool.submit(memory, name, options.side, options.threads).result()
            print(f"memory, {name:14} predict {_mb(predict)}, training step {_mb(step)}", flush=True)


def least(
    calls: Mapping[str, Callable[[], object]], rounds: int, clock: Callable[[], float], *, warm: int = 1
) -> dict[str, float]:
    """Return the least seconds of each call, taken in turns after some that do not count."""
    found = dict.fromkeys(calls, float("inf"))
    for number in range(rounds + warm):
        for name, call in calls.items():
            begin = clock()
            call()
            if number >= warm:
                found[name] = min(found[name], clock() - begin)
    return found


def show(what: str, seconds: Mapping[str, float], reference: str) -> None:
    """Print a line for each contender."""
    print(what)
    for name, value in seconds.items():
        ratio = f"  {value / seconds[reference]:6.3f} of {reference}" if reference in seconds else ""
        print(f"  {name:18} {1000 * value:9.1f} ms{ratio}", flush=True)


def latency_calls(networks: Mapping[str, nn.Module], side: int) -> dict[str, Callable[[], object]]:
    """Return a call of each network on one plane, with ONNX Runtime's among them where it is installed."""
    x = torch.randn(1, 3, side, side).contiguous(memory_format=torch.channels_last)
    calls: dict[str, Callable[[], object]] = {}
    for name, network in networks.items():
        calls[name] = _call(prepared(network).network, x)
        if isinstance(network, ResFormer) and name in {"pretrained", "tiny"} and (session := onnx_session(network, x)):
            calls[f"{name} (ONNX)"] = session
    return calls


def _call(module: nn.Module, x: Tensor) -> Callable[[], object]:
    def call() -> None:
        with torch.inference_mode():
            module(x, None)

    return call


class _BothAnswers(nn.Module):
    """Returns a plain pair, which the exporter understands."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        output = self.network(x)
        return output.mask_logits, output.class_logits


_told: set[str] = set()


def onnx_session(network: ResFormer, x: Tensor) -> Callable[[], object] | None:
    """Export a network at a fixed size; return a call of ONNX Runtime on it, None where that is not installed."""
    if missing := [name for name in ("onnx", "onnxruntime") if importlib.util.find_spec(name) is None]:
        if "onnx" not in _told:
            print(f"ONNX Runtime is left out: {' and '.join(missing)} not installed")
        _told.add("onnx")
        return None
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = torch.get_num_threads(), 1
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's, on constants that it folds
        path = Path(folder) / "network.onnx"
        module = _BothAnswers(folded(network))
        torch.onnx.export(module, (x,), str(path), input_names=["x"], opset_version=17, dynamo=False)
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    given = {"x": x.contiguous().numpy()}
    with torch.inference_mode():
        expected = module(x)[0]
    if (off := float(np.abs(session.run(None, given)[0] - expected.numpy()).max())) > 1e-2 * float(expected.abs().max()):
        raise AssertionError(f"ONNX Runtime answers otherwise, by up to {off}")
    return lambda: session.run(None, given)


def model_of(network: nn.Module, device: str = "cpu") -> Model:
    """Return a network as a model; one of another kind is run by the package's own tiling in place of ``pretrained``."""
    settled = network.config if isinstance(network, ResFormer) else config("pretrained")
    card = Card(name="speed", network=settled, mask_classes=MASKS, image_classes=CLASSES, channels=COLOUR)
    if isinstance(network, ResFormer):
        return Model(card, network.eval())
    model = Model(card, ResFormer(settled).eval())
    runner: Any = PreparedPeer(network, device)
    model._prepared[device] = runner
    return model


def throughput_calls(networks: Mapping[str, nn.Module], side: int, device: str = "cpu") -> dict[str, Callable[[], object]]:
    """Return a prediction of a large plane by each network."""
    image = np.random.default_rng(0).integers(0, 255, (side, side, 3), dtype=np.uint8)
    calls: dict[str, Callable[[], object]] = {}
    for name, network in networks.items():
        predictor = nr.Predictor(model_of(network, device), device)
        calls[name] = lambda predictor=predictor: predictor.predict(image, axes="YXC")  # type: ignore[misc]
    return calls


def made_batch(count: int, side: int) -> Batch:
    """Return crops of noise, all annotated."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(count, 3, side, side, generator=generator)
    return Batch(
        images=images.contiguous(memory_format=torch.channels_last),
        masks=torch.randint(0, len(MASKS) + 1, (count, side, side), generator=generator),
        has_mask=torch.ones(count, dtype=torch.bool),
        classes=torch.arange(count) % len(CLASSES),
        valid=torch.ones(count, 1, side, side),
    )


def step_calls(
    networks: Mapping[str, nn.Module], count: int = 4, side: int = 160, device: str = "cpu", dtype: torch.dtype | None = None
) -> dict[str, Callable[[], object]]:
    """Return a training step of each network, without the making of the batch."""
    batch, criterion = made_batch(count, side).to(torch.device(device)), MultiTaskLoss(1.0, torch.ones(len(CLASSES))).to(device)
    return {name: _step(network, batch, criterion, device, dtype) for name, network in networks.items()}


def _step(
    network: nn.Module, batch: Batch, criterion: MultiTaskLoss, device: str, dtype: torch.dtype | None
) -> Callable[[], object]:
    network = network.train().to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = make_optimizer(network, TrainSettings(), torch.device(device))

    def step() -> float:
        optimizer.zero_grad()
        with torch.autocast(device.partition(":")[0], dtype=dtype, enabled=dtype is not None):
            output = network(batch.images, batch.valid)
        loss = criterion(type(output)(*(part.float() for part in output)), batch).total
        loss.backward()
        optimizer.step()
        return float(loss.detach())

    return step


def memory(name: str, side: int, threads: int) -> tuple[float | None, float | None]:
    """Return the peak of a prediction and of a training step above what was held before; in a process of its own."""
    torch.set_num_threads(threads)
    network = contenders()[name]()
    found = []
    for call in (throughput_calls({name: network}, side)[name], step_calls({name: network})[name]):
        before = peak_mb(reset=True)
        call()
        after = peak_mb()
        found.append(None if before is None or after is None else after - before)
    return found[0], found[1]


def _mb(value: float | None) -> str:
    return "not told by this system" if value is None else f"{value:6.0f} MB"


if __name__ == "__main__":
    main()
