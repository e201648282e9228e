"""What a sweep used of its limits: bytes and seconds.

A limit is the recipe's budget; whether a run kept it was decided when the run was recorded, and is only shown here.
"""

from __future__ import annotations

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
from results.rows.tables import is_finished, per_run
from results.verdicts.sweep_results import SweepResults
from trainer.spec.units import human_bytes, human_seconds

LIMITS = {
    "total_bytes": ("artifact_bytes", "counted bytes: artifact and code (MB)", 1e-6),
    "eval_s": ("eval_s", "scoring (s)", 1.0),
    "train_s": ("train_s", "training (s)", 1.0),
}
"""Column of the row: its field of the budget, its axis, and what turns it into the axis' unit."""
MOST_ROWS = 15
NEAR = 3
"""A limit further off than so many times the largest value is named in words, not drawn."""


def limit_facts(sweep: SweepResults) -> pd.DataFrame:
    """One row per limited column that has values: column, runs, smallest, median, largest, limit, used (largest over
    limit) and over (runs beyond it). A column without a limit in the budget has no row."""
    budget = (sweep.example or {}).get("recipe", {}).get("budget", {})
    runs = per_run(sweep.frame)
    rows = []
    for column, (field, _, _) in LIMITS.items():
        values, limit = runs[column].dropna().astype("float64"), budget.get(field)
        if len(values) and limit:
            spread = values.min(), values.median(), values.max()
            rows.append((column, len(values), *spread, limit, values.max() / limit, int((values > limit).sum())))
    return pd.DataFrame(rows, columns=["column", "runs", "smallest", "median", "largest", "limit", "used", "over"])


def use_facts(sweep: SweepResults) -> pd.DataFrame:
    """Largest use of each limited column by configuration, for the best ones and the baseline: config, label,
    is_baseline, and the columns; `num_left_out` counts the other configurations."""
    runs = per_run(sweep.frame, sweep.seeds)
    largest = runs[is_finished(runs)].groupby("config")[list(LIMITS)].max()
    table = sweep.table[sweep.table["config"].isin(largest.index)]
    kept = pd.concat([table[table["is_baseline"]], table[~table["is_baseline"]].head(MOST_ROWS - 1)])
    facts = kept[["config", "is_baseline"]].reset_index(drop=True)
    facts.insert(1, "label", facts["config"].map(sweep.label))
    return facts.join(largest, on="config").assign(num_left_out=len(table) - len(kept))


def use_figure(facts: pd.DataFrame, limits: pd.DataFrame) -> Figure:
    """A panel for each limit, a bar for each configuration; a limit that is near is a line, else words."""
    count = max(1, len(limits))
    height_in = 1.5 + rows_in(len(facts), 0.3)
    figure = new_figure(height_in * count if is_narrow() else height_in)
    shape = (count, 1) if is_narrow() else (1, count)
    panels = list(figure.subplots(*shape, sharey=not is_narrow(), squeeze=False).flat)
    colours = [INK if is_baseline else OKABE_ITO[0] for is_baseline in facts["is_baseline"]]
    for ax, limit in zip(panels, limits.to_dict("records"), strict=False):
        _, axis_label, factor = LIMITS[limit["column"]]
        tidy(ax, "x")
        ax.barh(
            range(len(facts)), facts[limit["column"]].astype("float64") * factor, color=colours, height=bar_height()
        )
        name_rows(ax, list(facts["label"]))
        ax.set_xlabel(axis_label)
        ax.set_title(f"limit {in_unit(limit['column'], limit['limit'])}, at most {limit['used']:.1%} used", fontsize=10)
        if limit["limit"] <= NEAR * limit["largest"]:
            line_at(ax, limit["limit"] * factor, len(facts), **BASELINE)
    return figure


def in_unit(column: str, value: float) -> str:
    """Bytes or seconds as people say them, by the column they stand in."""
    return human_bytes(round(value)) if column.endswith("_bytes") else human_seconds(value)
