"""The console that every command prints for people with."""

from __future__ import annotations

import contextlib
import os
import re
import sys
import textwrap
from collections.abc import Iterator
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from trainer.spec.printable import printable

COMMAND = re.compile(r"(?:^|(?<=: ))(?=(?:orchestrator|python -m|git|pip) )")
"""Where a line begins a command to be pasted: at its start, or behind a colon."""


class PlainConsole(Console):
    """rich's console that prints text as it is: no markup, no emoji codes, and control characters spelled out."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"markup": False, "emoji": False, "highlight": False} | options)
        self.keep_working = ""
        """What is said when the output is closed and the work goes on; empty where it ends."""

    def print(self, *objects: Any, **options: Any) -> None:
        """As rich's. Text that may run over the edge (`soft_wrap`) is broken between words on a terminal, which itself
        would break inside them; a command stays in one line, to be pasted. A pipe gets each line whole."""
        if (options.get("soft_wrap") or self.soft_wrap) and self.is_terminal and len(objects) == 1:
            if isinstance(objects[0], str):
                objects = (broken_between_words(objects[0], self.width),)
            else:
                options["soft_wrap"] = False
        super().print(*objects, **options)

    def on_broken_pipe(self) -> None:
        """Nobody reads any more: a command that prints a result ends, one that is at work (`keep_working`) says so
        and goes on."""
        if not self.keep_working:
            super().on_broken_pipe()
        self.quiet = True
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self.file.fileno())
        os.close(nowhere)
        with contextlib.suppress(OSError):  # stderr may be closed as well
            print(self.keep_working, file=sys.stderr, flush=True)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterator[Segment]:
        """Segments of what is printed; those with rich's own control codes pass."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else Segment(printable(segment.text), segment.style)


def broken_between_words(text: str, width: int) -> str:
    """Each line of the text in lines of at most `width` characters, unless a word is longer, with its indentation."""
    return "\n".join(part for line in text.split("\n") for part in _lines_of(line, width))


def _lines_of(line: str, width: int) -> list[str]:
    if len(line) <= width:
        return [line]
    indent = line[: len(line) - len(line.lstrip())]
    before, *command = COMMAND.split(line[len(indent) :], maxsplit=1)
    broken = textwrap.wrap(
        before,
        width,
        initial_indent=indent,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )
    return [*broken, *(f"{indent}{'  ' if broken else ''}{one}" for one in command)]
