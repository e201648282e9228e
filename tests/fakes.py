"""Small things that stand at real seams: a model, a byte table, a clock."""

from __future__ import annotations

import torch
from torch import Tensor, nn

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
    """A causal model whose every position hears its whole past: ids_BT → logits_BTV."""

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
    """A clock that moves when told."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s

    def advance(self, seconds: float) -> None:
        self.now_s += seconds
