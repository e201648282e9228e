"""What a race says of its leader, who was selected as the best of all that started."""

import numpy as np
import pytest

from results.stats.race_rule import RaceRule, standing
from results.stats.sequential import Looks
from results.verdicts.matching import Match, moved_by_shrinkage
from results.verdicts.race_verdicts import race_verdicts
from results.verdicts.terms import Evidence
from results.verdicts.verdict import selected_gain
from tests.results.sweeps import frame, row

SEEDS = range(1, 9)


def raced(scores: dict[str, np.ndarray], blocks="none"):
    rule = RaceRule(0.0, 0.01, Looks(len(SEEDS)), paired=blocks == "seed")
    race = standing(scores, "base", rule)
    rows = [row(arm, seed, score) for arm, arms in scores.items() for seed, score in zip(SEEDS, arms, strict=True)]
    verdicts = race_verdicts(frame(*rows), race, "base", rule, "bpb", Evidence(seeds=list(SEEDS)), blocks)
    return race, {verdict.config: verdict for verdict in verdicts}


def drawn(num: int, gain: float, block_sd: float = 0.0) -> dict[str, np.ndarray]:
    dice = np.random.default_rng(5)
    blocks = block_sd * dice.normal(size=len(SEEDS))
    scores = {"base": 2.0 + blocks + 0.01 * dice.normal(size=len(SEEDS))}
    for place in range(num):
        scores[f"c{place}"] = 2.0 - gain * (place == 0) + blocks + 0.01 * dice.normal(size=len(SEEDS))
    return scores


@pytest.mark.parametrize(("blocks", "block_sd"), [("none", 0.0), ("seed", 0.05)])
def test_the_best_of_a_race_without_any_difference_is_drawn_back_to_the_others(blocks, block_sd):
    _, verdicts = raced(drawn(8, 0.0, block_sd), blocks)
    best = min(verdicts.values(), key=lambda verdict: verdict.bpb.difference)
    others = np.mean([verdict.bpb.difference for verdict in verdicts.values()])
    assert abs(best.bpb.shrunken - others) < 0.8 * abs(best.bpb.difference - others)
    assert "it was selected as the best of 8" in selected_gain(best)


def test_blocks_of_arms_with_different_numbers_of_seeds_add_nothing_to_the_error_of_a_mean():
    scores = drawn(8, 0.05, block_sd=1.0)
    matches = [Match(scores[f"c{i}"][:n], scores["base"][:n], "seed") for i, n in enumerate((8, 8, 3, 3, 5, 3, 3, 8))]
    assert max(map(abs, moved_by_shrinkage(matches))) < 0.02


def test_a_winner_far_ahead_keeps_nearly_all_of_its_gain():
    race, verdicts = raced(drawn(8, 0.1))
    assert race.winner == "c0"
    assert verdicts["c0"].bpb.expected_gain == pytest.approx(-verdicts["c0"].bpb.difference, rel=0.02)


def test_a_race_of_one_candidate_selected_nothing():
    _, verdicts = raced(drawn(1, 0.1))
    assert verdicts["c0"].bpb.expected_gain == -verdicts["c0"].bpb.difference
    assert selected_gain(verdicts["c0"]) == ""
