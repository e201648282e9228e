"""Sliding-window scoring: every position is scored once, with at least window - stride tokens of context if there are.

With stride = window, windows do not overlap (docs/recipe.md 5.1). The ledger computes the scores; targets are not seen
here.

    P positions · B windows · T window positions · V vocabulary
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import nn

from trainer.ranks import Ranks
from trainer.scoring.forward import Forward
from trainer.scoring.legality import Ledger, Window
from trainer.spec.errors import BudgetExceeded
from trainer.spec.recipe import Evaluation

Stop = Callable[[], bool]
"""Returns whether this rank wants to stop; called before each batch, and any rank's true stops all."""
Progress = Callable[[float], None]
"""Called with the fraction of windows done, 0 to 1."""


class Windows(Sequence[Window]):
    """The windows over `num_positions`, in order, computed on demand.

    Starts are 0, S, 2S, ... while a position behind the context is left; the first window scores all it sees, every
    other only what lies behind its context of `window_tokens - stride_tokens`. A text shorter than the context has
    one window.  Source: docs/recipe.md 5.2, without the defects of docs/recipe.md 7.1 and 7.2.
    """

    def __init__(self, num_positions: int, window_tokens: int, stride_tokens: int):
        self._num_positions = num_positions
        self.window_tokens = window_tokens
        self._context_tokens = window_tokens - stride_tokens
        self._starts = range(0, max(num_positions - self._context_tokens, min(num_positions, 1)), stride_tokens)

    def __len__(self) -> int:
        return len(self._starts)

    def __getitem__(self, index):
        if isinstance(index, slice):
            return [self._window(start) for start in self._starts[index]]
        return self._window(self._starts[index])

    def _window(self, start: int) -> Window:
        end = min(start + self.window_tokens, self._num_positions)
        return Window(start, end, start + self._context_tokens if start else 0)


@dataclass
class Scorer:
    """Scores ranges of windows with one model, divided among ranks."""

    ledger: Ledger
    model: nn.Module
    windows: Windows
    batch_windows: int
    ranks: Ranks
    stop: Stop | None = None
    """Given on every rank or on none, since `check_time` asks all of them."""
    progress: Progress | None = None
    forward: Forward | None = None
    """The model's functions, compiled or not; None takes them as they are."""
    _asked: Callable[[], bool] | None = field(default=None, init=False)
    """What the ranks said when they were asked last whether to stop."""

    @torch.inference_mode()
    def score(self, first: int, last: int) -> None:
        """Commits the scores of this rank's part of windows [first, last).

        All ranks call `check_time` equally often.  Raises BudgetExceeded as that does.
        """
        forward = self.forward or Forward.of(self.model)
        share_first, share_last = (first + offset for offset in self.ranks.span(last - first))
        largest_share = -(-(last - first) // self.ranks.size)
        for done in range(0, largest_share, self.batch_windows):
            self.check_time()
            begin = share_first + done
            if batch := self.windows[begin : max(begin, min(begin + self.batch_windows, share_last))]:
                issue = self.ledger.issue(self.model, batch, self.windows.window_tokens)
                self.ledger.commit(issue, self.model, forward.states(issue.ids_BT, issue.first), forward.head)
            if self.progress is not None:
                num_done = min(done + self.batch_windows, largest_share) / largest_share * (last - first)
                self.progress((first + num_done) / len(self.windows))

    def check_time(self) -> None:
        """Raises BudgetExceeded on every rank once `stop` is true on any. A collective operation.

        With several ranks it does so at the next call: to read the answer at once would wait until the device has
        computed the last batch. The last answer is not read; the finished run is held against its limit anyway.
        """
        if self.stop is None:
            return
        before, self._asked = self._asked, self.ranks.start_any(self.stop())
        answer = self._asked if self.ranks.size == 1 else before
        if answer is not None and answer():
            raise BudgetExceeded(
                f"evaluation: its time is used up before every position was scored, {self.ledger.num_scored:,} of "
                f"{self.ledger.num_positions:,} by this rank; raise evaluation.stride_tokens or lower ttt.epochs"
            )


def score(
    ledger: Ledger,
    model: nn.Module,
    evaluation: Evaluation,
    ranks: Ranks,
    stop: Stop | None = None,
    progress: Progress | None = None,
    forward: Forward | None = None,
) -> None:
    """Commits every score of the ledger's text in one pass of sliding windows; the caller closes the ledger.

    model:  ids_BT int64 → logits_BTV, causal; left in evaluation mode
    Raises BudgetExceeded when `stop` says so.
    """
    model.eval()
    windows = Windows(ledger.num_positions, evaluation.window_tokens, evaluation.stride_tokens)
    Scorer(ledger, model, windows, evaluation.batch_windows, ranks, stop, progress, forward).score(0, len(windows))
