"""The command line: wrong requests end in a message and status 2, right ones in rows."""

import json
import os
import runpy
import shlex
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.cli import main
from orchestrator.sweep.notes import read_plan
from trainer.spec.exit_status import EXIT_INTERRUPTED

SPACE = """
name: small
preset: tiny
method: grid
seeds: [1, 2]
parameters:
  ttt.mode: {value: score_first}
  ttt.epochs: {values: [1]}
compare: {baseline: {ttt.mode: off}}
"""
SMALL = {
    "budget.train_steps": 4,
    "schedule.warmdown_steps": 2,
    "averaging.use": "none",
    "data.val_bytes": 1,
    "evaluation.diagnose": "false",
}
SETS = [word for key, value in SMALL.items() for word in ("--set", f"{key}={value}")]


@pytest.fixture
def with_text(tmp_path, text_store):
    """The text is there already: preparing it is other tests' subject."""
    (tmp_path / "runs" / "stages").mkdir(parents=True)
    for stage in ("train_text", "val_text"):
        (tmp_path / "runs" / "stages" / stage).symlink_to(text_store / "stages" / stage)


@pytest.fixture
def call(monkeypatch, capsys, tmp_path):
    """Runs a command line in `tmp_path`; returns (status, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "small.yaml").write_text(SPACE)
    (tmp_path / "latin.yaml").write_bytes("name: \u00e9t\u00e9".encode("latin-1"))

    def run(*words: str) -> tuple[int, str, str]:
        unchecked = ["--no-check"] if words[0] in ("sweep", "resume", "confirm") else []  # test_preflight's subject
        monkeypatch.setattr(sys, "argv", ["orchestrator", *words, *unchecked])
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capsys.readouterr()
        assert ended.value.code != EXIT_INTERRUPTED, f"these tests got SIGINT or SIGTERM while a sweep ran: {out}"
        return ended.value.code or 0, out, err

    return run


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"ttt.epochs": "ttt.epoch"}, "did you mean 'ttt.epochs'?"),
        ({"values: [1]": "values: [one]"}, "must be an integer"),
        ({"values: [1]": "values: [0]"}, "must be greater than 0"),
        ({"{value: score_first}": "{value: off}"}, "has no effect while ttt.mode is off"),
        ({"values: [1]": "values: []"}, "ttt.epochs"),
        ({"seeds: [1, 2]": "seeds: [1, 1]"}, "seeds"),
        ({"method: grid": "method: gird"}, "did you mean 'grid'?"),
        ({"name: small": "nam: small"}, "did you mean 'name'?"),
        ({"preset: tiny": "preset: tinny"}, "did you mean 'tiny'?"),
        ({"seeds: [1, 2]": "seeds: [1, 2"}, "not valid YAML"),
        ({"name: small": "name: small\n1: 2"}, "1 is no key"),
        ({"name: small": "name: small\nguard: {min_sped: 1}"}, "did you mean 'min_speed'?"),
        ({"name: small": "name: small\nguard: {same: [sharts]}"}, "did you mean 'shards'?"),
        ({"{values: [1]}": "{min: 1.0, max: 2.0, distribution: q_uniform, q: 1e-9}"}, "at most 100,000"),
        (
            {"{values: [1]}": "{distribution: q_normal, mu: 1, sigma: 9}"},
            "give a smaller sigma, or distribution: uniform",
        ),
        ({"{values: [1]}": "{distribution: uniform, min: 1.0, max: 2.0}"}, "write min: 1, max: 2 (small.yaml:8:3)"),
        ({"name: small": "name: small\nproject: mine"}, "start with --wandb PROJECT (small.yaml:3:1)"),
        ({"name: small": "name: small\nrun_cap: '20'"}, "remove the quotes: run_cap: 20 (small.yaml:3:1)"),
        (
            {"ttt.epochs: {values: [1]}": "averaging.swa_every: {values: [5, 6]}\n  budget.train_steps: {value: 20}"},
            "write averaging.swa_every: 5, or averaging.use: none (small.yaml:8:3)",
        ),
        ({"{ttt.mode: off}}": "{ttt.mode: off}, margin: .nan}"}, "margin"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_wrong_space_ends_in_a_message_and_status_2(call, tmp_path, change, expected):
    ((old, new),) = change.items()
    assert old in SPACE
    (tmp_path / "small.yaml").write_text(SPACE.replace(old, new))
    for command in ("plan", "sweep"):
        status, out, err = call(command, "small.yaml")
        assert (status, out) == (2, "")
        assert expected in err
        assert "Traceback" not in err
    assert not (tmp_path / "runs").exists()


def test_a_plan_says_what_a_distribution_comes_to(call, tmp_path):
    drawn = "{distribution: q_uniform, min: 0.05, max: 0.24, q: 0.1}"
    text = SPACE.replace("compare:", f"  ttt.momentum: {drawn}\ncompare:")
    (tmp_path / "small.yaml").write_text(text)
    _, out, err = call("plan", "small.yaml", "--format", "json")
    assert "parameters.ttt.momentum: 0.1 .. 0.2 (q_uniform, step 0.1): multiples of 0.1: 0.1, 0.2" in err
    assert "multiples" not in out


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("sweep", "nowhere.yaml"), "nowhere.yaml"),
        (("sweep", "small.yaml", "--seeds", "1,x"), "--seeds 1,x is not a list of whole numbers"),
        (("sweep", "small.yaml", "--set", "ttt.lrr=1"), "did you mean 'ttt.lr'?"),
        (("resume", "small"), "no sweep 'small'"),
        (("table", "small"), "no sweep 'small'"),
        (("compare", "small"), "no sweep 'small'"),
        (("status", "small"), "no sweep 'small'"),
        (("sweep", "small.yaml", "--slots", "0"), "--slots"),
        (("plan", "small.yaml", "--workers", "-3"), "--workers"),
        (("sweep", "small.yaml", "--store", "small.yaml"), "small.yaml"),
        (("plan", "small.yaml", "--set", "model.rope_base=.inf"), "must be a finite number"),
        (("plan", "."), "is a folder"),
        (("plan", "latin.yaml"), "is no UTF-8 text: byte 6 is 0xe9"),
        (("sweep", "small.yaml", "--name", "x" * 300), "cannot name a sweep"),
        (("plan", "small.yaml", "--set", "ttt.chunk_tokens=64"), "ttt.chunk_tokens = 64 holds no row"),
    ],
    ids=lambda value: " ".join(value)[:40],
)
def test_a_wrong_request_ends_in_a_message_and_status_2(call, words, expected):
    status, out, err = call(*words)
    assert (status, out) == (2, "")
    assert expected in err


def test_json_is_all_there_is_on_stdout(with_text, call):
    status, out, _ = call("sweep", "small.yaml", "--inline", "--format", "json", *SETS)
    assert status == 0
    assert [row["n"] for row in json.loads(out)] == [2, 2]
    assert Path("runs/sweeps/small/plan.json").exists()  # what was expected before the first run
    for command in (("table", "small"), ("list",), ("status",), ("compare", "small"), ("plan", "small.yaml", *SETS)):
        status, out, _ = call(*command, "--format", "json")
        assert status == 0
        assert isinstance(json.loads(out), list), command
    assert json.loads(call("status", "--format", "json")[1])[0]["state"] == "complete"


def test_what_next_suggests_runs_as_it_stands(with_text, call, tmp_path):
    searched = SPACE.replace("method: grid", "method: random\nrun_cap: 1").replace("[1]}", "[1, 2, 3]}")
    (tmp_path / "small.yaml").write_text(searched)
    call("sweep", "small.yaml", "--inline", *SETS)
    steps = json.loads(call("next", "small", "--format", "json")[1])
    assert {step["kind"] for step in steps} >= {"search"}
    for step in steps:
        words = shlex.split(step["command"])[1:]
        status, out, err = call(*words, "--inline", "--format", "json")
        assert status == 0, err
        assert len(json.loads(out)) >= 2
    status, _, _ = call("confirm", "small", "--num-seeds", "2", "--inline", "--format", "json")
    assert status == 0
    assert read_plan(tmp_path / "runs" / "sweeps" / "small-confirm")  # so its end is held against what was expected


def test_a_failed_run_is_a_row_and_status_1(with_text, call):
    status, out, _ = call("sweep", "small.yaml", "--inline", *SETS, "--set", "budget.artifact_bytes=70000")
    assert status == 1
    assert "exceeds budget.artifact_bytes = 70,000" in call("table", "small", "--per", "run")[1]
    assert "failed" in out


def test_a_failed_run_is_tried_again_once_mended(with_text, call, tmp_path, monkeypatch):
    call("sweep", "small.yaml", "--inline", *SETS)
    runs = tmp_path / "runs" / "sweeps" / "small" / "runs"
    broken = next(iter(sorted(runs.glob("*.json"))))
    record = json.loads(broken.read_text())
    del record["checksum"]
    broken.write_text(json.dumps(record | {"status": "failed", "error": "the disk was full"}))
    status, out, _ = call("sweep", "small.yaml", "--inline", *SETS)
    assert status == 1
    assert "the disk was full" in out
    assert "orchestrator resume small --retry-failed" in out
    assert call("resume", "small", "--inline", "--retry-failed")[0] == 0
    assert json.loads(broken.read_text())["status"] == "done"


def test_results_of_another_text_are_not_continued(with_text, call, tmp_path):
    call("sweep", "small.yaml", "--inline", *SETS)
    for path in (tmp_path / "runs" / "sweeps" / "small" / "runs").glob("*.json"):
        record = json.loads(path.read_text())
        record["stages"]["val_text"]["fingerprint"] = "0123456789abcdef"
        del record["checksum"]
        path.write_text(json.dumps(record))
    status, _, err = call("resume", "small", "--inline")
    assert status == 2
    assert "was measured on another text" in err


def test_a_comparison_on_terms_that_decide_nothing_is_refused(with_text, call):
    call("sweep", "small.yaml", "--inline", *SETS)
    for words, expected in [
        (("--alpha", "5"), "--alpha 5 must lie between 0 and 1"),
        (("--margin", "-1"), "margin = -1"),
        (("--unit", "bpb"), "--margin"),
    ]:
        status, out, err = call("compare", "small", *words)
        assert (status, out) == (2, ""), words
        assert expected in err


def test_one_damaged_sweep_hides_no_other(with_text, call, tmp_path):
    call("sweep", "small.yaml", "--inline", *SETS)
    damaged = tmp_path / "runs" / "sweeps" / "broken"
    damaged.mkdir()
    (damaged / "journal.jsonl").write_text("5\n")
    for words, shown in ((("list",), "small"), (("status",), "small"), (("next",), "")):
        status, out, err = call(*words)
        assert (status, shown in out) == (2, True), words
        assert "runs/sweeps/broken/journal.jsonl:1: was changed or added by hand" in err


def test_records_that_were_changed_or_deleted_are_named_and_resume_makes_the_same_table_again(
    with_text, call, tmp_path
):
    call("sweep", "small.yaml", "--inline", *SETS)
    before = call("table", "small", "--per", "run", "--format", "csv")
    changed, deleted, *_ = sorted((tmp_path / "runs" / "sweeps" / "small" / "runs").glob("*.json"))
    changed.write_text(changed.read_text().replace('"val_bpb": ', '"val_bpb": 1'))
    deleted.unlink()
    status, _, err = call("table", "small")
    assert status == 2
    assert f"{changed.name}: its content differs from its checksum" in err
    assert f"{deleted.name}: is missing, though its run ended" in err
    status, out, _ = call("resume", "small", "--inline")
    assert (status, f"{changed.name}: its content differs" in out.replace("\n", "")) == (0, True)
    after = call("table", "small", "--per", "run", "--format", "csv")
    assert scores(after[1]) == scores(before[1])


def scores(csv: str) -> list[list[str]]:
    """What a run is and scored."""
    rows = [line.split(",") for line in csv.splitlines()]
    columns = ("config", "seed", "val_bpb", "val_loss", "artifact")
    kept = [place for place, name in enumerate(rows[0]) if name in columns]
    return [[row[place] for place in kept] for row in rows]


def test_an_infeasible_configuration_is_not_ranked(with_text, call, tmp_path):
    (tmp_path / "small.yaml").write_text(SPACE + "constraints: {eval_s: {max: 1e-6}}\n")
    call("sweep", "small.yaml", "--inline", *SETS)
    rows = json.loads(call("table", "small", "--format", "json")[1])
    assert [row["rank"] for row in rows] == [None, None]


def test_a_sweep_that_is_complete_says_that_nothing_runs_and_its_table_shows_what_varies(with_text, call):
    call("sweep", "small.yaml", "--inline", *SETS)
    _, out, _ = call("sweep", "small.yaml", "--inline", *SETS)
    assert "nothing to run: all 4 runs are recorded" in out
    assert "failed" not in out
    head = call("table", "small")[1].splitlines()[0]
    assert "(baseline)" in call("table", "small")[1]
    assert "ttt.mode" not in head


def test_another_search_space_under_the_same_name_is_another_sweep(with_text, call):
    call("sweep", "small.yaml", "--inline", *SETS)
    _, out, _ = call("sweep", "small.yaml", "--inline", *SETS, "--seeds", "1")
    assert "this is a new sweep 'small-2'" in out
    assert "computed 0 stages" in out


@pytest.mark.parametrize(
    ("shell", "typed", "found"), [("bash", "orchestrator sweep --inl", "--inline"), ("zsh", "orchestrator sho", "show")]
)
def test_the_shell_completes_commands_and_options(shell, typed, found):
    said = {"COMP_WORDS": typed, "COMP_CWORD": "2", "_TYPER_COMPLETE_ARGS": typed}
    code = "import sys; sys.argv = ['orchestrator']; from orchestrator.cli import main; main()"
    env = {**os.environ, **said, "_ORCHESTRATOR_COMPLETE": f"complete_{shell}"}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)
    assert found in done.stdout, done.stderr


def test_help_fits_a_screen_and_ends_in_an_example(call):
    for command in ("plan", "sweep", "resume", "status", "list", "table", "compare", "next", "schema"):
        _, out, _ = call(command, "--help")
        assert len(out.splitlines()) <= 50, command
        assert "Example: orchestrator" in out.strip().splitlines()[-1], command


def test_a_sweep_whose_only_machine_fails_the_guard_ends_with_status_1_and_says_so(with_text, call, tmp_path):
    (tmp_path / "small.yaml").write_text(SPACE + "guard: {min_speed: 1000, reference: preset}\n")
    status, out, _ = call("sweep", "small.yaml", "--inline", *SETS)
    machine = socket.gethostname()
    assert status == 1
    assert f"machine {machine} is quarantined" in out
    assert "of what tiny declares for" in out
    assert "no other machine is left: 0 of 4 runs are kept" in out
    assert f"orchestrator resume small --trust {machine}" in out
    assert json.loads(call("status", "small", "--format", "json")[1])[0]["quarantined"].keys() == {machine}
    status, out, _ = call("resume", "small", "--inline", "--format", "json")
    assert status == 1  # still no machine to run it; programs read the rows as they are
    assert {row["n"] for row in json.loads(out)} == {0}
    assert call("resume", "small", "--inline", "--trust", "elsewhere")[0] == 2
    assert call("resume", "small", "--inline", "--trust", machine)[0] == 0
    rows = json.loads(call("table", "small", "--format", "json")[1])
    assert [row["n"] for row in rows] == [2, 2]


@pytest.mark.parametrize("module", ["orchestrator", "orchestrator.cli", "trainer.cli"])
def test_the_command_line_is_a_module_too(module, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [module, "--help"])
    monkeypatch.delitem(sys.modules, module, raising=False)
    with pytest.raises(SystemExit) as ended:
        runpy.run_module(module, run_name="__main__")
    assert not ended.value.code
    assert "Usage: " in capsys.readouterr().out


def test_a_plan_shows_what_set_changes(call):
    status, out, _ = call("plan", "small.yaml", "--set", "model.num_layers=3", "--set", "data.order_seed=null")
    assert status == 0
    assert "with model.num_layers = 3, data.order_seed = null" in out
