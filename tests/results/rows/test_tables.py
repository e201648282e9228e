"""One row per run or per configuration; nothing is averaged over a missing seed."""

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from results.rows.ranking import Ranking
from results.rows.tables import handling_lines, per_configuration, per_run, same_score_lines
from tests.results.sweeps import frame, row

SCORES = st.lists(st.floats(0.5, 8.0), min_size=2, max_size=6)


def three(config, *scores, **changes):
    return [row(config, seed, score, **changes) for seed, score in enumerate(scores, start=1)]


def test_a_configuration_is_described_by_its_seeds():
    table = per_configuration(frame(*three("a", 2.0, 2.1, 2.2)), Ranking(baseline="a"))
    line = table.iloc[0]
    assert (line["n"], line["failed"], line["best"], line["rank"]) == (3, 0, 2.0, 1)
    assert line["is_baseline"]
    assert line["mean"] == pytest.approx(2.1)
    assert line["sd"] == pytest.approx(0.1)
    # t(0.975, 2) = 4.302653; 4.302653 * 0.1 / sqrt(3) = 0.248414
    assert (line["ci95_low"], line["ci95_high"]) == (pytest.approx(1.851586), pytest.approx(2.348414))


def test_one_seed_has_a_mean_but_no_interval():
    line = per_configuration(frame(row("a", 1, 2.0))).iloc[0]
    assert (line["status"], line["mean"]) == ("done", 2.0)
    assert line[["sd", "ci95_low", "ci95_high"]].isna().all()


@pytest.mark.parametrize("score", [2.0, 0.1, 1 / 3])
def test_equal_scores_of_all_seeds_are_no_certainty(score):
    """The interval had width 0."""
    rows = [row("a", seed, score) for seed in range(3)]
    table = per_configuration(frame(*rows, row("b", 0, 1.0), row("b", 1, 1.1), row("b", 2, 1.2)))
    line = table.set_index("config").loc["a"]
    assert (line["mean"], line["sd"]) == (pytest.approx(score), 0.0)
    assert line[["ci95_low", "ci95_high"]].isna().all()
    assert same_score_lines(table) == [
        "all seeds gave the same score, so there is no interval: 1 configuration; does a run use its seed?"
    ]
    assert same_score_lines(table[table["config"] == "b"]) == []


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"status": "failed", "val_bpb": None}, "failed"),
        ({"val_bpb": float("nan")}, "failed"),
        ({"val_bpb": float("inf")}, "failed"),
        ({"status": "stopped", "val_bpb": None}, "stopped"),
        ({"status": "running", "val_bpb": None}, "running"),
        ({"status": "planned", "val_bpb": None}, "running"),
    ],
)
def test_a_configuration_without_all_its_seeds_has_no_mean(change, status):
    table = per_configuration(frame(row("a", 1, 1.0), row("a", 2, 1.0), row("a", 3, 1.0) | change))
    line = table.iloc[0]
    assert (line["status"], line["n"], line["best"]) == (status, 2, 1.0)
    assert line[["rank", "mean", "sd", "ci95_low", "ci95_high"]].isna().all()


def test_a_seed_that_only_other_configurations_have_is_missing():
    table = per_configuration(frame(*three("a", 2.0, 2.1, 2.2), *three("b", 1.0, 1.0)))
    assert dict(zip(table["config"], table["status"], strict=True)) == {"a": "done", "b": "running"}


def test_declared_seeds_that_nobody_has_finished_are_missing():
    table = per_configuration(frame(*three("a", 2.0, 2.1, 9.0)), Ranking(seeds=(1, 2)))
    assert (table["n"].iloc[0], table["mean"].iloc[0]) == (2, pytest.approx(2.05))
    assert per_configuration(frame(*three("a", 2.0, 2.1)), Ranking(seeds=(1, 2, 3)))["status"].iloc[0] == "running"


def test_illegal_and_over_budget_configurations_are_never_ranked():
    rows = [*three("slow", 2.0, 2.0), *three("fast", 1.9, 1.9), *three("big", 1.0, 1.0, within_budget=False)]
    rows += [
        row("peeks", 1, 0.5),
        row("peeks", 2, 0.5, legal=False),
        row("untold", 1, 0.1, legal=None),
        row("untold", 2, 0.1),
    ]
    table = per_configuration(frame(*rows))
    assert list(table["config"]) == ["fast", "slow", "big", "untold", "peeks"]
    assert list(table["rank"].dropna()) == [1, 2]


def test_a_configuration_and_seed_counts_once_and_a_finished_row_goes_first():
    rows = frame(row("a", 1, None, status="failed"), row("a", 1, 2.0), row("a", 1, 3.0), row("a", 2, 2.2))
    assert list(per_run(rows)["val_bpb"]) == [2.0, 2.2]
    assert per_configuration(rows)["mean"].iloc[0] == pytest.approx(2.1)


def test_the_largest_bytes_and_seconds_of_the_seeds_are_shown():
    line = per_configuration(
        frame(row("a", 1, 2.0, eval_s=3.0, total_bytes=5), row("a", 2, 2.0, eval_s=9.0, total_bytes=4))
    )
    assert (line["eval_s"].iloc[0], line["total_bytes"].iloc[0]) == (9.0, 5)


def test_another_metric_can_be_ranked():
    rows = frame(row("a", 1, 2.0, sliding_bpb=1.0), row("b", 1, 1.0, sliding_bpb=2.0))
    assert list(per_configuration(rows, Ranking("sliding_bpb"))["config"]) == ["a", "b"]


def test_an_empty_sweep_has_an_empty_table_with_the_same_columns():
    full = per_configuration(frame(row("a", 1, 2.0)))
    assert list(per_configuration(frame()).columns) == list(full.columns)


@given(st.permutations([*three("a", 2.0, 2.1, 2.3), *three("b", 1.9, 2.2, 2.4)]))
@settings(max_examples=20, deadline=None)
def test_the_order_of_rows_changes_no_summary(shuffled):
    in_order = sorted(shuffled, key=lambda made: (made["config"], made["seed"]))
    pd.testing.assert_frame_equal(per_configuration(frame(*shuffled)), per_configuration(frame(*in_order)))


@given(SCORES, st.floats(-0.4, 4.0))
@settings(max_examples=20, deadline=None)
def test_a_shift_of_all_scores_moves_the_mean_and_leaves_the_spread(scores, shift):
    before = per_configuration(frame(*three("a", *scores))).iloc[0]
    after = per_configuration(frame(*three("a", *(score + shift for score in scores)))).iloc[0]
    assert after["mean"] - before["mean"] == pytest.approx(shift, abs=1e-9)
    assert after["sd"] == pytest.approx(before["sd"], abs=1e-9)


def test_the_table_states_by_which_rule_rows_were_handled():
    rows = [row("a", 1, 2.0), row("a", 1, 1.0), row("a", 2, float("inf")), row("b", 1, None, status="failed")]
    assert handling_lines(frame(*rows)) == [
        "rows that repeat a configuration and seed (the first finished one counts): 1",
        "rows done without a finite score (their configuration counts as failed): 1",
        "failed rows (never averaged over: their configuration has no mean): 1",
    ]
    assert handling_lines(frame(row("a", 1, 2.0))) == []


def test_where_nothing_was_declared_each_configuration_stands_with_the_seeds_it_has():
    rows = frame(row("a", 1, 2.0), row("a", 2, 2.1), row("b", 7, 2.2))
    assert per_configuration(rows, Ranking(own_seeds=True))["status"].tolist() == ["done", "done"]
    assert set(per_configuration(rows)["status"]) == {"running"}
