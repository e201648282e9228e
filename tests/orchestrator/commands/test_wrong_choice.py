"""Mistakes in a command line, on both command lines: each is answered in one sentence in our own style."""

import sys

import pytest

import orchestrator.cli
import trainer.cli
from trainer.spec.plain_group import wrong_choice


@pytest.mark.parametrize(
    ("main", "words", "sentence"),
    [
        (
            orchestrator.cli.main,
            "table small --format csvv",
            "--format 'csvv' is none of text, csv, json, parquet, md; did you mean 'csv'?",
        ),
        (
            orchestrator.cli.main,
            "cache list --format jsn",
            "--format 'jsn' is none of text, json; did you mean 'json'?",
        ),
        (orchestrator.cli.main, "schema row", "what 'row' is none of space, recipe, rows; did you mean 'rows'?"),
        (orchestrator.cli.main, "schema quux", "what 'quux' is none of space, recipe, rows"),
        (orchestrator.cli.main, "compare x --margin big", "--margin big must be a number"),
        (orchestrator.cli.main, "plan x.yaml --slots 0", "--slots 0 must be at least 1"),
        (orchestrator.cli.main, "plan x.yaml --trials many", "--trials many must be a whole number"),
        (orchestrator.cli.main, "plan x.yaml --price -1", "--price -1 must be at least 0"),
        (orchestrator.cli.main, "plan x.yaml --price inf", "--price inf must be a finite number"),
        (orchestrator.cli.main, "plan x.yaml --gain inf", "--gain inf must be a finite number"),
        (orchestrator.cli.main, "sweep x.yaml --snapshot-every-s -1", "--snapshot-every-s -1 must be at least 0"),
        (orchestrator.cli.main, "compare x --margin nan", "--margin nan must be a finite number"),
        (orchestrator.cli.main, "compare x --alpha nan", "--alpha nan must lie between 0 and 1; usual: 0.01"),
        (orchestrator.cli.main, "first-step x --alpha 3", "--alpha 3 must lie between 0 and 1; usual: 0.01"),
        (orchestrator.cli.main, "first-step x --below nan", "--below nan must be a finite number"),
        (trainer.cli.main, "sample x --tokens 100001", "--tokens 100001 must be at most 100000"),
        (trainer.cli.main, "run tiny --snapshot-every-s nan", "--snapshot-every-s nan must be at least 0"),
        (
            orchestrator.cli.main,
            "cache remove",
            "program cache: no command 'remove'; known: list, verify, prune",
        ),
        (
            orchestrator.cli.main,
            "cache ls",
            "program cache: no command 'ls'; did you mean 'list'?; known: list, verify, prune",
        ),
        (
            orchestrator.cli.main,
            "cache lst",
            "program cache: no command 'lst'; did you mean 'list'?; known: list, verify, prune",
        ),
        (
            trainer.cli.main,
            "data buid",
            "program data: no command 'buid'; did you mean 'build'?; known: fetch, build, rebuild, check",
        ),
        (
            trainer.cli.main,
            "swep",
            "program: no command 'swep'; known: run, prepare, check, score, sample, explain, data",
        ),
        (
            orchestrator.cli.main,
            "cache list --stor x",
            "program cache list: no option '--stor'; did you mean '--store'?; known: --store, --format, --help",
        ),
        (
            orchestrator.cli.main,
            "cache list --bogus",
            "program cache list: no option '--bogus'; known: --store, --format, --help",
        ),
        (
            orchestrator.cli.main,
            "cache list a b",
            "program cache list: nothing is expected at 'a b'; expected: options alone",
        ),
        (orchestrator.cli.main, "plan a.yaml b", "program plan: nothing is expected at 'b'; expected: SPACE.yaml"),
        (
            orchestrator.cli.main,
            "plan",
            "program plan: SPACE.yaml is missing: A search space file; "
            "for example: orchestrator plan search_spaces/ttt.yaml",
        ),
        (
            trainer.cli.main,
            "score x",
            "program score: --preset is missing: The recipe whose model, text, windows and TTT are used; for example: "
            "python -m trainer score final_model.pt --preset pr150_v21 --set model.bigram_first=zero",
        ),
        (orchestrator.cli.main, "plan x.yaml --slots", "--slots needs a value behind it"),
        (orchestrator.cli.main, "status x --watch=3", "--watch takes no value; leave it out"),
        (trainer.cli.main, "explain --format jso", "--format 'jso' is none of text, json; did you mean 'json'?"),
    ],
)
def test_a_mistake_is_answered_in_one_sentence_with_what_was_typed_and_the_nearest(
    monkeypatch, capsys, main, words, sentence
):
    monkeypatch.setattr(sys, "argv", ["program", *words.split()])
    monkeypatch.setattr(sys.modules["__main__"], "__package__", None)  # as a console script, not as python -m pytest
    with pytest.raises(SystemExit) as end:
        main()
    assert (end.value.code, capsys.readouterr().err) == (2, f"error: {sentence}\n")


@pytest.mark.parametrize("words", ["frobnicate", "plan --frobnicate", "data", "cache", ""])
def test_no_mistake_is_answered_in_a_box(monkeypatch, capsys, words):
    monkeypatch.setattr(sys, "argv", ["program", *words.split()])
    with pytest.raises(SystemExit):
        orchestrator.cli.main()
    said = capsys.readouterr().err
    assert said.startswith("error: ") or said == "" or "Usage:" in said
    assert "Error" not in said


def test_a_choice_with_a_quote_in_it_is_read():
    assert wrong_choice("Invalid value for '--slots': Input should be greater than or equal to 1") is None
    assert wrong_choice("""Invalid value for '--to': Value error, "it's" is not one of 'a', 'b'.""") is not None
