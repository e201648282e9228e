"""Figures in two steps: the facts as a small table, then the drawing of exactly those facts.

Here: scores over the values of each swept key, a point per run. The look of figures is in `style`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, cast

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, LogLocator, NullLocator, StrMethodFormatter

from results.figures.style import (
    BAND,
    BASELINE,
    GREY,
    INK,
    MARKERS,
    OKABE_ITO,
    POINT,
    axis_words,
    is_narrow,
    new_figure,
    save,
    tidy,
)
from results.rows.ranking import Ranking
from results.rows.score_text import short_text
from results.rows.tables import BY_SCORE, is_finished, per_configuration, per_run

Scale = Literal["linear", "log", "categorical"]

MEAN: dict[str, Any] = {"s": 620, "marker": "_", "color": INK, "linewidths": 1.8}
ROW_IN = 4.6
PANELS_PER_ROW = 3
UNCROWDED = 60
"""Configurations of a panel up to which marks keep their size."""
MOST_TICKS = 8

FACTS = ("key", "scale", "value", "x", "place", "config", "seed", "artifact", "connected", "score", "config_mean")
SHARED = (
    "baseline_mean", "baseline_low", "baseline_high", "num_left_out", "measured", "baseline_words", "band_words",
)  # fmt: skip


def score_facts(frame: pd.DataFrame, swept_keys: Sequence[str], ranking: Ranking = BY_SCORE) -> pd.DataFrame:
    """What the score figure shows: one row per swept key and run, with the metric of the ranking as `score`.

    Keys with one value have no panel; without any other key, configurations stand side by side. Only ranked
    configurations are drawn: complete, legal, within budget and limits; `num_left_out` counts the others. `x` is the
    value itself, or its position when values are words, and `place` sets apart the configurations of one x; a numeric
    key that spans more than a decade is `log`. `connected` says that a line through the runs of one artifact has one
    run at each x. The baseline's mean and 95 % interval repeat in every row, NaN when unknown, and so do `measured`,
    the metric with its unit, and the words for the baseline's line and the band around it.
    """
    table = per_configuration(frame, ranking).set_index("config")
    drawn = table.index[table["rank"].notna() & ~table["is_baseline"]]
    runs = per_run(frame, ranking.seeds)
    runs = runs[runs["config"].isin(drawn) & is_finished(runs, ranking.metric)]
    runs = runs.assign(score=runs[ranking.metric].astype("float64"), config_mean=runs["config"].map(table["mean"]))
    keys = [key for key in swept_keys if runs[key].nunique(dropna=False) > 1] or ["config"]
    facts = pd.concat([_panel(runs, key) for key in keys], ignore_index=True)
    known = ranking.baseline in table.index
    ends = ("mean", "ci95_low", "ci95_high")
    spread = [float(table[name].loc[ranking.baseline]) if known else math.nan for name in ends]
    num_left_out = len(table) - len(drawn) - int(table["is_baseline"].sum())
    words = f"baseline {short_text(spread[0], ranking.unit or ranking.metric)}", "its 95 % interval"
    shared: tuple[Any, ...] = (*spread, num_left_out, ranking.measured, *words)
    return facts.assign(**dict(zip(SHARED, shared, strict=True)))


def _panel(runs: pd.DataFrame, key: str) -> pd.DataFrame:
    scale, words = _scale(runs[key]), runs[key].map(_word)
    order = {value: place for place, value in enumerate(words.drop_duplicates())}
    x = (words.map(order) if scale == "categorical" else runs[key]).astype("float64")
    panel = runs.assign(key=key, scale=scale, value=words, x=x, place=x)
    once = not panel.dropna(subset="artifact").duplicated(["artifact", "x"]).any()
    panel["connected"] = once & panel["artifact"].notna() & panel.duplicated("artifact", keep=False)
    if scale != "log":
        panel["place"] += _side_by_side(panel)
    return panel[list(FACTS)]


def _side_by_side(panel: pd.DataFrame) -> pd.Series[float]:
    """Offsets that part the configurations of one x, within half the distance between neighbours."""
    configs = panel.groupby("x")["config"]
    rank = configs.transform(lambda names: pd.factorize(names)[0])
    count = configs.transform("nunique")
    distance = panel["x"].drop_duplicates().sort_values().diff().min()
    return ((rank - (count - 1) / 2) / count * 0.5 * distance).fillna(0.0)


def _scale(values: pd.Series[Any]) -> Scale:
    numeric = [value for value in values if isinstance(value, int | float) and not isinstance(value, bool)]
    if not numeric or len(numeric) < len(values) or not all(map(math.isfinite, numeric)):
        return "categorical"
    return "log" if min(numeric) > 0 and max(numeric) / min(numeric) > 10 else "linear"


def _word(value: Any) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def draw_scores(facts: pd.DataFrame, path: Path) -> None:
    """Draws the facts as PNG or SVG, by the ending of `path`: one panel per key, 1200 pixels wide."""
    save(score_figure(facts), path)


def score_figure(facts: pd.DataFrame) -> Figure:
    """The drawing of the facts: one panel per key."""
    panels = [panel for _, panel in facts.groupby("key", sort=False)]
    num_columns = 2 if len(panels) == 4 else min(PANELS_PER_ROW, max(1, len(panels)))
    num_columns = 1 if is_narrow() else num_columns
    num_rows = max(1, math.ceil(len(panels) / num_columns))
    figure = new_figure(ROW_IN * num_rows)
    axes = list(figure.subplots(num_rows, num_columns, sharey=True, squeeze=False).flat)
    styles = _styles(facts)
    for ax, panel in zip(axes, panels, strict=False):
        _draw_panel(ax, panel, styles)
    for ax in axes[len(panels) :]:
        ax.set_axis_off()
    for ax in axes[::num_columns]:
        ax.set_ylabel(axis_words(facts["measured"].iloc[0]) if len(facts) else "score")
    _draw_legend(figure, facts, styles)
    return figure


def _styles(facts: pd.DataFrame) -> dict[int, dict[str, Any]]:
    """Colour and shape of each seed; one style for all when they are too many to tell apart."""
    seeds = sorted(facts["seed"].unique())
    if len(seeds) > len(OKABE_ITO):
        return {seed: {"color": OKABE_ITO[0], "marker": MARKERS[0]} for seed in seeds}
    return {seed: {"color": OKABE_ITO[i], "marker": MARKERS[i]} for i, seed in enumerate(seeds)}


def _draw_panel(ax: Axes, panel: pd.DataFrame, styles: dict[int, dict[str, Any]]) -> None:
    first = panel.iloc[0]
    if math.isfinite(first["baseline_mean"]):
        ax.axhspan(first["baseline_low"], first["baseline_high"], **BAND)
        ax.axhline(first["baseline_mean"], **BASELINE)
    means = panel.drop_duplicates("config")
    crowd = max(1.0, len(means) / UNCROWDED)
    point, mean = POINT | {"s": POINT["s"] / math.sqrt(crowd)}, MEAN | {"s": MEAN["s"] / crowd**2}
    ax.scatter(means["place"], means["config_mean"], zorder=3, **mean)
    for seed, runs in panel.sort_values("place").groupby("seed"):
        style = styles[cast("int", seed)]
        for _, line in runs[runs["connected"]].groupby("artifact"):
            ax.plot(line["place"], line["score"], color=style["color"], linewidth=0.9, alpha=0.6)
        ax.scatter(runs["place"], runs["score"], zorder=4, **point, **style)
    _set_axes(ax, panel)


def _set_axes(ax: Axes, panel: pd.DataFrame) -> None:
    first, ticks = panel.iloc[0], panel.drop_duplicates("x").sort_values("x")
    ax.set_xlabel(first["key"])
    if first["scale"] == "log":
        ax.set_xscale("log")
        decades = math.log10(panel["x"].max() / panel["x"].min())
        ax.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if decades < 2.5 else (1.0,)))
        ax.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        ax.xaxis.set_minor_locator(NullLocator())
    if first["scale"] == "categorical" or (first["scale"] == "linear" and len(ticks) <= MOST_TICKS):
        ax.xaxis.set_major_locator(FixedLocator(list(ticks["x"])))
        ax.set_xticklabels(ticks["value"], parse_math=False, rotation=30 if ticks["value"].str.len().sum() > 40 else 0)
    ax.margins(x=0.12)
    shown = [*panel["score"], *panel["baseline_mean"].dropna()]
    if first["baseline_mean"] == first["baseline_low"] < first["baseline_high"]:  # a margin: always in sight
        shown.append(first["baseline_high"])
    pad = 0.08 * (max(shown) - min(shown)) or 0.01
    ax.set_ylim(min(shown) - pad, max(shown) + pad)
    ax.ticklabel_format(axis="y", useOffset=False)
    tidy(ax)


def _draw_legend(figure: Figure, facts: pd.DataFrame, styles: dict[int, dict[str, Any]]) -> None:
    if facts.empty:
        figure.axes[0].set_axis_off()
        figure.text(0.5, 0.5, "no configuration beside the baseline is complete and feasible", ha="center", va="center")
        return
    ax, first = figure.axes[0], facts.iloc[0]
    distinct_colors = len({style["color"] for style in styles.values()}) == len(styles)
    for seed, style in list(styles.items())[: None if distinct_colors else 1]:
        ax.scatter([], [], label=f"seed {seed}" if distinct_colors else f"{len(styles)} seeds", **POINT, **style)
    ax.scatter([], [], label="mean of a configuration", **MEAN)
    if math.isfinite(first["baseline_mean"]):
        ax.plot([], [], label=first["baseline_words"], **BASELINE)
        if first["band_words"]:
            ax.fill_between([], [], label=first["band_words"], **BAND)
    handles, labels = ax.get_legend_handles_labels()
    ncols = 1 if is_narrow() else len(labels)
    figure.legend(handles, labels, loc="outside upper center", ncols=ncols, frameon=False, columnspacing=1.4)
    if first["num_left_out"]:
        left_out = f"{first['num_left_out']} of the configurations not drawn: incomplete, failed or infeasible"
        figure.supxlabel(left_out, fontsize="small", color=GREY)
