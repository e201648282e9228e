"""Tables for people and programs: one row per run, or one per configuration over its seeds.

Nothing is averaged over a missing seed: a configuration with a failed seed is failed and has no mean, an incomplete one
is running; a drifted row is as good as missing. Over-budget, illegal and infeasible configurations are never ranked:
`ranking` has the rule. Which difference is significant is asked in `compare`.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from results.rows.columns import COLUMNS, MEASURED
from results.rows.intervals import half_interval
from results.rows.ranking import CONDITIONS, Breach, Ranking

if TYPE_CHECKING:
    import pandas as pd  # late below: `plan` imports this module and makes no table where the store has no runs

BY_SCORE = Ranking()
"""By val_bpb without a baseline, over all seeds in the rows."""
STATUS_ORDER = ("done", "running", "stopped", "failed")


def per_run(frame: pd.DataFrame, seeds: Iterable[int] | None = None) -> pd.DataFrame:
    """The rows in their order, each configuration and seed once: a finished row before any other, then the first.

    seeds:  only these; by default all
    """
    if seeds is not None:
        frame = frame[frame["seed"].isin(set(seeds))]
    frame = frame.reset_index(drop=True)  # joined tables repeat their index
    if not frame.duplicated(["config", "seed"]).any():
        return frame
    finished_first = frame.assign(_later=~is_finished(frame)).sort_values("_later", kind="stable")
    return frame.loc[finished_first.drop_duplicates(["config", "seed"]).index.sort_values()].reset_index(drop=True)


def is_finished(frame: pd.DataFrame, metric: str = "val_bpb") -> pd.Series[bool]:
    """Which rows hold a result: done, with a finite score. A run that ended in NaN or infinity does not."""
    return (frame["status"] == "done") & np.isfinite(frame[metric].astype("float64"))


def swept_keys_of(frame: pd.DataFrame) -> list[str]:
    """The columns of a table of rows that are dotted keys of this sweep."""
    return [name for name in frame.columns if name not in COLUMNS and name not in frame.attrs.get(MEASURED, ())]


def per_configuration(frame: pd.DataFrame, ranking: Ranking = BY_SCORE) -> pd.DataFrame:
    """One row per configuration, best first: ranked by the mean of the metric over seeds, as `ranking` says.

    Columns: rank (1 is best; empty unless done, legal, feasible and within budget), config, is_baseline, status,
    swept values, n (finished seeds), failed, mean, sd (n - 1), ci95_low, ci95_high (t interval; empty below two
    seeds, and where all seeds gave the same score, which shows no spread), best, total_bytes and eval_s (largest),
    within_budget and legal (of every finished seed; unknown counts as no).
    """
    runs = per_run(frame, ranking.seeds)
    grouped = _judged(runs, ranking.metric).groupby("config", sort=False)
    declared = len(set(runs["seed"] if ranking.seeds is None else ranking.seeds))
    num_seeds = grouped["seed"].nunique() if ranking.own_seeds else declared
    table = grouped[[key for key in swept_keys_of(frame) if key != ranking.metric]].first()
    table.insert(0, "status", _status(grouped, num_seeds, ranking.enough))
    table["n"] = grouped["score"].count()
    table["failed"] = grouped["broken"].sum()
    table = table.join(_spread(grouped["score"], table["status"] == "done"))
    table["best"] = grouped["score"].max() if ranking.higher_first else grouped["score"].min()
    for name in ("total_bytes", "eval_s"):
        table[name] = grouped[name].max()
    for name in ("within_budget", "legal"):
        table[name] = grouped[name].all().astype("boolean").where(table["n"] > 0)
    table = table.reset_index()
    table.insert(1, "is_baseline", table["config"] == ranking.baseline)
    return _ranked(table, ~table["config"].isin(list(_outside(runs, ranking))), ranking.higher_first)


def breaches_of(frame: pd.DataFrame, ranking: Ranking) -> dict[str, tuple[Breach, ...]]:
    """Why configurations may not be ranked, by configuration: limits that finished runs break, budgets, legality.

    Those that break nothing are left out; so is what has not finished, which has no result that could be excluded.
    """
    runs = per_run(frame, ranking.seeds)
    finished = runs[is_finished(runs, ranking.metric)]
    columns: dict[str, Sequence[Any]] = {name: _booleans(finished[name]) for name in CONDITIONS if name in finished}
    columns |= {name: finished[name].astype("float64").tolist() for name in ranking.limits}
    rows: dict[str, list[dict[str, Any]]] = {}
    for place, config in enumerate(finished["config"]):
        rows.setdefault(config, []).append({name: cells[place] for name, cells in columns.items()})
    by_config = {config: ranking.breaches(of_config) for config, of_config in rows.items()}
    return {config: breaches for config, breaches in by_config.items() if breaches}


def _booleans(column: pd.Series[Any]) -> list[bool]:
    """Unknown counts as no."""
    return [bool(known and cell) for known, cell in zip(column.notna(), column, strict=True)]


def _outside(runs: pd.DataFrame, ranking: Ranking) -> set[str]:
    """Configurations that break a limit; legality and budgets are columns of the table."""
    if not ranking.limits:
        return set()
    by_config = breaches_of(runs, ranking)
    return {config for config, breaches in by_config.items() if any(each.column in ranking.limits for each in breaches)}


def why_none_is_ranked(table: pd.DataFrame, breaches: Mapping[str, Sequence[Breach]]) -> str:
    """Why no configuration beside the baseline has a rank, by reason: which limits they break, how many, or that none
    is complete. Empty where one is ranked.

    table, breaches:  of `per_configuration` and `breaches_of`, by the same ranking
    """
    others = table[~table["is_baseline"]]
    if others["rank"].notna().any():
        return ""
    complete = others.loc[others["status"] == "done", "config"]
    if complete.empty:
        return "no configuration beside the baseline is complete"
    rules = Counter(breach.rule for config in complete for breach in breaches.get(config, ()))
    counted = "; ".join(
        f"of {count}, {rule}" if rule in CONDITIONS.values() else f"{count} break the limit {rule}"
        for rule, count in rules.most_common()
    )
    who = "configuration beside the baseline is" if len(complete) == 1 else "configurations beside the baseline are"
    return f"{len(complete)} {who} complete and none may be ranked: {counted}"


def mean_bpb(frame: pd.DataFrame, config: str, seeds: Iterable[int] | None = None) -> float | None:
    """Mean bits per byte of a configuration's finished runs, whatever it is ranked by; None where it has none."""
    runs = per_run(frame[frame["config"] == config], seeds)
    scores = runs.loc[is_finished(runs), "val_bpb"]
    return None if scores.empty else float(scores.mean())


