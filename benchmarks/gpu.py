"""How fast the networks are on CUDA: ``python benchmarks/gpu.py [--networks pretrained,plain] [--side 4096] [--compile both]``.

The same figures as ``speed.py``: one plane of 256 and of 768 pixels, a large plane through the package's tiles, a training step,
peak memory; for each network as it is and compiled. The batch of the training step, and the batch and tile of the large plane,
are the largest that fit into the free memory. The first line names the card.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent / "accuracy"))

import numpy as np
import torch
from learning import PreparedPeer
from speed import contenders, latency_calls, least, model_of, show, step_calls
from torch import nn

import napari_resformer as nr
from napari_resformer.devices import fast_precision, free_memory, is_out_of_memory
from napari_resformer.network import PreparedNetwork, ResFormer

CROP = 160
TILES = (2048, 1024, 512)
SHARE = 0.6
"""Of the free memory; the rest is for what the allocator cannot use."""


def main() -> None:
    """Print a table of each figure, as it is and compiled."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", default=",".join(contenders()))
    parser.add_argument("--reference", default="pretrained")
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--side", type=int, default=4096)
    parser.add_argument("--compile", choices=("off", "on", "both"), default="both")
    parser.add_argument("--device", default="cuda", help="cpu tries the program out")
    options = parser.parse_args()
    device = options.device
    print(f"{card_name(device)}, torch {torch.__version__}, free {(free_memory(device) or 0) / 2**30:.1f} GiB, "
          f"training in {fast_precision(device)}")  # fmt: skip
    names = options.networks.split(",")
    for compiled in {"off": (False,), "on": (True,), "both": (False, True)}[options.compile]:
        print(f"--- {'compiled' if compiled else 'as it is'}")
        figures(names, device, options, compiled=compiled)


def figures(names: list[str], device: str, options: argparse.Namespace, *, compiled: bool) -> None:
    """Print the figures of all networks."""
    few = max(options.rounds // 5, 2)
    for side, rounds in ((256, options.rounds), (768, options.rounds)):
        networks = {name: contenders()[name]() for name in names}
        calls = waited(on_device(networks, side, device, compiled=compiled), device)
        show(f"{side} x {side} px, one plane", least(calls, rounds, time.perf_counter, warm=3), options.reference)
        del networks, calls
        emptied(device)
    large: dict[str, float] = {}
    for name in names:
        tile, seconds, peak = large_plane(contenders()[name](), options.side, few, device, compiled=compiled)
        large[name] = seconds
        print(f"  {name}: tile {tile} px, {options.side**2 / seconds / 1e6:.1f} Mpx/s, peak {peak / 2**20:.0f} MiB")
        emptied(device)
    show(f"{options.side} x {options.side} px through the package's tiles", large, options.reference)
    steps: dict[str, float] = {}
    for name in names:
        count, seconds, peak = training_step(contenders()[name], few, device, compiled=compiled)
        steps[name] = seconds / count
        print(f"  {name}: batch {count}, {1000 * seconds:.1f} ms a step, peak {peak / 2**20:.0f} MiB")
        emptied(device)
    show(f"training, one crop of {CROP} px", steps, options.reference)


def card_name(device: str) -> str:
    """Return what the device is called."""
    return torch.cuda.get_device_name(device) if device.startswith("cuda") else device


def waited(calls: Mapping[str, Callable[[], object]], device: str) -> dict[str, Callable[[], object]]:
    """Return calls that end when the device has done its work."""

    def wait_for(call: Callable[[], object]) -> Callable[[], object]:
        def whole() -> None:
            call()
            if device.startswith("cuda"):
                torch.cuda.synchronize(device)

        return whole

    return {name: wait_for(call) for name, call in calls.items()}


def emptied(device: str) -> None:
    """Give cached memory back and forget the peak and the compiled code of what came before."""
    torch.compiler.reset()
    if device.startswith("cuda"):
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)


