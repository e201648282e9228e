"""A file where the store is expected: every command that takes --store says so, and does not take it for empty."""

import inspect
import shlex
import sys

import pytest

import orchestrator.cli
import trainer.cli
from orchestrator.commands.app import COMMANDS

WORDS = [shlex.split(example.partition(">")[0]) for _, function, example in COMMANDS
         if "store" in inspect.signature(function).parameters]  # fmt: skip
CACHE = [["cache", "list"], ["cache", "verify"], ["cache", "prune"]]
OF_TRAINER = [["run", "tiny_nano"], ["prepare", "tiny_nano"], ["score", "x.pt", "--preset", "tiny_nano"],
              ["data", "check", "x", "--tokenizer", "y"]]  # fmt: skip


def answer(monkeypatch, capsys, main, words):
    monkeypatch.setattr(sys, "argv", ["program", *words])
    with pytest.raises(SystemExit) as end:
        main()
    return end.value.code, *capsys.readouterr()


@pytest.mark.parametrize(
    ("main", "words"),
    [*((orchestrator.cli.main, words) for words in (*WORDS, *CACHE)), *((trainer.cli.main, it) for it in OF_TRAINER)],
    ids=lambda value: " ".join(value[:2]) if isinstance(value, list) else "",
)
def test_every_command_refuses_a_store_that_is_a_file(tmp_path, monkeypatch, capsys, main, words):
    file = tmp_path / "file"
    file.write_text("no folder")
    for place, where in ((file, ""), (file / "below", f": {file}")):
        said = answer(monkeypatch, capsys, main, [*words, "--store", str(place)])
        wanted = f"error: store {place}{where} is a file; expected a folder, or a URL such as s3://BUCKET/PREFIX\n"
        assert said == (2, "", wanted)


def test_the_usual_store_may_be_no_file_either(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").write_text("no folder")
    assert answer(monkeypatch, capsys, orchestrator.cli.main, ["list"])[2].startswith("error: store runs is a file;")


def test_a_url_without_a_bucket_is_answered_in_our_own_words(monkeypatch, capsys):
    said = answer(monkeypatch, capsys, orchestrator.cli.main, ["list", "--store", "s3://"])[2]
    assert said.startswith("error: s3:// names no bucket;")
