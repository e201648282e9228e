"""Configurations side by side: their means with intervals, and their gains over the baseline.

Facts first, then the drawing of exactly those facts. Only so many rows fit a figure; the facts say what was left out.
Intervals of means hold the spread between seeds, which is larger than that of a paired gain.
"""

from __future__ import annotations

import math
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from results.figures.style import (
    BASELINE,
    GREY,
    INK,
    OKABE_ITO,
    axis_words,
    band_between,
    line_at,
    name_rows,
    new_figure,
    rows_in,
    tidy,
)
from results.rows.tables import is_finished, per_run
from results.verdicts.sweep_results import SweepResults
from results.verdicts.verdict import Verdict

MOST_ROWS = 25
"""Configurations that a reader can tell apart in one figure."""
ROW_IN, AXES_IN = 0.3, 1.3
MEAN_DOT: dict[str, Any] = {"s": 46, "zorder": 4, "linewidths": 0}
SEED_TICK: dict[str, Any] = {"s": 80, "marker": "|", "color": INK, "zorder": 3, "linewidths": 1.2}
COLOURS = {"better": OKABE_ITO[2], "not shown": OKABE_ITO[0], "cannot say": GREY, "infeasible": GREY}
SHAPES = {"better": "D", "not shown": "o", "cannot say": "x", "infeasible": "x"}


def ranking_facts(sweep: SweepResults, most: int = MOST_ROWS) -> pd.DataFrame:
    """One row per configuration, best first and the baseline always among them: rank, config, label, is_baseline, n,
    mean, ci95_low, ci95_high of the metric, `scores` (of each seed) and `num_left_out`; `attrs['axis']` names the
    metric, its unit and which way is better. Who is infeasible is not among them."""
    table, ranking = sweep.table, sweep.ranking
    shown = table[table["rank"].notna() | (table["is_baseline"] & table["mean"].notna())]
    kept = shown[(shown["rank"] <= most).fillna(False) | shown["is_baseline"]]
    runs = per_run(sweep.frame, sweep.seeds)
    runs = runs[is_finished(runs, ranking.metric) & runs["config"].isin(kept["config"])]
    scores = runs.groupby("config")[ranking.metric].agg(list)
    facts = kept[["rank", "config", "is_baseline", "n", "mean", "ci95_low", "ci95_high"]].reset_index(drop=True)
    facts.insert(2, "label", facts["config"].map(sweep.label))
    facts = facts.assign(scores=facts["config"].map(scores), num_left_out=len(table) - len(kept))
    facts.attrs["axis"] = ranking.axis
    return facts


def ranking_figure(facts: pd.DataFrame) -> Figure:
    """Means with their 95 % intervals, best on top, every seed as a tick."""
    figure = new_figure(AXES_IN + rows_in(len(facts), ROW_IN))
    ax = figure.subplots()
    tidy(ax, "x")
    rows = facts.reset_index(drop=True)
    for place, (_, fact) in enumerate(rows.iterrows()):
        colour = INK if fact["is_baseline"] else OKABE_ITO[0]
        if math.isfinite(fact["ci95_low"]):
            ax.plot([fact["ci95_low"], fact["ci95_high"]], [place, place], color=colour, linewidth=1.8)
        ax.scatter(fact["scores"], [place] * len(fact["scores"]), **SEED_TICK)
        ax.scatter(fact["mean"], place, color=colour, marker="s" if fact["is_baseline"] else "o", **MEAN_DOT)
    for mean in rows.loc[rows["is_baseline"], "mean"]:
        line_at(ax, mean, len(rows), zorder=1, **BASELINE)
    name_rows(ax, list(rows["label"]))
    ax.ticklabel_format(axis="x", useOffset=False)
    ax.set_xlabel(axis_words(f"{facts.attrs['axis']}: mean, 95 % interval, and each seed as a tick"))
    return figure


