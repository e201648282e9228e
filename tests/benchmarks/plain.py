"""What `device` compares with: a training step and a scorer written plainly in PyTorch, as the lineage first did.

Eager modules, full float32 logits, one matrix at a time in Muon, AdamW without fusing, averages tensor by tensor, and
scoring window by window with the head on every position. The network's modules are those of `trainer.nn` in their plain
forms (`plain_forms`), an operation of PyTorch for each of the formula; nothing else of the trainer is used, so that
what is made faster there shows as a ratio.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from unittest.mock import patch

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainer.nn import few_passes

MUON_STEPS, MUON_MOMENTUM = 5, 0.99


@contextmanager
def plain_forms() -> Iterator[None]:
    """The modules of `trainer.nn` compute as their formulas are written, on a CPU too."""
    with patch.object(few_passes, "suits", lambda x: False):
        yield


class PlainTraining:
    """One process's training: Muon for the matrices of the blocks, AdamW for the rest, EMA of everything."""

    def __init__(self, model: nn.Module, grad_clip: float, with_ema: bool):
        self.model, self.grad_clip = model, grad_clip
        named = dict(model.named_parameters())
        self.matrices = [p for name, p in named.items() if name.startswith("blocks.") and p.ndim == 2]
        own = {id(p) for p in self.matrices}
        others = [p for p in named.values() if id(p) not in own]
        self.adam = torch.optim.AdamW(others, lr=0.03, betas=(0.9, 0.95), foreach=False)
        self.momentum = [torch.zeros_like(p) for p in self.matrices]
        self.ema = {name: p.detach().clone() for name, p in named.items()} if with_ema else {}

    @plain_forms()
    def step(self, micro_batches: Sequence[tuple[Tensor, Tensor]]) -> float:
        """One optimiser step; returns its mean loss in nats per token."""
        total = 0.0
        for x_BT, y_BT in micro_batches:
            loss = F.cross_entropy(self.model(x_BT).flatten(0, 1), y_BT.flatten()) / len(micro_batches)
            loss.backward()
            total += loss.item()
        nn.utils.clip_grad_norm_(self.model.parameters(), self.grad_clip or float("inf"), foreach=False)
        with torch.no_grad():
            for matrix, momentum in zip(self.matrices, self.momentum, strict=True):
                assert matrix.grad is not None
                momentum.mul_(MUON_MOMENTUM).add_(matrix.grad)
                update = _orthogonal(matrix.grad.add(momentum, alpha=MUON_MOMENTUM))
                matrix.mul_(1 - 0.025 * 0.04)
                matrix.add_(update * max(1.0, matrix.size(0) / matrix.size(1)) ** 0.5, alpha=-0.025)
            self.adam.step()
            for name, parameter in self.model.named_parameters() if self.ema else ():
                self.ema[name].lerp_(parameter, 0.003)
        self.model.zero_grad(set_to_none=True)
        return total


def _orthogonal(update_MN: Tensor) -> Tensor:
    a, b, c = 3.4445, -4.7750, 2.0315
    x = update_MN.bfloat16()
    x = x / (x.norm() + 1e-7)
    tall = x.size(0) > x.size(1)
    x = x.T if tall else x
    for _ in range(MUON_STEPS):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.T if tall else x


@torch.no_grad()
def score_windows(
    model: nn.Module, tokens: Tensor, window_tokens: int, stride_tokens: int, batch: int
) -> Iterator[int]:
    """Scores windows in batches as PR #150's evaluator did, and yields the number of tokens scored by each batch.

    tokens:  int64 on the model's device
    """
    starts = list(range(0, len(tokens) - window_tokens, stride_tokens))
    for first in range(0, len(starts), batch):
        begins = starts[first : first + batch]
        x_BT = torch.stack([tokens[start : start + window_tokens] for start in begins])
        y_BT = torch.stack([tokens[start + 1 : start + window_tokens + 1] for start in begins])
        with plain_forms():
            logits_BTV = model(x_BT).float()
        nll_BT = F.cross_entropy(logits_BTV.transpose(1, 2), y_BT, reduction="none")
        scored = 0
        for row, start in enumerate(begins):
            kept = nll_BT[row, 0 if start == 0 else window_tokens - stride_tokens :].double()
            assert kept.sum().isfinite()
            scored += len(kept)
        yield scored
