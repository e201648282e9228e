"""A plan as rows for programs, as text for people, and as a file that remembers what was expected."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from orchestrator.configuration import Configuration
from orchestrator.evidence import evidence_lines
from orchestrator.plan import Plan, StagePlan, times
from trainer.spec.units import human_bytes, human_seconds
from trainer.stages.cache import write_once

UNKNOWN = "?"
PLAN_FILE = "plan.json"


def keep_plan(sweep_folder: Path, plan: Plan) -> None:
    """Remembers what was expected before the first run; a later plan of the same sweep changes nothing."""
    write_once(sweep_folder / PLAN_FILE, json.dumps(plan_rows(plan), indent=1).encode())


def read_plan(sweep_folder: Path) -> list[dict[str, Any]] | None:
    """The rows of the plan that was kept, or None when there is none."""
    path = sweep_folder / PLAN_FILE
    return json.loads(path.read_bytes()) if path.exists() else None


def plan_rows(plan: Plan) -> list[dict[str, Any]]:
    """One flat row per stage, and one named 'total'; unknown numbers are None."""
    rows = []
    for stage in plan.stages:
        gpu_hours = times(plan.gpus_per_run / 3600, stage.seconds)
        price = plan.space.budget.usd_per_gpu_hour
        rows.append(
            {
                "sweep": plan.space.name,
                **{key: value for key, value in asdict(stage).items() if key != "bytes_each"},
                "missing": stage.missing,
                "seconds": stage.seconds,
                "gpu_hours": gpu_hours,
                "usd": None if price is None else times(price, gpu_hours),
                "disk_bytes": stage.disk_bytes,
            }
        )
    return [*rows, _total_row(plan)]


def _total_row(plan: Plan) -> dict[str, Any]:
    return {
        "sweep": plan.space.name,
        "stage": "total",
        "needed": sum(stage.needed for stage in plan.stages),
        "exact": plan.exact,
        "cached": sum(stage.cached for stage in plan.stages),
        "seconds_each": None,
        "missing": sum(stage.missing for stage in plan.stages),
        "seconds": plan.seconds,
        "gpu_hours": plan.gpu_hours,
        "usd": plan.usd,
        "disk_bytes": plan.disk_bytes,
        "total_runs": plan.total_runs,
        "fewest_runs": plan.fewest_runs,
        "recorded_runs": plan.recorded_runs,
        "test": plan.evidence.design.test if plan.evidence else "none",
        "sd_bpb": plan.evidence.design.sd if plan.evidence else None,
        "smallest_provable_gain_bpb": plan.evidence.smallest_gain_bpb if plan.evidence else None,
    }


def plan_text(plan: Plan, gain_bpb: float | None = None) -> RenderableType:
    """The question, the configurations as far as they are known, a line per stage, what it costs and what it can prove.

    gain_bpb:  a gain beyond the margin whose number of seeds is wanted
    """
    table = Table(box=None, pad_edge=False)
    for head in ("stage", "needed", "cached", "missing", "each", "together"):
        table.add_column(head, justify="left" if head == "stage" else "right")
    for stage in plan.stages:
        table.add_row(*_cells(stage))
    lines: list[str | Text] = [f"{_runs(plan)} runs, {plan.recorded_runs} of them recorded already", _price(plan)]
    if plan.over_budget:
        lines.append(f"[bold red]more than budget.gpu_hours = {plan.space.budget.gpu_hours:g}[/]")
    if any(stage.missing and stage.seconds_each is None for stage in plan.stages):
        lines.append(f"{UNKNOWN}: not known before one such stage has run in this store; a smaller sweep tells")
    if not plan.exact:
        lines.append("\u2264: at most; configurations are yet to be chosen, or may be dropped")
    lines.append(f"comparison: {plan.test}; {plan.test_reason}")
    if plan.evidence:
        lines += [Text(line) for line in evidence_lines(plan.evidence, gain_bpb)]
    lines += [Text(note) for note in plan.notes]
    return Group(Text(str(plan.space)), *_configuration_lines(plan), "", table, "", *lines)


def _runs(plan: Plan) -> str:
    return f"{plan.fewest_runs} to {plan.total_runs}" if plan.fewest_runs < plan.total_runs else str(plan.total_runs)


def _configuration_lines(plan: Plan) -> list[Text]:
    if plan.space.method != "grid":
        return []
    return [Text(f"  {item.id}  {_values(item)}") for item in plan.configurations]


def _values(item: Configuration) -> str:
    values = " ".join(f"{key}={value}" for key, value in item.values.items())
    return f"baseline  {values or 'the preset itself'}" if item.is_baseline else values


def _cells(stage: StagePlan) -> tuple[str, ...]:
    bound = "" if stage.exact else "\u2264 "
    each = UNKNOWN if stage.seconds_each is None else human_seconds(stage.seconds_each)
    together = UNKNOWN if stage.seconds is None else bound + human_seconds(stage.seconds)
    return stage.stage, f"{bound}{stage.needed}", str(stage.cached), f"{bound}{stage.missing}", each, together


def _price(plan: Plan) -> str:
    bound = "" if plan.exact else "at most "
    if plan.seconds is None:
        return f"time and price: {UNKNOWN}"
    parts = [f"{bound}{human_seconds(plan.seconds)} of computing"]
    if plan.gpus_per_run:
        parts.append(f"{plan.gpu_hours:.2f} GPU-hours on {plan.gpus_per_run} GPUs")
        parts += [f"{plan.usd:.2f} USD"] if plan.usd is not None else []
    if plan.disk_bytes is not None:
        parts.append(f"{human_bytes(round(plan.disk_bytes))} on disk")
    return ", ".join(parts)
