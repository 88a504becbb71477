"""One step of training and what it needs: the optimizer, its schedule, the moving average of the weights."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR
from torch.optim.swa_utils import get_ema_multi_avg_fn

from napari_resformer.network import ResFormer, ResFormerOutput
from napari_resformer.training.distributed import ProcessGroup
from napari_resformer.training.loader import Batch
from napari_resformer.training.losses import LossParts, MultiTaskLoss
from napari_resformer.training.settings import TrainSettings

_POLY_POWER = 0.9
_MAX_GRADIENT = 5.0


@dataclass
class TrainStep:
    """Forward, loss, backward and update: the training step of one process.

    Parameters
    ----------
    group : ProcessGroup
        The processes that train together.
    module : Module
        The network as Fabric wrapped it.
    optimizer : Optimizer
        As Fabric wrapped it.
    scheduler : LambdaLR
        Its learning rate.
    criterion : MultiTaskLoss
        What is minimised.
    seed : int
        Of dropout and stochastic depth.
    frozen : tuple of Module
        Parts that stay in eval mode.
    """

    group: ProcessGroup
    module: nn.Module
    optimizer: Any
    scheduler: LambdaLR
    criterion: MultiTaskLoss
    seed: int
    frozen: tuple[nn.Module, ...] = ()

    def take(self, batch: Batch, epoch: int, step: int) -> tuple[LossParts, ResFormerOutput]:
        """Take one step; its randomness depends on seed, epoch, step and process alone, and no global state changes.

        Raises
        ------
        ValueError
            If the gradients became NaN or infinite.
        """
        fabric = self.group.fabric
        seed = ((self.seed * 1_000_003 + epoch) * 1_000_003 + step) * 1_009 + self.group.rank
        with _forked(self.group.device):
            torch.manual_seed(seed % 2**63)
            self.module.train()
            for part in self.frozen:
                part.eval()
            output = self.module(batch.images, batch.valid)
            parts = self.criterion(output, batch)
            self.optimizer.zero_grad()
            fabric.backward(parts.total)
            norm = fabric.clip_gradients(self.module, self.optimizer, max_norm=_MAX_GRADIENT, error_if_nonfinite=False)
            # With a scaled loss (half precision), gradients that overflow are expected, and their step is left out.
            if not self.group.scales_loss and norm is not None and not math.isfinite(norm):  # the weights are still good
                raise diverged(epoch, step)
            self.optimizer.step()
        self.scheduler.step()
        return parts, output


def diverged(epoch: int, step: int) -> ValueError:
    """Return the error of a run whose loss or gradients became NaN or infinite."""
    return ValueError(
        f"the loss became NaN or infinite (epoch {epoch}, step {step}); train with a lower learning rate, or precision 32-true"
    )


@contextmanager
def _forked(device: torch.device) -> Iterator[None]:
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices):
        yield


def _schedule_factor(step: int, warmup: int, total: int) -> float:
    if step < warmup:
        return (step + 1) / warmup
    return max(1 - (step - warmup) / max(total - warmup, 1), 1e-3) ** _POLY_POWER


def make_optimizer(network: nn.Module, settings: TrainSettings, device: torch.device) -> AdamW:
    """Return AdamW with weight decay on matrices and kernels only; frozen parameters are left out.

    A pretrained trunk learns more slowly than the rest, which starts from nothing.

    Parameters
    ----------
    network : Module
        What is trained; its ``trunk_parameters()``, where it has them, are the pretrained ones.
    settings : TrainSettings
        Learning rate and weight decay.
    device : torch.device
        Where it will be trained; it may still be elsewhere.
    """
    pretrained_ones: Callable[[], Iterable[nn.Parameter]] = getattr(network, "trunk_parameters", tuple)
    trunk = {id(parameter) for parameter in pretrained_ones()}
    groups: list[dict[str, Any]] = []
    for lr, pretrained in ((settings.lr, False), (settings.lr * settings.trunk_lr_factor, True)):
        mine = [
            (name, parameter)
            for name, parameter in network.named_parameters()
            if parameter.requires_grad and (id(parameter) in trunk) is pretrained
        ]
        decays = [parameter for name, parameter in mine if parameter.ndim > 1 and "position_bias" not in name]
        others = [parameter for name, parameter in mine if parameter.ndim <= 1 or "position_bias" in name]
        groups.append({"params": decays, "weight_decay": settings.weight_decay, "lr": lr})
        groups.append({"params": others, "weight_decay": 0.0, "lr": lr})
    groups = [group for group in groups if group["params"]]
    # One kernel a step instead of ten for each of some 200 small tensors. On a GPU those are gathered into few anyway, and
    # Fabric cannot clip gradients of a fused optimizer in half precision.
    return AdamW(groups, lr=settings.lr, fused=device.type == "cpu")


def make_schedule(optimizer: Any, settings: TrainSettings, steps: int, done: int) -> LambdaLR:
    """Return the schedule of the learning rate: it rises over the warm-up and falls by a polynomial, as in the paper.

    Parameters
    ----------
    optimizer : Optimizer
        What to steer.
    settings : TrainSettings
        Epochs, warm-up and learning rate.
    steps, done : int
        Steps an epoch, and steps that a resumed run has behind it.
    """
    total = steps * settings.epochs
    warmup = max(round(settings.warmup * total), 1)
    for group in optimizer.param_groups:
        group.setdefault("initial_lr", group["lr"])
    return LambdaLR(optimizer, lambda step: _schedule_factor(step, warmup, total), last_epoch=done - 1)


def update_ema(decay: float, averages: list[Tensor], values: list[Tensor], updates: Tensor) -> None:
    """Update a moving average; the decay rises to ``decay`` over the first updates, so that a short run does not lag behind."""
    now = min(decay, (1 + int(updates)) / (10 + int(updates)))
    get_ema_multi_avg_fn(now)(averages, values, updates)


def freeze(network: ResFormer) -> tuple[nn.Module, ...]:
    """Keep the encoder as it is; return the parts that must stay in eval mode, so that their statistics stay too."""
    network.encoder.requires_grad_(False)
    return (network.encoder,)
