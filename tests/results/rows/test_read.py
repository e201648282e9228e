"""Rows are read from a sweep's folder, whatever state it is in."""

import time

import pytest

from results.rows.read import read_rows
from tests.results.sweeps import frame, record, row, write
from tests.same_rows import differences
from trainer.spec.errors import StoreError


def test_rows_follow_the_order_asked_then_the_seed(tmp_path):
    runs = [record("bb", 10), record("aa", 2), record("aa", 1), record("cc", 1), record("bb", 9)]
    table = read_rows(write(tmp_path / "demo", *runs), ["ttt.lr"], config_order=["bb", "aa"])
    assert list(zip(table["config"], table["seed"], strict=True)) == [
        ("bb", 9), ("bb", 10), ("aa", 1), ("aa", 2), ("cc", 1)
    ]  # fmt: skip
    assert set(table["sweep"]) == {"demo"}


def test_types_do_not_depend_on_what_is_missing(tmp_path):
    whole = read_rows(write(tmp_path / "a", record()), [])
    holey = read_rows(write(tmp_path / "b", record(), record(seed=2, status="failed", stages={})), [])
    empty = read_rows(write(tmp_path / "c"), [])
    assert dict(whole.dtypes) == dict(holey.dtypes) == dict(empty.dtypes)
    assert list(empty.columns) == list(whole.columns)
    assert str(whole["steps"].dtype) == "Int64"


def test_damaged_files_are_left_out_and_named(tmp_path):
    folder = write(tmp_path / "demo", record(seed=1), record(seed=2))
    (folder / "runs" / "aaaa-s3.json").write_text('{"run_id": "aaaa-s3", "se')
    (folder / "runs" / "aaaa-s4.json").write_text('{"run_id": "aaaa-s4"}')
    (folder / "runs" / "aaaa-s5.json").write_bytes(b"")
    (folder / "runs" / ".aaaa-s6.json-x1").write_text("being written aside")
    table = read_rows(folder, [])
    assert list(table["seed"]) == [1, 2]
    assert [name for name in ("s3", "s4", "s5") if not any(name in line for line in table.attrs["unreadable"])] == []
    assert len(table.attrs["unreadable"]) == 3


def test_a_sweep_that_has_just_begun_is_an_empty_table(tmp_path):
    assert read_rows(tmp_path, ["ttt.lr"]).empty


def test_a_sweep_that_does_not_exist_is_a_persons_mistake(tmp_path):
    with pytest.raises(StoreError, match="no such sweep"):
        read_rows(tmp_path / "nowhere", [])


def test_tables_that_differ_only_in_what_was_measured_are_equal():
    made = row("a", 1, 2.0, train_s=8.0, tokens_per_s=1e5, peak_memory_bytes=7, started_at="now", stages_run="train")
    again = made | {"train_s": 9.0, "eval_s": 1.0, "tokens_per_s": 2e5, "peak_memory_bytes": 8, "started_at": "later"}
    assert not differences(frame(made), frame(again | {"stages_run": ""}))


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"val_bpb": 2.0 + 1e-15}, "val_bpb"),
        ({"versions": "torch 2.12.0"}, "versions"),
        ({"val_loss": None}, "val_loss"),
        ({"status": "failed"}, "status"),
        ({"ttt.lr": 0.1}, "ttt.lr"),
    ],
)
def test_the_first_difference_is_named_with_its_row(change, expected):
    same, made = row("a", 1, 2.0), row("a", 2, 2.0)
    (line,) = differences(frame(same, made), frame(same, made | change))
    assert line.startswith(f"row 1 sweep demo config a seed 2: {expected} = ")


def test_missing_rows_and_columns_are_differences():
    table = frame(row("a", 1, 2.0), row("a", 2, 2.0))
    assert differences(table, table.head(1)) == ["rows: 2 against 1"]
    assert differences(table, table.drop(columns="legal"))[0].startswith("columns:")


@pytest.mark.bench
def test_ten_thousand_records_are_read_in_a_second(tmp_path):
    folder = write(tmp_path / "big", *(record(f"{i:010x}", seed, ttt=True) for i in range(2500) for seed in range(4)))
    read_rows(folder, ["ttt.lr"])
    started_s = time.perf_counter()
    assert len(read_rows(folder, ["ttt.lr"])) == 10_000
    assert time.perf_counter() - started_s < 1.0