def peak_memory(device: str) -> int:
    """Return the most bytes that tensors took since :func:`emptied`; 0 where the device does not say."""
    return torch.cuda.max_memory_allocated(device) if device.startswith("cuda") else 0


def runner_of(network: nn.Module, device: str, *, compiled: bool) -> Any:
    """Return a network prepared for the package's tiles, compiled or not."""
    runner: Any = PreparedNetwork(network, device) if isinstance(network, ResFormer) else PreparedPeer(network, device)
    if compiled and isinstance(network, ResFormer):
        runner.network.forward_tile = torch.compile(runner.network.forward_tile, dynamic=False)
    elif compiled:
        runner.network = torch.compile(runner.network, dynamic=False)
    return runner


def on_device(networks: Mapping[str, nn.Module], side: int, device: str, *, compiled: bool) -> dict[str, Callable[[], object]]:
    """Return a call of each network on a plane that is on the device already."""
    if device == "cpu" and not compiled:
        return latency_calls(networks, side)
    x = torch.randn(1, 3, side, side, device=device).contiguous(memory_format=torch.channels_last)
    owned = torch.ones(1, 1, side, side, device=device)

    def call_of(network: nn.Module) -> Callable[[], object]:
        runner = runner_of(network, device, compiled=compiled)
        run = runner.network.forward_tile if isinstance(network, ResFormer) else runner.network

        def call() -> None:
            with torch.inference_mode():
                run(x, owned)

        return call

    return {name: call_of(network) for name, network in networks.items()}


def large_plane(network: nn.Module, side: int, rounds: int, device: str, *, compiled: bool) -> tuple[int, float, int]:
    """Predict a large plane with the largest tile that fits; return the tile, the least seconds and the peak in bytes."""
    image = np.random.default_rng(0).integers(0, 255, (side, side, 3), dtype=np.uint8)
    model = model_of(network, device)
    model._prepared[device] = runner_of(network, device, compiled=compiled)
    predictor = nr.Predictor(model, device)
    for tile in TILES:
        emptied(device)
        free = free_memory(device)
        plan = predictor.plan(image, axes="YXC", tile=tile)
        if free is not None and plan.memory > SHARE * free and tile > TILES[-1]:
            continue
        try:
            found = least({"it": lambda plan=plan: predictor.predict(plan)}, rounds, time.perf_counter)  # type: ignore[misc]
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error) or tile == TILES[-1]:
                raise
        else:
            return tile, found["it"], peak_memory(device)
    raise AssertionError("the last tile is returned or raises")


def training_step(make: Callable[[], nn.Module], rounds: int, device: str, *, compiled: bool) -> tuple[int, float, int]:
    """Train with the largest batch up to 256 that fits; return it, the least seconds of a step and the peak in bytes."""
    dtype = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}.get(fast_precision(device))
    count = largest_batch(make, device, dtype)
    emptied(device)
    network = make()
    module: Any = torch.compile(network) if compiled else network
    calls = waited(step_calls({"it": module}, count, CROP, device, dtype), device)
    found = least(calls, rounds, time.perf_counter, warm=3)
    return count, found["it"], peak_memory(device)


def largest_batch(make: Callable[[], nn.Module], device: str, dtype: torch.dtype | None, most: int = 256) -> int:
    """Return the largest power of two of crops whose training step takes no more than a share of the free memory.

    Two steps, of two and of four crops, tell what a crop takes; on the CPU the least batch is taken.
    """
    free = free_memory(device)
    if not device.startswith("cuda") or free is None:
        return 2
    peaks = []
    for count in (2, 4):
        emptied(device)
        step_calls({"it": make()}, count, CROP, device, dtype)["it"]()
        peaks.append(peak_memory(device))
    a_crop = max((peaks[1] - peaks[0]) / 2, 1)
    fits = int((SHARE * free - peaks[0]) / a_crop) + 2
    return max(min(1 << (fits.bit_length() - 1), most), 2)


if __name__ == "__main__":
    main()
