"""Learning the text before scoring it: it works, it is never legal, and the ledger refuses it."""

import pytest
import torch

from tests.fakes import VOCAB_SIZE, OneByteEach, TinyModel
from tests.trainer.scoring.test_ttt import EVALUATION, SETTINGS, TOKENS, sgd
from trainer.ranks import Ranks
from trainer.scoring.legality import Ledger
from trainer.scoring.sliding import Windows, score
from trainer.scoring.ttt import score_first
from trainer.scoring.unguarded import UnguardedText, pre_eval
from trainer.spec.errors import LegalityError


def text(kind):
    return kind(TOKENS, OneByteEach(), VOCAB_SIZE, Ranks())


def test_the_type_says_whether_a_score_is_legal():
    assert text(Ledger).legal is True
    assert text(UnguardedText).legal is False


def test_the_scores_are_those_of_a_model_that_learned_the_whole_text():
    unguarded, model = text(UnguardedText), TinyModel()
    pre_eval(unguarded, model, SETTINGS, EVALUATION, sgd, Ranks())
    plain = text(Ledger)
    score(plain, model, EVALUATION, Ranks())
    assert torch.equal(unguarded.close().nll_P, plain.close().nll_P)
    assert not torch.equal(model.head.weight, TinyModel().head.weight)


def test_having_seen_the_targets_is_better_than_score_first():
    unguarded, guarded = text(UnguardedText), text(Ledger)
    often = SETTINGS.model_copy(update={"epochs": 20, "lr": 0.03})
    pre_eval(unguarded, TinyModel(), often, EVALUATION, sgd, Ranks())
    score_first(guarded, TinyModel(), SETTINGS, EVALUATION, sgd, Ranks())
    assert unguarded.close().val_loss < guarded.close().val_loss


def test_e6_the_procedure_of_pr_150_is_rejected_by_the_ledger():
    guarded = text(Ledger)
    with pytest.raises(LegalityError, match="learning before scoring: position 0"):
        guarded.training_rows(0, guarded.num_positions, EVALUATION.window_tokens)
    model = TinyModel()
    windows = Windows(guarded.num_positions, EVALUATION.window_tokens, EVALUATION.stride_tokens)
    issue = guarded.issue(model, windows[:4])
    guarded.commit(issue, model, model(issue.ids_BT))
    with torch.no_grad():
        model.head.weight.mul_(1.01)  # learned behind the ledger's back
    issue = guarded.issue(model, windows[4:8])
    with pytest.raises(LegalityError, match="no training rows were granted"):
        guarded.commit(issue, model, model(issue.ids_BT))
