"""docs/index.md lists tasks with the commands each takes; README stays short."""

import re
import shlex

import pytest
import typer

from orchestrator.commands.app import app as orchestrator
from tests.docs.pages import DOCS
from trainer.cli import app as trainer

MOST_COMMANDS = 2
ROWS = re.findall(r"^\| ([^|]+) \| (`.+?`) \|$", (DOCS / "index.md").read_text(encoding="utf-8"), re.MULTILINE)
README = (DOCS.parent / "README.md").read_text(encoding="utf-8")
APPS = {"orchestrator": orchestrator, "python -m trainer": trainer}


def parsed(line: str) -> list[str]:
    """The verbs of a command line of ours, its options read as the program would read them; raises if it would not."""
    program = next(name for name in APPS if line.startswith(f"{name} "))
    command, words, verbs = typer.main.get_command(APPS[program]), shlex.split(line.removeprefix(program)), []
    while hasattr(command, "commands"):
        verbs.append(words.pop(0))
        command = command.commands[verbs[-1]]
    command.make_context(line, words)
    return verbs


@pytest.mark.parametrize(("task", "commands"), ROWS, ids=[task for task, _ in ROWS])
def test_a_task_takes_at_most_two_commands_that_exist(task, commands):
    listed = re.findall(r"`([^`]+)`", commands)
    assert 1 <= len(listed) <= MOST_COMMANDS
    for line in listed:
        line = line.removeprefix("ray job submit --working-dir . -- ")
        if line.startswith(tuple(APPS)):
            assert parsed(line)


def test_a_command_that_does_not_exist_is_noticed():
    assert parsed("orchestrator cache list") == ["cache", "list"]
    with pytest.raises(KeyError):
        parsed("orchestrator fly")
    with pytest.raises(Exception, match="No such option"):
        parsed("orchestrator plan a.yaml --wings 2")


def test_every_command_of_the_readme_exists():
    lines = re.findall(r"^((?:orchestrator|python -m trainer) [^#\n]+)", README, re.MULTILINE)
    assert len(lines) > 5
    assert all(parsed(line.strip()) for line in lines)


def test_the_readme_is_short():
    assert len(README.split()) <= 900
