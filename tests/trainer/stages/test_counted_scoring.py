"""What scoring uploads, awaits, computes and exchanges, counted on torch's meta device (tests/counting.py)."""

from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch

from tests.counting import META, Count, DistantRanks, Largest, meta_model
from tests.fakes import VOCAB_SIZE, OneByteEach, ThreadRanks, TinyModel, on_ranks
from trainer.nn.gpt import GPT
from trainer.ranks import Ranks
from trainer.scoring.forward import Forward
from trainer.scoring.legality import Ledger
from trainer.scoring.sliding import score
from trainer.scoring.ttt import score_first
from trainer.spec.load import load_preset
from trainer.stages.adapt import make_sgd


@pytest.fixture(params=["pr150_v21", "pr1413"])
def recipe(request):
    return load_preset(request.param).recipe


def text_of(evaluation, num_batches: int) -> torch.Tensor:
    """Tokens of full batches of windows."""
    num_windows = num_batches * evaluation.batch_windows
    return torch.zeros((num_windows - 1) * evaluation.stride_tokens + evaluation.window_tokens + 1, dtype=torch.int64)


def scored(recipe, model, ranks, num_batches: int, forward: Forward | None = None) -> Ledger:
    ledger = Ledger(text_of(recipe.evaluation, num_batches), OneByteEach(), recipe.data.vocab_size, ranks)
    score(ledger, model, recipe.evaluation, ranks, forward=forward)  # on meta, reading a value raises
    ledger.close()
    return ledger


@pytest.fixture
def small_batches(recipe):
    """The recipe with two windows a batch, whose operators take less time."""
    return recipe.model_copy(update={"evaluation": recipe.evaluation.model_copy(update={"batch_windows": 2})})


def test_scoring_waits_once_for_each_batch_after_the_next_one_was_launched_and_for_nothing_else(small_batches):
    ranks, model = DistantRanks(), meta_model(small_batches)
    model.tok_emb.register_forward_pre_hook(lambda *_: ranks.waits.append("forward"))
    scored(small_batches, model, ranks, 3)
    assert ranks.waits == ["forward", "forward", 1, "forward", 1, 1]


def test_a_batch_of_windows_is_one_upload_of_32_bit_integers():
    recipe, ranks = load_preset("pr150_v21_nano").recipe, DistantRanks()
    scored(recipe, meta_model(recipe), ranks, 3)
    assert ranks.uploads == [torch.int32] * 3


def test_no_tensor_of_the_ledger_or_the_head_is_larger_than_the_logits_of_scored_positions(recipe):
    """The states inside of the model are, for a narrow head: 32 windows of 2,048 positions as wide as the MLP."""
    model, evaluation = meta_model(recipe), recipe.evaluation

    def states(ids_BT: torch.Tensor, first: int) -> torch.Tensor:
        return torch.empty(len(ids_BT), ids_BT.size(1) - first, recipe.model.model_dim, dtype=model.dtype, device=META)

    for num_batches, first_scored in ((1, 0), (2, evaluation.window_tokens - evaluation.stride_tokens)):
        largest = Largest()

        def of_batch(ids_BT: torch.Tensor, first: int, largest=largest) -> torch.Tensor:
            states_BSD = states(ids_BT, first)
            largest.num_bytes.clear()  # of these, and of the batches before
            return states_BSD

        with largest:
            scored(recipe, model, DistantRanks(), num_batches, Forward(of_batch, model.logits, None))
        first_window = evaluation.window_tokens - first_scored
        num_scored = (evaluation.batch_windows - 1) * evaluation.stride_tokens + first_window
        assert max(largest.num_bytes.values()) == num_scored * recipe.data.vocab_size * 4, dict(largest.num_bytes)


def test_scoring_computes_the_head_on_scored_positions_alone():
    recipe = load_preset("pr150_v21_nano").recipe
    vocab_size, window = recipe.data.vocab_size + 3, recipe.evaluation.window_tokens  # a width no other tensor has
    model = GPT(recipe.model, vocab_size).eval()
    tokens = torch.randint(0, vocab_size, (4 * window,), generator=torch.Generator().manual_seed(0))
    ledger = Ledger(tokens, OneByteEach(), vocab_size, Ranks())
    with Count() as count:
        score(ledger, model, recipe.evaluation, Ranks())
    batch = recipe.evaluation.batch_windows * recipe.evaluation.stride_tokens + window
    assert 0 < max(count.rows_of_width[vocab_size]) <= batch
    assert ledger.close().num_tokens == len(tokens) - 1


