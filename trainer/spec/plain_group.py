"""The commands of both command lines: a wrong choice is answered in one sentence, with the nearest right one;
Ctrl-C is answered in one line."""

from __future__ import annotations

import re
from typing import Any

import typer
from typer.core import TyperGroup

from trainer.spec.console import PlainConsole
from trainer.spec.errors import UserError, did_you_mean
from trainer.spec.exit_status import EXIT_INTERRUPTED

INTERRUPTED = "interrupted before it was done; the same command begins again"
WRONG_CHOICE = re.compile(
    r"Invalid value for '?(?P<name>[^':]*)'?: (?:Value error, )?(?P<found>(['\"]).*\3) is not one of (?P<choices>.*)",
    re.DOTALL,
)
"""Typer's message, which tells the value and the choices nowhere else."""
WRONG_NUMBER = re.compile(r"Invalid value for '?(?P<name>[^':]*)'?: Input should be (?P<wanted>[^,]*).*", re.DOTALL)
NUMBERS = {"a valid number": "a number", "a valid integer": "a whole number", "greater than or equal to": "at least",
           "less than or equal to": "at most"}  # fmt: skip
"""Pydantic's words, and plain ones."""


class PlainGroup(TyperGroup):
    """Runs the command that is named; its wrong choices become a UserError, other mistakes stay Typer's."""

    def invoke(self, ctx: Any) -> Any:  # its class has another module in each version of Typer
        """As Typer's, of a command and of the groups below it."""
        try:
            return super().invoke(ctx)
        except typer.BadParameter as mistake:
            message = mistake.format_message()
            if sentence := wrong_choice(message) or wrong_number(message):
                raise UserError(sentence) from None
            raise
        except KeyboardInterrupt:  # a sweep that has begun ends in its own words, and says how to go on
            PlainConsole(stderr=True).print(INTERRUPTED)
            raise typer.Exit(EXIT_INTERRUPTED) from None


def wrong_choice(message: str) -> str | None:
    """As "--format 'csvv' is none of text, csv, json; did you mean 'csv'?"; None for a message about anything else."""
    said = WRONG_CHOICE.fullmatch(message)
    if said is None:
        return None
    name, found, choices = said["name"].strip("{}[]"), said["found"], re.findall(r"'([^']*)'", said["choices"])
    return f"{name} {found} is none of {', '.join(choices)}{did_you_mean(found[1:-1], choices)}"


def wrong_number(message: str) -> str | None:
    """As '--margin must be a number', '--slots must be at least 1'; None for a message about anything else."""
    said = WRONG_NUMBER.fullmatch(message)
    if said is None:
        return None
    wanted = said["wanted"]
    for theirs, plain in NUMBERS.items():
        wanted = wanted.replace(theirs, plain)
    return f"{said['name'].strip('{}[]')} must be {wanted}"
