"""Tables of a page: what is shown, what is left out, what stands to the right."""

import pandas as pd
import pytest

from results.report.page import READS_AS_NUMBER, table_of

FRAME = pd.DataFrame(
    {"config": ["a", "b", "c"], "mean": [1.5, 2.5, None], "reason": ["", "", None], "planned": ["≤ 3", "?", "2"]}
)
HEADS = {"config": "configuration", "mean": "mean", "reason": "reason", "planned": "planned", "gone": "gone"}


def test_columns_that_are_empty_throughout_or_unknown_are_left_out():
    assert table_of(FRAME, HEADS, "All.").heads == ["configuration", "mean", "planned"]


def test_numbers_stand_to_the_right_and_an_empty_cell_is_empty():
    table = table_of(FRAME, HEADS, "All.")
    assert table.numeric == [False, True, True]
    assert [row[1] for row in table.rows] == ["1.50000", "2.50000", ""]


def test_a_table_cut_short_says_so():
    assert table_of(FRAME, HEADS, "All.", most=2).caption == "All. The first 2 of 3 rows; `orchestrator table` has all."
    assert len(table_of(FRAME, HEADS, "All.", most=2).rows) == 2


@pytest.mark.parametrize(
    "cell", ["3", "≤ 18", "1,234", "-0.5", "+0.00368", "1.2e-06", "4.1 s", "3 min 05 s", "16.00 MB", "1.7%", "?"]
)
def test_what_people_read_as_a_number(cell):
    assert READS_AS_NUMBER.match(cell)


@pytest.mark.parametrize("cell", ["2026-01-01 00:00", "11L_EMA", "paired t-test", "3 seeds", "1337, 42"])
def test_what_people_read_as_words(cell):
    assert not READS_AS_NUMBER.match(cell)
