"""The commands of both command lines: a mistake in a command line is answered in one sentence that repeats what was
typed, with what was expected or the nearest right word; Ctrl-C is answered in one line."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import typer
from typer.core import TyperGroup

from trainer.spec.console import PlainConsole
from trainer.spec.errors import UserError, did_you_mean
from trainer.spec.exit_status import EXIT_INTERRUPTED

INTERRUPTED = "interrupted before it was done; the same command begins again"
UsageError: type[Exception] = typer.BadParameter.__mro__[1]
"""Typer's mistake in a command line; its module has another place in each version of Typer."""
HELP_ASKED = "NoArgsIsHelpError"
"""What Typer raises to show the help of a group that is called alone."""
WRONG_CHOICE = re.compile(
    r"Invalid value for '?(?P<name>[^':]*)'?: (?:Value error, )?(?P<found>(['\"]).*\3) is not one of (?P<choices>.*)",
    re.DOTALL,
)
"""Typer's message, which tells the value and the choices nowhere else."""
WRONG_NUMBER = re.compile(r"Invalid value for '?(?P<name>[^':]*)'?: Input should be (?P<wanted>[^,]*).*", re.DOTALL)
NUMBERS = {"a valid number": "a number", "a valid integer": "a whole number", "greater than or equal to": "at least",
           "less than or equal to": "at most"}  # fmt: skip
"""Pydantic's words, and plain ones."""


MISSING = re.compile(r"Missing (?:argument|option|parameter) '(?P<name>[^']*)'")
WRONG_VALUE = re.compile(r"Option '(?P<name>[^']*)' (?:(?P<needs>requires an argument)|does not take a value)")
NO_COMMAND = re.compile(r"No such command '(?P<name>.*?)'")
NO_OPTION = re.compile(r"No such option:? '?(?P<name>[^\s']+)")
TOO_MANY = re.compile(r"unexpected extra arguments?(?:\(s\))? \((?P<words>.*)\)")
"""Other messages of Typer, and of Click before it; one that none of them knows is kept in its own words."""


class PlainGroup(TyperGroup):
    """Runs the command that is named; a mistake in the command line becomes a UserError."""

    def make_context(self, *args: Any, **more: Any) -> Any:  # its class has another module in each version of Typer
        """As Typer's: reads the words before the command."""
        try:
            with _in_one_sentence():
                return super().make_context(*args, **more)
        except KeyboardInterrupt:  # Typer would end without a word
            PlainConsole(stderr=True).print(INTERRUPTED)
            raise typer.Exit(EXIT_INTERRUPTED) from None

    def invoke(self, ctx: Any) -> Any:
        """As Typer's, of a command and of the groups below it."""
        try:
            with _in_one_sentence():
                return super().invoke(ctx)
        except KeyboardInterrupt:  # a sweep that has begun ends in its own words, and says how to go on
            PlainConsole(stderr=True).print(INTERRUPTED)
            raise typer.Exit(EXIT_INTERRUPTED) from None


@contextmanager
def _in_one_sentence() -> Iterator[None]:
    try:
        yield
    except UsageError as mistake:
        if type(mistake).__name__ == HELP_ASKED:
            raise
        raise UserError(sentence_of(mistake)) from None


def sentence_of(mistake: Any) -> str:
    """A mistake in a command line in one sentence: what was typed, what was expected or the nearest right word."""
    message = mistake.format_message()
    if (ours := _our_own(mistake.__cause__)) is not None:
        return str(ours)
    known = wrong_choice(message) or wrong_number(message, mistake.__cause__) or _missing(mistake, message)
    if sentence := known or _value(message) or _unknown(mistake, message):
        return sentence
    command = f"{mistake.ctx.command_path}: " if mistake.ctx else ""
    return command + message[:1].lower() + message[1:].rstrip(".")


def _our_own(cause: Any) -> UserError | None:
    """What a parser of ours raised, which pydantic wraps."""
    faults = [fault.get("ctx", {}).get("error") for fault in cause.errors()] if hasattr(cause, "errors") else []
    return next((fault for fault in faults if isinstance(fault, UserError)), None)


def wrong_choice(message: str) -> str | None:
    """As "--format 'csvv' is none of text, csv, json; did you mean 'csv'?"; None for a message about anything else."""
    said = WRONG_CHOICE.fullmatch(message)
    if said is None:
        return None
    name, found, choices = said["name"].strip("{}[]"), said["found"], re.findall(r"'([^']*)'", said["choices"])
    return f"{name} {found} is none of {', '.join(choices)}{did_you_mean(found[1:-1], choices)}"


def wrong_number(message: str, cause: Any) -> str | None:
    """As '--margin big must be a number', '--slots 0 must be at least 1'; None for a message about anything else.

    cause:  pydantic's error, which alone tells the value
    """
    said = WRONG_NUMBER.fullmatch(message)
    if said is None:
        return None
    wanted = said["wanted"]
    for theirs, plain in NUMBERS.items():
        wanted = wanted.replace(theirs, plain)
    return f"{said['name'].strip('{}[]')} {cause.errors()[0]['input']} must be {wanted}"


def _missing(mistake: Any, message: str) -> str | None:
    """As 'orchestrator table: name is missing: A sweep's name; for example: orchestrator table ttt'."""
    said = MISSING.match(message)
    if said is None or mistake.param is None or mistake.ctx is None:
        return None
    example = (mistake.ctx.command.epilog or "").removeprefix("Example: ")
    what = f"{mistake.ctx.command_path}: {said['name'].strip('{}[]')} is missing"
    parts = [what, (mistake.param.help or "").rstrip(".")]
    return ": ".join(filter(None, parts)) + (f"; for example: {example}" if example else "")


def _value(message: str) -> str | None:
    """Of an option without its value, and of one that takes none."""
    said = WRONG_VALUE.match(message)
    if said is None:
        return None
    return f"{said['name']} {'needs a value behind it' if said['needs'] else 'takes no value; leave it out'}"


VERBS_ELSEWHERE = {
    "run": "sweep", "start": "sweep", "launch": "sweep", "continue": "resume", "ls": "list", "delete": "rm",
    "remove": "rm", "kill": "stop", "cancel": "stop", "results": "table", "logs": "show", "plot": "curves",
}  # fmt: skip
"""What other programs call a command."""


def _unknown(mistake: Any, message: str) -> str | None:
    """Of a command or an option that does not exist, and of a word too many."""
    context = mistake.ctx
    if context is None:
        return None
    path, command = context.command_path, context.command
    if said := NO_COMMAND.match(message):
        known = command.list_commands(context)
        meant = VERBS_ELSEWHERE.get(said["name"])
        nearest = f"; did you mean '{meant}'?" if meant in known else did_you_mean(said["name"], known)
        return f"{path}: no command '{said['name']}'{nearest}; known: {', '.join(known)}"
    if said := NO_OPTION.match(message):
        options = [option for parameter in command.get_params(context) for option in parameter.opts]
        known = [option for option in options if option.startswith("--")]
        nearest = did_you_mean(said["name"].strip("-"), [option.strip("-") for option in known])
        nearest = nearest.replace("'", "'--", 1)
        return f"{path}: no option '{said['name']}'{nearest}; known: {', '.join(known)}"
    if said := TOO_MANY.search(message):
        expected = " ".join(piece.strip("{}[]") for piece in command.collect_usage_pieces(context)[1:])
        return f"{path}: nothing is expected at '{said['words']}'; expected: {expected or 'options alone'}"
    return None
