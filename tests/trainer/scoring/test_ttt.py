"""Score first, then learn: the order, the arithmetic, and what learning may not touch."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from tests.fakes import VOCAB_SIZE, HandClock, OneByteEach, TinyModel
from trainer.ranks import Ranks
from trainer.scoring.legality import Ledger
from trainer.scoring.sliding import score
from trainer.scoring.ttt import chunk_lr, score_first
from trainer.spec.errors import BudgetExceeded
from trainer.spec.recipe import TTT, Evaluation

EVALUATION = Evaluation(window_tokens=8, stride_tokens=3, batch_windows=4)
SETTINGS = TTT(mode="score_first", lr=0.3, epochs=2, momentum=0.9, chunk_tokens=40, batch_rows=2, grad_clip=0.5)
TOKENS = torch.randint(VOCAB_SIZE, (151,), generator=torch.Generator().manual_seed(0))


def sgd(parameters, lr, momentum):
    return torch.optim.SGD(parameters, lr=lr, momentum=momentum)


def adapted(model, tokens=TOKENS, evaluation=EVALUATION, make_optimizer=sgd, **changes):
    ledger = Ledger(tokens, OneByteEach(), VOCAB_SIZE, Ranks())
    score_first(ledger, model, SETTINGS.model_copy(update=changes), evaluation, make_optimizer, Ranks())
    return ledger.close()


def slow_adapted_nll(model: TinyModel, tokens: torch.Tensor, ttt: TTT, window: int, stride: int) -> list[float]:
    """The whole procedure position by position, plain SGD, no ledger, no batching of windows."""
    num_positions, context = len(tokens) - 1, window - stride
    num_chunks = math.ceil(num_positions / ttt.chunk_tokens)
    optimizer = torch.optim.SGD(model.parameters(), lr=ttt.lr, momentum=ttt.momentum)
    nll, chunks_learned = [], 0
    for position in range(num_positions):
        start = 0 if position < window else (position - context) // stride * stride
        first_scored = start + context if start else 0
        while chunks_learned < first_scored // ttt.chunk_tokens:  # this window opens a new chunk: learn the last one
            optimizer.param_groups[0]["lr"] = ttt.lr * (1 + math.cos(math.pi * chunks_learned / (num_chunks - 1))) / 2
            base = chunks_learned * ttt.chunk_tokens
            rows = range(base, base + ttt.chunk_tokens - window + 1, window)
            for _ in range(ttt.epochs):
                for batch in (rows[i : i + ttt.batch_rows] for i in range(0, len(rows), ttt.batch_rows)):
                    losses = [
                        F.cross_entropy(model(tokens[None, s : s + window])[0], tokens[s + 1 : s + window + 1])
                        for s in batch
                    ]
                    optimizer.zero_grad()
                    (sum(losses) / len(losses)).backward()
                    if ttt.grad_clip:
                        torch.nn.utils.clip_grad_norm_(model.parameters(), ttt.grad_clip)
                    optimizer.step()
            chunks_learned += 1
        with torch.no_grad():
            logits_V = model(tokens[None, start : position + 1])[0, -1]
        nll.append(F.cross_entropy(logits_V, tokens[position + 1]).item())
    return nll


@pytest.mark.parametrize(
    "changes", [{}, {"grad_clip": 0.0, "lr": 0.05}, {"epochs": 1, "chunk_tokens": 33}, {"batch_rows": 256}]
)
def test_scores_equal_the_procedure_spelled_out(changes):
    actual = adapted(TinyModel(), **changes).nll_P
    wanted = torch.tensor(slow_adapted_nll(TinyModel(), TOKENS, SETTINGS.model_copy(update=changes), 8, 3))
    difference = (actual - wanted).abs()
    assert difference.max() < 1e-4, f"max {difference.max():g}, mean {difference.mean():g}"


def test_learning_changes_only_the_chunks_that_follow():
    ledger = Ledger(TOKENS, OneByteEach(), VOCAB_SIZE, Ranks())
    score(ledger, TinyModel(), EVALUATION, Ranks())
    plain = ledger.close().nll_P
    learned = adapted(TinyModel()).nll_P
    assert torch.equal(learned[:40], plain[:40])
    assert (learned[44:] != plain[44:]).float().mean() > 0.99


@pytest.mark.parametrize("changed_token", [1, 39, 40, 41, 44, 80, 120, 150])
def test_the_score_of_a_token_ignores_every_later_token_with_learning_on(changed_token):
    changed = TOKENS.clone()
    changed[changed_token:] = (changed[changed_token:] + 1) % VOCAB_SIZE
    before, after = adapted(TinyModel()).nll_P, adapted(TinyModel(), changed).nll_P
    assert torch.equal(before[: changed_token - 1], after[: changed_token - 1])
    assert not torch.equal(before[changed_token - 1 :], after[changed_token - 1 :])


class CountingSGD(torch.optim.SGD):
    """Notes each step's learning rate."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.lrs = []

    def step(self):
        self.lrs.append(self.param_groups[0]["lr"])
        super().step()


