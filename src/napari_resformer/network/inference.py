"""A network made ready for inference: copied, all that is fixed by its weights computed once, moved to a device."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from napari_resformer.network.layers import NormedConv, PaddedConv, RectifiedSum, WindowAttention
from napari_resformer.network.resformer import ResFormer


def for_inference(network: ResFormer, device: torch.device | str = "cpu") -> ResFormer:
    """Return an independent copy for inference: on ``device``, as :func:`folded` makes it, channels last.

    Parameters
    ----------
    network : ResFormer
        Left as it is.
    device : torch.device or str
        Where the copy goes. On the CPU its convolutions also take their activations in, where torch has the kernels.

    Returns
    -------
    ResFormer
        Differs from the given network by rounding only.
    """
    prepared = folded(network).to(device=device, dtype=torch.float32, memory_format=torch.channels_last)  # type: ignore[call-overload]
    if torch.device(device).type == "cpu" and has_fused_kernels():
        fuse_convolutions(prepared)
    return prepared  # type: ignore[no-any-return]


def folded(network: ResFormer) -> ResFormer:
    """Return a copy in eval mode without gradients, of plain layers that can be exported and compiled.

    Batch norms are folded into the convolutions before them, uneven padding into the kernels, the class head's norms into its
    sums, and the position bias of each attention is laid out.

    Parameters
    ----------
    network : ResFormer
        Left as it is.
    """
    copied = copy.deepcopy(network).eval().requires_grad_(False)
    for block in [module for module in copied.modules() if isinstance(module, NormedConv)]:
        if isinstance(block[0], PaddedConv):
            block[0] = block[0].settled()
        conv, norm = block[0], block[1]
        if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
            block[0] = fuse_conv_bn_eval(conv, norm)
            del block[1]
    for attention in [module for module in copied.modules() if isinstance(module, WindowAttention)]:
        attention.settle()
    norms = copied.head.norms
    for place, norm in enumerate(norms):
        if isinstance(norm, nn.BatchNorm2d):
            norms[place] = RectifiedSum(norm)
    return copied


def has_fused_kernels() -> bool:
    """Return whether this torch has convolutions that take their activation in (oneDNN's)."""
    return torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_convolution_pointwise")


class FusedConv(nn.Module):
    """A convolution and its activation in one pass over the map, by oneDNN.

    On a single thread torch itself gives 1x1 convolutions to a slower kernel, which writes its output twice.

    Parameters
    ----------
    conv : Conv2d
        Pads with zeros.
    activation : Module, optional
        ReLU or ReLU6.
    """

    def __init__(self, conv: nn.Conv2d, activation: nn.Module | None = None) -> None:
        super().__init__()
        self.weight, self.bias = conv.weight, conv.bias
        self._shape = conv.padding, conv.stride, conv.dilation, conv.groups
        self._activation: tuple[str, list[float]] = ("none", [])
        if isinstance(activation, nn.ReLU6):
            self._activation = "hardtanh", [0.0, 6.0]
        elif isinstance(activation, nn.ReLU):
            self._activation = "relu", []

    def forward(self, x: Tensor) -> Tensor:
        run = torch.ops.mkldnn._convolution_pointwise  # noqa: SLF001  (what torch.compile itself takes)
        return run(x, self.weight, self.bias, *self._shape, *self._activation, "")


def fuse_convolutions(module: nn.Module) -> None:
    """Replace the convolutions of a network in eval mode, in place, wherever they are.

    Parameters
    ----------
    module : Module
        On the CPU. In a Sequential, a ReLU or ReLU6 right after a convolution is taken in.
    """
    for block in [part for part in module.modules() if isinstance(part, nn.Sequential)]:
        for place in reversed(range(len(block) - 1)):
            conv, activation = block[place], block[place + 1]
            if _fusible(conv) and isinstance(activation, nn.ReLU | nn.ReLU6):
                block[place] = FusedConv(conv, activation)  # type: ignore[arg-type]
                del block[place + 1]
    for parent in list(module.modules()):
        for name, child in list(parent.named_children()):
            if _fusible(child):
                setattr(parent, name, FusedConv(child))  # type: ignore[arg-type]


def _fusible(module: nn.Module) -> bool:
    return type(module) is nn.Conv2d and module.padding_mode == "zeros" and not isinstance(module.padding, str)


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
