"""`orchestrator next`: what would be worth running within the remaining budget, each step with its command."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.commands.options import Store, TextOrJson
from orchestrator.output import console_for, print_rows
from trainer.spec.units import human_count
from trainer.store.mirror import USUAL_STORE

if TYPE_CHECKING:
    from orchestrator.analysis.next_steps import Step


def next_(
    name: Annotated[str | None, typer.Argument(help="A sweep's name; default: all of the store.")] = None,
    budget_seconds: Annotated[float | None, typer.Option(min=0, help="Seconds of computing that are left.")] = None,
    gpu_hours: Annotated[float | None, typer.Option(min=0, help="GPU-hours that are left.")] = None,
    store: Store = USUAL_STORE,
    format: TextOrJson = "text",
) -> None:
    """What would be worth running next, best first: its command, expected seconds, chance and gain. Runs nothing."""
    from orchestrator.analysis.next_steps import next_steps
    from orchestrator.sweep.left_out import left_out_of_estimates
    from orchestrator.sweep.lost_records import demand_undamaged
    from orchestrator.sweep.sweep import find_sweep

    sweeps = None if name is None else [find_sweep(store, name)]
    left_out = left_out_of_estimates(store, sweeps[0].preset if sweeps else None, name or "")
    skipped: list[str] = []
    steps = next_steps(store, sweeps, budget_seconds, gpu_hours, skipped.append if name is None else None)
    left_out += [reason for reason in skipped if not any(line in reason for line in left_out)]
    if format == "json":
        print_rows(asdict(step) for step in steps)
    else:
        _print(steps, left_out)
    demand_undamaged(left_out)


def _print(steps: Sequence[Step], left_out: Sequence[str]) -> None:
    console = console_for()
    if not steps and not left_out:
        console.print("nothing to suggest: every sweep is finished and settled, or is running now", soft_wrap=True)
    for step in steps:
        gain = "" if step.value_bpb is None else f", expected gain {step.value_bpb:.5f} bits per byte"
        left = "" if step.chosen else "  (not within the budget)"
        console.print(f"{step.command}{left}", style="dim" if left else "bold", soft_wrap=True)
        console.print(f"  {step.kind}: {step.reason}", soft_wrap=True)
        console.print(f"  at most {human_count(step.runs, 'run')}, {step.time_in_words}{gain}", soft_wrap=True)
