"""Anybody's numbers from the command line: published cases, wrong files, any metric."""

import errno
import json
import sys
from pathlib import Path

import pytest

from orchestrator.cli import main
from trainer.store import atomic_write

CASES = Path(__file__).parents[2] / "data" / "cases"


@pytest.fixture
def call(monkeypatch, capsys, tmp_path):
    """Runs a command line in `tmp_path`; returns (status, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)

    def run(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["orchestrator", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capsys.readouterr()
        return ended.value.code or 0, out, err

    return run


@pytest.fixture
def verdicts(call):
    """Imports a file and compares: {configuration: verdict}."""

    def run(file: Path, *options: str, imported: tuple[str, ...] = ()) -> dict[str, dict]:
        assert call("import", file, "--name", "x", *imported)[0] == 0
        status, out, err = call("compare", "x", *options, "--format", "json")
        assert status == 0, err
        return {row["config"]: row for row in json.loads(out)}

    return run


def test_the_founding_case(call, verdicts):
    (told,) = verdicts(
        CASES / "pr150_second_entry.csv", "--baseline", "2.0727", "--exact", "--margin", "0.005"
    ).values()
    assert (f"{told['t']:.3f}", f"{told['p']:.1e}", told["conclusion"]) == ("-245.717", "8.3e-06", "better")
    status, out, _ = call("compare", "x", "--baseline", "2.0727", "--exact", "--margin", "0.005")
    assert status == 0
    assert "t = -245.717" in out
    assert "on 3 runs, p = 8.3e-06" in out


@pytest.mark.parametrize(
    ("file", "sota", "t", "p"),
    [
        ("long_context_seq2048.csv", "1.2243657", "31.42", 0.00051),
        ("training_opt_seq4096.csv", "1.21613611", "9.04", 0.0060),  # printed as 9.06, from a rounded sd
    ],
)
def test_early_records_state_a_one_sample_test_against_sota_less_0_005(verdicts, file, sota, t, p):
    (told,) = verdicts(CASES / file, "--baseline", sota, "--exact", "--margin", "0.005").values()
    assert (f"{-told['t']:.2f}", float(f"{told['p']:.2g}")) == (t, p)


def test_valcalib_states_welchs_test_in_nats(verdicts):
    told = verdicts(CASES / "val_calib_and_pr549.csv", "--unit", "nats", "--margin", "0")["ValCalib"]
    assert (f"{told['t']:.2f}", f"{told['df']:.2f}") == ("-11.83", "3.31")


def test_pr_1514_states_p_0_020(verdicts):
    told = verdicts(CASES / "pr1514_and_pr1493.csv", "--baseline", "pr1493")["pr1514"]
    assert f"{told['p']:.3f}" == "0.020"


def test_all_disclosed_seeds_of_a_submission_count_and_not_the_best_five(verdicts):
    told = verdicts(CASES / "MLPClip12", "--baseline", "record:1736")["MLPClip12"]
    assert (told["n_candidate"], f"{told['p']:.3f}") == (7, "0.106")


def test_an_imported_sweep_is_compared_with_a_record_and_with_another_sweep(call, verdicts):
    told = verdicts(CASES / "pr1514_and_pr1493.csv", "--baseline", "record:pr1493")
    assert f"{told['pr1514']['p']:.3f}" == "0.020"
    assert call("import", CASES / "val_calib_and_pr549.csv", "--name", "other")[0] == 0
    status, out, _ = call("compare", "other", "--baseline", "sweep:x", "--format", "json")
    assert status == 0
    assert {row["baseline"] for row in json.loads(out)} == {"pr1514"}


ACCURACIES = "model,lr,seed,accuracy\n" + "\n".join(
    f"{model},0.1,{seed},{mean + 0.1 * seed}"
    for model, mean in (("small", 71.0), ("large", 74.0))
    for seed in (1, 2, 3)
)


def test_an_accuracy_from_another_field_is_judged_in_its_own_unit_and_direction(call, tmp_path, verdicts):
    (tmp_path / "acc.csv").write_text(ACCURACIES)
    terms = ("--metric", "accuracy", "--goal", "maximize", "--unit", "percent", "--knobs", "model,lr")
    (told,) = verdicts(tmp_path / "acc.csv", "--margin", "1", imported=terms).values()
    assert (told["config"], told["conclusion"], told["unit"]) == ("model=large,lr=0.1", "better", "percent")
    assert told["bpb"]["difference"] == pytest.approx(-3.0)
    assert "3.00000 percent better" in told["sentence"]
    assert "bits per byte" not in told["sentence"]
    table = json.loads(call("table", "x", "--format", "json")[1])
    assert [row["config"] for row in table] == ["model=large,lr=0.1", "model=small,lr=0.1"]
    assert call("report", "x")[0] == 0
    page = (tmp_path / "runs" / "sweeps" / "x" / "report.html").read_text()
    assert "accuracy (percent)" in page
    assert "bits per byte" not in page


@pytest.mark.parametrize(
    ("text", "options", "expected"),
    [
        ("config,val_bpb\na,1.0\n", (), "row 1: no column 'seed'; columns: config, val_bpb"),
        ("config,seed,val_bpb\na,1,1.0\na,2,n/a\n", (), "row 3, column val_bpb: = 'n/a' is no number"),
        ("config;seed;val_bpb\na;1;1,5\n", (), "row 2, column val_bpb: = '1,5' is no number; with a point it is 1.5"),
        ("config,seed,val_bpb\na,1,1.0\na,x,1.0\n", (), "row 3, column seed: = 'x' is no number"),
        ("config,seed,val_bpb\na,1,1.0\na,1.5,1.0\n", (), "row 3, column seed: = '1.5' is no whole number"),
        (
            "config,seed,val_bpb\na,1,1.0\nb,1,1.1\na,1,1.2\n",
            (),
            "row 4, column seed: configuration 'a' has seed 1 twice",
        ),
        ("config,seed,val_bpb\na,1,\n", (), "row 2, column val_bpb: is empty"),
        ("config,seed,val_bpb\na,,1.0\n", (), "row 2, column seed: is empty"),
        ("config,seed,val_bpb\na,1\n", (), "row 2 has 2 cells, row 1 names 3 columns"),
        ("config,seed,accuracy\na,1,0.5\n", (), "no column 'val_bpb' or 'val_loss'; columns: config, seed, accuracy"),
        ("config,seed,accuracy\na,1,0.5\n", ("--metric", "accurracy"), "did you mean 'accuracy'"),
        ("config,seed,val_bpb\na,1,1\n", ("--baseline", "b"), "--baseline b is no configuration"),
        ("config,seed,val_bpb\na,1,1\n", ("--column", "sed=seed"), "did you mean 'seed'"),
        ("config,seed,val_bpb,state\na,1,1,odd\n", (), "row 2, column state: = 'odd' is no status"),
        (
            "config,seed,val_loss,tokenizer\na,1,2.0,sp1024\nb,1,2.8,sp8192\n",
            (),
            "row 3, column tokenizer: = 'sp8192'",
        ),
        (
            "config,seed,val_loss,val_bpb\na,1,2.0359,1.2058\nb,1,2.8040,1.0855\n",
            ("--metric", "val_loss"),
            "row 3, column val_loss: has 0.2683 tokens per byte",
        ),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_wrong_file_ends_in_status_2_with_row_and_column(call, tmp_path, text, options, expected):
    (tmp_path / "runs.csv").write_text(text)
    status, out, err = call("import", "runs.csv", "--name", "x", *options)
    assert (status, out) == (2, "")
    assert expected in err
    assert "Traceback" not in err
    assert not (tmp_path / "runs").exists()


def test_mixed_tokenizers_are_compared_in_bits_per_byte(call, tmp_path):
    (tmp_path / "runs.csv").write_text("config,seed,val_loss,val_bpb\na,1,2.0359,1.2058\nb,1,2.8040,1.0855\n")
    assert call("import", "runs.csv", "--name", "x")[0] == 0


def test_every_complaint_comes_in_one_message(call, tmp_path):
    (tmp_path / "runs.csv").write_text("config,seed,val_bpb\na,x,1\nb,2,y\n")
    err = call("import", "runs.csv", "--name", "x")[2]
    assert "2 problems" in err
    assert "row 2, column seed" in err
    assert "row 3, column val_bpb" in err


def test_an_import_is_only_read_and_its_name_is_taken(call, tmp_path):
    assert call("import", CASES / "pr150_second_entry.csv", "--name", "x")[0] == 0
    assert "was imported and is only read" in call("resume", "x")[2]
    assert call("import", CASES / "pr150_second_entry.csv", "--name", "x")[0] == 0
    assert "choose another --name" in call("import", CASES / "long_context_seq2048.csv", "--name", "x")[2]
    assert "imported" in call("list")[1]
    assert json.loads(call("status", "x", "--format", "json")[1])[0]["state"] == "imported"


def test_a_number_as_the_baseline_must_be_said_to_be_exact(call):
    call("import", CASES / "pr150_second_entry.csv", "--name", "x")
    status, out, err = call("compare", "x", "--baseline", "2.0727")
    assert (status, out) == (2, "")
    assert "--exact" in err


@pytest.mark.parametrize(
    ("text", "options", "expected"),
    [
        ("config,seed,val_bpb\na,1,1.0\na,2,1.1\nb,1,0.9\nb,3,0.8\n", ("--blocks", "seed"), "b shares 1 seeds"),
        (
            "config,seed,val_bpb,artifact\na,1,1.0,x\na,2,1.1,y\nb,1,0.9,x\nb,2,0.8,z\n",
            (),
            "b shares 1 artifacts",
        ),
        ("config,seed,val_bpb,state\na,1,1.0,done\na,2,1.1,done\nb,1,0.9,done\nb,2,,running\n", (), "finish seed 2"),
        ("config,seed,val_bpb,state\na,1,1.0,done\na,2,1.1,done\nb,1,0.9,done\nb,2,,crashed\n", (), "for seed 2"),
    ],
)
def test_no_run_is_dropped_in_silence(verdicts, tmp_path, text, options, expected):
    (tmp_path / "runs.csv").write_text(text)
    told = verdicts(tmp_path / "runs.csv", imported=options)["b"]
    assert told["conclusion"] == "cannot say"
    assert expected in told["reason"]


def test_nats_against_a_record_say_that_the_tokenizer_cannot_be_checked(verdicts):
    (told,) = verdicts(CASES / "pr150_second_entry.csv", "--baseline", "record:49").values()
    assert "cannot be checked without val_bpb" in told["assumption"]


def test_runs_of_one_artifact_are_pairs(verdicts, tmp_path):
    lines = [f"{c},{s},{2.0 + s - g * (1 + 0.1 * s)},art{s}" for c, g in (("a", 0), ("b", 0.1)) for s in (1, 2, 3)]
    (tmp_path / "runs.csv").write_text("\n".join(["config,seed,val_bpb,artifact_id", *lines]))
    told = verdicts(tmp_path / "runs.csv")["b"]
    assert (told["block"], told["test"], told["conclusion"]) == ("artifact", "paired t-test", "better")


def test_an_import_is_planned_in_the_unit_of_its_metric_fixed_and_as_a_race(call, tmp_path):
    (tmp_path / "acc.csv").write_text(ACCURACIES)
    call("import", "acc.csv", "--name", "x", "--metric", "accuracy", "--goal", "maximize", "--unit", "percent",
         "--knobs", "model")  # fmt: skip
    status, out, _ = call("plan", "x", "--gain", "1")
    assert status == 0
    assert "sd 0.1 percent between seeds (measured in sweep x, 4 degrees of freedom)" in out
    assert "3 seeds detect a gain of" in out
    assert "a race, seeds at most: 3 seeds:" in out
    assert "a gain of 1 percent beyond the margin takes 3 seeds of each configuration" in out
    assert {row["race"] for row in json.loads(call("plan", "x", "--format", "json")[1])} == {True, False}


SPACE = """
name: small
preset: tiny
method: grid
seeds: [1, 2, 3]
parameters:
  ttt.mode: {value: score_first}
  ttt.epochs: {values: [1, 2]}
