"""Planned and actual costs of a sweep: runs, stages computed and reused, seconds, GPU-hours, dollars, elapsed time.

The plan is the one that was written when the sweep began. Tables first, then the same as text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import pandas as pd

from trainer.spec.stage_table import STAGES
from trainer.spec.units import human_seconds

Rows = Sequence[Mapping[str, Any]]
STAGE_COLUMNS = (
    "stage", "planned", "exact", "runs", "distinct", "computed", "reused",
    "planned_each_s", "spent_each_s", "planned_s", "spent_s", "unshared_s",
)  # fmt: skip
TOTALS = ("runs", "stages computed", "stages found", "computing_s", "wall_s", "gpu_hours", "usd")
UNKNOWN = "?"


def stage_facts(outcomes: pd.DataFrame, planned: Rows | None) -> pd.DataFrame:
    """One row per stage that the sweep's runs needed, in running order.

    outcomes:  as `read_outcomes` gives them
    planned:   rows of the plan, or None without one
    Columns: planned (missing when the sweep was planned, None without a plan), exact (else planned is an upper bound),
    runs (that needed it), distinct, computed (by this sweep), reused (found in the store), planned_each_s,
    spent_each_s (mean of the computed ones), planned_s, spent_s, unshared_s (had every run computed its own).
    """
    expected = {str(row["stage"]): row for row in planned or ()}
    rows = [_stage(str(name), runs, expected.get(str(name))) for name, runs in outcomes.groupby("stage")]
    facts = pd.DataFrame(rows, columns=list(STAGE_COLUMNS))
    there = dict.fromkeys(outcomes["stage"])  # a program's stages stand in running order in each of its runs
    names = STAGES if set(there) <= set(STAGES) else there
    place = {name: position for position, name in enumerate(names)}
    return facts.sort_values("stage", key=lambda names: names.map(place)).reset_index(drop=True)


def _stage(name: str, outcomes: pd.DataFrame, planned: Mapping[str, Any] | None) -> dict[str, Any]:
    mine = outcomes.loc[outcomes["computed"].astype("bool"), "seconds"]
    distinct = outcomes["fingerprint"].nunique()
    return {
        "stage": name,
        "planned": planned and planned["missing"],
        "exact": planned is None or planned["exact"],
        "runs": len(outcomes),
        "distinct": distinct,
        "computed": len(mine),
        "reused": max(distinct - len(mine), 0),
        "planned_each_s": planned and planned["seconds_each"],
        "spent_each_s": float(mine.mean()) if len(mine) else None,
        "planned_s": planned and planned["seconds"],
        "spent_s": float(mine.sum()),
        "unshared_s": float(outcomes["seconds"].sum()),
    }


def total_facts(outcomes: pd.DataFrame, planned: Rows | None, wall_s: float | None) -> pd.DataFrame:
    """One row per quantity of the whole sweep, by name: planned and actual, None where unknown.

    wall_s:  seconds during which a driver ran, summed over all resumptions
    """
    total: Mapping[str, Any] = next((row for row in planned or () if row["stage"] == "total"), {})
    stages, computed = stage_facts(outcomes, planned), outcomes[outcomes["computed"].astype("bool")]
    gpu_hours = float((computed["seconds"] * computed["gpus"]).sum() / 3600)
    price = total.get("usd_per_gpu_hour")
    counted = (total.get(name) for name in ("total_runs", "missing", "cached", "seconds", "wall_s", "gpu_hours", "usd"))
    actual = (
        outcomes["run_id"].nunique(),
        int(stages["computed"].sum()),
        int(stages["reused"].sum()),
        float(computed["seconds"].sum()),
        wall_s,
        gpu_hours,
        None if price is None else price * gpu_hours,
    )
    return pd.DataFrame({"planned": list(counted), "actual": list(actual)}, index=list(TOTALS), dtype="object")


def in_words(outcomes: pd.DataFrame, planned: Rows | None, wall_s: float | None) -> list[tuple[str, str, str]]:
    """(name, planned, actual) for each stage, each total, and the time saved by sharing; empty without a plan."""
    if not planned:
        return []
    stages = [
        (row["stage"], _times(row, "planned"), _times(row, "computed"))
        for row in cast("Rows", stage_facts(outcomes, planned).to_dict("records"))
    ]
    totals = total_facts(outcomes, planned, wall_s)
    bound = "" if all(row["exact"] for row in planned) else "\u2264 "
    total_lines = [
        (NAMES[name], _as_text(name, row["planned"], bound), _as_text(name, row["actual"]))
        for name, row in zip(totals.index, totals.to_dict("records"), strict=True)
        if name not in ("gpu_hours", "usd") or row["planned"] or row["actual"]
    ]
    return [*stages, *total_lines, ("saved by sharing stages", "", human_seconds(saved_s(outcomes)))]


def saved_s(outcomes: pd.DataFrame) -> float:
    """Seconds of stages that runs reused from another run or an earlier sweep."""
    return float(outcomes["seconds"].sum() - outcomes.loc[outcomes["computed"].astype("bool"), "seconds"].sum())


NAMES = {
    "runs": "runs", "stages computed": "stages computed", "stages found": "stages found in the store",
    "computing_s": "computing", "wall_s": "from start to end", "gpu_hours": "GPU-hours", "usd": "USD",
}  # fmt: skip


def _times(row: Mapping[str, Any], which: str) -> str:
    """Number of computations and seconds of each, as '≤ 18 x 9.3 s'."""
    count, each = row[which], row["planned_each_s" if which == "planned" else "spent_each_s"]
    if count is None or pd.isna(count):
        return UNKNOWN
    bound = "\u2264 " if which == "planned" and not row["exact"] else ""
    return f"{bound}{count:.0f} x {UNKNOWN if pd.isna(each) else human_seconds(each)}" if count else "0"


def _as_text(name: str, value: Any, bound: str = "") -> str:
    if value is None or pd.isna(value):
        return UNKNOWN
    unbounded = name in ("stages found", "wall_s")
    words = human_seconds(value) if name.endswith("_s") else f"{value:.2f}" if isinstance(value, float) else str(value)
    return words if unbounded else f"{bound}{words}"
