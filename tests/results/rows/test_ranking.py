"""One rule says who is ranked, and by what: for the table, for single configurations, and for the search."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from results.rows.ranking import Bounds, Breach, Ranking, unit_of
from results.rows.tables import breaches_of, per_configuration, why_none_is_ranked
from tests.results.sweeps import frame, row

FAST = Ranking(limits={"eval_s": Bounds(max=600)}, baseline="base")


def test_a_value_is_outside_by_its_distance_and_what_is_not_known_breaks_nothing():
    between = Bounds(min=2, max=5)
    assert [between.excess(value) for value in (1, 2, 5, 7, None, math.nan)] == [1, 0, 0, 2, 0, 0]


def test_the_worst_seed_breaks_the_limit_and_is_named_with_it():
    rows = [row("a", 1, 2.0, eval_s=500.0), row("a", 2, 2.0, eval_s=812.0), row("a", 3, 2.0, eval_s=700.0)]
    (breach,) = FAST.breaches(rows)
    assert (str(breach), breach.rule) == (
        "eval_s 812 exceeds the limit 600 (constraints)",
        "eval_s <= 600 (constraints)",
    )
    (slow,) = Ranking(limits={"tokens_per_s": Bounds(min=1e4)}).breaches([row("a", 1, 2.0, tokens_per_s=9876.5)])
    assert str(slow) == "tokens_per_s 9876.5 is below the limit 10,000 (constraints)"


@pytest.mark.parametrize("column", ["legal", "within_budget"])
@pytest.mark.parametrize("value", [False, None])
def test_a_run_that_is_not_known_to_be_legal_or_within_budget_excludes_its_configuration(column, value):
    rows = [row("a", 1, 2.0), row("a", 2, 2.0, **{column: value})]
    assert FAST.breaches(rows) == (Breach(column),)
    assert breaches_of(frame(*rows), FAST) == {"a": (Breach(column),)}


def test_of_ten_configurations_that_break_limits_the_reason_is_counted():
    rows = [row(f"c{i}", 1, 1.0, eval_s=700.0 + i) for i in range(9)] + [row("d", 1, 1.0, legal=False)]
    table = per_configuration(frame(row("base", 1, 2.0), *rows), FAST)
    assert why_none_is_ranked(table, breaches_of(frame(*rows), FAST)) == (
        "10 configurations beside the baseline are complete and none may be ranked: 9 break the limit eval_s <= 600 "
        "(constraints); of 1, the evaluation is not known to be legal"
    )
    alone = per_configuration(frame(row("base", 1, 2.0), row("c", 1, None, status="failed")), FAST)
    assert why_none_is_ranked(alone, {}) == "no configuration beside the baseline is complete"


def test_what_did_not_finish_breaks_no_limit():
    assert breaches_of(frame(row("a", 1, None, status="drifted", eval_s=900.0)), FAST) == {}


@pytest.mark.parametrize(
    ("column", "unit"),
    [
        ("sliding_bpb", "bits per byte"),
        ("val_loss", "nats per token"),
        ("eval_s", "s"),
        ("model_bytes", "bytes"),
        ("tokens_per_s", "tokens per second"),
    ],
)
def test_every_metric_has_its_unit(column, unit):
    assert unit_of(column) == unit


SECONDS = st.lists(st.sampled_from([599.0, 600.0, 601.0, None]), min_size=1, max_size=3)


@given(st.lists(SECONDS, min_size=1, max_size=6), st.booleans())
@settings(max_examples=30, deadline=None)
def test_the_table_ranks_exactly_those_that_break_nothing_in_the_order_of_their_means(arms, higher_first):
    ranking = Ranking(higher_first=higher_first, limits={"eval_s": Bounds(max=600)}, own_seeds=True)
    rows = {f"c{i}": [row(f"c{i}", s, 2.0 + i, eval_s=t) for s, t in enumerate(arm)] for i, arm in enumerate(arms)}
    table = per_configuration(frame(*(one for arm in rows.values() for one in arm)), ranking)
    feasible = [config for config, arm in rows.items() if not ranking.breaches(arm)]
    by_mean = sorted(feasible, key=lambda config: ranking.ascending(ranking.mean(rows[config])))
    assert list(table.loc[table["rank"].notna(), "config"]) == by_mean
