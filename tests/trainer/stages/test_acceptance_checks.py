"""Acceptance checks of docs/recipe.md section 8, named by their numbers, on a small instance of the real model.

Checks that need the clock, several ranks or a whole run are in `test_acceptance_checks_in_runs`, which also lists all
numbers. Check 8.7, full data on eight GPUs, is not part of the tests.
"""

from __future__ import annotations

import math
import shutil

import pytest
import torch

from tests.fakes import OneByteEach
from tests.trainer.nn.test_gpt import VOCAB_SIZE, changed, draw_ids, lively, sgd_step, started
from tests.trainer.stages.conftest import run, small
from trainer.nn.gpt import GPT
from trainer.nn.rotary import rotary_tables, rotate
from trainer.optim.averaging import SWA
from trainer.optim.muon import newton_schulz
from trainer.quant.artifact import decode_artifact, encode_artifact
from trainer.quant.packing import weight_transform
from trainer.ranks import Ranks
from trainer.scoring.legality import Ledger
from trainer.scoring.sliding import Windows, score
from trainer.scoring.ttt import score_first
from trainer.spec.budget import check_artifact_bytes, check_train_s
from trainer.spec.errors import BudgetExceeded, LegalityError
from trainer.spec.recipe import TTT, Budget, Evaluation, Quantization
from trainer.stages.adapt import make_sgd
from trainer.stages.context import StageContext
from trainer.stages.evaluate import evaluate
from trainer.stages.run_record import fingerprints_of
from trainer.store.local import StageStore

EVALUATION = Evaluation(window_tokens=16, stride_tokens=5, batch_windows=4)
LEARNING = TTT(mode="score_first", lr=0.05, epochs=3, chunk_tokens=32, batch_rows=2)
TOKENS = draw_ids(150, seed=3)
TWO_LAYERS = changed(num_layers=2, xsa_layers=(1,))


def toy() -> GPT:
    return lively(TWO_LAYERS)


def learned(tokens: torch.Tensor = TOKENS, ledger_type: type[Ledger] = Ledger, **changes: object) -> Ledger:
    ledger = ledger_type(tokens, OneByteEach(), VOCAB_SIZE, Ranks())
    score_first(ledger, toy(), LEARNING.model_copy(update=changes), EVALUATION, make_sgd, Ranks())
    return ledger


