"""Legal test-time training: scores a chunk, then trains on it if there are more positions to score.

The ledger gives out a chunk's tokens only after all ranks have scored them, which enforces the order. The optimiser is
a parameter. The model is used in evaluation mode.

    Q rows of a chunk · R rows of a step · T row tokens · V vocabulary
"""

from __future__ import annotations

import math
import re
from bisect import bisect_left
from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_

from trainer.ranks import Ranks
from trainer.scoring.forward import Forward
from trainer.scoring.legality import Ledger
from trainer.scoring.sliding import Progress, Scorer, Stop, Windows
from trainer.spec.recipe import TTT, Evaluation


class Optimizer(Protocol):
    """What is used of an optimiser, torch's or another."""

    param_groups: list[dict[str, Any]]

    def step(self) -> Any:
        """Steps every parameter that has a gradient."""

    def zero_grad(self) -> None:
        """Deletes all gradients."""


MakeOptimizer = Callable[[list[nn.Parameter], float, float], Optimizer]
"""`make_optimizer(parameters, lr, momentum)`: SGD with momentum, no decay."""

BLOCK = re.compile(r"(?:^|\.)blocks\.(\d+)\.")


def score_first(
    ledger: Ledger,
    model: nn.Module,
    ttt: TTT,
    evaluation: Evaluation,
    make_optimizer: MakeOptimizer,
    ranks: Ranks,
    stop: Stop | None = None,
    progress: Progress | None = None,
    forward: Forward | None = None,
) -> None:
    """Commits every score of the ledger's text by a model that learns from each chunk after scoring it.

    model:  ids_BT int64 → logits_BTV float32, causal; its weights change, the same bits on every rank
    The caller closes the ledger. Momentum persists over chunks; a chunk shorter than one row is not trained on.
    Raises BudgetExceeded when `stop` says so.  Source: docs/recipe.md 5.3.
    """
    model.eval()
    windows = Windows(ledger.num_positions, evaluation.window_tokens, evaluation.stride_tokens)
    scorer = Scorer(ledger, model, windows, evaluation.batch_windows, ranks, stop, progress, forward)
    optimizer = make_optimizer(learning_parameters(model, ttt.frozen_blocks), ttt.lr, ttt.momentum)
    num_chunks = math.ceil(ledger.num_positions / ttt.chunk_tokens)
    num_scored_windows = 0
    for chunk in range(num_chunks):
        start, end = chunk * ttt.chunk_tokens, min((chunk + 1) * ttt.chunk_tokens, ledger.num_positions)
        next_chunk_window = bisect_left(windows, end, key=lambda window: window.first_scored)
        scorer.score(num_scored_windows, next_chunk_window)
        num_scored_windows = next_chunk_window
        if num_scored_windows == len(windows):  # the last chunk, or nothing but scored positions behind this one
            break
        inputs_QT, targets_QT = ledger.training_rows(start, end, evaluation.window_tokens)
        for group in optimizer.param_groups:
            group["lr"] = chunk_lr(ttt.lr, chunk, num_chunks)
        learn_rows(scorer, optimizer, inputs_QT, targets_QT, ttt)


def learn_rows(scorer: Scorer, optimizer: Optimizer, inputs_QT: Tensor, targets_QT: Tensor, ttt: TTT) -> None:
    """Trains the scorer's model on some rows for `ttt.epochs` passes, `ttt.batch_rows` rows a step over all ranks."""
    summed_nats = (scorer.forward or Forward.of(scorer.model)).summed_nats
    optimizer.zero_grad()
    for _ in range(ttt.epochs if len(inputs_QT) else 0):
        for ids_RT, targets_RT in zip(inputs_QT.split(ttt.batch_rows), targets_QT.split(ttt.batch_rows), strict=True):
            scorer.check_time()
            _step(summed_nats, optimizer, ids_RT, targets_RT, ttt.grad_clip, scorer.ranks)


def chunk_lr(lr: float, chunk: int, num_chunks: int) -> float:
    """Learning rate on chunk 0, 1, ...: a cosine from `lr` to zero over the chunks."""
    return lr * 0.5 * (1 + math.cos(math.pi * chunk / max(num_chunks - 1, 1)))


def learning_parameters(model: nn.Module, frozen_blocks: int) -> list[nn.Parameter]:
    """The parameters outside the first `frozen_blocks` blocks, by the name `blocks.I.`."""
    numbered = ((BLOCK.search(name), parameter) for name, parameter in model.named_parameters())
    return [parameter for block, parameter in numbered if block is None or int(block[1]) >= frozen_blocks]


def _step(
    summed_nats: Callable[[Tensor, Tensor], Tensor],
    optimizer: Optimizer,
    ids_RT: Tensor,
    targets_RT: Tensor,
    grad_clip: float,
    ranks: Ranks,
) -> None:
    """One optimiser step with the gradient of the mean loss over all tokens; rows are divided among the ranks."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    first, last = ranks.span(len(ids_RT))
    if first < last:  # a rank without rows contributes zeros to the sum
        loss = summed_nats(ids_RT[first:last], targets_RT[first:last]) / targets_RT.numel()
        loss.backward(inputs=parameters)
    own = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
    for parameter, gradient in zip(parameters, ranks.summed(own), strict=True):
        parameter.grad = gradient
    if grad_clip > 0:
        clip_grad_norm_(parameters, grad_clip)
    optimizer.step()
    optimizer.zero_grad()
