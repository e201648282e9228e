"""What programs read: one JSON list on stdout for every command, with the columns that `schema rows` promises."""

import json
import math
import sys
from pathlib import Path

import pytest
from rich.console import Console

import orchestrator
from orchestrator.cli import main
from orchestrator.output import COLUMNS, print_lines, print_rows
from orchestrator.sweep.imported import read_files, write_import
from orchestrator.sweep.sweep import open_sweep
from results.rows.imported_rows import ImportTerms
from tests.orchestrator.spaces import TTT, leave_runs, score, space_of
from trainer.spec.errors import UserError

KINDS = {
    "string": str, "number": (int, float), "integer": int, "boolean": bool,
    "object": dict, "array": list, "null": type(None),
}  # fmt: skip
AUDITED = Path(__file__).parents[1] / "data" / "audit_scripts" / "legal" / "score_first_sliding.py"
COMMANDS = {
    "plan": "plan space.yaml",
    "plan --per run": "plan space.yaml --per run",
    "sweep": "sweep space.yaml --inline",
    "resume": "resume ttt --inline",
    "table": "table ttt",
    "table --per run": "table ttt --per run",
    "table --per machine": "table ttt --per machine",
    "status": "status",
    "list": "list",
    "list presets": "list presets",
    "list spaces": "list spaces",
    "best": "best ttt",
    "show": "show ttt",
    "compare": "compare ttt",
    "compare --policy": "compare ttt --policy pg-written",
    "compare --metric": "compare speed --metric train_s",
    "plan NAME": "plan speed",
    "reproduce": "reproduce --original 1.1,0.1,3 --rerun 1.2",
    "first-step": "first-step curve --rule mng-track3",
    "records": "records pr1530",
    "report": "report ttt",
    "next": "next --budget-seconds 1000",
    "audit": f"audit {AUDITED}",
    "audit-evaluator": "audit-evaluator uniform.py",
    "cache list": "cache list",
    "cache verify": "cache verify",
    "cache prune": "cache prune --dry-run",
}
UNIFORM = """
import json, sys
request = json.load(open(sys.argv[1]))
answer = {"vocab_size": 80} if "ask" in request else {"nats": [4.382] * (len(request["tokens"]) - 1)}
json.dump(answer, open(sys.argv[2], "w"))
"""
EMPTY = ("list spaces", "cache list", "cache verify", "cache prune")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with one finished sweep of made-up runs; a store of stages it has none."""
    path = tmp_path_factory.mktemp("output")
    leave_runs(open_sweep(path / "runs", space_of(path, TTT)), score)
    for record in path.glob("runs/sweeps/ttt/runs/*.json"):
        computed = json.loads(record.read_text()) | {"machine": {"name": "alpha"}, "stages_run": ["export"]}
        record.write_text(json.dumps(computed))
    (path / "uniform.py").write_text(UNIFORM)
    for name, number in (("speed", 366), ("curve", 321)):
        files = [Path(__file__).parents[1] / "data" / "cases" / f"modded_nanogpt_pr{number}.csv"]
        write_import(path / "runs", name, files, read_files(files, ImportTerms()))
    return path


@pytest.fixture
def call(monkeypatch, capfd, folder):
    """Runs a command line in the folder; returns (status, stdout)."""
    monkeypatch.chdir(folder)

    def run(line: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["orchestrator", *line.split()])
        try:
            main()
            status = 0
        except SystemExit as end:
            status = end.code or 0
        return status, capfd.readouterr().out

    return run


def misfits(row, schema) -> list[str]:
    """Columns that are missing or of another type than promised."""
    problems = []
    for name, promised in schema["properties"].items():
        kinds = promised["type"] if isinstance(promised["type"], list) else [promised["type"]]
        value = row.get(name, "missing")
        fits = name in row and any(isinstance(value, KINDS[kind]) for kind in kinds)
        problems += [] if fits and ("boolean" in kinds or not isinstance(value, bool)) else [f"{name} = {value!r}"]
    return problems


@pytest.mark.parametrize("command", COMMANDS)
def test_stdout_is_the_promised_rows_and_nothing_else(call, command):
    status, schema = call("schema rows")
    promised = json.loads(schema)
    assert (status, promised["format"]) == (0, 1)
    status, out = call(f"{COMMANDS[command]} --format json")
    assert status == 0
    rows = json.loads(out)
    assert isinstance(rows, list)
    assert rows or command in EMPTY
    assert [misfit for row in rows for misfit in misfits(row, promised["commands"][command]["items"])] == []


def test_every_command_that_prints_rows_is_promised_or_runs_a_sweep():
    elsewhere = {"confirm", "package", "verify"}  # test_cli runs a confirmation, tests/results/submission a package
    assert set(COLUMNS) == {*COMMANDS} | elsewhere


@pytest.mark.parametrize("line", ["plan nowhere.yaml", "status nosuch", "next nosuch", "report nosuch", "table nosuch"])
def test_a_wrong_request_leaves_stdout_empty(call, line):
    assert call(f"{line} --format json") == (2, "")


def test_what_is_not_finite_is_null(capsys):
    print_rows([{"a": math.nan, "b": (1.0, -math.inf), "c": {"d": math.inf}}])
    assert json.loads(capsys.readouterr().out) == [{"a": None, "b": [1.0, None], "c": {"d": None}}]


def test_lines_are_broken_between_words_on_a_terminal_and_whole_in_a_pipe(capsys):
    line = "pr150_v21   the preset of PR #150 without its test-time training"
    print_lines(Console(width=40, force_terminal=True, color_system=None), [line])
    print_lines(Console(width=40), [line])
    folded = "pr150_v21   the preset of PR #150\n  without its test-time training\n"
    assert capsys.readouterr().out == f"{folded}{line}\n"


@pytest.mark.parametrize("function", ["plan", "sweep"])
def test_python_functions_refuse_what_is_no_path_in_words(function):
    with pytest.raises(UserError, match=rf"{function}\(\) takes the path of a search space file, not a dict"):
        getattr(orchestrator, function)({"name": "mine"})
