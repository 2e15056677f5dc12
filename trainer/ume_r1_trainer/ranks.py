"""The processes of a run: who this one is, and rows of all of them in one tensor."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import distributed

from ume_r1_rag.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Ranks:
    """A process among those that ``torchrun`` started; by itself if it did not.

    Attributes:
        rank: number of this process.
        size: how many there are.
        device: what this process computes on.
    """

    rank: int = 0
    size: int = 1
    device: str = "cpu"

    @property
    def first(self) -> bool:
        """Whether this process writes the files."""
        return self.rank == 0

    def share(self, count: int) -> slice:
        """Returns this rank's part of ``count`` items.

        Raises:
            ConfigError: they cannot be divided evenly.
        """
        if count % self.size:
            raise ConfigError(f"batch_size={count} cannot be divided among {self.size} ranks")
        each = count // self.size
        return slice(self.rank * each, (self.rank + 1) * each)

    def gather(self, rows: torch.Tensor) -> torch.Tensor:
        """Returns the rows of all ranks in order, without gradients; their numbers may differ."""
        if self.size == 1:
            return rows
        counts = self.gather_values(len(rows))
        padded = torch.zeros((max(counts), *rows.shape[1:]), dtype=rows.dtype, device=rows.device)
        padded[: len(rows)] = rows
        parts = [torch.empty_like(padded) for _ in counts]
        distributed.all_gather(parts, padded)
        return torch.cat([part[:count] for part, count in zip(parts, counts, strict=True)])

    def gather_values(self, value: int) -> list[int]:
        """Returns an integer of each rank."""
        if self.size == 1:
            return [value]
        own = torch.tensor([value], device=self.device)
        parts = [torch.empty_like(own) for _ in range(self.size)]
        distributed.all_gather(parts, own)
        return [int(part) for part in parts]

    def sum(self, values: torch.Tensor) -> torch.Tensor:
        """Returns the sum over ranks."""
        if self.size > 1:
            values = values.clone()
            distributed.all_reduce(values)
        return values

    def mean_gradients(self, parameters: Iterable[torch.nn.Parameter], bucket: int = 1 << 25) -> None:
        """Replaces gradients by their means over the ranks, ``bucket`` numbers at a time.

        After the last backward rather than during it (as DDP does): with cached gradients all backwards but
        the last would be without overlap anyway, and a parameter that a rank did not use is no special case.
        """
        if self.size == 1:
            return
        group: list[torch.Tensor] = []
        taken = 0
        for parameter in parameters:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            group.append(parameter.grad)
            taken += parameter.numel()
            if taken >= bucket:
                self._mean(group)
                group, taken = [], 0
        self._mean(group)

    def _mean(self, tensors: list[torch.Tensor]) -> None:
        if not tensors:
            return
        flat = torch.cat([tensor.flatten() for tensor in tensors])
        distributed.all_reduce(flat)
        flat /= self.size
        for tensor, part in zip(tensors, flat.split([t.numel() for t in tensors]), strict=True):
            tensor.copy_(part.view_as(tensor))

    def barrier(self) -> None:
        """Waits for all ranks."""
        if self.size > 1:
            distributed.barrier()

    def in_turn(self) -> Turn:
        """Returns a context in which rank 0 goes first and the others wait for it, to read what it wrote."""
        return Turn(self)


class Turn:
    """Rank 0 first, then all others together."""

    def __init__(self, ranks: Ranks) -> None:
        """Takes the ranks."""
        self._ranks = ranks

    def __enter__(self) -> None:
        """Waits if this is not rank 0."""
        if not self._ranks.first:
            self._ranks.barrier()

    def __exit__(self, *failure: object) -> None:
        """Lets the others go on. After a failure they are left to torchrun, which ends them."""
        if self._ranks.first and failure[0] is None:
            self._ranks.barrier()


def find_ranks() -> Ranks:
    """Returns this process's place, and joins the others where ``torchrun`` started several.

    ``DS_ACCELERATOR=cpu`` keeps a machine's GPU out of it.
    """
    cuda = torch.cuda.is_available() and os.environ.get("DS_ACCELERATOR") != "cpu"
    size = int(os.environ.get("WORLD_SIZE", "1"))
    local = int(os.environ.get("LOCAL_RANK", "0"))
    device = f"cuda:{local}" if cuda else "cpu"
    if cuda:
        torch.cuda.set_device(local)
    if size > 1 and not distributed.is_initialized():
        distributed.init_process_group("nccl" if cuda else "gloo")
    return Ranks(int(os.environ.get("RANK", "0")), size, device)
