"""Every position once, with the context the stride leaves, and out of time together."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from torch.nn.functional import log_softmax

from tests.fakes import VOCAB_SIZE, HandClock, OneByteEach, TinyModel
from trainer.ranks import Ranks
from trainer.scoring.forward import Forward
from trainer.scoring.legality import Ledger, Score, Window
from trainer.scoring.sliding import Scorer, Windows, score
from trainer.spec.errors import BudgetExceeded
from trainer.spec.recipe import Evaluation

EVALUATION = Evaluation(window_tokens=16, stride_tokens=6, batch_windows=3)
TOKENS = torch.randint(VOCAB_SIZE, (102,), generator=torch.Generator().manual_seed(0))

lengths = st.integers(1, 400)
window_and_stride = st.integers(1, 90).flatmap(lambda window: st.tuples(st.just(window), st.integers(1, window)))


def ledger_over(tokens: torch.Tensor) -> Ledger:
    return Ledger(tokens, OneByteEach(), VOCAB_SIZE, Ranks())


def scored(model: TinyModel, tokens: torch.Tensor, evaluation: Evaluation = EVALUATION) -> Score:
    ledger = ledger_over(tokens)
    score(ledger, model, evaluation, Ranks())
    return ledger.close()


def slow_nll(model: TinyModel, tokens: torch.Tensor, window_tokens: int, stride_tokens: int) -> list[float]:
    """One forward per position: the first window whole, then blocks of a stride behind a fixed context."""
    context = window_tokens - stride_tokens
    nll = []
    for position in range(len(tokens) - 1):
        block = max(position - context, 0) // stride_tokens
        start = 0 if position < window_tokens else block * stride_tokens
        logits_V = model(tokens[None, start : position + 1])[0, -1]
        nll.append(-log_softmax(logits_V.double(), dim=-1)[tokens[position + 1]].item())
    return nll


@given(lengths, window_and_stride)
@example(5, (16, 6))  # shorter than the context
@example(10, (16, 6))  # exactly the context
@example(1, (1, 1))
def test_windows_score_each_position_exactly_once_and_in_order(num_positions, shape):
    scored = [p for window in Windows(num_positions, *shape) for p in range(window.first_scored, window.end)]
    assert scored == list(range(num_positions))


@given(lengths, window_and_stride)
def test_behind_the_first_window_every_token_sees_at_least_the_context(num_positions, shape):
    window_tokens, stride_tokens = shape
    for window in Windows(num_positions, window_tokens, stride_tokens)[1:]:
        assert window.first_scored - window.start == window_tokens - stride_tokens
        assert window.end - window.start <= window_tokens


def test_windows_of_a_short_text_worked_out_by_hand():
    assert list(Windows(22, 16, 6)) == [Window(0, 16, 0), Window(6, 22, 16)]
    assert list(Windows(23, 16, 6))[-1] == Window(12, 23, 22)
    assert list(Windows(10, 16, 6)) == [Window(0, 10, 0)]
    assert list(Windows(0, 16, 6)) == []


def test_windows_of_the_published_validation_split_cost_nothing():
    windows = Windows(62_021_632, 2048, 64)
    assert len(windows) == 1 + (62_021_632 - 2048) // 64
    assert windows[-1] == Window(62_019_584, 62_021_632, 62_021_568)


@pytest.mark.parametrize(("num_tokens", "stride"), [(102, 6), (101, 16), (9, 6), (17, 1), (2, 6)])
def test_scores_equal_one_forward_per_position(num_tokens, stride):
    model, tokens = TinyModel(), TOKENS[:num_tokens]
    evaluation = EVALUATION.model_copy(update={"stride_tokens": stride})
    actual = scored(model, tokens, evaluation).nll_P
    assert actual.tolist() == pytest.approx(slow_nll(model, tokens, 16, stride), abs=1e-5)


def test_the_score_of_a_token_ignores_every_later_token():
    changed = TOKENS.clone()
    changed[70:] = 7  # position 69 has target 70, so it may change
    before, after = (scored(TinyModel(), text).nll_P for text in (TOKENS, changed))
    assert torch.equal(before[:69], after[:69])
    assert not torch.equal(before[69:], after[69:])


def test_running_out_of_time_stops_between_batches():
    clock, ledger, fractions = HandClock(), ledger_over(TOKENS), []

    def progress(fraction: float) -> None:
        fractions.append(fraction)
        clock.advance(1.0)

    with pytest.raises(BudgetExceeded, match="before every position was scored"):
        score(ledger, TinyModel(), EVALUATION, Ranks(), stop=lambda: clock() >= 2.0, progress=progress)
    num_windows = len(Windows(101, 16, 6))
    assert fractions == pytest.approx([3 / num_windows, 6 / num_windows])


@dataclass(frozen=True)
class OneOfTwo(Ranks):
    """The first of two ranks whose other never has work or wishes; notes when it is asked and when that is read."""

    size: int = 2
    events: list[str] = field(default_factory=list)

    def span(self, count: int) -> tuple[int, int]:
        return 0, count

    def start_any(self, flag: bool):
        self.events.append("asked")
        return lambda: self.events.append("read") or flag


def test_ranks_read_whether_to_stop_while_the_next_batch_is_computed():
    ranks, model = OneOfTwo(), TinyModel()

    def states(ids_BT: torch.Tensor, first: int) -> torch.Tensor:
        ranks.events.append("computed")
        return model(ids_BT)

    def run(stop) -> None:
        windows = Windows(100, 16, 6)
        forward = replace(Forward.of(model), states=states)
        Scorer(ledger_over(TOKENS), model, windows, 4, ranks, stop, forward=forward).score(0, len(windows))

    run(lambda: False)
    assert ranks.events == ["asked", "computed", "asked", "read", "computed"]
    ranks.events.clear()
    with pytest.raises(BudgetExceeded):
        run(lambda: True)
    assert ranks.events == ["asked", "computed", "asked", "read"]


def test_progress_ends_at_one():
    fractions = []
    score(ledger_over(TOKENS), TinyModel(), EVALUATION, Ranks(), progress=fractions.append)
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1.0


class LengthSensitive(TinyModel):
    """Computes something else at another length, as the NTK rescale of the rotary base does."""

    def forward(self, ids_BT):
        return super().forward(ids_BT) * (1 + 1 / ids_BT.shape[1])


@pytest.mark.parametrize("batch_windows", [1, 3, 50])
def test_a_short_window_is_scored_at_the_full_length_in_any_batch(batch_windows):
    actual = []
    for batch in (batch_windows, 4):
        ledger = Ledger(TOKENS[:40], OneByteEach(), VOCAB_SIZE, Ranks())
        score(ledger, LengthSensitive(), EVALUATION.model_copy(update={"batch_windows": batch}), Ranks())
        actual.append(ledger.close().nll_P)
    torch.testing.assert_close(*actual, rtol=0, atol=1e-6)


def test_a_text_shorter_than_a_window_is_scored_at_the_windows_length():
    ledger = Ledger(TOKENS[:6], OneByteEach(), VOCAB_SIZE, Ranks())
    seen = []
    model = TinyModel()
    model.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].shape))
    score(ledger, model, EVALUATION, Ranks())
    assert seen == [(1, 16)]
