"""One rank or two: the same windows, the same steps, the same score; and no rank learns what another has not scored."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.multiprocessing as mp

from tests.fakes import VOCAB_SIZE, OneByteEach, TinyModel
from trainer.ranks import Ranks
from trainer.scoring.legality import Ledger, Window
from trainer.scoring.sliding import score
from trainer.scoring.ttt import score_first
from trainer.scoring.weights_digest import parameter_digest, state_tensors
from trainer.spec.errors import BudgetExceeded, LegalityError
from trainer.spec.recipe import TTT, Evaluation

pytestmark = pytest.mark.distributed

EVALUATION = Evaluation(window_tokens=8, stride_tokens=3, batch_windows=2)
# 4 rows in batches of 3 and 1: two ranks share unequally, then one is idle. Some steps are clipped, others not.
SETTINGS = TTT(mode="score_first", lr=0.3, epochs=2, chunk_tokens=33, batch_rows=3, grad_clip=1.4)
TOKENS = torch.randint(VOCAB_SIZE, (166,), generator=torch.Generator().manual_seed(0))


def sgd(parameters, lr, momentum):
    return torch.optim.SGD(parameters, lr=lr, momentum=momentum)


def findings(ranks: Ranks) -> dict:
    """What one rank sees; the same function for one rank and for two."""
    plain_ledger, ttt_ledger = (Ledger(TOKENS, OneByteEach(), VOCAB_SIZE, ranks) for _ in range(2))
    score(plain_ledger, TinyModel(), EVALUATION, ranks)
    model = TinyModel()
    score_first(ttt_ledger, model, SETTINGS, EVALUATION, sgd, ranks, stop=lambda: False)
    plain, ttt = plain_ledger.close(), ttt_ledger.close()
    return {
        "plain_nll": plain.nll_P,
        "plain_bpb": plain.val_bpb,
        "ttt_nll": ttt.nll_P,
        "ttt_bpb": ttt.val_bpb,
        "parameters": int(parameter_digest(state_tensors(model))),
        "digests": (plain_ledger.digest, ttt_ledger.digest),
        "stopped": _stops_when_only_the_last_rank_is_out_of_time(ranks),
        "unscored_elsewhere": _asks_for_what_no_other_rank_scored(ranks),
        "different_requests": _each_rank_asks_for_its_own(ranks),
        "scored_twice": _both_ranks_score_the_same(ranks),
    }


def _stops_when_only_the_last_rank_is_out_of_time(ranks: Ranks) -> bool:
    ledger = Ledger(TOKENS, OneByteEach(), VOCAB_SIZE, ranks)
    try:
        score(ledger, TinyModel(), EVALUATION, ranks, stop=lambda: ranks.rank == ranks.size - 1)
    except BudgetExceeded:
        return True
    return False


def _refusal(ledger: Ledger, window: Window, ask) -> str:
    model = TinyModel()
    issue = ledger.issue(model, [window])
    ledger.commit(issue, model, model(issue.ids_BT))
    try:
        ask()
    except LegalityError as error:
        return str(error)
    return ""


def _asks_for_what_no_other_rank_scored(ranks: Ranks) -> str:
    ledger = Ledger(TOKENS, OneByteEach(), VOCAB_SIZE, ranks)
    own = Window(16 * ranks.rank, 16 * ranks.rank + 8, 16 * ranks.rank)
    return _refusal(ledger, own, lambda: ledger.training_rows(0, 16, 8))


def _each_rank_asks_for_its_own(ranks: Ranks) -> str:
    ledger = Ledger(TOKENS, OneByteEach(), VOCAB_SIZE, ranks)
    own = Window(16 * ranks.rank, 16 * ranks.rank + 8, 16 * ranks.rank)
    return _refusal(ledger, own, lambda: ledger.training_rows(own.start, own.end, 8))


def _both_ranks_score_the_same(ranks: Ranks) -> str:
    ledger = Ledger(TOKENS[:9], OneByteEach(), VOCAB_SIZE, ranks)
    return _refusal(ledger, Window(0, 8, 0), ledger.close)


def _worker(rank: int, size: int, folder: str) -> None:
    torch.set_num_threads(1)
    ranks = Ranks.join(torch.device("cpu"), rank, size, Path(folder) / "rendezvous")
    torch.save(findings(ranks), Path(folder) / f"{rank}.pt")
    ranks.leave()


@pytest.fixture(scope="module")
def two(tmp_path_factory) -> list[dict]:
    folder = tmp_path_factory.mktemp("two_ranks")
    mp.spawn(_worker, args=(2, str(folder)), nprocs=2)
    return [torch.load(folder / f"{rank}.pt") for rank in range(2)]


@pytest.fixture(scope="module")
def one() -> dict:
    return findings(Ranks())


def test_both_ranks_hold_the_same_score_the_same_digest_and_the_same_weights(two):
    for key in ("plain_nll", "ttt_nll"):
        assert torch.equal(two[0][key], two[1][key])
    for key in ("plain_bpb", "ttt_bpb", "parameters", "digests"):
        assert two[0][key] == two[1][key], key


def test_two_ranks_score_as_one(one, two):
    difference = (one["plain_nll"] - two[0]["plain_nll"]).abs()
    assert difference.max() <= 1e-6, f"max {difference.max():g}, mean {difference.mean():g}"
    assert two[0]["plain_bpb"] == pytest.approx(one["plain_bpb"], abs=1e-6)


def test_two_ranks_learn_as_one(one, two):
    assert two[0]["ttt_bpb"] == pytest.approx(one["ttt_bpb"], abs=1e-5)
    assert one["ttt_bpb"] != pytest.approx(one["plain_bpb"], abs=1e-3)


def test_one_rank_out_of_time_stops_both(two):
    assert [rank["stopped"] for rank in two] == [True, True]


def test_no_rank_learns_what_no_rank_has_scored(two):
    assert all("position 8 of chunk [0, 16) was scored 0 times" in rank["unscored_elsewhere"] for rank in two)


def test_ranks_must_ask_for_the_same_rows(one, two):
    assert one["different_requests"] == ""
    assert all("different training rows" in rank["different_requests"] for rank in two)


def test_a_position_scored_on_two_ranks_is_refused(one, two):
    assert one["scored_twice"] == ""
    assert all("scored 2 times" in rank["scored_twice"] for rank in two)