def test_the_last_block_is_computed_on_scored_positions_alone():
    recipe = load_preset("pr150_v21_nano").recipe
    evaluation, model = recipe.evaluation, GPT(recipe.model, recipe.data.vocab_size).eval()
    rows = defaultdict(list)
    for layer, block in enumerate(model.blocks):
        block.mlp.fc.register_forward_hook(lambda module, x, y, layer=layer: rows[layer].append(y.shape[:-1].numel()))
    windows = 3 * evaluation.batch_windows
    tokens = torch.zeros(windows * evaluation.stride_tokens + evaluation.window_tokens, dtype=torch.int64)
    score(Ledger(tokens, OneByteEach(), recipe.data.vocab_size, Ranks()), model, evaluation, Ranks())
    *before, last = rows.values()
    whole, scored = (evaluation.batch_windows * n for n in (evaluation.window_tokens, evaluation.stride_tokens))
    assert all(counts[1:3] == [whole] * 2 for counts in before)
    assert last[1:3] == [scored] * 2


@dataclass(frozen=True)
class NotingRanks(ThreadRanks):
    """Ranks that note the collectives they take part in."""

    noted: list[str] = field(default_factory=list)

    def gather_objects(self, value: Any) -> list[Any]:
        if not isinstance(value, torch.Tensor):  # by which the other collectives are made here
            self.noted.append("gather")
        return super().gather_objects(value)

    def sum_(self, tensor: torch.Tensor) -> torch.Tensor:
        self.noted.append("sum")
        return super().sum_(tensor)

    def max_(self, tensor: torch.Tensor) -> torch.Tensor:
        self.noted.append("max")
        return super().max_(tensor)

    def broadcast_(self, tensor: torch.Tensor) -> torch.Tensor:
        self.noted.append("broadcast")
        return super().broadcast_(tensor)


def noted_by_eight(score_text) -> list[str]:
    """The collectives of scoring a text, in the order of each of eight ranks, which is one."""
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(0, VOCAB_SIZE, (1 + 2 * CHUNK,), generator=generator)

    def work(ranks: NotingRanks) -> list[str]:
        ledger = Ledger(tokens, OneByteEach(), VOCAB_SIZE, ranks)
        score_text(ledger, TinyModel(), ranks)
        ledger.close()
        return ranks.noted

    first, *others = on_ranks(8, work, NotingRanks)
    assert all(noted == first for noted in others)
    return first


CHUNK = 512
EVALUATION = load_preset(
    "tiny", {"evaluation.window_tokens": 32, "evaluation.stride_tokens": 32, "evaluation.batch_windows": 1}
).recipe.evaluation
CLOSING = ["sum"] * 3 + ["gather"]
"""Coverage, nats and bytes of each position; what was done."""


def test_ranks_exchange_one_flag_for_each_batch_and_the_scores_at_the_end():
    def score_text(ledger, model, ranks):
        score(ledger, model, EVALUATION, ranks, stop=lambda: False)

    assert noted_by_eight(score_text) == ["max"] * (2 * CHUNK // 32 // 8) + CLOSING


def test_test_time_training_adds_a_check_of_the_chunk_and_one_sum_of_gradients_for_each_step():
    ttt = load_preset("tiny", {"ttt.mode": "score_first", "ttt.chunk_tokens": CHUNK, "ttt.batch_rows": 4}).recipe.ttt
    ttt = ttt.model_copy(update={"epochs": 2})

    def score_text(ledger, model, ranks):
        score_first(ledger, model, ttt, EVALUATION, make_sgd, ranks, stop=lambda: False)

    of_chunk = ["max"] * (CHUNK // 32 // 8)
    rows = ["max", "sum"]  # that all ask for the same, and how often each position was scored
    steps = ["max", "sum"] * (2 * CHUNK // 32 // 4)
    assert noted_by_eight(score_text) == of_chunk + rows + steps + of_chunk + CLOSING
