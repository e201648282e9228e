"""Small things that stand at real seams: a model, a byte table, a clock, ranks that are threads."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from trainer.ranks import Ranks

VOCAB_SIZE = 17


class _Block(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.mix = nn.Linear(width, width, bias=False)
        self.mlp = nn.Linear(width, width, bias=False)

    def forward(self, x_BTD: Tensor) -> Tensor:
        counts_T1 = torch.arange(1, x_BTD.shape[1] + 1, device=x_BTD.device)[:, None]
        x_BTD = x_BTD + self.mix(x_BTD.cumsum(dim=1) / counts_T1)
        return x_BTD + torch.tanh(self.mlp(x_BTD))


class TinyModel(nn.Module):
    """A causal model whose every position depends on its whole past: ids_BT → logits_BTV."""

    def __init__(self, vocab_size: int = VOCAB_SIZE, width: int = 8, seed: int = 0):
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.tok_emb = nn.Embedding(vocab_size, width)
            self.blocks = nn.ModuleList(_Block(width) for _ in range(2))
            self.head = nn.Linear(width, vocab_size, bias=False)

    def forward(self, ids_BT: Tensor) -> Tensor:
        x_BTD = self.tok_emb(ids_BT)
        for block in self.blocks:
            x_BTD = block(x_BTD)
        return self.head(x_BTD)


class OneByteEach:
    """A byte table in which every token stands for one byte."""

    def count(self, targets_N: Tensor, previous_N: Tensor) -> Tensor:
        return torch.ones_like(targets_N)


class HandClock:
    """A clock that moves when the test advances it."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s

    def advance(self, seconds: float) -> None:
        self.now_s += seconds


class SimulatedDevice(HandClock):
    """A device and its host's clock: launching work takes the host no time, waiting lasts until the work is done."""

    def __init__(self) -> None:
        super().__init__()
        self.busy_until_s = 0.0

    def launch(self, seconds: float) -> None:
        self.busy_until_s = max(self.busy_until_s, self.now_s) + seconds

    def wait(self) -> None:
        self.now_s = max(self.now_s, self.busy_until_s)


@dataclass(frozen=True)
class ThreadRanks(Ranks):
    """A rank that is a thread: as many as wanted, without processes. Made by `on_ranks`."""

    meeting: threading.Barrier = field(default_factory=lambda: threading.Barrier(1))
    table: list[Any] = field(default_factory=list)
    """What each rank brought to the present meeting."""

    def gather_objects(self, value: Any) -> list[Any]:
        self.table[self.rank] = value
        self.meeting.wait()
        values = list(self.table)
        self.meeting.wait()  # no rank writes the next value before all have read this one
        return values

    def sum_(self, tensor: Tensor) -> Tensor:
        return tensor.copy_(torch.stack(self.gather_objects(tensor.clone())).sum(dim=0))

    def max_(self, tensor: Tensor) -> Tensor:
        return tensor.copy_(torch.stack(self.gather_objects(tensor.clone())).amax(dim=0))

    def broadcast_(self, tensor: Tensor) -> Tensor:
        return tensor.copy_(self.gather_objects(tensor.clone())[0])

    def start_gather(self, tensor: Tensor) -> Callable[[], Tensor]:
        gathered = torch.stack(self.gather_objects(tensor.clone()))
        return lambda: gathered

    def broadcast_object(self, value: Any) -> Any:
        return self.gather_objects(value)[0]

    def barrier(self) -> None:
        self.meeting.wait()


@dataclass(frozen=True)
class AsynchronousRanks(ThreadRanks):
    """Thread ranks, each with a device that works behind its host, as NCCL's ranks have; a collective is work too."""

    worker: SimulatedDevice = field(default_factory=SimulatedDevice)

    def synchronize(self) -> None:
        self.worker.wait()

    def gather_objects(self, value: Any) -> list[Any]:
        gathered = super().gather_objects((value, self.worker.busy_until_s, self.worker.now_s))
        begins_s = max(max(busy_s, now_s) for _, busy_s, now_s in gathered)  # once the slowest rank is there
        self.worker.busy_until_s = begins_s + 0.001
        return [brought for brought, *_ in gathered]

    def max_(self, tensor: Tensor) -> Tensor:
        super().max_(tensor)
        self.worker.wait()
        return tensor

    def broadcast_numbers(self, *numbers: float) -> tuple[float, ...]:
        sent = super().broadcast_numbers(*numbers)
        if not self.is_first:
            self.worker.wait()
        return sent


def on_ranks(size: int, work: Callable[[Any], Any], kind: type[ThreadRanks] = ThreadRanks) -> list[Any]:
    """What `work` returns on each of so many ranks at once."""
    meeting, table = threading.Barrier(size, timeout=60), [None] * size
    ranks = [kind(rank, size, torch.device("cpu"), meeting, table) for rank in range(size)]
    with ThreadPoolExecutor(size) as pool:
        return list(pool.map(work, ranks))
