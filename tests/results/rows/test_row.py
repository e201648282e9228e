"""A row is a pure function of its record."""

import subprocess
import sys

import pytest

from results.rows.columns import COLUMNS, columns
from results.rows.row import kind_of_error, row_of, unfinished_row
from tests.results.sweeps import record
from tests.same_rows import MEASURED

DESIGN = (
    "sweep config seed status val_bpb val_loss val_tokens val_bytes val_documents pre_quant_bpb roundtrip_bpb "
    "fit_cost_bpb sliding_bpb ttt_bpb steps train_s eval_s model_bytes scale_multiplier pruned_share code_bytes "
    "total_bytes within_budget legal ledger_digest peak_memory_bytes tokens_per_s mfu fingerprint commit "
    "started_at hardware versions error artifact stages_run"
)


def test_columns_stand_in_the_order_of_the_design():
    assert " ".join(COLUMNS) == DESIGN
    assert columns(["ttt.lr", "ttt.epochs"])[3:7] == ("status", "ttt.lr", "ttt.epochs", "val_bpb")
    assert set(COLUMNS) >= MEASURED


def test_headline_is_the_sliding_score_while_ttt_is_off():
    row = row_of(record(val_bpb=2.0), "demo", [])
    assert (row["val_bpb"], row["sliding_bpb"], row["ttt_bpb"], row["eval_s"]) == (2.0, 2.0, None, 3.0)
    assert (row["fingerprint"], row["artifact"]) == ("evaluate-aaaa-1", "export-aaaa-1")


def test_headline_is_the_adapted_score_when_ttt_is_on():
    row = row_of(record(val_bpb=2.0, ttt=True), "demo", [])
    assert (row["val_bpb"], row["sliding_bpb"], row["ttt_bpb"], row["eval_s"]) == (2.0, 2.1, 2.0, 6.0)
    assert row["fingerprint"] == "adapt-aaaa-1"


def test_a_row_has_tokens_bytes_and_documents_of_the_text_that_its_headline_scored():
    row = row_of(record(ttt=True), "demo", [])
    assert (row["val_tokens"], row["val_bytes"], row["val_documents"]) == (999, 1998, 7)


def test_a_row_has_the_ledger_digest_of_its_headline():
    assert row_of(record(ttt=True), "demo", [])["ledger_digest"] == "adapt-ledger"
    assert row_of(record(), "demo", [])["ledger_digest"] == "evaluate-ledger"


def test_a_row_has_the_mfu_of_its_training_and_none_where_the_training_wrote_none():
    old = record()
    old["stages"]["train"]["metrics"].pop("mfu")
    assert (row_of(record(), "demo", [])["mfu"], row_of(old, "demo", [])["mfu"]) == (0.4, None)


def test_total_bytes_reserve_65536_for_code_until_it_is_packaged():
    row = row_of(record(), "demo", [])
    assert (row["model_bytes"], row["code_bytes"], row["total_bytes"]) == (250_000, None, 315_536)


def test_swept_values_come_from_the_recipe_and_lists_become_text():
    row = row_of(record(ttt=True), "demo", ["ttt.lr", "model.xsa_layers"])
    assert (row["ttt.lr"], row["model.xsa_layers"]) == (0.002, "[2, 3]")
    assert tuple(row) == columns(["ttt.lr", "model.xsa_layers"])


def test_a_value_that_a_switch_disables_is_empty():
    assert row_of(record(), "demo", ["ttt.mode", "ttt.lr"])["ttt.lr"] is None


def test_configuration_is_the_run_id_without_its_seed():
    row = row_of(record(config="odd-s-name", seed=42), "demo", [])
    assert (row["config"], row["seed"]) == ("odd-s-name", 42)


@pytest.mark.parametrize("status", ["failed", "stopped"])
def test_a_run_that_did_not_finish_is_a_row_without_scores(status):
    row = row_of(record(status=status, error="CUDA out of memory"), "demo", [])
    assert (row["status"], row["error"], row["steps"]) == (status, "CUDA out of memory", 200)
    assert not [name for name in row if name.endswith(("_bpb", "val_loss")) and row[name] is not None]


def test_a_run_that_failed_before_any_stage_is_a_row():
    row = row_of(record(status="failed", stages={}, stages_run=[], within_budget=None), "demo", [])
    assert (row["status"], row["steps"], row["artifact"], row["total_bytes"]) == ("failed", None, None, None)


def test_an_unfinished_run_has_its_identity_and_nothing_else():
    row = unfinished_row("demo", "aaaa", 1, "planned", {"ttt.lr": 0.1})
    filled = {name: cell for name, cell in row.items() if cell is not None}
    assert filled == {"sweep": "demo", "config": "aaaa", "seed": 1, "status": "planned", "ttt.lr": 0.1}
    assert tuple(row) == columns(["ttt.lr"])


def test_rows_cost_no_pandas():
    code = "import sys, results.rows.row; print({'pandas', 'scipy', 'matplotlib'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_a_null_that_was_chosen_is_told_from_a_key_without_effect():
    made = record()
    made["recipe"] |= {"data": {"order_seed": None}}
    row = row_of(made, "demo", ["data.order_seed", "ttt.lr"])
    assert (row["data.order_seed"], row["ttt.lr"]) == ("null", None)


def test_failures_of_one_cause_are_one_whatever_the_seed_and_values_were():
    seeds = [f"ended with exit status 2: unrecognized arguments: --sed={seed}; it takes no --sed" for seed in (1, 42)]
    assert len(set(map(kind_of_error, seeds))) == 1
    assert len({kind_of_error(f"stage run ended with exit status {status}") for status in (1, 2)}) == 2
