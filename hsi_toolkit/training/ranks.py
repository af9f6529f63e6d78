"""The processes of one training: one alone, or those that torchrun has started."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch import distributed as dist

from hsi_toolkit.errors import ParameterError
from hsi_toolkit.inference.devices import choose_device


@dataclass(frozen=True)
class Ranks:
    """This process among those of a training: its number, how many there are, and its device."""

    rank: int
    count: int
    device: torch.device

    @property
    def first(self) -> bool:
        """Whether this is the process that writes files."""
        return self.rank == 0

    def total(self, value: Tensor) -> Tensor:
        """The sum of ``value`` over all processes."""
        if self.count > 1:
            dist.all_reduce(value)
        return value

    def sum_gradients(self, network: nn.Module) -> None:
        """Give every parameter the sum of its gradients over all processes; none counts as zero."""
        if self.count == 1:
            return
        trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
        own = [torch.zeros_like(each) if each.grad is None else each.grad for each in trained]
        summed = torch.split(
            self.total(torch.cat([gradient.flatten() for gradient in own])), [each.numel() for each in own]
        )
        for parameter, gradient in zip(trained, summed, strict=True):
            parameter.grad = gradient.view_as(parameter)


ALONE = Ranks(0, 1, torch.device("cpu"))
"""One process on the processor."""


@contextmanager
def joined_ranks(device: str = "auto") -> Iterator[Ranks]:
    """Join the processes that torchrun has started, each with a CUDA device of its own or all on the CPU.

    torchrun says by the environment how many there are (WORLD_SIZE) and which this one is (RANK, LOCAL_RANK).
    Without it there is one.

    Raises:
        ParameterError: there is no such device.
    """
    count, chosen = int(os.environ.get("WORLD_SIZE", "1")), choose_device(device)
    if count == 1:
        yield Ranks(0, 1, chosen)
        return
    if chosen.type == "cuda":
        local = int(os.environ.get("LOCAL_RANK", "0"))
        if local >= torch.cuda.device_count():
            raise ParameterError(
                f"Process {local} of this machine has no CUDA device: there are {torch.cuda.device_count()}.",
                "Start as many processes as there are devices.",
            )
        chosen = torch.device("cuda", local)
        torch.cuda.set_device(chosen)
    dist.init_process_group("nccl" if chosen.type == "cuda" else "gloo")
    try:
        yield Ranks(dist.get_rank(), count, chosen)
    finally:
        dist.destroy_process_group()
