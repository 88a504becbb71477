"""One training loop for networks of any kind: the trainer's batches, loss, optimizer, schedule and average of the weights."""

from __future__ import annotations

import copy
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from peers import ready
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.swa_utils import AveragedModel

from napari_resformer.concurrency import prefetch
from napari_resformer.devices import choose_device, fast_precision
from napari_resformer.model.file import stored_weights
from napari_resformer.network import PreparedNetwork, ResFormer
from napari_resformer.network.config import BACKGROUND
from napari_resformer.network.inference import Answer
from napari_resformer.training.distributed import ProcessGroup
from napari_resformer.training.loader import Batch, PlaneReader, epoch_batches, steps_per_epoch
from napari_resformer.training.losses import MultiTaskLoss, class_weights
from napari_resformer.training.optim import TrainStep, make_optimizer, make_schedule, update_ema
from napari_resformer.training.plan import TrainPlan

STRIDE = 32
"""Pixels; the sides of what a peer is given are multiples of it."""


@dataclass(frozen=True)
class Learned:
    """A network after its training, with the weights as a model file would hold them.

    Parameters
    ----------
    network : Module
        In eval mode, on the CPU.
    seconds : float
        Of the processor, so that a busy machine does not count; on an accelerator those of the clock.
    losses : tuple of float
        Mean loss of each epoch.
    """

    network: nn.Module
    seconds: float
    losses: tuple[float, ...]


def learn(network: nn.Module, plan: TrainPlan, *, mask: bool = True, device: str = "cpu") -> Learned:
    """Train a network on the training samples of a plan, for as many epochs as its settings say.

    Parameters
    ----------
    network : Module
        Freshly made; ``forward(x, valid)`` returns a ResFormerOutput. It is changed.
    plan : TrainPlan
        What to learn from, and how.
    mask : bool
        Whether the masks are learned; the images are drawn as if they were.
    device : str
        Where to train.
    """
    settings = plan.settings
    chosen = choose_device(device).name
    precision = fast_precision(chosen) if settings.precision == "auto" else settings.precision
    group = ProcessGroup.launch(chosen, precision)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    fresh = copy.deepcopy(network).eval()
    average = AveragedModel(network, multi_avg_fn=partial(update_ema, settings.ema_decay), use_buffers=True, device=group.device)
    steps = steps_per_epoch(len(plan.training.samples), settings.batch_size)
    module, optimizer = group.fabric.setup(network, make_optimizer(network, settings, group.device))
    weights = class_weights(plan.class_counts, settings.balance)
    criterion = MultiTaskLoss(settings.class_loss_weight, weights, settings.label_smoothing).to(group.device)
    step = TrainStep(group, module, optimizer, make_schedule(optimizer, settings, steps, done=0), criterion, settings.seed)
    reader = PlaneReader(plan.card.preprocessor)
    begin, losses = _now(chosen), []
    for epoch in range(1, settings.epochs + 1):
        total = 0.0
        with closing(prefetch(_batches(plan, reader, epoch, mask=mask), waiting=2)) as batches:
            for number, batch in enumerate(batches, start=1):
                parts, _ = step.take(batch.to(group.device), epoch, number)
                average.update_parameters(network)
                total += float(parts.total.detach())
        losses.append(total / steps)
        print(f"\repoch {epoch}/{settings.epochs}  loss {losses[-1]:.4f}  ", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    seconds = _now(chosen) - begin
    fresh.load_state_dict(_averaged(average.module, fresh))
    return Learned(fresh, seconds, tuple(losses))


def _batches(plan: TrainPlan, reader: PlaneReader, epoch: int, *, mask: bool) -> Iterator[Batch]:
    for batch in epoch_batches(plan.training, reader, plan.settings, epoch):
        yield batch if mask else replace(batch, has_mask=torch.zeros_like(batch.has_mask))


def _averaged(average: Any, fresh: nn.Module) -> dict[str, Tensor]:
    """Return averaged weights as a file would hold them; whole numbers, such as places in a window, have no average."""
    state = stored_weights(average)
    return {name: state[name] if tensor.is_floating_point() else tensor for name, tensor in fresh.state_dict().items()}


def _now(device: str) -> float:
    return time.process_time() if device == "cpu" else time.perf_counter()


class PreparedPeer:
    """Runs any network where the package runs its own, so that both are judged by the same code.

    The package adds up class features over the tiles of a plane and then classifies their mean. Here class logits take the
    features' place: the same for a plane in one pass, and no more than a stand-in for one in tiles.
    """

    def __init__(self, network: nn.Module, device: torch.device | str = "cpu") -> None:
        self.device = torch.device(device)
        self.network = ready(network, self.device)

    def send(
        self, pixels: Tensor, owned: Tensor, origin: tuple[int, int] = (0, 0), crop: tuple[int, int] | None = None
    ) -> Answer:
        """Run planes or tiles; see :meth:`PreparedNetwork.send`."""
        height, width = crop or pixels.shape[2:]
        fill = (0, -pixels.shape[3] % STRIDE, 0, -pixels.shape[2] % STRIDE)
        with torch.inference_mode():
            x = functional.pad(pixels.to(self.device), fill, value=BACKGROUND)
            output = self.network(x, functional.pad(owned.to(self.device), fill))
            logits = output.mask_logits[..., :height, :width].float().contiguous().cpu()
            classes = output.class_logits.float().cpu()
        return Answer(logits, classes, torch.ones_like(classes))

    def classify(self, features: Any) -> Any:
        """Return the logits, which they are already."""
        return features


def prepared(network: nn.Module) -> PreparedNetwork | PreparedPeer:
    """Return a network ready to judge planes on the CPU."""
    return PreparedNetwork(network) if isinstance(network, ResFormer) else PreparedPeer(network)


def inference_ms(network: nn.Module, channels: int, side: int = 256, repeats: int = 15) -> float:
    """Return how long one plane takes on one thread: the least of some runs, in milliseconds of the processor.

    Parameters
    ----------
    network : Module
        Is prepared for it.
    channels, side : int
        Of the plane.
    repeats : int
        How many runs.
    """
    module, threads = prepared(network).network, torch.get_num_threads()
    x = torch.randn(1, channels, side, side).contiguous(memory_format=torch.channels_last)
    torch.set_num_threads(1)
    try:
        least = float("inf")
        with torch.inference_mode():
            for _ in range(repeats + 2):
                begin = time.process_time()
                module(x, None)
                least = min(least, time.process_time() - begin)
    finally:
        torch.set_num_threads(threads)
    return 1000 * least
