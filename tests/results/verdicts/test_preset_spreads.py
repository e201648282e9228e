"""What is known of each preset's spread, against the scores that it was computed from."""

import statistics

import pytest

from results.verdicts.preset_spreads import spread_of_preset
from trainer.spec.load import load_preset

LINEAGE = ["pr1413", "pr1493", "pr150_10l", "pr338_v24", "pr549"]


@pytest.mark.parametrize("preset", LINEAGE)
def test_the_spread_between_seeds_is_that_of_the_published_scores(preset):
    scores = load_preset(preset).published["val_bpb"]
    known = spread_of_preset(preset, None)
    assert known.sd_bpb == pytest.approx(statistics.stdev(scores.values()), rel=0.005)
    assert known.df == len(scores) - 1


@pytest.mark.parametrize("preset", ["pr1413", "pr1493", "pr549"])
def test_the_spread_of_pairs_on_one_artifact_is_that_of_the_published_gains(preset):
    published = load_preset(preset).published
    gains = [published["sliding_bpb"][seed] - score for seed, score in published["val_bpb"].items()]
    assert spread_of_preset(preset, "artifact").sd_bpb == pytest.approx(statistics.stdev(gains), rel=0.005)


def test_tiny_has_a_measured_spread_for_every_design_and_an_unknown_preset_none():
    assert [spread_of_preset("tiny", block).sd_bpb > 0.001 for block in (None, "seed", "artifact")] == [True] * 3
    assert spread_of_preset("baseline", None) is None