def handling_lines(frame: pd.DataFrame, seeds: Iterable[int] | None = None, metric: str = "val_bpb") -> list[str]:
    """Which rows the table did not take as they are, and by which rule; nothing when it took all of them."""
    if seeds is not None:
        frame = frame[frame["seed"].isin(set(seeds))]
    runs = per_run(frame)
    infinite = (runs["status"] == "done") & ~is_finished(runs, metric)
    drifted = frame["status"] == "drifted"
    repeats = int((~drifted).sum() - (runs["status"] != "drifted").sum())
    counts = {
        "rows that repeat a configuration and seed (the first finished one counts)": repeats,
        "drifted rows (never averaged in: their machine was unlike the others, the run is repeated elsewhere)": int(
            drifted.sum()
        ),
        "rows done without a finite score (their configuration counts as failed)": int(infinite.sum()),
        "failed rows (never averaged over: their configuration has no mean)": int((runs["status"] == "failed").sum()),
    }
    return [f"{rule}: {count}" for rule, count in counts.items() if count]


def same_score_lines(table: pd.DataFrame) -> list[str]:
    """How many configurations have the same score from all of several seeds, which is no certainty; none: no line.

    table:  of `per_configuration`
    """
    count = int(((table["n"] > 1) & (table["sd"] == 0.0)).sum())
    if not count:
        return []
    whose = "1 configuration" if count == 1 else f"{count:,} configurations"
    return [f"all seeds gave the same score, so there is no interval: {whose}; does a run use its seed?"]


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
    import pandas as pd  # late, see above

    counts = grouped["score"].count()
    needed = pd.Series(num_seeds, index=counts.index)
    needed.update(pd.Series(enough, dtype="int64"))
    status = (counts < needed).map({True: "running", False: "done"})
    return status.mask(grouped["stopped"].any(), "stopped").mask(grouped["broken"].any(), "failed")


def _spread(scores: Any, done: pd.Series[bool]) -> pd.DataFrame:
    """Mean, standard deviation and t interval of each complete configuration."""
    import pandas as pd  # late, see above

    n, mean = scores.count(), scores.mean()
    sd = scores.std().mask((scores.max() == scores.min()) & (n > 1), 0.0)  # rounding may leave more
    halves = [half_interval(*each) if each[0] else math.nan for each in zip(sd, n, strict=True)]
    half = pd.Series(halves, index=n.index, dtype="float64")
    spread = pd.DataFrame({"mean": mean, "sd": sd, "ci95_low": mean - half, "ci95_high": mean + half})
    return spread.where(done)


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
        table[["mean"]]
        .assign(**keys, mean=-table["mean"] if higher_first else table["mean"])
        .sort_values([*keys, "mean"], kind="stable")
        .index
    )
    eligible = eligible.loc[order].reset_index(drop=True)
    ranked = table.loc[order].reset_index(drop=True)
    ranked.insert(0, "rank", eligible.astype("Int64").cumsum().where(eligible))
    return ranked
