"""The same table for eyes and for programs."""

import io
import json

import pandas as pd
import pytest

from results.rows.render import render, shown
from results.rows.row import LOG_LINES
from results.rows.tables import per_configuration
from tests.results.sweeps import frame, row
from trainer.spec.errors import UserError

TABLE = frame(row("a", 1, 2.123456789), row("a", 2, None, status="failed", error="first line\nloss is NaN"))


def test_json_is_a_list_of_rows_with_null_for_what_is_missing():
    rows = json.loads(render(TABLE.assign(val_loss=[float("inf"), float("nan")]), "json"))
    assert [made["val_bpb"] for made in rows] == [2.123456789, None]
    assert [made["val_loss"] for made in rows] == [None, None]
    assert (rows[0]["legal"], rows[0]["seed"], rows[0]["steps"]) == (True, 1, None)


@pytest.mark.parametrize(("table", "score"), [(TABLE, "val_bpb"), (per_configuration(TABLE), "best")])
def test_csv_and_parquet_read_back_in_full_precision(table, score):
    from_csv = pd.read_csv(io.StringIO(render(table, "csv")))
    from_parquet = pd.read_parquet(io.BytesIO(render(table, "parquet")))
    for back in (from_csv, from_parquet):
        assert list(back.columns) == list(table.columns)
        assert back[score].iloc[0] == 2.123456789


def test_parquet_takes_a_key_with_numbers_and_words():
    mixed = TABLE.assign(**{"data.order_seed": pd.Series([7, "lineage"], dtype="object")})
    assert list(pd.read_parquet(io.BytesIO(render(mixed, "parquet")))["data.order_seed"]) == ["7", "lineage"]


def test_markdown_cells_stay_in_their_column():
    table = pd.DataFrame({"config": ["a|b"], "val_bpb": [2.0]})
    assert render(table, "md") == "| config | val_bpb |\n| --- | --- |\n| a\\|b | 2.00000 |\n"


@pytest.mark.parametrize("width", [40, 80, 200])
def test_text_fits_the_terminal_and_keeps_the_headline(width):
    head, *_ = lines = render(TABLE, "text", width=width).splitlines()
    assert {"config", "seed", "status", "val_bpb"} <= set(head.split())
    assert max(len(line) for line in lines[:4]) <= width


def test_text_says_what_it_hides_and_why_runs_failed():
    text = render(TABLE, "text", width=60)
    assert "a seed 2: loss is NaN" in text
    assert "columns do not fit; --format csv has all" in text
    assert "failed" not in render(pd.DataFrame({"config": ["a"], "failed": [0]}), "text", width=60)
    assert "code_bytes" not in render(TABLE, "text", width=500)  # empty throughout


def test_of_a_program_that_failed_the_reason_is_said_and_not_where_its_log_lies():
    error = f"stage run ended with exit status 1: ValueError: bad{LOG_LINES}Traceback\n  whole log: /x/log.txt"
    runs = pd.DataFrame({"config": ["a"], "seed": [2], "error": [error]})
    assert render(runs, "text").splitlines()[-1] == "a seed 2: stage run ended with exit status 1: ValueError: bad"


def test_an_unknown_format_offers_the_known_ones():
    with pytest.raises(UserError, match="did you mean 'parquet'"):
        render(TABLE, "parket")


@pytest.mark.parametrize(
    ("name", "cell", "text"),
    [
        ("val_bpb", 2.123456789, "2.12346"),
        ("total_bytes", 15774514, "15,774,514"),
        ("seed", 1337, "1337"),
        ("eval_s", 441.52, "441.5"),
        ("ttt.lr", 0.0005, "0.0005"),
        ("legal", False, "no"),
        ("rank", pd.NA, ""),
    ],
)
def test_cells_are_rounded_for_people(name, cell, text):
    assert shown(name, cell) == text


@pytest.mark.parametrize("cell", ["=1+2", "+cmd|' /C calc'!A0", "-1+2", "@SUM(A1)", "\t=1", "-1e-3x", "\uff1d1"])
def test_a_csv_cell_that_a_spreadsheet_would_compute_is_text(cell):
    table = pd.DataFrame({"config": [cell], "val_bpb": [-2.0]})
    assert pd.read_csv(io.StringIO(render(table, "csv")))["config"][0] == f"'{cell}"


@pytest.mark.parametrize("cell", ["-0.5", "+1e-3", "-inf", "a=b", "", -7, 2.5, True, None])
def test_numbers_and_other_words_stay_as_they_are_in_csv(cell):
    table = pd.DataFrame({"config": ["a"], "key": pd.Series([cell], dtype="object")})
    assert render(table, "csv") == table.to_csv(index=False)


@pytest.mark.parametrize("format", ["text", "csv", "md", "json"])
def test_a_table_holds_no_control_characters(format):
    table = TABLE.assign(config="a\x1b[2J\x9b31m\x07", error="\x1b]0;title\x07")
    text = render(table, format, width=500)
    assert not set(text) & {"\x1b", "\x9b", "\x07", "\r"}
    if format == "json":
        assert json.loads(text)[0]["config"] == "a\x1b[2J\x9b31m\x07"
    else:
        assert r"a\x1b[2J\x9b31m\x07" in text


def test_a_name_of_a_column_that_a_spreadsheet_would_compute_is_text():
    assert render(pd.DataFrame({"=1+1": [-2.5], "seed": [1]}), "csv") == "'=1+1,seed\n-2.5,1\n"


@pytest.mark.parametrize(
    ("cell", "safe"),
    [
        ("x;=1", "x;'=1"),
        ("x\t+1", "x\t'+1"),
        ("x\n @A", "x\n' @A"),
        ('x;"=1"', 'x;"\'=1"'),
        ("=1;-2", "'=1;'-2"),
        ("a;b", "a;b"),
        ("lr = 1; x", "lr = 1; x"),
    ],
)
def test_no_part_of_a_csv_cell_is_computed_where_lines_are_split_at_other_signs(cell, safe):
    table = pd.DataFrame({"error": [cell]})
    assert pd.read_csv(io.StringIO(render(table, "csv")))["error"].iloc[0] == safe
