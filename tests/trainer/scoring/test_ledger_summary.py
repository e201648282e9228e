"""What a ledger leaves behind: coverage, order, tokens and bytes, and one digest over them."""

import json

import pytest
import torch

from tests.fakes import VOCAB_SIZE, OneByteEach, TinyModel, on_ranks
from tests.trainer.scoring.test_ttt import EVALUATION, SETTINGS, TOKENS, sgd
from trainer.ranks import Ranks
from trainer.scoring.ledger_summary import digest_of, order_complaints
from trainer.scoring.legality import Ledger
from trainer.scoring.sliding import score
from trainer.scoring.ttt import score_first
from trainer.scoring.unguarded import UnguardedText, pre_eval


def closed(procedure, *settings, kind=Ledger, tokens=TOKENS, ranks=None) -> Ledger:
    ranks = ranks or Ranks()
    ledger = kind(tokens, OneByteEach(), VOCAB_SIZE, ranks)
    procedure(ledger, TinyModel(), *settings, ranks)
    ledger.close()
    return ledger


@pytest.mark.parametrize("size", [1, 2, 8])
def test_a_legal_score_leaves_events_in_legal_order_and_the_digest_of_them(size):
    for ledger in on_ranks(size, lambda ranks: closed(score_first, SETTINGS, EVALUATION, sgd, ranks=ranks)):
        read_back = json.loads(json.dumps(ledger.summary))
        assert order_complaints(read_back) == []
        assert digest_of(read_back) == ledger.digest
        assert {read_back[name] for name in ("positions", "tokens", "bytes")} == {150}
        trained = [event for event in read_back["ranks"][0]["events"] if event[0] == "train"]
        assert trained == [["train", 0, 40], ["train", 40, 80], ["train", 80, 120]]


def test_plain_windows_are_one_range_of_scores():
    rows = EVALUATION.model_copy(update={"stride_tokens": EVALUATION.window_tokens})
    assert closed(score, rows).summary["ranks"][0]["events"] == [("score", 0, 150)]


def test_learning_before_scoring_shows_in_what_the_unguarded_text_leaves():
    ledger = closed(pre_eval, SETTINGS, EVALUATION, sgd, kind=UnguardedText)
    assert order_complaints(ledger.summary) == ["position 0 of [0, 144) was learned from before it was scored"]


def test_the_digest_covers_text_model_bytes_and_order():
    others = [
        closed(score, EVALUATION),
        closed(score, EVALUATION, tokens=(TOKENS + 1) % VOCAB_SIZE),
        closed(score_first, SETTINGS, EVALUATION, sgd),
        closed(score_first, SETTINGS.model_copy(update={"lr": 0.1}), EVALUATION, sgd),
    ]
    assert len({ledger.digest for ledger in others}) == 4
    summary = others[0].summary
    assert all(digest_of(summary | {name: 7}) != others[0].digest for name in summary)


@pytest.mark.parametrize(
    ("events", "complaint"),
    [
        ([("score", 0, 6), ("score", 4, 10)], "2 positions were scored more than once; the first is 4"),
        ([("score", 0, 6)], "4 positions were never scored; the first is 6"),
        ([("score", 0, 4), ("train", 0, 6), ("score", 4, 10)], "position 4 of [0, 6) was learned from before it was"),
        ([("score", 0, 10), ("train", 0, 10)], "nothing was scored after the last train event"),
    ],
)
def test_an_illegal_order_is_named(events, complaint):
    (actual,) = order_complaints({"positions": 10, "ranks": [{"events": events}]})
    assert complaint in actual


def test_ranks_that_learned_differently_are_named():
    ranks = [[("score", 0, 5), ("train", 0, 5)], [("score", 5, 10), ("train", 5, 10)]]
    complaints = order_complaints({"positions": 10, "ranks": [{"events": events} for events in ranks]})
    assert "ranks learned from different positions at once" in complaints
    ranks[1] = ranks[1][:1]
    complaints = order_complaints({"positions": 10, "ranks": [{"events": events} for events in ranks]})
    assert complaints == ["ranks do not have equally many train events"]


def test_the_coverage_of_a_full_split_is_checked_at_once():
    summary = {"positions": 62_021_632, "ranks": [{"events": [("score", 0, 62_021_632)]}]}
    assert order_complaints(summary) == []


def test_closing_twice_gives_the_same_digest():
    ledger = closed(score, EVALUATION)
    before = ledger.digest
    ledger.close()
    assert ledger.digest == before
    assert torch.equal(ledger.close().nll_P, ledger.close().nll_P)
