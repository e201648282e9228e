"""What the ledger refuses, and what it lets through."""

from __future__ import annotations

import copy
import math
from pathlib import Path
from statistics import fmean

import pytest
import torch
from torch.nn.functional import log_softmax

from tests.fakes import VOCAB_SIZE, OneByteEach, TinyModel
from trainer.ranks import Ranks
from trainer.scoring import legality
from trainer.scoring.bits_per_byte import NothingScored
from trainer.scoring.legality import Issue, Ledger, Window
from trainer.scoring.weights_digest import parameter_digest
from trainer.spec.errors import LegalityError

TOKENS = torch.randint(VOCAB_SIZE, (41,), generator=torch.Generator().manual_seed(0))
FIRST, SECOND = Window(0, 16, 0), Window(8, 24, 16)


def ledger_over(tokens: torch.Tensor = TOKENS) -> Ledger:
    return Ledger(tokens, OneByteEach(), VOCAB_SIZE, Ranks())


def commit(ledger: Ledger, model: TinyModel, *windows: Window) -> None:
    issue = ledger.issue(model, windows)
    ledger.commit(issue, model, model(issue.ids_BT))


def test_a_score_is_the_log_softmax_entry_of_the_true_next_token():
    ledger, model = ledger_over(TOKENS[:17]), TinyModel()
    commit(ledger, model, FIRST)
    log_probs_TV = log_softmax(model(TOKENS[None, :16])[0].double(), dim=-1)
    wanted = [-log_probs_TV[p, TOKENS[p + 1]].item() for p in range(16)]
    score = ledger.close()
    assert score.nll_P.tolist() == pytest.approx(wanted, rel=1e-5)
    assert score.val_loss == pytest.approx(fmean(wanted), rel=1e-6)
    assert score.val_bpb == pytest.approx(fmean(wanted) / math.log(2), rel=1e-6)
    assert (score.num_tokens, score.num_bytes) == (16, 16)


def test_logits_that_are_not_normalised_gain_nothing():
    model = TinyModel()
    plain, shifted = ledger_over(TOKENS[:17]), ledger_over(TOKENS[:17])
    commit(plain, model, FIRST)
    issue = shifted.issue(model, [FIRST])
    shifted.commit(issue, model, model(issue.ids_BT) + 64.0)
    assert shifted.close().val_loss == pytest.approx(plain.close().val_loss, abs=1e-5)


def test_short_windows_are_padded_and_the_padding_is_not_scored():
    ledger, model = ledger_over(TOKENS[:21]), TinyModel()
    issue = ledger.issue(model, [FIRST, Window(12, 20, 16)])
    assert issue.ids_BT[1].tolist() == TOKENS[12:20].tolist() + [0] * 8
    ledger.commit(issue, model, model(issue.ids_BT))
    assert ledger.close().num_tokens == 20


def test_committing_an_issue_twice_raises():
    ledger, model = ledger_over(), TinyModel()
    issue = ledger.issue(model, [FIRST])
    ledger.commit(issue, model, model(issue.ids_BT))
    with pytest.raises(LegalityError, match="committed before"):
        ledger.commit(issue, model, model(issue.ids_BT))


def test_the_first_score_of_a_position_is_final():
    ledger, model = ledger_over(), TinyModel()
    commit(ledger, model, FIRST)
    with pytest.raises(LegalityError, match="position 15 was scored before"):
        commit(ledger, model, Window(8, 24, 15))


def test_windows_of_one_issue_may_not_score_the_same_position():
    with pytest.raises(LegalityError, match="overlap"):
        commit(ledger_over(), TinyModel(), FIRST, Window(8, 24, 15))


@pytest.mark.parametrize("window", [Window(0, 0, 0), Window(0, 8, 8), Window(4, 8, 3), Window(30, 41, 35)])
def test_a_window_that_scores_nothing_or_leaves_the_text_is_refused(window):
    with pytest.raises(LegalityError, match="scores nothing or leaves the text of 40 positions"):
        ledger_over().issue(TinyModel(), [window])