def learning_rates(num_tokens: int, **changes) -> list[float]:
    made = []

    def make_optimizer(parameters, lr, momentum):
        made.append(CountingSGD(parameters, lr=lr, momentum=momentum))
        return made[0]

    adapted(TinyModel(), TOKENS[:num_tokens], make_optimizer=make_optimizer, **changes)
    return made[0].lrs


def test_the_last_chunk_is_scored_and_not_learned():
    # 150 positions: chunks of 40, 40, 40, 30; five rows each, batches of two rows: 3 steps, 2 epochs
    assert learning_rates(151) == pytest.approx([0.3] * 6 + [0.225] * 6 + [0.075] * 6)
    assert learning_rates(41) == []


def test_a_chunk_whose_successors_were_scored_with_it_is_not_learned():
    # Windows start scoring at 0, 8, 11, ..., 80, 83. Of 83 positions the one at 80 scores all of chunk 2, [82, 83).
    assert len(learning_rates(83 + 1, chunk_tokens=41)) == 6
    assert len(learning_rates(84 + 1, chunk_tokens=41)) == 6 * 2


def test_a_chunk_shorter_than_a_row_teaches_nothing():
    assert learning_rates(60, chunk_tokens=7) == []


def test_the_learning_rate_falls_from_full_to_zero_over_the_chunks():
    assert [chunk_lr(2.0, chunk, 3) for chunk in range(3)] == pytest.approx([2.0, 1.0, 0.0])
    assert chunk_lr(2.0, 0, 1) == 2.0


@pytest.mark.parametrize("frozen_blocks", [0, 1, 2])
def test_frozen_blocks_keep_their_bits_and_all_others_learn(frozen_blocks):
    before, model = TinyModel(), TinyModel()
    adapted(model, frozen_blocks=frozen_blocks)
    kept = {name for name, value in model.named_parameters() if torch.equal(value, before.get_parameter(name))}
    assert kept == {f"blocks.{i}.{part}.weight" for i in range(frozen_blocks) for part in ("mix", "mlp")}


def test_the_model_comes_back_able_to_learn_and_without_gradients():
    model = TinyModel()
    adapted(model, frozen_blocks=1)
    assert all(parameter.requires_grad and parameter.grad is None for parameter in model.parameters())


def test_running_out_of_time_stops_while_learning_too():
    clock = HandClock()

    def stop() -> bool:
        clock.advance(1.0)
        return clock() > 6.0  # four batches of windows come before the first step

    ledger = Ledger(TOKENS, OneByteEach(), VOCAB_SIZE, Ranks())
    model = TinyModel()
    with pytest.raises(BudgetExceeded):
        score_first(ledger, model, SETTINGS, EVALUATION, sgd, Ranks(), stop=stop)
    assert not torch.equal(model.head.weight, TinyModel().head.weight)


class SharedGradient(TinyModel):
    """Two parameters that are added, whose gradients autograd hands out as one tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = (torch.nn.Parameter(torch.zeros(VOCAB_SIZE)) for _ in range(2))

    def forward(self, ids_BT: torch.Tensor) -> torch.Tensor:
        return super().forward(ids_BT) + (self.one + self.two)


def test_gradients_that_share_memory_are_clipped_once():
    model = SharedGradient()
    expected = slow_adapted_nll(SharedGradient(), TOKENS, SETTINGS, 8, 3)
    assert adapted(model).nll_P.tolist() == pytest.approx(expected, rel=1e-4)
    assert torch.equal(model.one, model.two)
    assert model.one.abs().max() > 0


def test_gradients_left_by_others_are_forgotten():
    model, other = TinyModel(), TinyModel()
    for parameter in other.parameters():
        parameter.grad = torch.ones_like(parameter)
    assert torch.equal(adapted(model).nll_P, adapted(other).nll_P)
