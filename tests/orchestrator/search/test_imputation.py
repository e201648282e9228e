"""Dropped and failed configurations steer a search, by order alone and never by a short score beside full ones."""

import math

import pytest

from orchestrator.search.imputation import imputed
from orchestrator.search.searcher import Searcher
from orchestrator.space.configuration import Outcome
from tests.orchestrator.search.test_searcher import PLANE, bowl
from tests.orchestrator.spaces import space_of

WHOLE = {  # short and full means of three that ran both; the last two rank the other way round
    0: Outcome(2.0, short=((0.25, 11.0),)),
    1: Outcome(4.0, short=((0.25, 12.0),)),
    2: Outcome(3.0, short=((0.25, 13.0),)),
}


def expected_score(mean: float) -> float:
    return imputed({**WHOLE, 3: Outcome(None, short=((0.25, mean),))}, "minimize")[3].score


def test_a_pruned_one_stands_where_its_short_mean_would_stand_in_full():
    assert [expected_score(mean) for mean in (10.0, 11.5, 12.5, 99.0)] == [2.0, 2.75, 3.5, 3.5]


@pytest.mark.parametrize(("goal", "worst"), [("minimize", 4.0), ("maximize", 2.0)])
def test_a_failed_one_is_as_bad_as_the_worst(goal, worst):
    assert imputed({**WHOLE, 3: Outcome(None)}, goal)[3].score == worst


def test_where_nobody_has_a_score_nobody_is_given_one():
    nobody = {0: Outcome(None), 1: Outcome(None, short=((0.25, 1.0),))}
    assert imputed(nobody, "minimize") == nobody


def test_every_method_can_read_the_limits_of_one_that_was_never_held_against_them():
    outside = {0: Outcome(1.0, {"total_bytes": 5.0, "eval_s": 0.0}), 1: Outcome(None)}
    assert imputed(outside, "minimize")[1] == Outcome(1.0, {"total_bytes": 0.0, "eval_s": 0.0})


def late(tmp_path, method: str, outcome, count: int) -> list[dict]:
    """The later two thirds of what a search proposes that gets each outcome at once."""
    searcher, values = Searcher(space_of(tmp_path, PLANE + f"method: {method}"), 1), []
    for _ in range(count):
        values.append(searcher.ask(values, {index: outcome(index, known) for index, known in enumerate(values)}))
    return values[count // 3 :]


def pruned_unless_among_the_first(index: int, values) -> Outcome:
    short = ((0.25, 100 + bowl(values)),)
    return Outcome(bowl(values), short=short) if index < 6 else Outcome(None, short=short)


@pytest.mark.parametrize(("method", "count"), [("tpe", 30), ("cmaes", 30), ("gp", 12)])
def test_a_search_whose_later_configurations_are_all_pruned_still_learns(tmp_path, method, count):
    proposals = late(tmp_path, method, pruned_unless_among_the_first, count)
    chance = late(tmp_path, "random", pruned_unless_among_the_first, count)
    means = [sum(map(bowl, values)) / len(values) for values in (proposals, chance)]
    assert means[0] < 0.8 * means[1], means


@pytest.mark.parametrize("method", ["tpe", "cmaes"])
def test_a_region_where_everything_fails_is_left(tmp_path, method):
    def outcome(index: int, values) -> Outcome:
        lr = values["optimizer.muon.lr"]
        return Outcome(None if lr > 0.01 else abs(math.log(lr / 0.003)))

    proposals = late(tmp_path, method, outcome, 30)
    assert sum(values["optimizer.muon.lr"] > 0.01 for values in proposals) < 0.3 * len(proposals)  # by chance, half
