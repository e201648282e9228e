"""No command hands a terminal what a file, a name or an error says to it."""

import contextlib
import errno
import os
import subprocess
import sys

import pytest

from orchestrator.cli import main
from orchestrator.output import console_for, print_rows, say
from orchestrator.sweep.sweep import open_sweep
from tests.orchestrator.spaces import TTT, leave_runs, score, space_of
from trainer.spec.console import PlainConsole
from trainer.spec.exit_status import exit_for_people


def test_markup_and_emoji_codes_are_printed_as_they_are(capsys):
    say(console_for(), "[red]:bomb: [/nothing]")
    assert "[red]:bomb: [/nothing]" in capsys.readouterr().out


def test_rows_for_programs_hold_no_control_characters(capsys):
    print_rows([{"a": "\x7f\x1b\x9b"}])
    assert not set(capsys.readouterr().out) & {"\x7f", "\x1b", "\x9b"}


def run(monkeypatch, *words: str) -> None:
    monkeypatch.setattr(sys, "argv", ["orchestrator", *words])
    with contextlib.suppress(SystemExit):
        main()


@pytest.mark.parametrize(
    "command", ["list", "status ttt", "table ttt", "table ttt --per run --format csv", "compare ttt"]
)
def test_no_command_passes_on_control_characters_of_a_store(tmp_path, monkeypatch, capsys, command):
    text = TTT + 'description: "Is it \\e[2J\\x9b31m better?"\n'
    sweep = open_sweep(tmp_path / "store", space_of(tmp_path, text))
    leave_runs(sweep, score)
    for path in sweep.folder.glob("runs/*.json"):
        path.write_text(
            path.read_text()
            .replace('"status":"done"', '"status":"failed"')
            .replace('"error":""', '"error":"\\u001b[2J\\u009b"')
        )
        break
    run(monkeypatch, *command.split(), "--store", str(tmp_path / "store"))
    captured = capsys.readouterr()
    assert not set(captured.out + captured.err) & {"\x1b", "\x9b"}


def test_an_error_that_repeats_a_name_spells_it_out(tmp_path, monkeypatch, capsys):
    run(monkeypatch, "status", "x\x1b[2J\x9b", "--store", str(tmp_path))
    assert r"x\x1b[2J\x9b" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("interrupted", "said"),
    [
        ("orchestrator.sweep.sweep.find_sweep", "interrupted before it was done; the same command begins again\n"),
        ("typer.core.TyperGroup.make_context", "interrupted before it was done; the same command begins again\n"),
        ("orchestrator.commands.app.app_for", "interrupted before anything was begun\n"),
    ],
)
def test_ctrl_c_is_answered_in_one_line(monkeypatch, capsys, interrupted, said):
    def interrupt(*_):  # raised, not sent: a shell that starts the tests in the background has them ignore SIGINT
        raise KeyboardInterrupt

    monkeypatch.setattr(interrupted, interrupt)
    monkeypatch.setattr(sys, "argv", ["orchestrator", "table", "ttt"])
    with pytest.raises(SystemExit) as end:
        main()
    assert (end.value.code, capsys.readouterr().err) == (130, said)


def test_an_audit_that_cannot_tell_names_what_can(tmp_path, monkeypatch, capsys):
    (tmp_path / "train_gpt.py").write_text("import sys\nexec(open(sys.argv[1]).read())\n")
    run(monkeypatch, "audit", str(tmp_path / "train_gpt.py"))
    assert f"next: orchestrator audit-evaluator {tmp_path}/train_gpt.py\n" in capsys.readouterr().out
    (tmp_path / "submission.json").touch()
    run(monkeypatch, "audit", str(tmp_path / "train_gpt.py"))
    assert f"next: orchestrator verify {tmp_path}\n" in capsys.readouterr().out


def test_a_sweep_whose_output_nobody_reads_any_more_goes_on_and_says_so(capsys):
    reader, writer = os.pipe()
    os.close(reader)
    console = PlainConsole(file=os.fdopen(writer, "w"))
    console.keep_working = "the sweep goes on"
    for _ in range(3):
        console.print("1 of 6 runs done")
    assert capsys.readouterr().err == "the sweep goes on\n"


def test_a_terminal_of_an_older_encoding_gets_question_marks_and_no_traceback(tmp_path):
    leave_runs(open_sweep(tmp_path, space_of(tmp_path, TTT)), score)
    words = [sys.executable, "-m", "orchestrator", "table", "ttt", "--store", str(tmp_path)]
    done = subprocess.run(words, capture_output=True, env=os.environ | {"PYTHONIOENCODING": "ascii"})
    assert done.returncode == 0, done.stderr
    assert b"????" in done.stdout  # the line below the names of the columns


def test_a_file_that_fails_is_named_with_what_to_do(monkeypatch, capsys):
    def fail() -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "runs/sweeps/a/space.yaml")

    with contextlib.suppress(SystemExit):
        exit_for_people(fail)
    assert "runs/sweeps/a/space.yaml: No space left on device; free space, then" in capsys.readouterr().err


def test_a_folder_is_no_script_to_audit(tmp_path, monkeypatch, capsys):
    run(monkeypatch, "audit", str(tmp_path))
    assert "is a folder; name the script in it" in capsys.readouterr().err.replace("\n", " ")
