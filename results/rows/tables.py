"""Tables for people and programs: one row per run, or one per configuration over its seeds.

Nothing is averaged over a missing seed: a configuration with a failed seed is failed and has no mean, an incomplete one
is running; a drifted row is as good as missing. Over-budget and illegal configurations are never ranked. Which
difference is significant is asked in `compare`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from results.rows.row import COLUMNS

Limits = tuple[float | None, float | None]
"""Smallest and largest value allowed."""
STATUS_ORDER = ("done", "running", "stopped", "failed")


def per_run(frame: pd.DataFrame, seeds: Iterable[int] | None = None) -> pd.DataFrame:
    """The rows in their order, each configuration and seed once: a finished row before any other, then the first.

    seeds:  only these; by default all
    """
    if seeds is not None:
        frame = frame[frame["seed"].isin(set(seeds))]
    frame = frame.reset_index(drop=True)  # joined tables repeat their index
    finished_first = frame.assign(_later=~is_finished(frame)).sort_values("_later", kind="stable")
    return frame.loc[finished_first.drop_duplicates(["config", "seed"]).index.sort_values()].reset_index(drop=True)


def is_finished(frame: pd.DataFrame, metric: str = "val_bpb") -> pd.Series[bool]:
    """Which rows hold a result: done, with a finite score. A run that ended in NaN or infinity does not."""
    return (frame["status"] == "done") & np.isfinite(frame[metric].astype("float64"))


def swept_keys_of(frame: pd.DataFrame) -> list[str]:
    """The columns of a table of rows that are dotted keys of this sweep."""
    return [name for name in frame.columns if name not in COLUMNS]


def per_configuration(
    frame: pd.DataFrame,
    metric: str = "val_bpb",
    baseline: str = "",
    seeds: Iterable[int] | None = None,
    enough: Mapping[str, int] = MappingProxyType({}),
    own_seeds: bool = False,
    limits: Mapping[str, Limits] | None = None,
    higher_first: bool = False,
) -> pd.DataFrame:
    """One row per configuration, ranked by the mean of `metric` over seeds, lower first unless told otherwise.

    baseline:  the configuration that others are measured against
    seeds:     those that count, and that every configuration must have finished; by default all in the table
    enough:    numbers of seeds that suffice for single configurations: a race gives more to some than to others
    own_seeds: nothing was declared, so each configuration must have finished just the seeds it has
    limits:    smallest and largest value allowed of columns; outside, a configuration is infeasible and not ranked
    Columns: rank (1 is best; empty unless done, legal, feasible and within budget), config, is_baseline, status,
    swept values, n (finished seeds), failed, mean, sd (n - 1), ci95_low, ci95_high (t interval; empty below two
    seeds), best, total_bytes and eval_s (largest), within_budget and legal (of every finished seed; unknown counts
    as no).
    """
    runs = per_run(frame, seeds)
    grouped = _judged(runs, metric).groupby("config", sort=False)
    num_seeds = grouped["seed"].nunique() if own_seeds else len(set(runs["seed"] if seeds is None else seeds))
    table = grouped[swept_keys_of(frame)].first()
    table.insert(0, "status", _status(grouped, num_seeds, enough))
    table["n"] = grouped["score"].count()
    table["failed"] = grouped["broken"].sum()
    table = table.join(_spread(grouped["score"], table["status"] == "done"))
    table["best"] = grouped["score"].max() if higher_first else grouped["score"].min()
    for name in ("total_bytes", "eval_s"):
        table[name] = grouped[name].max()
    for name in ("within_budget", "legal"):
        table[name] = grouped[name].all().astype("boolean").where(table["n"] > 0)
    feasible = _feasible(runs, limits or {}).groupby(runs["config"], sort=False).all()
    table = table.reset_index()
    table.insert(1, "is_baseline", table["config"] == baseline)
    return _ranked(table, table["config"].isin(feasible[feasible].index), higher_first)


def handling_lines(frame: pd.DataFrame, seeds: Iterable[int] | None = None) -> list[str]:
    """Which rows the table did not take as they are, and by which rule; nothing when it took all of them."""
    if seeds is not None:
        frame = frame[frame["seed"].isin(set(seeds))]
    runs = per_run(frame)
    infinite = (runs["status"] == "done") & ~is_finished(runs)
    drifted = frame["status"] == "drifted"
    repeats = int((~drifted).sum() - (runs["status"] != "drifted").sum())
    told = {
        "rows that repeat a configuration and seed (the first finished one counts)": repeats,
        "drifted rows (never averaged in: their machine was unlike the others, the run is repeated elsewhere)": int(
            drifted.sum()
        ),
        "rows done without a finite score (their configuration counts as failed)": int(infinite.sum()),
        "failed rows (never averaged over: their configuration has no mean)": int((runs["status"] == "failed").sum()),
    }
    return [f"{rule}: {count}" for rule, count in told.items() if count]


def _judged(runs: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Rows with what the table counts: the finished score, and whether the run broke or was stopped."""
    finished = is_finished(runs, metric)
    return runs.assign(
        score=runs[metric].astype("float64").where(finished),
        broken=(runs["status"] == "failed") | ((runs["status"] == "done") & ~finished),
        stopped=runs["status"] == "stopped",
        within_budget=runs["within_budget"].fillna(False) | ~finished,
        legal=runs["legal"].fillna(False) | ~finished,
    )


def _status(grouped: Any, num_seeds: int | pd.Series[int], enough: Mapping[str, int]) -> pd.Series[str]:
    counts = grouped["score"].count()
    needed = pd.Series(num_seeds, index=counts.index)
    needed.update(pd.Series(enough, dtype="int64"))
    status = (counts < needed).map({True: "running", False: "done"})
    return status.mask(grouped["stopped"].any(), "stopped").mask(grouped["broken"].any(), "failed")


def _spread(scores: Any, done: pd.Series[bool]) -> pd.DataFrame:
    """Mean, standard deviation and t interval of each complete configuration."""
    n, mean, sd = scores.count(), scores.mean(), scores.std()
    half = sd / np.sqrt(n) * stats.t.ppf(0.975, (n - 1).where(n > 1))
    spread = pd.DataFrame({"mean": mean, "sd": sd, "ci95_low": mean - half, "ci95_high": mean + half})
    return spread.where(done)


def _feasible(runs: pd.DataFrame, limits: Mapping[str, Limits]) -> pd.Series[bool]:
    """Which rows keep every limit; an empty cell breaks none."""
    keeps = pd.Series(True, index=runs.index)
    for name, (low, high) in limits.items():
        cells = runs[name].astype("float64")
        below = cells < (-np.inf if low is None else low)
        above = cells > (np.inf if high is None else high)
        keeps &= ~(below | above)
    return keeps


def _ranked(table: pd.DataFrame, feasible: pd.Series[bool], higher_first: bool) -> pd.DataFrame:
    legal, within = table["legal"].fillna(False), table["within_budget"].fillna(False)
    eligible = (table["status"] == "done") & legal & within & feasible
    keys = {
        "status": table["status"].map(STATUS_ORDER.index),
        "illegal": ~legal,
        "over": ~within,
        "infeasible": ~feasible,
    }
    order = (
        pd.DataFrame(keys | {"mean": -table["mean"] if higher_first else table["mean"]})
        .sort_values([*keys, "mean"], kind="stable")
        .index
    )
    eligible = eligible.loc[order].reset_index(drop=True)
    ranked = table.loc[order].reset_index(drop=True)
    ranked.insert(0, "rank", eligible.astype("Int64").cumsum().where(eligible))
    return ranked
