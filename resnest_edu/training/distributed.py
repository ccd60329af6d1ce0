"""Several processes that train one network, each on its own device, on one machine or many.

``torchrun`` starts the processes and tells each its place through the environment; without it there is one. Every
process holds the whole network, takes its share of each batch, and averages its gradients with the others'
(:class:`torch.nn.parallel.DistributedDataParallel`).
"""

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel


@dataclass(frozen=True)
class Group:
    """This process's place among those that train together.

    Attributes:
        rank: its number among all, from 0. Process 0 alone writes and prints.
        size: how many there are.
        local_rank: its number on its own machine, which is also that of its GPU.

    Example:
        >>> import torch
        >>> from resnest_edu.training.distributed import Group
        >>> second = Group(rank=1, size=4, local_rank=1)
        >>> second.share(torch.arange(10)).tolist(), second.share_of(10), second.writes
        ([1, 5, 9], 3, False)
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0

    @property
    def writes(self) -> bool:
        return self.rank == 0

    def share(self, indices: Tensor) -> Tensor:
        """This process's part of a batch: every ``size``-th, so that the parts differ by one image at most.

        Shape: (B, …) -> (B', …) with B' = ``share_of(B)``.
        """
        return indices[self.rank :: self.size]

    def share_of(self, count: int) -> int:
        """How many of a batch of ``count`` are this process's part."""
        return len(range(self.rank, count, self.size))

    def sum(self, values: Tensor) -> Tensor:
        """The sum over all processes, in place. Shape: any, the same in all processes.

        Example:
            >>> import torch
            >>> from resnest_edu.training.distributed import Group
            >>> Group().sum(torch.tensor([3.0]))  # alone: the values as they are
            tensor([3.])
        """
        if self.size > 1:
            dist.all_reduce(values)
        return values

    def copy_from_first(self, model: nn.Module) -> None:
        """Give the buffers of ``model`` (running statistics) the values that they have in process 0."""
        if self.size > 1:
            for buffer in model.buffers():
                dist.broadcast(buffer, src=0)

    def wrap(self, model: nn.Module, device: torch.device) -> nn.Module:
        """The network whose gradients are averaged over all processes."""
        if self.size == 1:
            return model
        return DistributedDataParallel(model, device_ids=[device.index] if device.type == "cuda" else None)

    def require_same(self, what: str, value: int, device: torch.device) -> None:
        """Raise ValueError, in every process, unless ``value`` is the same in all."""
        if self.size > 1:
            values = [torch.zeros(1, dtype=torch.int64, device=device) for _ in range(self.size)]
            dist.all_gather(values, torch.tensor([value], device=device))
            found = sorted({int(one) for one in values})
            if len(found) > 1:
                values_found = ", ".join(map(str, found))
                raise ValueError(f"{what} (={values_found}) must be the same in all {self.size} processes")


ALONE = Group()
NO_SHARED_STORE = "TORCH_DISABLE_SHARE_RDZV_TCP_STORE"


@contextmanager
def process_group(device_type: str) -> Iterator[Group]:
    """The group that ``torchrun`` has made this process part of; without it, a group of one.

    Processes on CUDA talk by NCCL, others by gloo. Where ``torchrun`` may restart them, it needs
    ``TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1`` in its environment: otherwise it hands on the addresses of the processes
    that are gone, and the new ones wait for them (PyTorch's issue 135712). A warning says so if it is missing.

    Args:
        device_type: ``"cuda"``, ``"cpu"``, …

    Yields:
        This process's place in the group, which ends with the block.

    Example:
        >>> from resnest_edu.training.distributed import process_group
        >>> with process_group("cpu") as group:  # without torchrun
        ...     print(group)
        Group(rank=0, size=1, local_rank=0)
    """
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        yield ALONE
        return
    restarts = int(os.environ.get("TORCHELASTIC_MAX_RESTARTS", 0))
    if restarts and os.environ.get(NO_SHARED_STORE) != "1":
        warnings.warn(f"start torchrun with {NO_SHARED_STORE}=1, or a restart may wait for ever", stacklevel=3)
    group = Group(*(int(os.environ[name]) for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK")))
    if device_type == "cuda":
        torch.cuda.set_device(group.local_rank)
    dist.init_process_group("nccl" if device_type == "cuda" else "gloo")
    try:
        yield group
    finally:
        dist.destroy_process_group()
