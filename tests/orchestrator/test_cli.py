"""The command line: wrong requests end in a message and status 2, right ones in rows."""

import json
import sys

import pytest

from orchestrator.cli import main

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
def call(monkeypatch, capsys, tmp_path):
    """Runs a command line in `tmp_path`; returns (status, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "small.yaml").write_text(SPACE)

    def run(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["orchestrator", *words])
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capsys.readouterr()
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
    ],
    ids=lambda value: " ".join(value)[:40],
)
def test_a_wrong_request_ends_in_a_message_and_status_2(call, words, expected):
    status, out, err = call(*words)
    assert (status, out) == (2, "")
    assert expected in err


def test_json_is_all_there_is_on_stdout(call):
    status, out, _ = call("sweep", "small.yaml", "--inline", "--format", "json", *SETS)
    assert status == 0
    assert [row["n"] for row in json.loads(out)] == [2, 2]
    for command in (("table", "small"), ("list",), ("status",), ("compare", "small"), ("plan", "small.yaml", *SETS)):
        status, out, _ = call(*command, "--format", "json")
        assert status == 0
        assert isinstance(json.loads(out), list), command
    assert json.loads(call("status", "--format", "json")[1])[0]["state"] == "complete"


def test_a_failed_run_is_a_row_and_status_1(call):
    status, out, _ = call("sweep", "small.yaml", "--inline", *SETS, "--set", "budget.artifact_bytes=70000")
    assert status == 1
    assert "exceeds budget.artifact_bytes = 70,000" in call("table", "small", "--per", "run")[1]
    assert "failed" in out


def test_another_question_under_the_same_name_is_another_sweep(call):
    call("sweep", "small.yaml", "--inline", *SETS)
    _, out, _ = call("sweep", "small.yaml", "--inline", *SETS, "--seeds", "1")
    assert "this is a new sweep 'small-2'" in out
    assert "computed for 2 runs: nothing, all of it was in the store" in out


def test_help_fits_a_screen_and_ends_in_an_example(call):
    for command in ("plan", "sweep", "resume", "status", "list", "table", "compare", "schema"):
        _, out, _ = call(command, "--help")
        assert len(out.splitlines()) <= 50, command
        assert "Example: orchestrator" in out.strip().splitlines()[-1], command