def gain_facts(sweep: SweepResults, most: int = MOST_ROWS) -> pd.DataFrame:
    """One row per verdict in the order of the ranking, those that are not ranked last: config, label, conclusion
    ('infeasible' before any about the score), gain, low, high, margin, at_least in the compared number (positive is
    better), n, test, p, p_corrected, p_no_worse (corrected), sign_flip_p, p_new_run_better, race (what became of it in
    one), `pairs` (gain on each shared artifact), `reason` and `num_left_out`; `attrs['measured']` names the compared
    number with its unit."""
    order = {config: place for place, config in enumerate(sweep.table["config"])}
    verdicts = sorted(sweep.verdicts, key=lambda verdict: order[verdict.config])
    facts = pd.DataFrame([_gain(sweep, verdict) for verdict in verdicts], columns=list(GAIN_COLUMNS))
    kept = facts.head(most).reset_index(drop=True)
    pairs = _pairs(sweep, list(kept["config"]))
    kept = kept.assign(
        pairs=kept["config"].map(lambda config: pairs.get(config, [])), num_left_out=len(facts) - len(kept)
    )
    kept.attrs["measured"] = sweep.compared.measured
    return kept


GAIN_COLUMNS = (
    "config", "label", "conclusion", "gain", "low", "high", "margin", "at_least", "n", "test", "p", "p_corrected",
    "p_no_worse", "sign_flip_p", "p_new_run_better", "race", "reason",
)  # fmt: skip


def _gain(sweep: SweepResults, verdict: Verdict) -> tuple[Any, ...]:
    effect = verdict.bpb
    numbers = [math.nan] * 5
    if effect is not None:
        numbers = [-effect.difference, -effect.high, -effect.low, effect.margin, effect.at_least]
    p_values = verdict.p, verdict.p_corrected, verdict.p_no_worse_corrected, verdict.sign_flip_p
    reason = "; ".join([*map(str, verdict.breaches), *([verdict.reason] if verdict.reason else [])])
    test = verdict.n_candidate, verdict.test, *p_values, verdict.p_new_run_better, verdict.race, reason
    return verdict.config, sweep.label(verdict.config), verdict.headline, *numbers, *test


def _pairs(sweep: SweepResults, configs: list[str]) -> dict[str, list[float]]:
    """Gain over the baseline on each artifact that both scored, by configuration."""
    runs, column = per_run(sweep.frame, sweep.seeds), sweep.compared.column
    runs = runs[is_finished(runs, column)].dropna(subset="artifact")
    reference = runs[runs["config"] == sweep.baseline].groupby("artifact")[column].mean()
    ours = runs[runs["config"].isin(configs)]
    gains = sweep.compared.sign * (ours["artifact"].map(reference).astype("float64") - ours[column]).dropna()
    return {str(config): list(values) for config, values in gains.groupby(ours["config"])}


def gain_figure(facts: pd.DataFrame) -> Figure:
    """Gains, with intervals at the level of the decision, against nothing and the margin; a tick for each pair."""
    figure = new_figure(AXES_IN + rows_in(len(facts), ROW_IN))
    ax = figure.subplots()
    tidy(ax, "x")
    line_at(ax, 0, len(facts), color=INK, linewidth=1)
    margins = facts["margin"].dropna()
    axis = f"gain in {facts.attrs['measured']}, right is better"
    if len(margins) and margins.iloc[0] > 0:
        axis += "; grey band: more than nothing, yet not more than the margin"
        band_between(ax, 0, margins.median(), len(facts))
        line_at(ax, margins.median(), len(facts), **BASELINE)
    for place, (_, fact) in enumerate(facts.iterrows()):
        if not math.isfinite(fact["gain"]):
            ax.annotate("cannot say", (0, place), xytext=(6, 0), textcoords="offset points", color=GREY, va="center")
            continue
        colour = COLOURS[fact["conclusion"]]
        ax.plot([fact["low"], fact["high"]], [place, place], color=colour, linewidth=1.8)
        ax.scatter(fact["pairs"], [place] * len(fact["pairs"]), **SEED_TICK)
        ax.scatter(fact["gain"], place, color=colour, marker=SHAPES[fact["conclusion"]], **MEAN_DOT)
    name_rows(ax, list(facts["label"]))
    ax.set_xlabel(axis_words(axis))
    return figure
