"""A sweep's rows and its table per configuration, read from its records and printed."""

from __future__ import annotations

import itertools
import sys
from typing import Any, Literal

import pandas as pd
from rich.console import Console

from orchestrator.output import console_for, shown_width
from orchestrator.space.configuration import label
from orchestrator.sweep.lost_records import demand_undamaged
from orchestrator.sweep.sweep import Sweep
from results.rows.layout import JOURNAL
from results.rows.machines import read_machines
from results.rows.ranking import Ranking
from results.rows.read import read_rows
from results.rows.render import render
from results.rows.tables import breaches_of, per_configuration, per_run, same_score_lines
from trainer.spec.errors import StoreError, UserError
from trainer.spec.printable import printable

MOST_UNRANKED = 10
"""Infeasible configurations that are named below the table; the others are counted."""


def rows_of(sweep: Sweep) -> pd.DataFrame:
    """The sweep's rows, in the order its configurations were chosen. Raises StoreError naming damaged records."""
    frame = readable_rows_of(sweep)
    demand_readable(frame)
    return frame


def readable_rows_of(sweep: Sweep) -> pd.DataFrame:
    """The rows of the records that hold what was written.

    `attrs['unreadable']` names those that are left out or are gone, for `demand_readable` once the others are shown.
    Raises StoreError for a record of a configuration that the journal lacks.
    """
    asked = [item.id for item in sweep.asked()]
    frame = read_rows(sweep.folder, sweep.space.swept_keys, asked, sweep.space.measured)
    if unknown := set(frame["config"]) - set(asked):
        raise StoreError(
            f"{sweep.folder / JOURNAL}: lacks configuration {min(unknown)}, of which there are records: lines were "
            "removed; restore it from a copy"
        )
    frame.attrs["unreadable"] += sweep.lost_records()
    return frame


def demand_readable(frame: pd.DataFrame) -> None:
    """Raises StoreError naming the records that `readable_rows_of` left out."""
    demand_undamaged(frame.attrs.get("unreadable", ()))


def as_text(sweep: Sweep, table: pd.DataFrame, width: int) -> str:
    """The table per configuration for people: the baseline is marked where it stands, constant keys are left out."""
    marked = table["config"].where(~table["is_baseline"], table["config"] + " (baseline)")
    constant = [key for key, item in sweep.space.parameters.items() if not item.varies]
    shown = table.assign(config=marked).drop(columns=["is_baseline", *constant], errors="ignore")
    return str(render(shown, "text", width))


def baseline_of(sweep: Sweep) -> str:
    """Identity of the baseline: the first configuration."""
    asked = sweep.asked()
    if not asked:
        raise UserError(f"sweep '{sweep.name}' has no configurations yet; go on with: {sweep.command('resume')}")
    return asked[0].id


def ranking_of(sweep: Sweep) -> Ranking:
    """How the sweep's configurations are ranked; in a race each needs the seeds of its rounds alone."""
    race = sweep.state().race
    return sweep.space.ranking(baseline_of(sweep), race.seeds if race else {})


def table_of(sweep: Sweep, frame: pd.DataFrame) -> pd.DataFrame:
    """The table per configuration, ranked as the search space says: by its metric, within its constraints."""
    return per_configuration(frame, ranking_of(sweep))


def best_row_of(sweep: Sweep, frame: pd.DataFrame, config: str) -> dict[str, Any] | None:
    """The row of a configuration's finished run with the best score; None if it has none."""
    ranking = ranking_of(sweep)
    runs = frame[(frame["config"] == config) & (frame["status"] == "done") & frame[ranking.metric].notna()]
    if runs.empty:
        return None
    scores = runs[ranking.metric].astype("float64")
    return {
        str(name): cell
        for name, cell in runs.iloc[int(scores.argmax() if ranking.higher_first else scores.argmin())].items()
    }


def unranked_lines(sweep: Sweep, frame: pd.DataFrame) -> list[str]:
    """'not ranked: ttt.lr=0.004: eval_s 812 exceeds the limit 600 (constraints)', for each that is infeasible."""
    labels = {item.id: label(item, sweep.space) for item in sweep.asked()}
    infeasible = breaches_of(frame, ranking_of(sweep))
    lines = [
        f"not ranked: {labels.get(config, config)}: {'; '.join(map(str, breaches))}"
        for config, breaches in itertools.islice(infeasible.items(), MOST_UNRANKED)
    ]
    more = len(infeasible) - len(lines)
    return [*lines, f"not ranked for the like reasons: {more:,} more"] if more else lines


def print_table(sweep: Sweep, per: Literal["run", "config", "machine"], format: str) -> None:
    """The rows, per run, configuration or machine, in any format."""
    frame = readable_rows_of(sweep)
    width = shown_width(console_for())
    content: str | bytes
    if frame.empty and format == "text" and not frame.attrs.get("unreadable"):
        content = f"no run of sweep '{sweep.name}' has ended yet; where it stands: {sweep.command('status')}"
    elif per == "machine":
        content = render(read_machines(sweep.folder), format, width)
    elif per == "run":
        content = render(per_run(frame), format, width)
    else:
        table = table_of(sweep, frame)
        below = "".join(f"{line}\n" for line in (*unranked_lines(sweep, frame), *same_score_lines(table)))
        content = as_text(sweep, table, width) + below if format == "text" else render(table, format)
    if isinstance(content, bytes):
        sys.stdout.buffer.write(content)
    else:
        print(printable(content.rstrip("\n")))
    demand_readable(frame)


def warn_unreadable(frame: pd.DataFrame, console: Console) -> None:
    """Prints the records that could not be read; they are in no table."""
    for line in frame.attrs.get("unreadable", ()):
        console.print(f"left out: {line}", style="red", soft_wrap=True)
