"""What a report gives account of: plan against actual, bytes and seconds, failures, and how to have it all again.

Chapters like those of `findings`: they say what they left out, and why there is nothing to show when there is not.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import pandas as pd

from results.figures.limit_use import in_unit, limit_facts, use_facts, use_figure
from results.report.page import Chapter, Code, Part, Table, Text, left_out, plot, table_of
from results.rows.costs import in_words, saved_s, stage_facts
from results.rows.layout import SPACE_FILE
from results.rows.machines import machine_lines
from results.rows.row import kind_of_error, short_error
from results.rows.tables import is_finished, per_run
from results.verdicts.sweep_results import SweepResults
from trainer.spec.units import human_count, human_seconds, human_time

SAVED = "a stage that several runs need is computed once"


def plan(sweep: SweepResults) -> Chapter:
    """What was expected against what came: stage by stage, then the whole sweep."""
    facts = stage_facts(sweep.outcomes, sweep.planned)
    if facts.empty:
        return Chapter("plan", "Plan against actual", [Text("No run of ours stands behind these numbers.")])
    shown = facts.assign(
        planned=_expected(sweep, facts, "planned", lambda count: f"{count:.0f}"),
        planned_each_s=_expected(sweep, facts.assign(exact=True), "planned_each_s", human_seconds),
        planned_s=_expected(sweep, facts, "planned_s", human_seconds),
        spent_each_s=["" if pd.isna(each) else human_seconds(each) for each in facts["spent_each_s"]],
        spent_s=facts["spent_s"].map(human_seconds),
        unshared_s=facts["unshared_s"].map(human_seconds),
    )
    heads = {
        "stage": "stage", "runs": "runs that need it", "planned": "planned to compute", "computed": "computed",
        "reused": "found in the store", "planned_each_s": "planned, each", "spent_each_s": "spent, each",
        "planned_s": "planned time", "spent_s": "time spent", "unshared_s": "if never shared",
    }  # fmt: skip
    signs = " ≤ marks an upper bound, ? an unknown value."
    caption = f"Stages: {SAVED}.{signs if sweep.planned else ' No plan was kept when this sweep began.'}"
    spent = human_seconds(float(facts["spent_s"].sum()))
    saved = human_seconds(saved_s(sweep.outcomes))
    words = f"{_runs_in_words(sweep)} They took {spent} of computing; sharing stages saved {saved}."
    lines = in_words(sweep.outcomes, sweep.planned, sweep.wall_s)
    totals = [line for line in lines if line[0] not in {*facts["stage"], "saved by sharing stages"}]
    whole = [Table("The whole sweep.", ["", "planned", "actual"], totals, [False, True, True])] if totals else []
    return Chapter("plan", "Plan against actual", [Text(words), *whole, table_of(shown, heads, caption)])


def _expected(sweep: SweepResults, facts: pd.DataFrame, column: str, words: Callable[[float], str]) -> list[str]:
    """What the plan expected of each stage, in words; empty without a plan."""
    if sweep.planned is None:
        return [""] * len(facts)
    known = facts[[column, "exact"]].itertuples(index=False)
    return ["?" if pd.isna(value) else f"{'' if exact else '≤ '}{words(value)}" for value, exact in known]


def _runs_in_words(sweep: SweepResults) -> str:
    recorded, total = len(per_run(sweep.frame)), sweep.total_runs
    return f"{recorded:,} runs are recorded." if total is None else f"{recorded:,} of {total:,} runs are recorded."


def spending(sweep: SweepResults) -> Chapter:
    """Bytes and seconds against their limits."""
    limits = limit_facts(sweep)
    if limits.empty:
        return Chapter("budget", "Budget use", [Text("No run recorded what it used.")])
    used = use_facts(sweep)
    words = limits.assign(
        **{
            name: [in_unit(column, value) for column, value in zip(limits["column"], limits[name], strict=True)]
            for name in ("smallest", "median", "largest", "limit")
        },
        used=["" if pd.isna(part) else f"{part:.1%}" for part in limits["used"]],
    )
    heads = {str(name): str(name) for name in limits} | {"over": "runs over", "used": "most used"}
    caption = f"What each configuration used at most over its seeds; the baseline stands on top.{left_out(used)}"
    drawn = limits[limits["runs"] > 0]
    parts = []
    if len(used) and len(drawn):
        parts = [plot("budget", "Budget use", partial(use_figure, used, drawn), caption)]
    return Chapter("budget", "Budget use", [*parts, table_of(words, heads, "Limits, and what all runs used.")])


def machines(sweep: SweepResults) -> Chapter:
    """Which machines computed, how fast, what sets them apart, and which are quarantined."""
    facts = sweep.machines
    if facts.empty:
        return Chapter("machines", "Machines", [Text("No machine computed anything for these numbers.")])
    lines = machine_lines(facts, sweep.by_the_clock) or [_alike(facts)]
    shown = facts.assign(
        stage_s=facts["stage_s"].map(human_seconds),
        tokens_per_s=["" if pd.isna(speed) else f"{speed:,.0f}" for speed in facts["tokens_per_s"]],
        mfu=["" if pd.isna(part) else f"{part:.1%}" for part in facts["mfu"]],
        quarantined=facts["quarantined"].where(facts["quarantined"] != "", "no"),
    )
    heads = {
        "machine": "machine", "hardware": "hardware", "runs": "runs", "set_aside": "set aside",
        "stages": "stages computed", "stage_s": "their time", "tokens_per_s": "tokens per second", "mfu": "MFU",
        "differs": "differs in", "quarantined": "quarantined",
    }  # fmt: skip
    caption = (
        "Runs that computed something. Set aside: drifted, never averaged in; speed and MFU are medians of trainings. "
        "MFU: part of the GPU's stated peak that a training used; empty on CPUs and on GPUs whose peak is not known."
    )
    return Chapter("machines", "Machines", [*(Text(line) for line in lines), table_of(shown, heads, caption)])


def _alike(machines: pd.DataFrame) -> str:
    if len(machines) == 1:
        return "One machine computed everything."
    return f"All {len(machines):,} machines are alike in everything that the sweep's `guard` compares."


def failures(sweep: SweepResults) -> Chapter:
    """What went wrong, grouped by its message."""
    runs = per_run(sweep.frame)
    errors = runs["error"].fillna("").str.strip()
    broken = runs[
        (runs["status"] == "failed")
        | (errors != "")
        | ((runs["status"] == "done") & ~is_finished(runs, sweep.compared.column))
    ]
    unreadable = sweep.frame.attrs.get("unreadable", [])
    parts: list[Part] = []
    if broken.empty and not unreadable:
        parts.append(Text("Nothing failed."))
    if len(broken):
        parts += _failed(broken.assign(error=errors[broken.index].where(errors[broken.index] != "", "no finite score")))
    if unreadable:
        parts.append(
            Code(
                f"{human_count(len(unreadable), 'record')} could not be read, and in no table:",
                "\n".join(unreadable[:20]),
            )
        )
    return Chapter("failures", "Failures", parts)


def _failed(broken: pd.DataFrame) -> list[Part]:
    message = broken["error"].map(short_error)
    run = broken["config"] + " seed " + broken["seed"].astype("str")
    failures = pd.DataFrame({"message": message, "run": run, "error": broken["error"]})
    groups = failures.groupby(broken["error"].map(kind_of_error), sort=False)
    table = groups.agg(
        message=("message", "first"), runs=("run", "size"), example=("run", "first"), error=("error", "first")
    ).reset_index(drop=True)
    table = table.sort_values("runs", ascending=False, kind="stable")
    heads = {"message": "message", "runs": "runs", "example": "for example"}
    longer = table[table["error"] != table["message"]].head(5)
    details = [Code(f"In full: {row['example']}", row["error"], folded=True) for row in longer.to_dict("records")]
    return [table_of(table, heads, f"Without a result: {human_count(len(broken), 'run')}, by message."), *details]


def reproduction(sweep: SweepResults) -> Chapter:
    """Commands, recipe, commit, versions and hardware."""
    example, runs = sweep.example, sweep.frame
    parts: list[Part] = []
    if sweep.commands:
        where = f"; {SPACE_FILE} stands under Search space" if sweep.space_text else ""
        parts.append(Code(f"The sweep again{where}:", "\n".join(sweep.commands)))
    origin = {"commit": "Commit", "hardware": "Hardware", "versions": "Versions"}
    rows = [[name, words, f"{count:,}"] for column, name in origin.items() for words, count in _counted(runs[column])]
    if rows:
        caption = "Where the runs were made. A '+' behind a commit: the checkout had changes."
        parts.append(Table(caption, ["What", "Which", "Runs"], rows, [False, False, True]))
    if example:
        parts.append(_recipe(example))
    return Chapter("reproduce", "How to reproduce", parts or [Text("These runs are published elsewhere.")])


def _counted(column: pd.Series) -> Sequence[tuple[str, int]]:
    return [(str(words), int(count)) for words, count in column.dropna().value_counts().head(10).items()]


def _recipe(example: Mapping[str, Any]) -> Code:
    caption = (
        f"The full recipe of run {example['run_id']} "
        f"(preset {example['preset']}, begun {human_time(example['started_at'])})"
    )
    return Code(caption, json.dumps(example["recipe"], indent=1), folded=True)
