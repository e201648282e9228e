"""Which knobs mattered, and the reason where that cannot be said."""

from dataclasses import replace

import numpy as np
import pytest

from results.figures.importance import FEWEST, importance_facts
from tests.results.made_up import KEYS, sweep_results


def shuffled(made):
    """The same scores dealt out to other configurations, so that no knob matters."""
    configs = made.frame["config"].unique()[1:]
    dealt = dict(zip(configs, np.random.default_rng(1).permutation(configs), strict=True))
    by_run = made.frame.set_index(["config", "seed"])["val_bpb"]
    scores = [
        by_run[dealt.get(config, config), seed] for config, seed in zip(made.frame.config, made.frame.seed, strict=True)
    ]
    return replace(made, frame=made.frame.assign(val_bpb=scores))


def test_the_one_knob_that_matters_is_found_and_the_others_are_within_chance():
    facts, reason = importance_facts(sweep_results(60, verdicts=False))
    assert reason == ""
    assert list(facts.loc[facts["above_chance"], "key"]) == ["ttt.lr"]
    assert facts["share"].iloc[0] > 0.5
    assert facts["share"].sum() == pytest.approx(1)


def test_where_no_knob_matters_none_takes_more_than_chance_allows_it():
    facts, _ = importance_facts(shuffled(sweep_results(60, verdicts=False)))
    assert not facts["above_chance"].any()


@pytest.mark.parametrize(
    ("num_configs", "keys", "reason"),
    [
        (6, KEYS, f"6 configurations beside the baseline are ranked, and at least {FEWEST} are needed"),
        (30, KEYS[:1], "ttt.lr is the only swept key, so there is none to compare it with"),
        (30, (), "no key was swept over more than one value"),
    ],
)
def test_where_nothing_can_be_said_the_reason_is(num_configs, keys, reason):
    facts, line = importance_facts(sweep_results(num_configs, verdicts=False, swept_keys=keys))
    assert facts.empty
    assert line == reason


def test_a_key_that_is_empty_for_some_configurations_is_no_obstacle():
    made = sweep_results(40, verdicts=False)
    off = made.frame["ttt.optimizer"] == "sgd"
    facts, reason = importance_facts(
        replace(made, frame=made.frame.assign(**{"ttt.epochs": made.frame["ttt.epochs"].mask(off)}))
    )
    assert (len(facts), reason) == (3, "")


def test_the_best_are_those_of_the_metric_whichever_way_is_better():
    made = sweep_results(60, verdicts=False)
    mirrored = replace(made, ranking=replace(made.ranking, metric="eval_s", higher_first=True))
    mirrored = replace(mirrored, frame=made.frame.assign(eval_s=-made.frame["val_bpb"]))
    assert importance_facts(mirrored)[0].equals(importance_facts(made)[0])
