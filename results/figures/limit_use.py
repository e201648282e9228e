"""What a sweep used of its limits: bytes and seconds.

A limit is the recipe's budget, or one of those that a program was given; whether a run kept it was decided when the run
ended or was recorded, and is only shown here.
"""

from __future__ import annotations

import math

import pandas as pd
from matplotlib.figure import Figure

from results.figures.style import (
    BASELINE,
    INK,
    OKABE_ITO,
    bar_height,
    is_narrow,
    line_at,
    name_rows,
    new_figure,
    rows_in,
    tidy,
)
from results.rows.row import short_error
from results.rows.tables import is_finished, per_run
from results.verdicts.sweep_results import SweepResults
from trainer.spec.program import Program
from trainer.spec.runnable import is_program, read_runnable
from trainer.spec.units import human_bytes, human_seconds

LIMITS = {"total_bytes": "artifact_bytes", "eval_s": "eval_s", "train_s": "train_s"}
"""Column of the row: its field of a recipe's budget."""
AXES = {
    "total_bytes": ("counted bytes: artifact and code (MB)", 1e-6),
    "eval_s": ("scoring (s)", 1.0),
    "train_s": ("training (s)", 1.0),
    "program_s": ("all stages (s)", 1.0),
    "limited_file_bytes": ("the limited file (MB)", 1e-6),
    "process_peak_bytes": ("main memory (GB)", 1e-9),
}
"""Column of the row: its axis, and what turns it into the axis' unit."""
MOST_ROWS = 15
MOST_ACROSS = 3
"""Panels beside each other, so that their titles do not run into one another."""
NEAR = 3
"""A limit further off than so many times the largest value is named in words, not drawn."""


def limit_facts(sweep: SweepResults) -> pd.DataFrame:
    """One row per limited column that has values: column, runs, smallest, median, largest, limit, used (largest over
    limit) and over (runs beyond it, or ended by it, of which nobody knows what they would have used). A column without
    a limit has no row."""
    runs = per_run(sweep.frame)
    ends = runs["error"].fillna("").map(short_error)
    rows = []
    for column, (key, limit) in _limits_of(sweep).items():
        values = runs[column].astype("float64") if column in runs else pd.Series(float("nan"), index=runs.index)
        ended = ends.str.contains(f"limits.{key}", regex=False)
        over, known = int(((values > limit) | ended).sum()), values.dropna()
        if len(known) or over:
            spread = known.min(), known.median(), known.max()
            rows.append((column, len(known), *spread, limit, known.max() / limit, over))
    return pd.DataFrame(rows, columns=["column", "runs", "smallest", "median", "largest", "limit", "used", "over"])


def _limits_of(sweep: SweepResults) -> dict[str, tuple[str, float]]:
    """Each limit that was given, and its key, by the column of what was used of it."""
    recipe = (sweep.example or {}).get("recipe", {})
    if is_program(recipe):
        program = read_runnable(recipe)
        return program.limited if isinstance(program, Program) else {}
    budget = recipe.get("budget", {})
    return {column: (field, budget[field]) for column, field in LIMITS.items() if budget.get(field)}


def use_facts(sweep: SweepResults) -> pd.DataFrame:
    """Largest use of each limited column by configuration, for the best ones and the baseline: config, label,
    is_baseline, and the columns; `num_left_out` counts the other configurations."""
    runs = per_run(sweep.frame, sweep.seeds)
    limited = [column for column in AXES if column in runs]
    largest = runs[is_finished(runs, sweep.compared.column)].groupby("config")[limited].max()
    table = sweep.table[sweep.table["config"].isin(largest.index)]
    kept = pd.concat([table[table["is_baseline"]], table[~table["is_baseline"]].head(MOST_ROWS - 1)])
    facts = kept[["config", "is_baseline"]].reset_index(drop=True)
    facts.insert(1, "label", facts["config"].map(sweep.label))
    return facts.join(largest, on="config").assign(num_left_out=len(table) - len(kept))


def use_figure(facts: pd.DataFrame, limits: pd.DataFrame) -> Figure:
    """A panel for each limit, a bar for each configuration; a limit that is near is a line, else words."""
    count = max(1, len(limits))
    height_in = 1.5 + rows_in(len(facts), 0.3)
    across = 1 if is_narrow() else min(count, MOST_ACROSS)
    down = -(-count // across)
    figure = new_figure(height_in * down)
    panels = list(figure.subplots(down, across, sharey=not is_narrow(), squeeze=False).flat)
    colours = [INK if is_baseline else OKABE_ITO[0] for is_baseline in facts["is_baseline"]]
    for ax, limit in zip(panels, limits.to_dict("records"), strict=False):
        axis_label, factor = AXES[limit["column"]]
        tidy(ax, "x")
        ax.barh(
            range(len(facts)), facts[limit["column"]].astype("float64") * factor, color=colours, height=bar_height()
        )
        name_rows(ax, list(facts["label"]))
        ax.set_xlabel(axis_label)
        ax.set_title(f"limit {in_unit(limit['column'], limit['limit'])}, at most {limit['used']:.1%} used", fontsize=10)
        if limit["limit"] <= NEAR * limit["largest"]:
            line_at(ax, limit["limit"] * factor, len(facts), **BASELINE)
    for ax in panels[count:]:
        ax.set_visible(False)
    return figure


def in_unit(column: str, value: float) -> str:
    """Bytes or seconds as people say them, by the column they stand in; empty for a number that nobody knows."""
    if math.isnan(value):
        return ""
    return human_bytes(round(value)) if column.endswith("_bytes") else human_seconds(value)
