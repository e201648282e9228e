"""A ledger without guard, which gives out validation text before it is scored, so that no score of it is legal.

It reproduces the illegal evaluation of PR #150 (docs/recipe.md 5.6), to measure how much it gains. A run is recorded as
illegal because it uses this class, not because of a setting's name.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from trainer.ranks import Ranks
from trainer.scoring.forward import Forward
from trainer.scoring.legality import Ledger
from trainer.scoring.sliding import Progress, Scorer, Stop, Windows
from trainer.scoring.ttt import MakeOptimizer, learn_rows, learning_parameters
from trainer.spec.recipe import TTT, Evaluation


class UnguardedText(Ledger):
    """A ledger that gives out every row before anything is scored; its scores are illegal."""

    legal: ClassVar[bool] = False

    def all_rows(self, row_tokens: int) -> tuple[Tensor, Tensor]:
        """Inputs and targets, each int64 (Q, row_tokens), of the whole text; the remainder is left out."""
        num_rows = self.num_positions // row_tokens
        self._record_training(0, num_rows * row_tokens, row_tokens)
        span = self._tokens[: num_rows * row_tokens + 1].to(self._ranks.device, torch.int64)
        return span[:-1].view(num_rows, row_tokens), span[1:].view(num_rows, row_tokens)


def pre_eval(
    text: UnguardedText,
    model: nn.Module,
    ttt: TTT,
    evaluation: Evaluation,
    make_optimizer: MakeOptimizer,
    ranks: Ranks,
    stop: Stop | None = None,
    progress: Progress | None = None,
    forward: Forward | None = None,
) -> None:
    """Trains on the whole text for `ttt.epochs` passes at a constant rate, then scores it."""
    model.eval()
    windows = Windows(text.num_positions, evaluation.window_tokens, evaluation.stride_tokens)
    scorer = Scorer(text, model, windows, evaluation.batch_windows, ranks, stop, progress, forward)
    optimizer = make_optimizer(learning_parameters(model, ttt.frozen_blocks), ttt.lr, ttt.momentum)
    learn_rows(scorer, optimizer, *text.all_rows(evaluation.window_tokens), ttt)
    scorer.score(0, len(windows))
