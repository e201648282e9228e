"""Ranks: this process's number among those of a run, and the collective operations. Wraps torch.distributed.

With one rank nothing is initialised and every collective is the identity, so the same code runs inline, over gloo and
over NCCL. Other modules receive a `Ranks` and never use the process group themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from trainer.spec.errors import UserError
from trainer.spec.launched import launched

_all_gather = getattr(dist, "all_gather_single", dist.all_gather_into_tensor)  # its name before torch 2.13


@dataclass(frozen=True)
class Ranks:
    """Number of this process, number of processes, and this process's device."""

    rank: int = 0
    size: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @classmethod
    def alone(cls) -> Ranks:
        """A single rank on the best device of this machine: its first GPU, or the CPU."""
        return cls(device=torch.device("cuda:0" if torch.cuda.is_available() else "cpu"))

    @classmethod
    def join(cls, device: torch.device, rank: int, size: int, meeting: Path, timeout_s: float = 1800.0) -> Ranks:
        """Joins the process group as `rank` of `size`; waits for the others. A single rank needs no process group.

        meeting:  a file that does not exist yet, on a disk that all ranks share, used for the rendezvous
        Uses NCCL between GPUs, gloo otherwise.
        """
        if size > 1:
            dist.init_process_group(
                "nccl" if device.type == "cuda" else "gloo",
                init_method=f"file://{meeting.absolute()}",
                rank=rank,
                world_size=size,
                timeout=timedelta(seconds=timeout_s),
            )
        return cls(rank, size, device)

    @classmethod
    def launched(cls) -> Ranks:
        """The ranks that torchrun started this process among, over the address it set; without it a single one.

        Raises UserError where there are fewer GPUs than processes.
        """
        this = launched()
        if this is None:
            return cls.alone()
        gpus = torch.cuda.device_count()
        if gpus and this.local_rank >= gpus:
            raise UserError(f"LOCAL_RANK = {this.local_rank}, but PyTorch sees {gpus} GPUs; start {gpus} processes")
        device = torch.device("cuda", this.local_rank) if gpus else torch.device("cpu")
        if gpus:
            torch.cuda.set_device(device)
        dist.init_process_group("nccl" if gpus else "gloo", rank=this.rank, world_size=this.size)
        return cls(this.rank, this.size, device)

    def leave(self) -> None:
        """Leaves the process group after a barrier: a rank that exits earlier can make a communicating peer abort."""
        if self.size > 1:
            dist.barrier()
            dist.destroy_process_group()

    @property
    def is_first(self) -> bool:
        return self.rank == 0

    def synchronize(self) -> None:
        """Returns once this rank's device has done all that was launched on it; a launch itself takes no time."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def to_device(self, tensor: Tensor) -> Tensor:
        """A CPU tensor on this rank's device; does not wait for the copy."""
        return tensor.pin_memory().to(self.device, non_blocking=True) if self.device.type == "cuda" else tensor

    def to_host(self, tensor: Tensor) -> Tensor:
        """A CPU tensor that holds this rank's values after the next `synchronize`; does not wait for them."""
        if self.device.type != "cuda":
            return tensor
        values = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
        return values.copy_(tensor, non_blocking=True)

    def download(self, *tensors: Tensor) -> tuple[Any, ...]:
        """CPU copies of this rank's tensors, and a function that returns once they hold their values."""
        copies = tuple(self.to_host(tensor) for tensor in tensors)
        if self.device.type != "cuda":
            return *copies, lambda: None
        done = torch.cuda.Event()
        done.record()
        return *copies, done.synchronize

    def span(self, count: int) -> tuple[int, int]:
        """This rank's contiguous share of `count` items, as [start, end)."""
        return count * self.rank // self.size, count * (self.rank + 1) // self.size

    def sum_(self, tensor: Tensor) -> Tensor:
        """Sum over ranks, in place."""
        if self.size > 1:
            dist.all_reduce(tensor, op=dist.ReduceOp.SUM)
        return tensor

    def summed(self, tensors: Sequence[Tensor]) -> Sequence[Tensor]:
        """Sums over ranks, sent as one; the tensors themselves where there is one rank."""
        if self.size == 1:
            return tensors
        flat = self.sum_(torch.cat([tensor.flatten() for tensor in tensors]))
        parts = zip(tensors, flat.split([tensor.numel() for tensor in tensors]), strict=True)
        return [part.view_as(tensor) for tensor, part in parts]

    def start_gather(self, tensor: Tensor) -> Callable[[], Tensor]:
        """Begins to send this rank's tensor, of one shape on all ranks, while the device goes on.

        Returns the function that hands out those of all ranks, (R, ...) in rank order; the host does not wait there.
        """
        if self.size == 1:
            return lambda: tensor[None]
        gathered = tensor.new_empty(self.size * len(tensor), *tensor.shape[1:])
        work = _all_gather(gathered, tensor, async_op=True)

        def finish() -> Tensor:
            work.wait()
            return gathered.view(self.size, *tensor.shape)

        return finish

    def max_(self, tensor: Tensor) -> Tensor:
        """Maximum over ranks, in place."""
        if self.size > 1:
            dist.all_reduce(tensor, op=dist.ReduceOp.MAX)
        return tensor

    def broadcast_(self, tensor: Tensor) -> Tensor:
        """The first rank's values on every rank, in place."""
        if self.size > 1:
            dist.broadcast(tensor, src=0)
        return tensor

    def broadcast_numbers(self, *numbers: float) -> tuple[float, ...]:
        """The first rank's numbers on every rank. The first waits for nothing, others for all launched before."""
        if self.size == 1:
            return numbers
        sent = self.broadcast_(self.to_device(torch.tensor(numbers, dtype=torch.float64)))
        if self.is_first:
            return numbers
        values, wait = self.download(sent)
        wait()
        return tuple(values.tolist())

    def broadcast_object(self, value: Any) -> Any:
        """The first rank's small Python value on every rank."""
        if self.size == 1:
            return value
        box = [value if self.is_first else None]
        dist.broadcast_object_list(box, src=0, device=self.device)
        return box[0]

    def gather_objects(self, value: Any) -> list[Any]:
        """Every rank's small Python value, on every rank, in rank order."""
        if self.size == 1:
            return [value]
        box: list[Any] = [None] * self.size
        dist.all_gather_object(box, value)
        return box

    def any(self, flag: bool) -> bool:
        """Whether the flag is set on any rank; the same result on every rank. Waits for the device."""
        return self.start_any(flag)()

    def start_any(self, flag: bool) -> Callable[[], bool]:
        """Begins to ask every rank; returns the function that says what `any` would, which waits for no later work."""
        if self.size == 1:
            return lambda: flag
        answer, wait = self.download(self.max_(self.to_device(torch.tensor([int(flag)]))))

        def finish() -> bool:
            wait()
            return bool(answer)

        return finish

    def barrier(self) -> None:
        """Returns once every rank has called it."""
        if self.size > 1:
            dist.barrier()
