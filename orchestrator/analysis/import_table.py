"""The table of runs that were imported, for which neither verdicts nor search spaces are imported."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Literal

from orchestrator.output import console_for, shown_width
from orchestrator.sweep.imported import ImportedSweep
from results.rows.render import render
from results.rows.tables import handling_lines, per_configuration, per_run, same_score_lines
from trainer.spec.printable import printable

if TYPE_CHECKING:
    import pandas as pd


def print_import_table(sweep: ImportedSweep, per: Literal["run", "config"], format: str) -> None:
    """Its rows, per run or per configuration, in any format."""
    frame = sweep.frame
    shown = per_run(frame) if per == "run" else per_configuration(frame, sweep.ranking)
    if format == "text":
        shown = _marked(sweep, shown) if per == "config" else shown
        console_for().print(f"ranked by {sweep.ranking.axis}", style="dim", soft_wrap=True)
    content = render(shown, format, shown_width(console_for()))
    if isinstance(content, bytes):
        sys.stdout.buffer.write(content)
        return
    print(content.rstrip("\n"))
    if format == "text":
        same = same_score_lines(per_configuration(frame, sweep.ranking))
        for line in (*handling_lines(frame, metric=sweep.measure.column), *same, *sweep.header.notes):
            print(printable(line))


def _marked(sweep: ImportedSweep, table: pd.DataFrame) -> pd.DataFrame:
    named = table["config"].where(~table["is_baseline"], table["config"] + " (baseline)")
    constant = [knob for knob in sweep.header.knobs if knob in table and table[knob].nunique(dropna=False) < 2]
    same = [name for name in ("within_budget", "legal") if bool(table[name].fillna(True).all())]
    return table.assign(config=named).drop(columns=["is_baseline", *constant, *same])
