"""A sweep's rows and its table per configuration, read from its records and printed."""

from __future__ import annotations

import sys
from typing import Literal

import pandas as pd
from rich.console import Console

from orchestrator.output import console_for
from orchestrator.sweep.sweep import Sweep
from results.rows.read import read_rows
from results.rows.render import render
from results.rows.tables import per_configuration, per_run
from trainer.spec.errors import UserError

PIPED_WIDTH = 140
"""Characters of a line where no terminal sets them."""


def rows_of(sweep: Sweep) -> pd.DataFrame:
    """The sweep's rows, in the order its configurations were asked."""
    return read_rows(sweep.folder, sweep.space.swept_keys, [asked.id for asked in sweep.asked()])


def as_text(sweep: Sweep, table: pd.DataFrame, width: int) -> str:
    """The table per configuration for people: the baseline is marked where it stands, constant keys are left out."""
    marked = table["config"].where(~table["is_baseline"], table["config"] + " (baseline)")
    constant = [key for key, item in sweep.space.parameters.items() if not item.varies]
    shown = table.assign(config=marked).drop(columns=["is_baseline", *constant], errors="ignore")
    return str(render(shown, "text", width))


def _width(console: Console) -> int:
    return console.width if console.is_terminal else PIPED_WIDTH


def baseline_of(sweep: Sweep) -> str:
    """Identity of the baseline: the first configuration asked."""
    asked = sweep.asked()
    if not asked:
        raise UserError(f"sweep '{sweep.name}' has asked nothing yet; go on with: {sweep.command('resume')}")
    return asked[0].id


def table_of(sweep: Sweep, frame: pd.DataFrame) -> pd.DataFrame:
    """The table per configuration, ranked as the question says: by its metric, within its constraints.

    In a race each configuration needs the seeds of its rounds alone.
    """
    metric, race = sweep.space.metric, sweep.state().race
    return per_configuration(
        frame,
        metric.name,
        baseline_of(sweep),
        sweep.space.seeds,
        enough=race.seeds if race else {},
        limits={name: (limit.min, limit.max) for name, limit in sweep.space.constraints.items()},
        higher_first=metric.goal == "maximize",
    )


def print_table(sweep: Sweep, per: Literal["run", "config"], format: str) -> None:
    """The rows, per run or per configuration, in any format."""
    frame = rows_of(sweep)
    warn_unreadable(frame, console_for(stderr=True))
    width = _width(console_for())
    if per == "run":
        content = render(per_run(frame), format, width)
    else:
        table = table_of(sweep, frame)
        content = as_text(sweep, table, width) if format == "text" else render(table, format)
    if isinstance(content, bytes):
        sys.stdout.buffer.write(content)
    else:
        print(content.rstrip("\n"))


def warn_unreadable(frame: pd.DataFrame, console: Console) -> None:
    """Names the records that could not be read; they are in no table."""
    for line in frame.attrs.get("unreadable", ()):
        console.print(f"left out: {line}", style="red", soft_wrap=True)
