"""`--on-end`: a command of the user's own that is run when a sweep ends, with the outcome in its environment."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass

from rich.console import Console

from orchestrator.output import say
from trainer.spec.errors import UserError

WITHIN_S = 60.0
"""For the command; a message takes seconds."""
PREFIX = "FAIRWAY_"


@dataclass(frozen=True)
class EndCommand:
    """The command as words. No shell reads it: `sh -c '...'` where one is wanted."""

    words: tuple[str, ...]

    @classmethod
    def of(cls, text: str | None) -> EndCommand | None:
        """Of the text of the option. Raises UserError for one that could not be started, before anything is run."""
        if text is None:
            return None
        try:
            words = tuple(shlex.split(text))
        except ValueError as fault:
            raise UserError(f"--on-end {text!r} cannot be split into words: {fault}") from None
        if not words:
            raise UserError("--on-end is empty; for example: --on-end 'notify-send Fairway'")
        if shutil.which(words[0]) is None:
            raise UserError(
                f"--on-end: {words[0]} is no command here; no shell reads it, so for one: --on-end \"sh -c '...'\""
            )
        return cls(words)

    def run(self, facts: Mapping[str, object], console: Console) -> None:
        """Runs it with FAIRWAY_NAME for each fact in its environment; a fault of it is said, and changes nothing."""
        say(console, f"--on-end: {self.words[0]} runs, for at most {WITHIN_S:g} s", "dim", indent=0)
        variables = {f"{PREFIX}{name.upper()}": str(value).replace("\0", "") for name, value in facts.items()}
        try:
            done = subprocess.run(  # noqa: S603  the user's own command
                self.words, env=os.environ | variables, stdin=subprocess.DEVNULL, timeout=WITHIN_S, check=False
            )
            fault = "" if done.returncode == 0 else f"ended with exit status {done.returncode}"
        except subprocess.TimeoutExpired:
            fault = f"did not end within {WITHIN_S:g} s and was ended"
        except OSError as error:
            fault = f"could not be started: {error.strerror}"
        if fault:
            say(console, f"--on-end: {self.words[0]} {fault}", "yellow", indent=0)