compare: {baseline: {ttt.mode: off}, blocks: none}
"""


def test_a_plan_takes_its_spread_from_an_import_by_name_or_by_its_preset(call, tmp_path):
    (tmp_path / "small.yaml").write_text(SPACE)
    measured = "measured in sweep x, 4 degrees of freedom"
    call("import", CASES / "pr1514_and_pr1493.csv", "--name", "x")
    status, out, _ = call("plan", "small.yaml")
    assert status == 0
    assert measured not in out
    assert measured in " ".join(call("plan", "small.yaml", "--spread-from", "x")[1].split())
    call("import", CASES / "pr1514_and_pr1493.csv", "--name", "ours", "--preset", "tiny")
    assert "measured in sweep ours" in " ".join(call("plan", "small.yaml")[1].split())
    call("import", CASES / "pr150_second_entry.csv", "--name", "nats")
    assert "has no val_bpb" in call("plan", "small.yaml", "--spread-from", "nats")[2]


def test_an_import_that_the_disk_has_no_room_for_leaves_nothing(call, tmp_path, monkeypatch):
    (tmp_path / "runs.csv").write_text("config,seed,val_loss\na,1,1.0\na,2,1.1\n")

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(atomic_write, "write_synced", full)
        status, _, err = call("import", "runs.csv", "--name", "x")
    assert (status, "No space left on device" in err) == (2, True)
    assert call("list")[1:] == ("runs: no sweeps yet; start one: orchestrator sweep FILE\n", "")
    assert call("import", "runs.csv", "--name", "x")[0] == 0


def test_files_of_no_kind_are_told_every_kind(call, tmp_path):
    (tmp_path / "runs.py").write_text("")
    assert (
        "known: .csv, .tsv, .jsonl, .ndjson, .json, .parquet, .journal, .log, .db"
        in call("import", "runs.py", "--name", "x")[2]
    )


def test_the_baseline_of_an_import_may_be_called_so(call, tmp_path):
    (tmp_path / "runs.csv").write_text("config,seed,val_loss\na,1,1.0\na,2,1.1\nb,1,1.2\nb,2,1.3\n")
    call("import", "runs.csv", "--name", "x")
    assert call("compare", "x", "--baseline", "baseline") == call("compare", "x")
