"""A command at the end of a sweep: refused before anything runs, told the outcome, and unable to change it."""

import sys
from unittest.mock import Mock

import pytest
from rich.console import Console

from orchestrator.commands import sweep as commands
from orchestrator.run import on_end
from orchestrator.run.on_end import EndCommand
from tests.sweep_on_disk import finished_sweep
from trainer.spec.errors import UserError

WRITE = "import os; open(os.environ['FAIRWAY_FOLDER'] + '/said', 'w').write(os.environ['FAIRWAY_ERROR'])"


@pytest.mark.parametrize(
    ("text", "expected"),
    [("", "--on-end is empty"), ("a 'b", "cannot be split into words"), ("no-such-command x", "is no command here")],
)
def test_what_could_not_be_run_is_refused_at_the_start(text, expected):
    with pytest.raises(UserError, match=expected):
        EndCommand.of(text)


def test_it_gets_the_outcome_as_it_is_and_no_shell_reads_anything(tmp_path):
    command = EndCommand.of(f'{sys.executable} -c "{WRITE}" $HOME ;')
    assert command is not None
    assert command.words[-2:] == ("$HOME", ";")
    command.run({"folder": tmp_path, "error": "a\nb; `rm` $(x)"}, Console(quiet=True))
    assert (tmp_path / "said").read_text() == "a\nb; `rm` $(x)"


def test_what_it_waits_for_is_said(capsys):
    command = EndCommand.of(f"{sys.executable} -V")
    assert command is not None
    command.run({}, Console(width=200))
    assert f"--on-end: {sys.executable} runs, for at most {on_end.WITHIN_S:g} s" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("code", "within_s", "expected"),
    [
        ("raise SystemExit(7)", on_end.WITHIN_S, "ended with exit status 7"),
        ("import time; time.sleep(60)", 0.2, "did not end within 0.2 s and was ended"),
    ],
)
def test_its_fault_is_said_and_no_more(monkeypatch, capsys, code, within_s, expected):
    monkeypatch.setattr(on_end, "WITHIN_S", within_s)
    command = EndCommand.of(f'{sys.executable} -c "{code}"')
    assert command is not None
    command.run({}, Console(width=200))
    assert expected in capsys.readouterr().out


def test_a_damaged_record_costs_it_the_counts_and_not_the_commands_own_error(tmp_path, monkeypatch):
    finished = finished_sweep(tmp_path)
    next(finished.folder.glob("runs/*.json")).write_text("{}")
    monkeypatch.setattr(commands, "run_sweep", Mock(side_effect=UserError("the first error")))
    command = EndCommand.of(f'{sys.executable} -c "{WRITE}"')
    with pytest.raises(UserError, match="the first error"):
        commands._drive(finished, Mock(), "text", command)
    assert (finished.folder / "said").read_text() == "the first error"
