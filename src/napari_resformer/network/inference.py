"""A network made ready for inference: copied, batch norms folded into the convolutions before them, moved to a device."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from napari_resformer.network.layers import NormedConv
from napari_resformer.network.resformer import ResFormer


def for_inference(network: ResFormer, device: torch.device | str = "cpu") -> ResFormer:
    """Return an independent copy for inference: on ``device``, in eval mode, channels last, batch norms folded, no gradients.

    Parameters
    ----------
    network : ResFormer
        Left as it is.
    device : torch.device or str
        Where the copy goes.

    Returns
    -------
    ResFormer
        Differs from the given network by rounding only.
    """
    copied = copy.deepcopy(network).eval().requires_grad_(False)
    for block in [module for module in copied.modules() if isinstance(module, NormedConv)]:
        conv, norm = block[0], block[1]
        if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
            block[0] = fuse_conv_bn_eval(conv, norm)
            block[1] = nn.Identity()
    return copied.to(device=device, dtype=torch.float32, memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]


class PreparedNetwork:
    """A network on one device, ready to run tiles; never changes, and may be used by several threads.

    Parameters
    ----------
    network : ResFormer
        Copied; later changes to it have no effect here.
    device : torch.device or str
        Where to run.
    """

    def __init__(self, network: ResFormer, device: torch.device | str = "cpu") -> None:
        self.device = torch.device(device)
        self.network = for_inference(network, self.device)
        # A plane's class takes a few products of small matrices: on the CPU it does not wait for what an accelerator has queued.
        self._head = copy.deepcopy(network.head).eval().requires_grad_(False).to("cpu", torch.float32)

    def send(
        self, pixels: torch.Tensor, owned: torch.Tensor, origin: tuple[int, int] = (0, 0), crop: tuple[int, int] | None = None
    ) -> Answer:
        """Run tiles; on CUDA return at once, with the answer on its way into page-locked memory.

        Parameters
        ----------
        pixels, owned, origin
            As for :meth:`ResFormer.forward_tile`; on the CPU.
        crop : (int, int), optional
            Height and width of the logits to return, where the rest is padding.
        """
        with torch.inference_mode():
            x = pixels.to(self.device, non_blocking=True)
            output = self.network.forward_tile(x, owned.to(self.device, non_blocking=True), origin)
            height, width = crop or x.shape[2:]
            logits = output.mask_logits[..., :height, :width].float()
            if x.device.type != "cuda":
                return Answer(logits.cpu(), output.feature_sum.cpu(), output.cells.cpu())
            arrived = torch.cuda.Event()
            answer = Answer(_to_host(logits), _to_host(output.feature_sum), _to_host(output.cells), arrived)
            arrived.record(torch.cuda.current_stream(x.device))  # without a stream it records on the first device
            return answer

    def classify(self, features: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return class logits (image classes,) from a plane's mean class features (F,)."""
        with torch.inference_mode():
            logits: torch.Tensor = self._head(torch.from_numpy(features)[None].float())
            return logits[0].double().numpy()


@dataclass(frozen=True)
class Answer:
    """What a network says about some tiles; on CUDA perhaps still on its way."""

    logits: torch.Tensor
    features: torch.Tensor
    cells: torch.Tensor
    arrived: torch.cuda.Event | None = None

    def fetch(self) -> tuple[NDArray[np.float32], NDArray[np.float64], NDArray[np.float64]]:
        """Wait for it: mask logits (B, classes, H, W), and (B, F) sums of class features and of cells."""
        if self.arrived is not None:
            self.arrived.synchronize()
        return self.logits.numpy(), self.features.double().numpy(), self.cells.double().numpy()


def _to_host(part: torch.Tensor) -> torch.Tensor:
    target = torch.empty(part.shape, dtype=part.dtype, pin_memory=True)
    return target.copy_(part, non_blocking=True)
