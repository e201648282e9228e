"""Exports of other programs become the same rows as a plain table."""

import json

import pandas as pd
import pytest

from results.rows.foreign_files import joined, read_foreign
from results.rows.imported_rows import ImportTerms, imported_rows
from trainer.spec.errors import UserError

ROWS = [(0.1, 1, 1.10), (0.1, 2, 1.12), (0.2, 1, 1.08), (0.2, 2, 1.09)]
"""lr, seed, val_bpb"""


def runs_in(path, terms=ImportTerms()):  # noqa: B008  a frozen value
    read = imported_rows(read_foreign(path), terms)
    return [(run.row["config"], run.row["seed"], run.row.get("val_bpb")) for run in read.runs]


EXPECTED = [(f"lr={lr}", seed, score) for lr, seed, score in ROWS]


def test_wandbs_json_has_config_and_summary(tmp_path):
    rows = [
        {"name": f"run-{n}", "state": "finished", "config": {"lr": {"value": lr, "desc": None}, "seed": seed, "_v": 1},
         "summary": {"val_bpb": score, "_step": 9, "grad_norm": 0.1 * n}}
        for n, (lr, seed, score) in enumerate(ROWS)
    ]  # fmt: skip
    path = tmp_path / "wandb.json"
    path.write_text(json.dumps(rows))
    assert runs_in(path) == EXPECTED


def test_wandbs_csv_mixes_knobs_and_metrics_so_the_knobs_are_named(tmp_path):
    path = tmp_path / "wandb.csv"
    lines = [f'"happy-{n}","finished","{n}","{lr}","{seed}","{score}"' for n, (lr, seed, score) in enumerate(ROWS)]
    path.write_text("\n".join(['"Name","State","Runtime","lr","seed","val_bpb"', *lines]))
    assert runs_in(path) == EXPECTED
    crashed = path.read_text().replace('"happy-3","finished"', '"happy-3","crashed"').replace(',"1.09"', ',""')
    path.write_text(crashed)
    assert runs_in(path)[-1] == ("lr=0.2", 2, None)


def test_mlflows_table_has_params_and_metrics(tmp_path):
    path = tmp_path / "mlflow.csv"
    frame = pd.DataFrame(ROWS, columns=["params.lr", "params.seed", "metrics.val_bpb"])
    frame.assign(run_id=list("abcd"), status="FINISHED", artifact_uri="s3://x").to_csv(path, index=False)
    assert runs_in(path) == EXPECTED


def test_mlflows_rest_interface_lists_runs(tmp_path):
    runs = [
        {"info": {"run_id": str(n), "status": "FINISHED"},
         "data": {"params": [{"key": "lr", "value": str(lr)}, {"key": "seed", "value": str(seed)}],
                  "metrics": [{"key": "val_bpb", "value": score, "step": 0}]}}
        for n, (lr, seed, score) in enumerate(ROWS)
    ]  # fmt: skip
    path = tmp_path / "runs.json"
    path.write_text(json.dumps({"runs": runs}))
    assert runs_in(path) == EXPECTED


@pytest.mark.parametrize("ending", ["csv", "tsv", "jsonl", "parquet"])
def test_one_table_in_every_form_is_one_table(tmp_path, ending):
    frame, path = pd.DataFrame(ROWS, columns=["lr", "Seed", "val_bpb"]), tmp_path / f"runs.{ending}"
    match ending:
        case "parquet":
            frame.to_parquet(path)
        case "jsonl":
            frame.to_json(path, orient="records", lines=True)
        case _:
            frame.to_csv(path, index=False, sep="," if ending == "csv" else "\t")
    assert runs_in(path) == EXPECTED


def test_a_column_that_differs_in_every_row_makes_no_configuration(tmp_path):
    path = tmp_path / "runs.csv"
    path.write_text("lr,when,seed,val_bpb\n" + "".join(f"{lr},{i},{s},{b}\n" for i, (lr, s, b) in enumerate(ROWS)))
    with pytest.raises(UserError, match=r"row 2, column when: differs in every row.*--knobs"):
        runs_in(path)
    assert runs_in(path, ImportTerms(knobs=["lr"])) == EXPECTED


def test_a_learning_curve_is_a_run_and_its_points(tmp_path):
    path = tmp_path / "curve.csv"
    path.write_text("config,seed,step,val_loss\na,1,10,3.0\na,1,20,2.5\na,2,10,3.1\na,2,20,2.6\n")
    read = imported_rows(read_foreign(path), ImportTerms())
    assert [(run.row["seed"], run.row["val_loss"]) for run in read.runs] == [(1, 2.5), (2, 2.6)]
    assert read.curves == {("a", 1): {10: 3.0, 20: 2.5}, ("a", 2): {10: 3.1, 20: 2.6}}


def test_what_is_left_out_is_said(tmp_path):
    path = tmp_path / "runs.csv"
    path.write_text("config,seed,val_bpb,lr,grad_norm\na,1,1.0,0.1,3.1\na,2,1.1,0.1,3.2\n")
    read = imported_rows(read_foreign(path), ImportTerms())
    assert read.knobs == ("lr",)
    assert any("grad_norm" in note for note in read.notes)


def test_files_of_one_kind_are_joined_and_others_are_not(tmp_path):
    one, two = tmp_path / "a.csv", tmp_path / "b.csv"
    one.write_text("config,seed,val_bpb\na,1,1.0\n")
    two.write_text("config,seed,val_bpb\nb,1,1.1\n")
    assert len(joined([read_foreign(one), read_foreign(two)]).rows) == 2
    (tmp_path / "submission.json").write_text('{"val_bpb": 1, "seed_results": {"1": {"val_bpb": 1}}}')
    with pytest.raises(UserError, match="import them one by one"):
        joined([read_foreign(one), read_foreign(tmp_path)])


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("a.xlsx", "", "ending .xlsx is not known"),
        ("a.jsonl", '{"seed": 1}\n{', "row 2 is no JSON"),
        ("a.jsonl", "[1]", "row 1 is list"),
        ("a.jsonl", "[" * 100_000, "row 1 is no JSON"),
        ("a.json", "[" * 100_000, "is no JSON: brackets are nested too deep"),
        ("a.json", '{"a": 1}', "holds neither"),
        ("a.csv", "", "row 1 is empty"),
        ("a.csv", "config,val_bpb\na\0,1.2\n", "a.csv: line 2 holds a zero byte"),
        ("a.json", '[{"config\0": 1}]', "a.json: line 1 holds a zero byte"),
        ("a.csv", "seed,seed\n1,2\n", "names column 'seed' twice"),
        ("submission.json", '{"val_bpb": 1.2}', "column seed: no seed_results"),
        ("a.parquet", "no", "is no Parquet file"),
    ],
)
def test_a_file_that_cannot_be_read_says_where(tmp_path, name, text, expected):
    (tmp_path / name).write_text(text)
    with pytest.raises(UserError, match=expected):
        read_foreign(tmp_path / name)
