"""What a training step costs over a bare PyTorch loop: ``python benchmarks/training_step.py DATA [--steps 40] [--size 128]``.

Both loops take the same network, batches, augmentation and losses; the bare one makes a batch, then does forward, loss,
backward and step, and no more. A step is timed with the wait for its batch.
They take turns, so that a busy machine slows both. Then the job runs in processes of its own with and without huge pages.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import torch
from measuring import Finished

from napari_resformer.concurrency import prefetch
from napari_resformer.devices import choose_device, fast_precision
from napari_resformer.network import ResFormer
from napari_resformer.samples.folder import read_folder
from napari_resformer.samples.survey import iter_survey
from napari_resformer.training.distributed import ProcessGroup
from napari_resformer.training.learner import Learner
from napari_resformer.training.loader import Batch, PlaneReader, epoch_batches
from napari_resformer.training.losses import MultiTaskLoss, class_weights
from napari_resformer.training.plan import TrainPlan, make_plan
from napari_resformer.training.settings import TrainSettings


def main() -> None:
    """Print milliseconds a step of each, and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--size", type=int, default=TrainSettings().crop_size)
    parser.add_argument("--batch", type=int, default=TrainSettings().batch_size)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--job-only", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    *_, survey = iter_survey(samples := read_folder(options.data))
    assert isinstance(survey, Finished)
    plan = make_plan(samples, survey.result, TrainSettings(crop_size=options.size, batch_size=options.batch), name="step")
    loops = {"job": job(plan, options.device)}
    if not options.job_only:
        loops["bare"] = bare(plan, options.device)
    times: dict[str, list[float]] = {name: [] for name in loops}
    for _ in range(options.steps):
        for name, loop in loops.items():
            times[name].append(next(loop))
    cost = {name: statistics.median(values[3:]) for name, values in times.items()}
    print("  ".join(f"{name} {1000 * value:.1f} ms" for name, value in cost.items()), flush=True)
    if options.job_only:
        return
    print(f"ratio {cost['job'] / cost['bare']:.3f} (goal 1.10)", flush=True)
    for value in ("0", "1"):
        environment = os.environ | {"THP_MEM_ALLOC_ENABLE": value}
        numbers = [f"--{name}={getattr(options, name)}" for name in ("steps", "size", "batch", "device")]
        command = [sys.executable, __file__, str(options.data), *numbers]
        print(f"huge pages {'on ' if value == '1' else 'off'}: ", end="", flush=True)
        subprocess.run([*command, "--job-only"], env=environment, check=True)


def batches(plan: TrainPlan) -> Iterator[Batch]:
    reader = PlaneReader(plan.card.preprocessor)
    for epoch in range(1, 10**6):
        yield from epoch_batches(plan.training, reader, plan.settings, epoch)


def job(plan: TrainPlan, device: str) -> Iterator[float]:
    """Yield the seconds of each step as the training job takes it, with average, metrics and schedule."""
    chosen = choose_device(device).name
    learner = Learner(ProcessGroup.launch(chosen, fast_precision(chosen)), plan, None)
    drawn = prefetch(batches(plan), waiting=2)
    for number in count(1):
        begin = time.perf_counter()
        learner.learn(next(drawn), 1, number)
        yield time.perf_counter() - begin


def bare(plan: TrainPlan, device: str) -> Iterator[float]:
    """Yield the seconds of each step of a plain loop."""
    name = choose_device(device).name
    precision = fast_precision(name)
    dtype = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}.get(precision)
    network = ResFormer(plan.card.network).to(name, memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3, weight_decay=1e-2)
    criterion = MultiTaskLoss(
        plan.settings.class_loss_weight, class_weights(plan.class_counts, plan.settings.balance), plan.settings.label_smoothing
    ).to(name)
    drawn = batches(plan)
    while True:
        begin = time.perf_counter()
        batch = next(drawn).to(torch.device(name))
        with torch.autocast(name.partition(":")[0], dtype=dtype, enabled=dtype is not None):
            output = network(batch.images, batch.valid)
        output = type(output)(*(part.float() for part in output))
        loss = criterion(output, batch).total
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        float(loss.detach())
        yield time.perf_counter() - begin


if __name__ == "__main__":
    main()