def test_weights_may_not_change_between_issue_and_commit():
    ledger, model = ledger_over(), TinyModel()
    issue = ledger.issue(model, [FIRST])
    logits = model(issue.ids_BT)
    with torch.no_grad():
        model.head.weight[3, 2] += 1e-6
    with pytest.raises(LegalityError, match="between issue and commit"):
        ledger.commit(issue, model, logits)


def test_weights_may_not_change_between_commits_unless_rows_were_granted():
    ledger, model = ledger_over(), TinyModel()
    commit(ledger, model, FIRST)
    ledger.training_rows(0, 16, 8)
    with torch.no_grad():
        model.head.weight[3, 2] += 1
    commit(ledger, model, SECOND)
    with torch.no_grad():
        model.head.weight[3, 2] += 1
    with pytest.raises(LegalityError, match="no training rows were granted"):
        commit(ledger, model, Window(16, 32, 24))


def test_weights_are_digested_once_a_batch_and_once_more_after_rows_were_granted(monkeypatch):
    digested = []
    monkeypatch.setattr(legality, "parameter_digest", lambda tensors: digested.append(1) or parameter_digest(tensors))
    ledger, model = ledger_over(), TinyModel()
    for window in (FIRST, SECOND, Window(16, 32, 24)):
        commit(ledger, model, window)
    assert len(digested) == 1 + 3
    ledger.training_rows(0, 16, 8)
    commit(ledger, model, Window(24, 40, 32))
    assert len(digested) == 1 + 3 + 2


@pytest.mark.parametrize("how", ["written in place", "another model"])
def test_weights_changed_before_an_issue_and_changed_back_before_its_commit_are_named(how):
    ledger, model = ledger_over(), TinyModel()
    commit(ledger, model, FIRST)
    scoring = model if how == "written in place" else copy.deepcopy(model)
    with torch.no_grad():
        weight = next(scoring.parameters())
        before = weight.clone()
        weight.add_(1.0)
        issue = ledger.issue(scoring, [SECOND])
        outputs = scoring(issue.ids_BT)
        weight.copy_(before)
    with pytest.raises(LegalityError, match="changed between"):
        ledger.commit(issue, model, outputs)


def test_nobody_reads_ahead_by_issuing_without_committing():
    ledger, model = ledger_over(), TinyModel()
    ledger.issue(model, [FIRST])
    for ask in (lambda: ledger.issue(model, [SECOND]), lambda: ledger.training_rows(0, 8, 8), ledger.close):
        with pytest.raises(LegalityError, match="not committed"):
            ask()


def test_learning_before_scoring_raises():
    ledger, model = ledger_over(), TinyModel()
    commit(ledger, model, FIRST)
    with pytest.raises(LegalityError, match=r"learning before scoring: position 16 .* scored 0 times"):
        ledger.training_rows(8, 24, 8)


def test_pre_evaluation_training_gets_no_token():
    # docs/recipe.md 5.6: rows over the whole split before anything is scored.
    ledger = ledger_over()
    with pytest.raises(LegalityError, match="learning before scoring"):
        ledger.training_rows(0, ledger.num_positions, 8)


def test_no_row_is_granted_once_nothing_is_left_to_score():
    ledger, model = ledger_over(TOKENS[:17]), TinyModel()
    commit(ledger, model, FIRST)
    with pytest.raises(LegalityError, match="nothing is left to score"):
        ledger.training_rows(0, 16, 8)


def test_granted_rows_are_the_chunk_and_its_targets_without_the_remainder():
    ledger, model = ledger_over(), TinyModel()
    commit(ledger, model, FIRST)
    inputs, targets = ledger.training_rows(2, 16, 6)
    assert inputs.tolist() == [TOKENS[2:8].tolist(), TOKENS[8:14].tolist()]
    assert targets.tolist() == [TOKENS[3:9].tolist(), TOKENS[9:15].tolist()]
    assert [tuple(part.shape) for part in ledger.training_rows(0, 5, 6)] == [(0, 6), (0, 6)]


