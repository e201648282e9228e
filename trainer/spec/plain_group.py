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


class PlainGroup(TyperGroup):
    """Runs the command that is named; its wrong choices become a UserError, other mistakes stay Typer's."""

    def invoke(self, ctx: Any) -> Any:  # its class has another module in each version of Typer
        """As Typer's, of a command and of the groups below it."""
        try:
            return super().invoke(ctx)
        except typer.BadParameter as mistake:
            if sentence := wrong_choice(mistake.format_message()):
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