class Diary(Ledger):
    """A ledger that records its events in order."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.events: list[tuple[str, int, int]] = []

    def commit(self, issue, model, states, head):
        super().commit(issue, model, states, head)
        self.events += [("score", window.first_scored, window.end) for window in issue.windows]

    def training_rows(self, chunk_start, chunk_end, row_tokens):
        self.events.append(("train", chunk_start, chunk_end))
        return super().training_rows(chunk_start, chunk_end, row_tokens)


def test_8_1_rotation_is_by_the_negative_angle():
    tables = rotary_tables(2, 2, 1e4, torch.device("cpu"), torch.float32)
    turned = rotate(torch.tensor([1.0, 0.0]).expand(1, 2, 1, 2), tables)
    assert turned[0, 1, 0].tolist() == pytest.approx([math.cos(1.0), -math.sin(1.0)])


@pytest.mark.parametrize(("coefficients", "low", "high"), [("fixed", 0.67, 1.15), ("polar_express", 0.85, 1.16)])
def test_8_1_newton_schulz_brings_singular_values_near_one(coefficients, low, high):
    matrix = torch.randn(256, 512, generator=torch.Generator().manual_seed(0))
    values = torch.linalg.svdvals(newton_schulz(matrix, 5, coefficients).float())
    assert low < values.min() < values.max() < high


@pytest.mark.parametrize("seed", range(30))
def test_8_2_windows_cover_every_position_once(seed):
    drawn = torch.randint(1, 40, (3,), generator=torch.Generator().manual_seed(seed))
    window, stride, num_positions = drawn.tolist()
    stride = min(stride, window)
    covered = torch.zeros(num_positions, dtype=torch.int64)
    for item in Windows(num_positions, window, stride):
        covered[item.first_scored : item.end] += 1
    assert covered.tolist() == [1] * num_positions


@pytest.mark.parametrize("changed_token", [20, 33, 64, 149])
def test_8_3_e1_a_score_depends_on_no_later_token_with_learning_on(changed_token):
    other = TOKENS.clone()
    other[changed_token:] = (other[changed_token:] + 1) % VOCAB_SIZE
    before, after = learned().close().nll_P, learned(other).close().nll_P
    assert torch.equal(before[: changed_token - 1], after[: changed_token - 1])


def test_8_3_e2_the_score_is_the_targets_entry_of_a_normalised_distribution():
    model = toy()
    ledger = Ledger(TOKENS[:17], OneByteEach(), VOCAB_SIZE, Ranks())
    score(ledger, model, EVALUATION, Ranks())
    logs = model(TOKENS[None, :16])[0].detach().log_softmax(-1)
    assert logs.logsumexp(-1).abs().max() < 1e-4
    torch.testing.assert_close(ledger.close().nll_P, -logs[torch.arange(16), TOKENS[1:17]], rtol=1e-5, atol=1e-5)


def test_8_3_e3_and_e4_every_target_is_scored_once_and_before_it_is_learned():
    diary = learned(ledger_type=Diary)
    scored: set[int] = set()
    for event, start, end in diary.events:
        span = set(range(start, end))
        if event == "score":
            assert not span & scored
            scored |= span
        else:
            assert span <= scored
    assert scored == set(range(len(TOKENS) - 1))


def test_8_3_e5_nothing_is_learned_after_the_last_chunk_was_scored():
    assert learned(ledger_type=Diary).events[-1][0] == "score"


def test_8_3_e6_the_procedure_of_5_6_is_rejected():
    ledger = Ledger(TOKENS, OneByteEach(), VOCAB_SIZE, Ranks())
    with pytest.raises(LegalityError, match="learning before scoring"):
        ledger.training_rows(0, ledger.num_positions, 16)


def test_8_3_e8_calibration_counts_as_training():
    check_train_s(588.0, 12.0, Budget(train_s=600.0))
    with pytest.raises(BudgetExceeded, match=r"588.0 s \+ 12.1 s of calibration exceeds budget.train_s = 600 s"):
        check_train_s(588.0, 12.1, Budget(train_s=600.0))


def test_8_3_e13_several_epochs_on_scored_chunks_change_later_scores_alone():
    one, three = learned(epochs=1).close().nll_P, learned(epochs=3).close().nll_P
    assert torch.equal(one[:32], three[:32])
    assert not torch.equal(one[48:], three[48:])


def test_8_3_e7_and_e15_scoring_starts_from_artifact_tokenizer_and_validation_text_alone(fresh_store, text_store):
    recipe, store = small(), fresh_store("alone")
    first = run(text_store, recipe, "whole")
    stages = fingerprints_of(recipe, 1)
    source, target = (StageStore(root).folder("export", stages["export"]) for root in (text_store, store))
    shutil.copytree(source, target)
    context = StageContext(recipe, "alone", StageStore(store), stages)
    (store / "out").mkdir()
    assert evaluate(context, store / "out")["val_bpb"] == first.metric("evaluate", "val_bpb")


def test_8_4_the_bigram_projection_has_a_gradient_once_its_table_moved():
    gpt = started()
    sgd_step(gpt)
    assert gpt.bigram.embed.weight.grad.any()
    sgd_step(gpt)
    assert gpt.bigram.proj.weight.grad.any()


def test_8_4_fake_quantisation_changes_the_forward_and_equals_the_export():
    quantization = Quantization(min_elements=64, embedding="int8")
    gpt, ids_BT = toy(), draw_ids(2, 20)
    plain = gpt(ids_BT)
    gpt.set_weight_transform(weight_transform(quantization))
    faked = gpt(ids_BT)
    assert not torch.equal(faked, plain)
    artifact = decode_artifact(encode_artifact(gpt.state_dict(), TWO_LAYERS, VOCAB_SIZE, quantization))
    exported = GPT(TWO_LAYERS, VOCAB_SIZE)
    exported.load_state_dict(artifact.state)
    assert torch.equal(exported(ids_BT), faked)


@pytest.mark.parametrize("count", [1, 3, 29])
def test_8_4_swa_of_identical_states_is_that_state(count):
    swa, state = SWA(), {"w": torch.randn(50, generator=torch.Generator().manual_seed(0))}
    for _ in range(count):
        swa.update(state)
    assert torch.equal(swa.average()["w"], state["w"])


def test_8_6_encoding_is_undone_exactly_and_the_size_limit_is_sharp():
    quantization = Quantization(min_elements=64)
    first = decode_artifact(encode_artifact(toy().state_dict(), TWO_LAYERS, VOCAB_SIZE, quantization))
    assert first.model == TWO_LAYERS
    floats = {n: w for n, w in first.state.items() if w.ndim < 2}
    assert all(torch.equal(w, toy().state_dict()[n]) for n, w in floats.items())
    check_artifact_bytes(16_000_000, Budget(train_steps=1), code_bytes=0)
    with pytest.raises(BudgetExceeded):
        check_artifact_bytes(16_000_001, Budget(train_steps=1), code_bytes=0)
