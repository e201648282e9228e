"""A word that is none of an option's choices, on both command lines."""

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
        (orchestrator.cli.main, "compare x --margin big", "--margin must be a number"),
        (orchestrator.cli.main, "plan x.yaml --slots 0", "--slots must be at least 1"),
        (orchestrator.cli.main, "plan x.yaml --trials many", "--trials must be a whole number"),
        (trainer.cli.main, "explain --format jso", "--format 'jso' is none of text, json; did you mean 'json'?"),
    ],
)
def test_a_wrong_choice_is_answered_in_one_sentence_with_the_nearest(monkeypatch, capsys, main, words, sentence):
    monkeypatch.setattr(sys, "argv", ["program", *words.split()])
    with pytest.raises(SystemExit) as end:
        main()
    assert (end.value.code, capsys.readouterr().err) == (2, f"error: {sentence}\n")


def test_other_mistakes_are_answered_by_typer():
    assert wrong_choice("Invalid value for '--slots': Input should be greater than or equal to 1") is None
    assert wrong_choice("""Invalid value for '--to': Value error, "it's" is not one of 'a', 'b'.""") is not None
