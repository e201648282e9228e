"""A command at the end of a sweep: refused before anything runs, told the outcome, and unable to change it."""

import sys

import pytest
from rich.console import Console

from orchestrator.run import on_end
from orchestrator.run.on_end import EndCommand
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


def test_its_fault_is_said_and_no_more(monkeypatch, capsys):
    monkeypatch.setattr(on_end, "WITHIN_S", 0.2)
    for code in ("raise SystemExit(7)", "import time; time.sleep(60)"):
        command = EndCommand.of(f'{sys.executable} -c "{code}"')
        assert command is not None
        command.run({}, Console(width=200))
    said = capsys.readouterr().out
    assert "ended with exit status 7" in said or "did not end within" in said.splitlines()[0]
    assert "did not end within 0.2 s and was ended" in said
