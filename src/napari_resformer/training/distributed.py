"""The processes that train together: one, unless the command line asked for more devices or nodes."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from datetime import timedelta
from typing import Any, TypeVar

import torch
from lightning_fabric import Fabric
from lightning_fabric.strategies.ddp import DDPStrategy
from torch import distributed, nn

from napari_resformer.devices import NumberFormat
from napari_resformer.events import Progress

Item = TypeVar("Item")
Value = TypeVar("Value")
Event = TypeVar("Event")

_PARENT = "NAPARI_RESFORMER_PARENT"  # tells the further processes whose end is theirs
_TIMEOUT = timedelta(hours=6)  # processes wait for each other while one reads or writes


class ProcessGroup:
    """The processes that train together, as one of them sees it.

    All run the same job and yield the same number of events, so that after each event all can agree to stop.

    Parameters
    ----------
    fabric : Fabric
        Launched, if there is more than one process.
    """

    def __init__(self, fabric: Fabric) -> None:
        self.fabric = fabric
        self.rank = fabric.global_rank
        self.size = fabric.world_size
        self.device: torch.device = fabric.device

    @classmethod
    def launch(cls, device: str, precision: NumberFormat, *, devices: int = 1, nodes: int = 1) -> ProcessGroup:
        """Start the processes, which run this very program once more each, and connect them.

        Parameters
        ----------
        device : str
            A torch device, as in :attr:`~napari_resformer.devices.Device.name`.
        precision : str
            By Fabric's name.
        devices, nodes : int
            Devices on each node, and nodes. On each further node the same command has to be started by a scheduler
            (Slurm, torchrun) that says in the environment which node it is.

        Raises
        ------
        ValueError
            If there are fewer devices.
        """
        kind, _, number = device.partition(":")
        if kind == "cuda" and devices > torch.cuda.device_count():
            raise ValueError(f"{devices} devices were asked for, this machine has {torch.cuda.device_count()}; ask for fewer")
        if devices * nodes == 1:
            return cls(Fabric(accelerator=kind, devices=[int(number)] if number and kind == "cuda" else 1, precision=precision))
        backend = "nccl" if kind == "cuda" else "gloo"
        strategy = DDPStrategy(process_group_backend=backend, timeout=_TIMEOUT)
        fabric = Fabric(accelerator=kind, devices=devices, num_nodes=nodes, precision=precision, strategy=strategy)
        if os.environ.get("LOCAL_RANK", "0") == "0":
            os.environ[_PARENT] = str(os.getpid())
        else:  # before the processes meet: the first may end while this one still waits for it
            _follow_the_first(int(os.environ.get(_PARENT, os.getppid())))
        fabric.launch()
        return cls(fabric)

    @property
    def is_first(self) -> bool:
        """Whether this process is the one that yields events and writes files."""
        return self.rank == 0

    @property
    def scales_loss(self) -> bool:
        """Whether the loss is scaled, as half precision needs."""
        return getattr(self.fabric.strategy.precision, "scaler", None) is not None

    def prepare(self, network: nn.Module) -> nn.Module:
        """Make batch norms take their statistics over all processes, where the device can."""
        return nn.SyncBatchNorm.convert_sync_batchnorm(network) if self.size > 1 and self.device.type == "cuda" else network

    def in_step(self, job: Iterator[Event]) -> Iterator[Event]:
        """Hand the events of a job on in the first process; all stop together when that one is closed."""
        try:
            for event in job:
                if self.is_first:
                    try:
                        yield event
                    except GeneratorExit:
                        self._agree(True)
                        raise
                if self._agree(False):
                    return
        finally:
            job.close()  # type: ignore[attr-defined]
            if self.size > 1 and distributed.is_initialized():
                distributed.destroy_process_group()

    def map(self, function: Callable[[Item], Value], items: Sequence[Item], unit: str) -> Generator[Progress, None, list[Value]]:
        """Apply a function to each item, shared out among the processes; return all results in the items' order.

        Parameters
        ----------
        function : callable
            Takes an item; what it returns must be picklable where there are several processes.
        items : sequence
            All of them, the same in each process.
        unit : str
            What to call an item in the progress.

        Yields
        ------
        Progress
            After each round of items.
        """
        own = items[self.rank :: self.size]
        values = []
        for number in range(-(-len(items) // self.size)):  # as many rounds, and events, in each process
            if number < len(own):
                values.append(function(own[number]))
            yield Progress(min((number + 1) * self.size, len(items)), len(items), unit)
        return self.gather(values)

    def gather(self, values: Sequence[Value]) -> list[Value]:
        """Return the values of all processes in the order of the items: the first of each, the second of each, and so on."""
        if self.size == 1:
            return list(values)
        parts: list[Any] = [None] * self.size
        distributed.all_gather_object(parts, list(values))
        rounds = max(map(len, parts), default=0)
        return [part[place] for place in range(rounds) for part in parts if place < len(part)]

    def first(self, function: Callable[[], Value]) -> Value:
        """Let the first process do something, and all have its result or its error."""
        if self.size == 1:
            return function()
        outcome: list[Any] = [None, None]
        if self.is_first:
            try:
                outcome[0] = function()
            except (ValueError, OSError) as error:
                outcome[1] = error
        distributed.broadcast_object_list(outcome, src=0)
        if outcome[1] is not None:
            raise outcome[1]
        return outcome[0]

    @contextmanager
    def entered_by_first(self, context: AbstractContextManager[Any]) -> Iterator[None]:
        """Let the first process enter a context, and all have its error if it cannot."""
        with ExitStack() as stack:

            def enter() -> None:
                stack.enter_context(context)

            self.first(enter)
            yield

    def share_statistics(self, network: nn.Module) -> None:
        """Give all processes the running statistics of the first: each has seen other crops."""
        if self.size > 1:
            for buffer in network.buffers():
                distributed.broadcast(buffer, src=0)

    def _agree(self, stop: bool) -> bool:
        if self.size == 1:
            return stop
        flag = torch.tensor(int(stop), device=self.device)
        distributed.all_reduce(flag, op=distributed.ReduceOp.MAX)
        return bool(flag)


def _follow_the_first(parent: int) -> None:
    """Leave Ctrl-C to the first process, which tells the others; and end with the one that started this, should it be killed."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.SIG_IGN)

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, name="resformer-parent-watch", daemon=True).start()
