"""Is it faster and still good enough? The claim of `compare: {metric, subject_to}`, for sweeps and imports.

In a sweep of ours the configurations took turns on one machine, so neighbours follow from when the runs started; in an
import they follow from a column `block`, from `started_at`, or from the order of the file.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict

from orchestrator.analysis.sweep_table import baseline_of, rows_of
from orchestrator.output import console_for, print_rows, say
from orchestrator.space.configuration import label
from orchestrator.sweep.imported import ImportedSweep
from orchestrator.sweep.sweep import Sweep
from results.verdicts.faster import Condition, Faster, Neighbours, faster
from trainer.spec.errors import UserError
from trainer.spec.record import run_id_of

STYLES = {"faster": "bold green", "not shown": "bold", "cannot say": "dim"}
NUMBER = r"(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?"
CONDITION = re.compile(rf"(?P<column>[\w.]+)(?P<side>[<>])(?P<bound>[-+]?{NUMBER})(?:@(?P<alpha>{NUMBER}))?")


def faster_of(sweep: Sweep) -> list[Faster]:
    """The verdicts that the search space asks for; empty where it makes no claim on seconds or steps."""
    terms = sweep.space.compare
    if terms.metric is None:
        return []
    frame, records = rows_of(sweep), sweep.records()
    started = sorted((record.started_at, run_id) for run_id, record in records.items() if record.status == "done")
    key_of = {
        run_id_of(config, seed): (config, seed) for config, seed in zip(frame["config"], frame["seed"], strict=True)
    }
    machine_of = {
        key_of[run_id]: record.machine.get("name", "") for run_id, record in records.items() if run_id in key_of
    }
    neighbours = Neighbours.in_order([key_of[run_id] for _, run_id in started if run_id in key_of], machine_of)
    conditions = [
        Condition(column, one.mean_below, one.mean_above, one.alpha) for column, one in terms.subject_to.items()
    ]
    baseline = baseline_of(sweep)
    return faster(frame, baseline, terms.metric, conditions, neighbours, terms.alpha, terms.margin_of_metric)


def faster_of_import(
    sweep: ImportedSweep,
    metric: str,
    conditions: Sequence[Condition],
    alpha: float = 0.01,
    margin: float = 0.0,
    baseline: str | None = None,
) -> list[Faster]:
    """The same of imported runs."""
    keys = [(row["config"], row["seed"]) for row in sweep.rows]
    if sweep.block_of:
        neighbours = Neighbours(sweep.machine_of, sweep.block_of)
    else:
        started = {key: str(row.get("started_at") or "") for key, row in zip(keys, sweep.rows, strict=True)}
        by_time = all(started.values())
        neighbours = (
            Neighbours.by_start(started, sweep.machine_of) if by_time else Neighbours.in_order(keys, sweep.machine_of)
        )
    return faster(sweep.frame, baseline or sweep.header.baseline, metric, conditions, neighbours, alpha, margin)


def conditions_from(texts: Sequence[str]) -> list[Condition]:
    """`--subject-to 'val_loss<3.28@0.01'`: column, bound, alpha. Raises UserError for anything else."""
    conditions = []
    for text in texts:
        match = CONDITION.fullmatch(text.replace(" ", ""))
        if match is None:
            raise UserError(
                f"--subject-to {text} is no condition; for example: 'val_loss<3.28' or 'val_loss<3.28@0.01'"
            )
        bound, alpha = float(match["bound"]), float(match["alpha"] or 0.01)
        if not 0 < alpha < 1:
            raise UserError(f"--subject-to {text}: alpha = {alpha:g} must lie between 0 and 1; usual: 0.01")
        below, above = (bound, None) if match["side"] == "<" else (None, bound)
        conditions.append(Condition(match["column"], below, above, alpha))
    return conditions


def print_faster(verdicts: Sequence[Faster], labels: Mapping[str, str], format: str, caveat: str = "") -> None:
    """Each verdict with the numbers behind it."""
    if format == "json":
        print_rows(
            asdict(verdict)
            | {"conditions": [str(one) for one in verdict.conditions]}
            | {"baseline_conditions": [str(one) for one in verdict.baseline_conditions], "sentence": verdict.sentence}
            for verdict in verdicts
        )
        return
    console = console_for()
    for verdict in verdicts:
        name = labels.get(verdict.config, verdict.config)
        console.print(f"{verdict.conclusion.upper()}  {name}", style=STYLES[verdict.conclusion], soft_wrap=True)
        say(console, verdict.named(labels).sentence)
        for condition in verdict.baseline_conditions:
            say(console, f"the baseline: {condition}", "dim")
        if verdict.assumption:
            say(console, f"assumes: {verdict.assumption}", "dim")
    if caveat:
        say(console, caveat, "dim")


def labels_of(sweep: Sweep) -> dict[str, str]:
    """The label of each configuration."""
    return {item.id: label(item, sweep.space) for item in sweep.asked()}
