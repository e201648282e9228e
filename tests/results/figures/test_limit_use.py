"""Facts of what a sweep used."""

from dataclasses import replace

import pytest

from results.figures.limit_use import limit_facts, use_facts
from tests.results.made_up import sweep_results


def test_limits_come_from_the_recipe_and_what_is_over_is_counted():
    made = sweep_results(2)
    eval_s = made.frame["eval_s"].mask(made.frame.index == 4, 700.0)
    facts = limit_facts(replace(made, frame=made.frame.assign(eval_s=eval_s))).set_index("column")
    assert list(facts.index) == ["total_bytes", "eval_s"]  # there is no limit of train_s
    assert facts.loc["total_bytes", "used"] == pytest.approx(300_000 / 16_000_000)
    assert (facts.loc["eval_s", "over"], facts.loc["eval_s", "largest"]) == (1, 700.0)


def test_use_is_the_largest_over_seeds_with_the_baseline_on_top():
    made = sweep_results(30)
    facts = use_facts(replace(made, frame=made.frame.assign(eval_s=made.frame["seed"] / 100)))
    assert facts["is_baseline"].tolist()[:2] == [True, False]
    assert set(facts["eval_s"]) == {20.25}
    assert facts["num_left_out"].iloc[0] == 31 - len(facts)