def test_closing_demands_every_position():
    ledger, model = ledger_over(), TinyModel()
    commit(ledger, model, SECOND)
    with pytest.raises(LegalityError, match="32 of 40 positions were not scored exactly once; the first is 0"):
        ledger.close()


def test_a_text_of_one_token_has_no_score():
    with pytest.raises(NothingScored):
        ledger_over(TOKENS[:1]).close()


@pytest.mark.parametrize(
    ("spoil", "complaint"),
    [
        (lambda logits: logits[:, :-1], r"shape \(1, 15, 17\), expected \(1, 16, 17\)"),
        (lambda logits: logits[..., 1:], r"shape \(1, 16, 16\), expected \(1, 16, 17\)"),
        (lambda logits: logits.index_fill(1, torch.tensor([5]), float("nan")), "position 5 is not finite"),
    ],
)
def test_logits_that_are_no_distribution_over_the_vocabulary_are_refused(spoil, complaint):
    ledger, model = ledger_over(), TinyModel()
    issue = ledger.issue(model, [FIRST])
    with pytest.raises(LegalityError, match=complaint):
        ledger.commit(issue, model, spoil(model(issue.ids_BT)))


def test_the_digest_tells_two_evaluations_apart_and_repeats_itself():
    def digest_of(model: TinyModel, *batches: list[Window]) -> str:
        ledger = ledger_over(TOKENS[:25])
        for batch in batches:
            commit(ledger, model, *batch)
        ledger.close()
        return ledger.digest

    one = digest_of(TinyModel(), [FIRST], [SECOND])
    assert one == digest_of(TinyModel(), [FIRST], [SECOND])
    assert len({one, digest_of(TinyModel(), [FIRST, SECOND]), digest_of(TinyModel(seed=1), [FIRST], [SECOND])}) == 3


def test_open_reads_the_validation_split_as_it_is_stored(tmp_path: Path):
    asked = []

    def read_split(folder: Path, split: str, vocab_size: int) -> torch.Tensor:
        asked.append((folder, split, vocab_size))
        return TOKENS.to(torch.uint16)

    ledger = Ledger.open(
        tmp_path, read_split=read_split, byte_table=OneByteEach(), vocab_size=VOCAB_SIZE, ranks=Ranks()
    )
    assert asked == [(tmp_path, "val", VOCAB_SIZE)]
    assert ledger.num_positions == 40
    assert ledger.issue(TinyModel(), [FIRST]).ids_BT.tolist() == [TOKENS[:16].tolist()]


def test_an_issue_gives_a_scorer_no_token_behind_its_last_position():
    issues = []
    for last_target in (3, 4):
        tokens = TOKENS[:18].clone()
        tokens[16:] = last_target  # position 15 has target 16
        issues.append(ledger_over(tokens).issue(TinyModel(), [FIRST]))
    for name in Issue.__dataclass_fields__:
        one, two = (getattr(issue, name) for issue in issues)
        assert torch.equal(one, two) if isinstance(one, torch.Tensor) else one == two


def test_outputs_may_be_those_of_the_scored_places_alone():
    scores = []
    for cut in (False, True):
        ledger, model = ledger_over(TOKENS[:25]), TinyModel()
        commit(ledger, model, FIRST)
        issue = ledger.issue(model, [SECOND])
        assert issue.first == 8
        logits_BTV = model(issue.ids_BT)
        ledger.commit(issue, model, logits_BTV[:, 8:] if cut else logits_BTV)
        scores.append(ledger.close())
    assert torch.equal(scores[0].nll_P, scores[1].nll_P)


def test_outputs_begin_where_any_window_of_the_batch_is_scored():
    ledger, model = ledger_over(TOKENS[:25]), TinyModel()
    issue = ledger.issue(model, [FIRST, SECOND])
    assert issue.first == 0
    with pytest.raises(LegalityError, match=r"outputs have shape .*, expected \(2, 16, \d+\)$"):
        ledger.commit(issue, model, model(issue.ids_BT)[:, 8:])
