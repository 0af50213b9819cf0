"""This process among those that torch's launcher has started."""

from __future__ import annotations

import os
from dataclasses import dataclass

import torch
from torch import distributed, nn


@dataclass(frozen=True, kw_only=True)
class Ranks:
    """number: of this process, from 0.     count: of all processes."""

    number: int = 0
    count: int = 1

    @classmethod
    def of_launcher(cls) -> Ranks:
        """What `torchrun` says in the environment, and its process group; one process where it says nothing."""
        if int(os.environ.get("WORLD_SIZE", "1")) < 2:
            return cls()
        if not distributed.is_initialized():
            distributed.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo")
        return cls(number=distributed.get_rank(), count=distributed.get_world_size())

    @property
    def leads(self) -> bool:
        """Whether this process writes files and lines."""
        return self.number == 0

    def device(self, chosen: str) -> str:
        """Of this process: a GPU of its own where `cuda` was chosen for several."""
        return f"cuda:{os.environ['LOCAL_RANK']}" if self.count > 1 and chosen == "cuda" else chosen

    def wrapped(self, network: nn.Module) -> nn.Module:
        """The network, its gradients averaged over all processes."""
        return nn.parallel.DistributedDataParallel(network) if self.count > 1 else network
