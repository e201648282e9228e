"""Learning curves: the loss of each distinct training of a sweep, read from its stage's folder.

Configurations that train alike share their curves. Curves are thinned by averaging neighbouring steps, and only so many
are drawn; the facts say what was left out.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from results.figures.style import GREY, OKABE_ITO, is_narrow, new_figure, save, shortened, tidy
from results.rows.learning_curve import read_curve
from results.verdicts.sweep_results import SweepResults

MOST_GROUPS = len(OKABE_ITO)
MOST_CURVES = 36
MOST_POINTS = 150
RING: dict[str, Any] = {"marker": "o", "markerfacecolor": "none", "linestyle": "none", "markersize": 8}
DASHES = ("-", "--", ":", "-.", (0, (5, 1)), (0, (1, 2)))
COLUMNS = ("group", "seed", "fingerprint", "step", "train_loss", "elapsed_s", "num_steps", "val_loss")


def curve_facts(sweep: SweepResults) -> pd.DataFrame:
    """One row per drawn point: group (by label), seed, fingerprint, step, train_loss, elapsed_s,
    num_steps that the point is the mean of, and val_loss, the lowest of the runs that stand on the training.

    Groups follow the ranking, the baseline's first. `attrs['num_left_out']` counts trainings not drawn, and
    `attrs['num_missing']` those whose folder is gone from the store; `attrs['loss']` says what the losses are.
    """
    trainings = _trainings(sweep)
    kept = trainings[trainings["group"].isin(trainings["group"].drop_duplicates().head(MOST_GROUPS))].head(MOST_CURVES)
    parts, num_missing = [], 0
    for row in kept.to_dict("records"):
        content = sweep.curve_of(row["fingerprint"])
        num_missing += content is None
        if content is not None:
            curve = read_curve(content, f"{sweep.curve_stage} {row['fingerprint']}")
            named = {name: row[name] for name in ("group", "seed", "fingerprint", "val_loss")}
            parts.append(_thinned(curve).assign(**named))
    facts = pd.concat(parts, ignore_index=True)[list(COLUMNS)] if parts else pd.DataFrame(columns=list(COLUMNS))
    facts.attrs.update(num_left_out=len(trainings) - len(kept), num_missing=num_missing)
    facts.attrs["loss"] = sweep.curve_loss
    return facts


def _trainings(sweep: SweepResults) -> pd.DataFrame:
    """One row per distinct training of the table, with the group of configurations that share it, best first."""
    outcomes = sweep.outcomes
    order = {config: place for place, config in enumerate(sweep.table["config"])} | {sweep.baseline: -1}
    trained = outcomes[
        (outcomes["stage"] == sweep.curve_stage) & outcomes["config"].isin(list(order))
    ]  # short runs are in none
    trained = trained.assign(place=trained["config"].map(order)).sort_values(["place", "seed"], kind="stable")
    sharing = {
        fingerprint: tuple(dict.fromkeys(configs)) for fingerprint, configs in trained.groupby("fingerprint")["config"]
    }
    scored = trained.merge(sweep.frame[["config", "seed", "val_loss"]], on=["config", "seed"], how="left")
    lowest = scored.groupby("fingerprint")["val_loss"].min()
    distinct = trained.drop_duplicates("fingerprint").assign(val_loss=lambda table: table["fingerprint"].map(lowest))
    return distinct.assign(group=[_named(sweep, sharing[fingerprint]) for fingerprint in distinct["fingerprint"]])


def _named(sweep: SweepResults, configs: tuple[str, ...]) -> str:
    if len(configs) == 1:
        return sweep.label(configs[0])
    if len(configs) == len(sweep.table):
        return "every configuration"
    return f"{sweep.label(configs[0])} and {len(configs) - 1} that train alike"


def _thinned(curve: pd.DataFrame) -> pd.DataFrame:
    """At most MOST_POINTS rows, each the mean of as many neighbouring steps."""
    points = curve.groupby(np.arange(len(curve)) // max(1, math.ceil(len(curve) / MOST_POINTS)))
    return points[["step", "train_loss", "elapsed_s"]].mean().assign(num_steps=points.size())


def curve_figure(facts: pd.DataFrame) -> Figure:
    """Loss over steps: a colour for each group and a dash for each seed; one group alone has a colour for each seed.

    A ring at a curve's end is the validation loss of its training's best score.
    """
    figure = new_figure(4.6)
    ax = figure.subplots()
    tidy(ax)
    groups, seeds = list(facts["group"].drop_duplicates()), sorted(facts["seed"].drop_duplicates())
    for (group, seed, _), curve in facts.groupby(["group", "seed", "fingerprint"], sort=False):
        hue, dash = groups.index(group), seeds.index(seed)
        if len(groups) == 1:
            hue = dash
        colour = OKABE_ITO[hue] if hue < len(OKABE_ITO) else GREY
        ax.plot(curve["step"], curve["train_loss"], color=colour, linestyle=DASHES[dash % len(DASHES)], linewidth=1.4)
        if pd.notna(val_loss := curve["val_loss"].iloc[-1]):
            ax.plot(curve["step"].iloc[-1], val_loss, color=colour, **RING)
    _draw_legend(figure, facts, groups, seeds)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.set_xlabel("step")
    ax.set_ylabel(facts.attrs["loss"])
    return figure


def draw_curves(facts: pd.DataFrame, path: Path) -> None:
    """The figure as a file, PNG or SVG by its ending."""
    save(curve_figure(facts), path)


def _draw_legend(figure: Figure, facts: pd.DataFrame, groups: list[str], seeds: list[int]) -> None:
    ax = figure.axes[0]
    if len(groups) > 1:
        for hue, group in enumerate(groups):
            ax.plot([], [], color=OKABE_ITO[hue], label=shortened(group).replace("$", r"\$"))
    for dash, seed in enumerate(seeds[: len(DASHES)]):
        ax.plot(
            [], [], color=GREY if len(groups) > 1 else OKABE_ITO[dash], linestyle=DASHES[dash], label=f"seed {seed}"
        )
    if facts["val_loss"].notna().any():
        ax.plot([], [], color=GREY, label="validation loss", **RING)
    handles, labels = ax.get_legend_handles_labels()
    ncols = 1 if is_narrow() else min(4, len(labels))
    figure.legend(handles, labels, loc="outside upper center", ncols=ncols, frameon=False)
