"""docs/tutorial.md shows what its commands print today."""

import sys

import pytest

from orchestrator.cli import main as orchestrator
from tests.docs.pages import DOCS, script
from tests.recorded_text import on_the_recorded_text
from trainer.cli import main as trainer

PAGE = DOCS / "tutorial.md"
tutorial = script("tutorial")


def lines_that_differ(fresh, ignored):
    """Lines of the page, times, sizes and scores masked, that are not the same when its commands are run now."""
    here, now = (
        [line for line in tutorial.masked(text) if not line.startswith(ignored)]
        for text in (PAGE.read_text(encoding="utf-8"), fresh)
    )
    return [(old, new) for old, new in zip(here, now, strict=False) if old != new] + [len(here) - len(now)]


@on_the_recorded_text
def test_the_commands_of_the_tutorial_print_what_it_shows(tmp_path, monkeypatch, capsys):
    """The check of switches, which takes a process of its own, is left to the slow test below."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")

    def run(words, folder):
        program, words = (orchestrator, words) if words[0] == "orchestrator" else (trainer, words[2:])
        unchecked = ["--no-check"] if words[1] == "sweep" else []
        monkeypatch.setattr(sys, "argv", [*words, *unchecked])
        with pytest.raises(SystemExit):
            program()
        return "".join(capsys.readouterr())

    fresh = tutorial.rerun(PAGE.read_text(encoding="utf-8"), run, tmp_path)
    assert lines_that_differ(fresh, ("every switch acts", "liveness not checked")) == [0], "run: make tutorial"


@pytest.mark.slow
@on_the_recorded_text
def test_the_commands_of_the_tutorial_print_what_it_shows_in_processes_of_their_own(tmp_path):
    fresh = tutorial.rerun(PAGE.read_text(encoding="utf-8"), tutorial.run_for_real, tmp_path)
    assert lines_that_differ(fresh, ("nothing is ignored",)) == [0], "run: make tutorial"


def test_a_changed_line_of_output_is_noticed():
    page = "```console\n$ orchestrator plan first.yaml\n6 runs, 3.1 s\n```\n"
    assert tutorial.masked(page.replace("3.1 s", "12 s")) == tutorial.masked(page)
    assert tutorial.masked(page.replace("6 runs", "7 runs")) != tutorial.masked(page)
