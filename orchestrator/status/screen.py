"""One screen for a running sweep: a live panel on a terminal, plain lines elsewhere. Imports no Ray."""

from __future__ import annotations

import time
from typing import Protocol

from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from orchestrator.sweep.live import SweepPicture

LINE_EVERY_S = 10.0
TYPED_ECHO = "^C"
"""What a terminal writes behind the panel when Ctrl-C is typed. Without room for it the panel would move down a line,
and its first line would stay when it is removed."""


class Screen(Protocol):
    """Takes the pictures of a running sweep, and messages between them."""

    def __enter__(self) -> Screen: ...
    def __exit__(self, *exc: object) -> None: ...
    def show(self, picture: SweepPicture) -> None: ...
    def say(self, line: str, style: str = "yellow") -> None: ...


class LiveScreen:
    """Redraws one panel in place."""

    def __init__(self, console: Console):
        self._live = Live(console=console, refresh_per_second=8, transient=True)

    def __enter__(self) -> LiveScreen:
        self._live.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._live.stop()

    def show(self, picture: SweepPicture) -> None:
        self._live.update(panel(picture, self._live.console.width - len(TYPED_ECHO)))

    def say(self, line: str, style: str = "yellow") -> None:
        self._live.console.print(line, style=style, soft_wrap=True)


class LineScreen:
    """Prints a line when a run ends, and now and then while nothing does."""

    def __init__(self, console: Console):
        self._console = console
        self._last: tuple[int, int] | None = None
        self._printed_s = 0.0

    def __enter__(self) -> LineScreen:
        return self

    def __exit__(self, *exc: object) -> None: ...

    def show(self, picture: SweepPicture) -> None:
        state = (picture.runs_done, picture.runs_failed)
        if state == self._last and time.monotonic() - self._printed_s < LINE_EVERY_S:
            return
        self._last, self._printed_s = state, time.monotonic()
        doing = "; ".join(slot.doing for slot in picture.slots)
        self._console.print(
            f"{picture.runs_line}  |  best {picture.best}  |  {doing}  |  {picture.time_line}",
            soft_wrap=True,
        )

    def say(self, line: str, style: str = "yellow") -> None:
        self._console.print(line, style=style, soft_wrap=True)


def make_screen(console: Console) -> Screen:
    """The live panel on a terminal, lines otherwise."""
    return LiveScreen(console) if console.is_terminal else LineScreen(console)


def panel(picture: SweepPicture, width: int | None = None) -> Panel:
    """The whole screen: runs, best, baseline, slots, time; as wide as the terminal unless a width is given."""
    facts = Table.grid(padding=(0, 2))
    facts.add_column(style="dim", justify="right")
    facts.add_column()
    facts.add_row("runs", Text(picture.runs_line, style="red" if picture.runs_failed else ""))
    facts.add_row("", ProgressBar(total=max(picture.runs_total, 1), completed=picture.runs_done, width=50))
    facts.add_row("best so far", Text(picture.best, style="bold"))
    facts.add_row("baseline", picture.baseline)
    facts.add_row("time", picture.time_line)
    slots = Table.grid(padding=(0, 2))
    slots.add_column(style="dim", justify="right")
    slots.add_column(width=16)
    slots.add_column()
    for slot in picture.slots:
        bar = ProgressBar(total=1.0, completed=slot.fraction, width=16) if slot.fraction is not None else Text("")
        slots.add_row(f"slot {slot.slot}", bar, slot.doing)
    title = f"[bold]sweep {picture.name}[/bold]"
    return Panel(
        Group(facts, Text(""), slots),
        title=title,
        subtitle="Ctrl-C keeps everything",
        title_align="left",
        subtitle_align="left",
        padding=(1, 2),
        width=width,
    )
