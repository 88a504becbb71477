"""Which device a job runs on, and why."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

NumberFormat = Literal["32-true", "bf16-mixed", "16-mixed"]
"""How numbers are held while training, by Fabric's names."""

DEVICES = ("auto", "cpu", "cuda", "mps")

_NO_MEMORY = ("out of memory", "can't allocate memory", "not enough memory", "unable to allocate")


@dataclass(frozen=True)
class Device:
    """A device by torch's name, and why it was chosen, in words."""

    name: str
    reason: str


def choose_device(wanted: str = "auto") -> Device:
    """Choose the device of a job; loads torch.

    Parameters
    ----------
    wanted : str
        ``auto`` for the accelerator that torch finds, else the CPU; or a torch device such as ``cpu``, ``cuda``,
        ``cuda:1`` or ``mps``.

    Raises
    ------
    ValueError
        If the device is unknown or not there.
    """
    import torch

    found = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    usable = found is not None and found.type in {"cuda", "mps"}
    there = f"this machine has the CPU and {found.type}" if usable and found else "this machine has the CPU only"
    if wanted == "auto":
        if usable and found:
            return Device(found.type, "GPU found")
        return Device("cpu", "PyTorch found no GPU")
    kind, _, number = wanted.partition(":")
    if kind not in DEVICES or kind == "auto" or (number and not number.isdigit()):
        raise ValueError(f"unknown device {wanted!r}; choose auto, cpu, cuda, cuda:N or mps")
    if kind != "cpu" and (not usable or found is None or kind != found.type):
        raise ValueError(f"device {wanted} is not available: {there}; choose auto or cpu")
    if kind == "cuda" and number and int(number) >= torch.cuda.device_count():
        raise ValueError(f"device {wanted} is not available: there are {torch.cuda.device_count()} CUDA devices")
    return Device(wanted, "your choice")


def free_memory(device: str) -> int | None:
    """Return how many bytes a device has free; None where the system does not say. Loads torch.

    Parameters
    ----------
    device : str
        A torch device, as in :attr:`Device.name`.
    """
    if device.startswith("cuda"):
        import torch

        return int(torch.cuda.mem_get_info(device)[0])
    if device != "cpu":
        return None
    import psutil

    return int(psutil.virtual_memory().available)


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error says that memory was short, which smaller tiles can mend."""
    text = str(error).casefold()
    return isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and any(words in text for words in _NO_MEMORY))


def fast_precision(device: str) -> NumberFormat:
    """Return the number format in which a device trains fastest without loss, by Fabric's name; loads torch.

    Parameters
    ----------
    device : str
        A torch device, as in :attr:`Device.name`.
    """
    import torch

    kind = device.partition(":")[0]
    if kind == "cuda":
        return "bf16-mixed" if torch.cuda.is_bf16_supported(including_emulation=False) else "16-mixed"
    if kind == "cpu":
        capabilities = torch.cpu.get_capabilities()
        return "bf16-mixed" if capabilities.get("avx512_bf16") or capabilities.get("amx_bf16") else "32-true"
    return "32-true"
