"""Finished runs, of plain rows and of a table of the same rows."""

import math

import pandas as pd

from results.rows.finished import Finished, finished_in, finished_of


def row(config, seed, score, status="done", artifact="x"):
    return {"config": config, "seed": seed, "val_bpb": score, "status": status, "artifact": artifact}


ROWS = [
    row("b", 1, 1.5, artifact=None),
    row("a", 2, 1.25),
    row("a", 1, 1.0),
    row("a", 3, math.nan),
    row("a", 4, None, "failed"),
    row("a", 2, 9.0, "drifted"),
]


def test_rows_are_taken_in_order_each_once_and_only_with_a_score():
    found = [Finished("a", 1, "x", 1.0), Finished("a", 2, "x", 1.25), Finished("b", 1, None, 1.5)]
    assert finished_of([*ROWS, row("a", 1, 7.0)], "val_bpb") == found


def test_a_column_that_no_row_has_leaves_none():
    assert finished_of(ROWS, "accuracy") == []


def test_a_table_gives_the_same_runs_in_its_own_order():
    found = finished_in(pd.DataFrame(ROWS).astype({"artifact": "str"}), "val_bpb")
    assert sorted(found, key=lambda run: (run.config, run.seed)) == finished_of(ROWS, "val_bpb")
    assert found[0] == Finished("b", 1, None, 1.5)
